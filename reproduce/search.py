"""The search of paper A (Algorithm 1): evolution designs losses in one of five experiments.

    python reproduce/search.py                     a demonstration: digits, minutes on two cores
    python reproduce/search.py --experiment 2 --scale reduced      InceptionV3 on Fashion-MNIST,
                                                   fewer images, epochs and generations
    python reproduce/search.py --experiment 5 --scale paper        the full protocol
    python reproduce/search.py --generations 3 --population 8 --seed 1

Every trained network and every individual is on the disk before the next: stop it when you like,
the same command goes on. At the end stand the best losses as formulas, LaTeX and plots, the
convergence, the winner's family tree, its test accuracy beside that of CE and NGL, and
best.json, which `nglkeras.load_loss` turns into a loss. At paper scale every candidate is trained,
with a split and initial weights of its own, as in the paper; elsewhere some need no training, and
they are counted: --screen, --without and --draws choose.
"""

from functools import partial

from nglkeras import search
from nglkeras.errors import unknown
from nglkeras.experiments import cli, discovery
from nglkeras.experiments.discovery import script
from nglkeras.experiments.discovery.protocol import EXPERIMENTS, SCALES
from nglkeras.report import output
from nglkeras.runs.journal import Journal
from nglkeras.search.screening import BOUNDS, check_bounds
from nglkeras.startup import extras

# Fields of a scale that options change.
CHANGED = (
    *("model", "generations", "population", "epochs", "train_images", "image_size"),
    *("evaluation_images", "datasets", "draws"),
)


def options():
    """The script's options."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--experiment", default="1", help="1 to 5 (default: 1)")
    add("--scale", default="demo", help=f"one of: {', '.join(SCALES)} (default: demo)")
    add("--seed", type=int, default=0, help="root of all randomness (default: 0)")
    add("--generations", type=cli.positive, help="T")
    add("--population", type=cli.positive, help="n")
    script.add_options(parser)
    add(
        "--bounds",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        default=BOUNDS,
        help="a loss with absolute values outside is discarded (default: 1e-5 1e5, a reading of "
        "the paper's illegible exponents)",
    )
    add("--distinct", action="store_true", help="of survivors with one formula keep only one")
    add("--compare-runs", type=cli.positive, default=5, help="networks a loss at the end")
    add("--datasets", nargs="+", metavar="NAME", help="instead of the experiment's own")
    add("--model", help="instead of the scale's own")
    add("--epochs", type=cli.positive, help="upper limit on epochs")
    add("--train-images", type=cli.positive, help="upper limit on training images")
    add(
        "--evaluation-images",
        type=cli.positive,
        help="upper limit on images for validation, and for test",
    )
    add("--image-size", type=cli.positive, help="upper limit on the image size, in pixels")
    output.add_out_option(parser, "search")
    add("--data-dir", type=cli.folder, help="TFDS' folder (default: TFDS_DATA_DIR)")
    output.add_figure_options(parser)
    cli.add_executor_options(parser)
    return parser.parse_args()


def main():
    """Run the script."""
    args = options()
    with cli.make_executor(args) as executor:
        run(args, executor)


def run(args, executor):
    """Search, with networks trained where the options say."""
    scale = cli.chosen_scale(args, SCALES, CHANGED)
    if args.experiment not in map(str, EXPERIMENTS):
        raise unknown("experiment", args.experiment, map(str, EXPERIMENTS))
    checks = script.chosen_checks(args, scale.screening)
    bounds = check_bounds(tuple(args.bounds))
    extras.require("gplearn", "sympy")
    out, save = output.folder(args, "search", scale.name), output.saver(args)
    fitness = discovery.ExperimentFitness(
        int(args.experiment),
        scale,
        Journal(out / "trials.jsonl", report=partial(print, file=cli.sys.stderr)),
        seed=args.seed,
        replicas=partial(cli.count_replicas, args, executor),
        bounds=bounds,
        chosen=["draws"] if args.draws else [],
        data_dir=args.data_dir,
        timeout=args.timeout,
        executor=executor,
    )
    strategy = search.GeneticProgramming(
        args.seed,
        population_size=scale.population,
        generations=scale.generations,
        distinct=args.distinct,
    )
    screening = script.screening_of(args, checks, fitness.gradients, out, bounds)
    heading = (
        f"Experiment {args.experiment}, {scale.name} scale: {scale.note}. n = {scale.population}, "
        f"T = {scale.generations}, seed {args.seed}, {scale.model} on "
        f"{', '.join(fitness.datasets)}. In the paper, experiment {args.experiment} found "
        f"{fitness.experiment.found}."
    )
    print(f"{heading}\nJournals in {out}", flush=True)
    # From the first candidate to the last comparison nobody else writes these journals.
    with fitness.writing():
        result = search.search(strategy, fitness, out=out, screening=screening)
        heading = f"{heading} {script.describe(screening, fitness)}"
        with output.writing_to(out):
            discovery.report.write(
                result, fitness, out, heading, compare_runs=args.compare_runs, save=save
            )


if __name__ == "__main__":
    cli.run(main)

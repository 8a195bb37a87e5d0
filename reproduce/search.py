"""The search of paper A (Algorithm 1): evolution designs losses in one of five experiments.

    python reproduce/search.py                     a demonstration: digits, minutes on two cores
    python reproduce/search.py --experiment 2 --scale reduced      InceptionV3 on Fashion-MNIST,
                                                   fewer images, epochs and generations
    python reproduce/search.py --experiment 5 --scale paper        the full protocol
    python reproduce/search.py --generations 3 --population 8 --seed 1

Every trained network and every individual is on the disk before the next: stop it when you like,
the same command goes on. At the end stand the best losses as formulas, LaTeX and plots, the
convergence, the winner's family tree, its test accuracy beside that of CE and NGL, and
best.json, which `nglkeras.load_loss` turns into a loss. --without leaves out what spares
trainings: --without duplicates equals gradients rejection is the paper's search.
"""

from functools import partial

from nglkeras import cli, extras, output, search
from nglkeras.errors import UserError, unknown
from nglkeras.journal import Journal
from nglkeras.search.protocol import EXPERIMENTS, SCALES

# Fields of a scale that options change.
CHANGED = (
    *("model", "generations", "population", "epochs", "train_images", "image_size"),
    *("evaluation_images", "datasets"),
)
CHECKS = {"duplicates": False, "equals": False, "gradients": "off", "rejection": False}


def options():
    """The script's options."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--experiment", default="1", help="1 to 5 (default: 1)")
    add("--scale", default="demo", help=f"one of: {', '.join(SCALES)} (default: demo)")
    add("--seed", type=int, default=0, help="root of all randomness (default: 0)")
    add("--generations", type=cli.positive, help="T")
    add("--population", type=cli.positive, help="n")
    add("--without", nargs="+", default=(), metavar="CHECK", help=f"any of: {', '.join(CHECKS)}")
    add("--distinct", action="store_true", help="of survivors with one formula keep only one")
    add("--compare-runs", type=cli.positive, default=5, help="networks a loss at the end")
    add("--datasets", nargs="+", metavar="NAME", help="instead of the experiment's own")
    add("--model", help="instead of the scale's own")
    add("--epochs", type=cli.positive, help="at most so many")
    add("--train-images", type=cli.positive, help="at most so many")
    add("--evaluation-images", type=cli.positive, help="at most so many, for validation and test")
    add("--image-size", type=cli.positive, help="at most so large, in pixels")
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
    for check in args.without:
        if check not in CHECKS:
            raise unknown("check", check, CHECKS)
    extras.require("gplearn", "sympy")
    out, save = output.folder(args, "search", scale.name), output.saver(args)
    fitness = search.ExperimentFitness(
        int(args.experiment),
        scale,
        Journal(out / "trials.jsonl", report=partial(print, file=cli.sys.stderr)),
        seed=args.seed,
        replicas=partial(cli.count_replicas, args, executor),
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
    checks = {"gradients": fitness.gradients} | {check: CHECKS[check] for check in args.without}
    screening = search.Screening(**checks)
    heading = (
        f"Experiment {args.experiment}, {scale.name} scale: {scale.note}. n = {scale.population}, "
        f"T = {scale.generations}, seed {args.seed}, {scale.model} on "
        f"{', '.join(fitness.settings['datasets'])}."
    )
    print(f"{heading}\nJournals in {out}", flush=True)
    # From the first candidate to the last comparison nobody else writes these journals.
    with fitness.writing():
        result = search.search(strategy, fitness, out=out, screening=screening)
        if not result.population[0].evaluation.rank:
            raise UserError(f"no loss of this search could be trained; see {out}/search.jsonl")
        with output.writing_to(out):
            search.report.write(
                result, fitness, out, heading, compare_runs=args.compare_runs, save=save
            )


if __name__ == "__main__":
    cli.run(main)

"""The search of paper B (GLO): a genetic algorithm designs a tree, CMA-ES its coefficients.

    python reproduce/glo_search.py                    a demonstration: digits, minutes on two cores
    python reproduce/glo_search.py --scale reduced    MNIST, the paper's network, 200 steps each
    python reproduce/glo_search.py --scale paper      100 generations, 2,000 steps each

Every candidate is on the disk before the next: stop it when you like, the same command goes on.
Each stage leaves its best losses, their course, and best.json, which `nglkeras.load_loss` turns
into a loss. At the end the winner is compared with cross entropy, Baikal and BaikalCMA on the test
set. The fitness of a tree that comes again is kept, as in the paper. What else spares trainings is
done but at paper scale, where every evaluation also has a split and initial weights of its own:
--screen, --without and --draws choose.
"""

from functools import partial

from nglkeras import search
from nglkeras.errors import UserError
from nglkeras.experiments import cli, discovery
from nglkeras.experiments.discovery import script as common
from nglkeras.experiments.glo import protocol, script
from nglkeras.report import output
from nglkeras.runs.journal import Journal
from nglkeras.startup import extras

# The cache of duplicates is the paper's, and stays.
CHECKS = ("equals", "gradients", "rejection")


def options():
    """The script's options."""
    parser = script.parser(__doc__)
    add = parser.add_argument
    add("--steps", type=cli.positive, dest="search_steps", help="of a candidate's training")
    add("--population", type=cli.positive, help="trees in a generation")
    add("--generations", type=cli.positive, help="of trees")
    add("--coefficient-generations", type=cli.positive, help="of CMA-ES")
    common.add_options(parser, CHECKS)
    add("--compare-runs", type=cli.positive, default=5, help="networks a loss at the end")
    return parser.parse_args()


def main():
    """Run the script."""
    args = options()
    with cli.make_executor(args) as executor:
        run(args, executor)


def run(args, executor):
    """Search trees, then coefficients, with networks trained where the options say."""
    scale = script.chosen_scale(args)
    checks = common.chosen_checks(args, scale.screening, CHECKS)
    if scale.search_steps % 4:
        raise UserError(f"{scale.search_steps} steps do not divide by 4")
    extras.require("gplearn", "cma", "sympy")
    output.saver(args)  # refuses what cannot be drawn, before a training
    out = script.folder(args) / "search"
    fitness = discovery.TrialFitness(
        partial(protocol.candidate, scale, **script.plan_arguments(args, executor)),
        Journal(out / "trials.jsonl", report=partial(print, file=cli.sys.stderr)),
        chosen=["draws"] if args.draws else [],
        data_dir=args.data_dir,
        timeout=args.timeout,
        executor=executor,
    )
    heading = (
        f"{scale.name} scale: {scale.note}. {scale.model} on {scale.dataset}, "
        f"{scale.search_steps} steps a candidate, {args.precision}, {args.class_reduction} over "
        f"the classes, seed {args.seed}."
    )
    print(f"{heading}\n{protocol.PAPER_SILENT_ON_SEARCH}\nJournals in {out}", flush=True)
    # From the first tree to the last comparison nobody else writes these journals.
    with fitness.writing():
        both_stages(args, scale, checks, fitness, heading, out)


def both_stages(args, scale, checks, fitness, heading, out):
    """Search trees, then the coefficients of the best."""
    screening = common.screening_of(args, checks, fitness.gradients, out / "trees", bounds=None)
    strategy = search.GLO(
        args.seed, population_size=scale.population, generations=scale.generations
    )
    trees = search.search(strategy, fitness, out=out / "trees", screening=screening)
    heading = f"{heading} {common.describe(screening, fitness)}"
    with output.writing_to(out):
        discovery.report.write(
            trees,
            fitness,
            out / "trees",
            f"Trees. {heading} {scale.population} trees, {scale.generations} generations.",
            compare_runs=0,
            save=output.saver(args),
        )

    print(f"\nCoefficients of {trees.best}", flush=True)
    # More generations may find another tree, whose coefficients are another search.
    tuned = out / f"coefficients_{trees.population[0].individual.id}"
    strategy = search.CoefficientSearch(
        trees.best, args.seed, generations=scale.coefficient_generations
    )
    coefficients = search.search(
        strategy, fitness, out=tuned, screening=search.coefficients.SCREENING
    )
    contenders = {
        "tree": trees.best,
        "CE": None,
        **discovery.report.paper_losses("Baikal", "BaikalCMA"),
    }
    with output.writing_to(out):
        discovery.report.write(
            coefficients,
            fitness,
            tuned,
            f"Coefficients of `{trees.best}`. {heading}",
            compare_runs=args.compare_runs,
            contenders=contenders,
            in_print=search.coefficients.in_print,
            save=output.saver(args),
        )


if __name__ == "__main__":
    cli.run(main)

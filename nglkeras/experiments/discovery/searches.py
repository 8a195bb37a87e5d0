"""The searches of both papers: Algorithm 1 in five experiments, and GLO."""

from functools import partial

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
from nglkeras import search
from nglkeras.errors import UserError, unknown
from nglkeras.experiments import discovery, glo, options
from nglkeras.experiments.discovery.protocol import EXPERIMENTS, SCALES, SearchScale
from nglkeras.experiments.discovery.script import SearchScript, describe, report, screening_of
from nglkeras.search.screening import BOUNDS, check_bounds


class PaperASearch(SearchScript):
    """Algorithm 1 of paper A in one of the five experiments."""

    folder = "search"
    scales = SCALES
    packages = ("gplearn", "sympy")

    def add_options(self, parser):
        """Add the experiment, the bounds and the fields of the scale."""
        super().add_options(parser)
        add = parser.add_argument
        add("--experiment", default="1", metavar="N", help="1 to 5 (default: 1)")
        add(
            "--bounds",
            nargs=2,
            type=float,
            metavar=("LOW", "HIGH"),
            default=BOUNDS,
            help="a loss with absolute values outside is discarded (default: 1e-5 1e5, a reading "
            "of the paper's illegible exponents)",
        )
        changed = ("model", "generations", "population", "epochs", "train_images", "image_size")
        changed += ("evaluation_images", "datasets", "draws")
        changed += ("distinct", "parsimony", "adaptation", "racing")
        options.add_fields(parser, SearchScale, changed)

    def chosen_scale(self, args):
        """Return the scale; experiment and bounds are checked before a file is made."""
        if args.experiment not in map(str, EXPERIMENTS):
            raise unknown("experiment", args.experiment, map(str, EXPERIMENTS))
        check_bounds(tuple(args.bounds))
        return super().chosen_scale(args)

    def fitness(self, args, scale, journal, **settings):
        """Return the fitness of the experiment."""
        return discovery.experiments.ExperimentFitness(
            int(args.experiment),
            scale,
            journal,
            seed=args.seed,
            replicas=args.replicas,
            bounds=tuple(args.bounds),
            **settings,
        )

    def heading(self, args, scale, fitness):
        """Describe the experiment."""
        return (
            f"Experiment {args.experiment}, {scale.name} scale: {scale.note}. "
            f"n = {scale.population}, T = {scale.generations}, seed {args.seed}, {scale.model} on "
            f"{', '.join(fitness.datasets)}. In the paper, experiment {args.experiment} found "
            f"{fitness.experiment.found}."
        )

    def search(self, args, scale, fitness, heading, out):
        """Search, and compare the winner with CE and NGL."""
        strategy = search.GeneticProgramming(
            args.seed,
            population_size=scale.population,
            generations=scale.generations,
            distinct=scale.distinct,
            parsimony=scale.parsimony,
            adaptation=scale.adaptation,
        )
        screening = screening_of(args, scale, fitness, fitness.bounds)
        result = search.search(strategy, fitness, out=out, screening=screening)
        heading = f"{heading} {describe(screening, fitness)}"
        report(
            *(args, result, fitness, out, heading),
            compare_runs=args.compare_runs,
            confirmation=self.confirmation(args, scale),
        )


class GLOSearch(SearchScript):
    """The search of paper B: a genetic algorithm for trees, then CMA-ES for coefficients."""

    folder = "glo"
    scales = glo.protocol.SCALES
    # The cache of duplicates is the paper's, and stays.
    checks = ("equals", "gradients", "rejection")
    packages = ("gplearn", "cma", "sympy")
    silent = glo.protocol.PAPER_SILENT_ON_SEARCH

    def add_options(self, parser):
        """Add the fields of the scale and the options of paper B."""
        super().add_options(parser)
        changed = ("population", "generations", "coefficient_generations", "draws", "racing")
        flags = {name: f"--{name.replace('_', '-')}" for name in changed}
        glo.figures.add_options(parser, {"search_steps": "--steps", **flags})

    def chosen_scale(self, args):
        """Return the scale that the options name, with what they change of it."""
        scale = glo.figures.chosen_scale(args)
        if scale.search_steps % 4:
            raise UserError(f"{scale.search_steps} steps do not divide by 4")
        return scale

    def place(self, args, scale):
        """Return the folder of both stages."""
        return super().place(args, scale) / "search"

    def fitness(self, args, scale, journal, **settings):
        """Return the validation accuracy after a short training."""
        arguments = glo.figures.plan_arguments(args, args.replicas)
        trials = partial(glo.protocol.candidate, scale, **arguments)
        return discovery.fitness.TrialFitness(trials, journal, **settings)

    def heading(self, args, scale, fitness):
        """Describe the training of a candidate."""
        return (
            f"{scale.name} scale: {scale.note}. {scale.model} on {scale.dataset}, "
            f"{scale.search_steps} steps a candidate, {args.precision}, {args.class_reduction} "
            f"over the classes, seed {args.seed}."
        )

    def search(self, args, scale, fitness, heading, out):
        """Search trees, then coefficients for the best; compare it with CE and Baikal."""
        folder = out / "trees"
        screening = screening_of(args, scale, fitness, bounds=None)
        strategy = search.GLO(
            args.seed, population_size=scale.population, generations=scale.generations
        )
        trees = search.search(strategy, fitness, out=folder, screening=screening)
        heading = f"{heading} {describe(screening, fitness)}"
        sizes = f"{scale.population} trees, {scale.generations} generations."
        report(args, trees, fitness, folder, f"Trees. {heading} {sizes}")

        # Without a factor of its scale: each candidate gets its own.
        (found,) = trees.best_losses(1)
        tree = found.individual.expression
        print(f"\nCoefficients of {tree}", flush=True)
        # More generations may find another tree, whose coefficients are another search.
        folder = out / f"coefficients_{trees.population[0].individual.id}"
        strategy = search.CoefficientSearch(
            tree, args.seed, generations=scale.coefficient_generations
        )
        screening = search.coefficients.SCREENING
        tuned = search.search(strategy, fitness, out=folder, screening=screening)
        contenders = {"tree": trees.best, "CE": None}
        contenders |= discovery.report.paper_losses("Baikal", "BaikalCMA")
        confirmation = self.confirmation(args, scale)
        if confirmation is not None:
            names = {name: name for name in ("CE", "Baikal", "BaikalCMA")}
            confirmation["contenders"] = names | {"tree": trees.best}
        report(
            *(args, tuned, fitness, folder, f"Coefficients of `{tree}`. {heading}"),
            compare_runs=args.compare_runs,
            contenders=contenders,
            confirmation=confirmation,
            in_print=search.coefficients.in_print,
        )


PAPER_A = PaperASearch("search")
GLO = GLOSearch("search")

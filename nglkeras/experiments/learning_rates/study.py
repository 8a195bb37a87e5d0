"""The learning-rate study as an experiment."""

from functools import partial

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
from nglkeras import report
from nglkeras.data import catalog
from nglkeras.experiments import footnotes, learning_rates, options, script
from nglkeras.experiments.classification import architectures
from nglkeras.experiments.learning_rates import protocol
from nglkeras.experiments.learning_rates.protocol import LearningRateScale
from nglkeras.report.rates import MAX_ADDED

_FIELDS = (
    *("dataset", "model", "optimizer", "decay", "rates", "runs", "new_runs", "steps"),
    *("evaluate_every", "batch_size", "image_size", "train_images", "evaluation_images"),
    *("validation_images", "precision"),
)


class LearningRates(script.Experiment):
    """Losses x learning rates x networks, then each loss at its own best rate on new seeds."""

    scales = protocol.SCALES

    def add_options(self, parser):
        """Add the options of a study."""
        options.add_losses(parser)
        options.add_fields(parser, LearningRateScale, _FIELDS)

    def plan(self, args, scale, replicas):
        """Return the networks that every loss begins with."""
        names, formulas = script.named_formulas(args.losses, args.formula, "learning_rates")
        names = [name for name in names if name not in formulas]
        arguments = {"seed": args.seed, "replicas": replicas(scale.batch_size)}
        return protocol.plan(scale, names, formulas=formulas, data_dir=args.data_dir, **arguments)

    def further(self, args, scale, trials, results):
        """Return more rates where the best one is at an edge, then the new seeds."""
        classes = catalog.get_info(scale.dataset, args.data_dir).classes
        return protocol.further(scale, trials, results, classes)

    def report(self, args, scale, trials, results, out, notes):
        """Print, write and draw curves and table."""
        info = catalog.get_info(scale.dataset, args.data_dir)
        tables = learning_rates.tables
        curves = protocol.curves(trials, results, info.classes)
        sizes = learning_rates.sizes.factors(trials, info.classes)
        table = tables.cells(trials, results, curves, sizes)
        model = architectures.label(scale.model)
        title = (
            f"Each loss at its own best learning rate: {info.title}, {model}, {scale.optimizer}, "
            f"{scale.steps} steps, {scale.name} scale"
        )
        name = f"{scale.dataset}_{model}_{scale.optimizer}_{scale.steps}"
        name += f"_{scale.decay}" * (scale.decay != "constant")
        script.show(
            args,
            out / "".join(letter if letter.isalnum() else "_" for letter in name),
            title,
            [report.best_rates.layout(table), report.best_rates.curve_layout(curves)],
            [*_notes(scale, table, info), *notes],
            # Momentum is a setting of Keras' SGD.
            tables.to_frame(trials, results, sizes).assign(optimizer=scale.optimizer),
            partial(report.plots.best_rates, curves, table, title),
            trials=trials,
        )


def _notes(scale, table, info):
    same = report.tables.SAME
    notes = [
        f"Scale {scale.name}: {scale.note}. Layers in {scale.precision}; the rate "
        f"{learning_rates.protocol.DECAYS[scale.decay]}; losses over classes are their sum.",
        "gradient: a sample's gradient by the logits at uniform predictions, as a multiple of "
        "CE's; as CE's: best rate times that, the rate at which CE's first step is as large.",
        "The second table is validation accuracy in %, the mean of "
        f"{scale.runs} network{'s' * (scale.runs > 1)} a rate: * the best, x a network diverged, "
        f"which counts as chance ({100 / info.classes:g} %).",
        f"Tests are of networks with new seeds; those of a seed share split and initial weights "
        f"with CE's. 95 %: Student's intervals of the mean and of the paired difference; beside it "
        f"the bootstrap's, which is too narrow for few seeds (of five it holds 84 %). Holm's p is "
        f"the paired t-test's, corrected for all losses here; better and worse: below 0.05; "
        f"equivalent: both one-sided tests within ±{same:g} points (paper A's band) below 0.05.",
    ]
    edges = [cell.loss for cell in table if cell.open_ends]
    if edges:
        notes.append(
            f"The best rate of {', '.join(edges)} may lie beyond its rates, {MAX_ADDED} "
            f"added at an end though there are."
        )
    return notes + footnotes.of_reconstructions(cell.loss for cell in table)


LEARNING_RATES = LearningRates("learning_rates")

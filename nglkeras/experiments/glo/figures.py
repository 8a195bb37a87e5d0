"""Paper B's experiments: figures 1 and 3, the data portions, the transfer to CIFAR-10."""

import argparse
from abc import abstractmethod
from functools import partial
from typing import ClassVar

import numpy as np

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
from nglkeras import report
from nglkeras.experiments import earlier, footnotes, glo, options, script
from nglkeras.experiments.glo import protocol
from nglkeras.experiments.glo.protocol import GLOScale

_STEPS = {"steps": "--steps", "evaluate_every": "--evaluate-every"}


class GLOExperiment(script.Experiment):
    """What paper B's experiments share.

    Attributes:
        fields: Fields of a scale that options change, and those options.
        table: Name by which `losses.rows_of` knows the losses trained by default.
        silent: What the paper does not say of the experiment.
        planned: The function that plans the networks.
    """

    folder = "glo"
    scales = protocol.SCALES
    changes = earlier.CHANGES
    fields: ClassVar[dict[str, str]] = {}
    table = "glo"
    silent = protocol.PAPER_SILENT
    planned = staticmethod(protocol.plan)

    def add_options(self, parser):
        """Add the options of paper B's experiments."""
        options.add_losses(parser)
        add_options(parser, self.fields)

    def chosen_scale(self, args):
        """Return the chosen scale; a limit above its number of training images has no effect."""
        return chosen_scale(args)

    def plan(self, args, scale, replicas):
        """Return the networks of the experiment, run by run: each run has every setting."""
        names, formulas = script.named_formulas(args.losses, args.formula, self.table)
        names = [name for name in names if name not in formulas]
        arguments = plan_arguments(args, replicas)
        trials = self.planned(scale, names, formulas=formulas, **arguments)
        return sorted(trials, key=lambda trial: trial.run)

    @abstractmethod
    def findings(self, scale, trials, results):
        """Return the name of the files, the title, the tables, the figure, and further notes."""

    def report(self, args, scale, trials, results, out, notes):
        """Print the table; write it, its figure, and the networks as CSV."""
        name, title, parts, figure, own_notes = self.findings(scale, trials, results)
        frame = glo.tables.to_frame(trials, results)
        over = "sum" if args.class_reduction == "sum" else "mean, as paper B prints it,"
        notes = [
            *own_notes,
            *notes,
            f"Scale {scale.name}: {scale.note}. Layers in {args.precision}.",
            f"Losses are the {over} over the classes.",
            self.silent,
            *footnotes.of_reconstructions(frame.loss),
        ]
        rate = frame.steps_per_second.median()
        if not np.isnan(rate):
            notes.append(f"Median of the networks: {rate:.0f} steps a second.")
        settings = (args.class_reduction, "sum"), (args.precision, "float32")
        suffix = "".join(f"_{value}" for value, default in settings if value != default)
        figure = partial(figure, title=title)
        path = out / (name + suffix)
        script.show(args, path, title, parts, notes, frame, figure, trials=trials)


class Figure1(GLOExperiment):
    """Figure 1: mean accuracy of networks trained with each loss, and Welch's test."""

    fields = {"runs": "--runs"} | _STEPS

    def printed(self):
        """Return the paper's numbers."""
        return glo.tables.printed_numbers()

    def findings(self, scale, trials, results):
        """Return the accuracies."""
        tables, printed = glo.tables, self.printed()
        found = [
            cell for part in tables.PARTS for cell in tables.cells(trials, results, part, printed)
        ]
        title = f"Figure 1 of paper B: accuracy after {scale.steps} steps, {scale.name} scale"
        note = (
            "p in the first table is Welch's, two-sided; the losses of a run share its split and "
            "initial weights, which it does not use. The paper's numbers are given where it has "
            "them for this setting."
        )
        figure = partial(glo.plots.figure1, found)
        parts = [tables.layout(found), *tables.comparisons(found)]
        notes = [note, *report.comparison.notes(found)]
        return f"figure1_{scale.steps}", title, parts, figure, notes


class Figure3(Figure1):
    """Figure 3: the training curves of the networks of figure 1."""

    def findings(self, scale, trials, results):
        """Return the curves."""
        found = glo.tables.curves(trials, results)
        title = f"Figure 3 of paper B: training curves, {scale.dataset}, {scale.name} scale"
        notes = ["Means over the runs; the figure has their range too."]
        notes += glo.tables.left_out(trials, results)
        figure = partial(glo.plots.figure3, found)
        return f"figure3_{scale.steps}", title, [glo.tables.curve_layout(found)], figure, notes


class DataPortions(GLOExperiment):
    """The data-portion experiment: test accuracy against the share of the training images."""

    fields = {"portions": "--portions", "portion_runs": "--runs"} | _STEPS
    planned = staticmethod(protocol.by_portion)

    def findings(self, scale, trials, results):
        """Return the accuracies by share."""
        by_images = {}
        for trial in dict.fromkeys(trials):
            by_images.setdefault(trial.train_images, []).append(trial)
        found = {
            portion: glo.tables.cells(of_portion, results)
            for portion in scale.portions
            # Two shares that round to the same number of images are the same networks.
            if (of_portion := by_images.get(scale.images_of(portion)))
        }
        title = f"Accuracy by share of the training images, {scale.dataset}, {scale.steps} steps"
        body = glo.tables.layout_over(found, "share", [f"{portion:g}" for portion in found])
        figure = partial(glo.plots.over, found, "share of the training images", log=True)
        return f"data_{scale.steps}", title, [body], figure, []


class Transfer(GLOExperiment):
    """The transfer experiment: another data set and network, by training duration."""

    fields: ClassVar[dict[str, str]] = {"durations": "--durations"}
    table = "glo_transfer"
    silent = protocol.PAPER_SILENT_ON_TRANSFER
    planned = staticmethod(protocol.by_duration)

    def findings(self, scale, trials, results):
        """Return the accuracies by duration."""
        found = {
            steps: glo.tables.cells([t for t in trials if t.run == steps], results)
            for steps in scale.durations
        }
        title = f"Transfer to {scale.transfer_dataset}: test accuracy by training duration"
        body = glo.tables.layout_over(found, "steps", [str(steps) for steps in found])
        figure = partial(glo.plots.over, found, "steps")
        return "transfer", title, [body], figure, glo.tables.paired(trials, results)


def add_options(parser: options.Parser, fields: dict[str, str]) -> None:
    """Add the options that paper B's experiments and its search share, and those of `fields`."""
    options.add_fields(parser, GLOScale, fields)
    options.add_fields(parser, GLOScale, ("train_images", "evaluation_images"))
    options.add_precision(parser)
    text = "sum over the classes, with which the paper's numbers come out, or mean, as printed"
    parser.add_argument(
        "--class-reduction", default="sum", metavar="NAME", help=f"{text} (default: sum)"
    )


def chosen_scale(args: argparse.Namespace) -> GLOScale:
    """Return the chosen scale; a limit above its own number of training images has no effect."""
    if args.scale in protocol.SCALES and args.train_images is not None:
        args.train_images = min(args.train_images, protocol.SCALES[args.scale].train_images)
    return options.chosen_scale(args, protocol.SCALES)


def plan_arguments(args: argparse.Namespace, replicas) -> dict:
    """Return what the options say to `protocol.plan` beside scale and losses."""
    settings = {name: getattr(args, name) for name in ("class_reduction", "precision", "seed")}
    return settings | {"replicas": replicas(protocol.BATCH_SIZE)}


FIGURE_1 = Figure1("figure1")
FIGURE_3 = Figure3("figure3")
DATA_PORTIONS = DataPortions("data")
TRANSFER = Transfer("transfer")

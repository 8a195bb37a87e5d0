"""Table 3 and figure 2 of paper A as experiments; figure 2's networks are among table 3's."""

from dataclasses import replace
from functools import partial

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
import nglkeras
from nglkeras import report
from nglkeras.experiments import footnotes, imagenet, options, script
from nglkeras.experiments.imagenet import protocol
from nglkeras.experiments.imagenet.protocol import ImageNetScale

SILENT = (
    "Where the paper is silent, our choices are Swin's augmentation for the ResNets too, gradients "
    "of Swin cut to a norm of 5, an L2 factor of 1e-4 for CE (which alone has it and label "
    "smoothing 0.1, as the paper says; all have AdamW's weight decay), and symmetric cross "
    "entropy's α 6, β 0.1 from 100 classes on, else 0.1 and 1."
)


class ImageNetExperiment(script.Experiment):
    """What table 3 and figure 2 share."""

    folder = "table3"
    has_checkpoints = True
    scales = protocol.SCALES
    models = ("models", "--models")

    def add_options(self, parser):
        """Add the options that both take."""
        options.add_losses(parser, formulas=False)
        names = ("runs", "epochs", "batch_size", "train_images", "evaluation_images", "image_size")
        options.add_fields(parser, ImageNetScale, {"dataset": "--dataset", **dict([self.models])})
        options.add_fields(parser, ImageNetScale, names)
        options.add_precision(parser)

    def plan(self, args, scale, replicas):
        """Plan the networks, run by run."""
        classes, files = imagenet.sources.describe(scale.dataset, args.data_dir)
        trials = protocol.plan(
            scale,
            args.losses or self.losses(),
            classes=classes,
            seed=args.seed,
            precision=args.precision,
            files=files,
        )
        return [replace(trial, replicas=replicas(trial.schedule.batch_size)) for trial in trials]

    def losses(self):
        """Return the paper's losses."""
        return nglkeras.losses.rows_of(self.name)

    def prepare(self, args, missing):
        """Download the data set where that is possible, and look at its files."""
        first = missing[0]
        imagenet.sources.prepare(first.dataset, args.data_dir)
        limits = {name: getattr(first, name) for name in ("train_images", "evaluation_images")}
        found = imagenet.sources.survey(first.dataset, args.data_dir, seed=first.seed, **limits)
        script.tell(*found)

    def trainer(self, args, out, missing):
        """Return what trains each network by itself, with checkpoints."""
        return partial(
            imagenet.training.run_trial,
            timeout=args.timeout,
            data_dir=args.data_dir,
            checkpoints=self.checkpoints(out),
        )


class Table3(ImageNetExperiment):
    """Table 3: top-1 accuracy of each model with each loss."""

    needs_a_network = False

    def printed(self):
        """Return the printed table."""
        return report.printed.read_numbers(self.name)

    def report(self, args, scale, trials, results, out, notes):
        """Print, write and draw the table."""
        tables, printed = imagenet.tables, self.printed()
        table = tables.cells(trials, results, printed)
        title = f"{self.title}, {scale.name} scale"
        notes = [
            f"Scale {scale.name}: {scale.note}.",
            f"Data set {scale.dataset}, {scale.image_size} pixels; measured, the paper's in "
            "parentheses; the best of a row is marked. Accuracies are those of the last epoch, on "
            "the split that no training looks at to decide anything (of ImageNet, validation).",
            *report.comparison.notes(table),
            SILENT,
            *footnotes.of_reconstructions(cell.loss for cell in table),
            *notes,
        ]
        divided = sum(cell.divided for cell in table)
        if divided:
            notes.append(f"{divided} of the networks had their batches divided for lack of memory.")
        panels = {}
        for cell in table:
            dot = report.plots.dot_of(cell, nglkeras.losses.label(cell.loss), ".1f")
            panels.setdefault(cell.model, []).append(dot)
        details = [report.tables.columns_of(table, tables.DETAILS), *tables.comparisons(table)]
        script.show(
            args,
            out / self.name,
            title,
            [tables.layout(table, printed, bold=("**", "**")), *details],
            notes,
            report.tables.frame(table, tables.COLUMNS)
            .rename(columns={"mean": "accuracy"})
            .assign(dataset=scale.dataset),
            partial(report.plots.dot_plot, panels, title, xlabel="top-1 accuracy, %"),
            trials=trials,
            printed=[tables.layout(table, printed), *details],
        )


class Figure2(ImageNetExperiment):
    """Figure 2: accuracy of one model by epoch, with each loss."""

    models = ("figure_model", "--model")

    def losses(self):
        """Return the paper's losses; its legend begins with its own."""
        return sorted(super().losses(), key="NGL".__ne__)

    def chosen_scale(self, args):
        """Return the scale that the options name, with the model of the figure alone."""
        scale = super().chosen_scale(args)
        return replace(scale, models=(scale.figure_model,))

    def report(self, args, scale, trials, results, out, notes):
        """Print, write and draw the curves."""
        curves = imagenet.tables.curves(trials, results)
        title = f"{self.title}: {scale.figure_model} on {scale.dataset}, {scale.name} scale"
        notes = [*footnotes.of_reconstructions(curves), *notes]
        lines = [f"Scale {scale.name}: {scale.note}.", SILENT, *notes]
        for loss, (epochs, values) in curves.items():
            end = f"{values[:, -1].mean():.2f} % after {len(epochs)} epochs"
            lines.append(f"{nglkeras.losses.label(loss)}: {end}, {len(values)} runs")
        for trial in trials:
            if results[trial.key].status != "ok":
                lines.append(f"{trial}: {results[trial.key].status}, not drawn")
        print("", title, "", *lines, sep="\n")
        frame = imagenet.tables.curves_frame(trials, results)
        frame = frame.assign(dataset=scale.dataset, **script.settings_of(trials))
        path = report.output.beside_more(out / self.name, frame)
        written = path.with_name(f"{path.name}.csv")
        frame.to_csv(written, index=False)
        last = max(epochs[-1] for epochs, _ in curves.values())
        figure = partial(
            report.plots.curve_plot,
            curves,
            title,
            xlabel="epoch",
            ylabel="mean validation accuracy, %",
            zoom_from=protocol.zoomed_from(last),
        )
        saved = report.output.saver(args)(figure, out, path.name)
        print("written:", written, *saved)


TABLE_3 = Table3("table3", "Table 3: top-1 accuracy in %")
FIGURE_2 = Figure2("figure2", "Figure 2")

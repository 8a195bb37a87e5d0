"""Tables 4 and 5 of paper A as experiments."""

import math
from dataclasses import replace
from functools import partial

import numpy as np

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
import nglkeras
from nglkeras import report
from nglkeras.errors import UserError
from nglkeras.experiments import footnotes, options, script, segmentation
from nglkeras.experiments.segmentation import architectures, catalog, protocol, recipes
from nglkeras.experiments.segmentation.recipes import SegmentationScale

# Folder of what is kept for the qualitative figures.
PREDICTIONS = "predictions"


class SegmentationTable(script.Experiment):
    """Table 4 or 5; it shows all measures of `tables.TITLES` by default."""

    has_checkpoints = True

    def __init__(self, name, title, scales, measures=None):
        super().__init__(name, title)
        self.scales = scales
        self.measures = measures

    def add_options(self, parser):
        """Add the options of both tables."""
        options.add_losses(parser, formulas=False)
        names = ("runs", "epochs", "train_images", "evaluation_images", "image_size", "dataset")
        names += ("models", "weights", "precision", "class_weights")
        options.add_fields(parser, SegmentationScale, names)

    def chosen_scale(self, args):
        """Return the scale that the options name; a data set is then that of all models."""
        scale = super().chosen_scale(args)
        return scale if args.dataset is None else replace(scale, datasets=())

    def plan(self, args, scale, replicas):
        """Plan the networks, and say which of them lack the paper's initial weights."""
        losses = args.losses or nglkeras.losses.rows_of(self.name)
        plan = partial(protocol.plan, scale, losses, seed=args.seed, data_dir=args.data_dir)
        # Every network's batches have to divide by the number of devices.
        batch_size = math.gcd(*(trial.schedule.part_size for trial in plan()))
        trials = plan(replicas=replicas(batch_size))
        for line in protocol.missing_starts(scale, trials):
            print(line, flush=True)
        return trials

    def prepare(self, args, missing):
        """Look at the files of the data sets, so that no worker finds them missing or damaged."""
        for dataset in dict.fromkeys(trial.dataset for trial in missing):
            script.tell(*segmentation.sources.survey(dataset, args.data_dir))

    def trainer(self, args, out, missing):
        """Return what trains each network by itself, with checkpoints."""
        return partial(
            segmentation.training.run_trial,
            timeout=args.timeout,
            data_dir=args.data_dir,
            checkpoints=self.checkpoints(out),
            predictions=out / PREDICTIONS,
        )

    def printed(self):
        """Return the printed table."""
        return segmentation.tables.read_printed(self.name)

    def report(self, args, scale, trials, results, out, notes):
        """Print, write and draw the table, and draw predictions."""
        tables = segmentation.tables
        measures = self.measures or tables.TITLES
        table = tables.cells(trials, results, measures, self.printed())
        title = f"{self.title}, {scale.name} scale, {_titles(trials)}"
        layout = tables.layout4 if self.name == "table4" else tables.layout5
        details = [report.tables.columns_of(table, tables.DETAILS), *tables.comparisons(table)]
        panels = {}
        for cell in table:
            dot = report.plots.dot_of(cell, tables.DETAILS["loss"](cell), ".1f")
            heading = f"{cell.model}\n{tables.TITLES[cell.measure]}, %"
            panels.setdefault(heading, []).append(dot)
        datasets = "+".join(dict.fromkeys(trial.dataset for trial in trials))
        # What was measured may be of another data set.
        legend = "paper, on its own data"
        script.show(
            args,
            out / self.name,
            title,
            [layout(table, bold=("**", "**")), *details, tables.classes_layout(trials, results)],
            [*_notes(scale, table, trials), *footnotes.of_plateaus(trials, results), *notes],
            report.tables.frame(table, tables.COLUMNS).assign(dataset=datasets),
            partial(report.plots.dot_plot, panels, title, xlabel="", printed=legend),
            trials=trials,
            printed=[layout(table), *details],
        )
        of_first_runs = {}
        for trial in trials:
            if trial.run == 0:
                of_first_runs.setdefault((trial.model, trial.dataset), []).append(trial)
        for first in of_first_runs.values():
            self._draw_predictions(args, first, out)

    def _draw_predictions(self, args, trials, out):
        """Draw what a model's networks of the first run predict for some test images."""
        trial = trials[0]
        maps = {trial.loss: _predictions(out, trial) for trial in trials}
        maps = {loss: found for loss, found in maps.items() if found}
        if not maps:
            print(f"no qualitative figure of {trial.model}: no predictions in {out / PREDICTIONS}")
            return
        try:
            part = segmentation.training.find_sets(trial, args.data_dir).test
            rows = segmentation.training.kept_rows(part)
            pairs = [part[0].read(row, trial.views.resize) for row in rows]
        except UserError as error:
            print(f"no qualitative figure of {trial.model}: {error}")
            return
        if any(found.keys() != set(map(str, rows)) for found in maps.values()):
            print(f"no qualitative figure of {trial.model}: predictions are of other test images")
            return
        info = catalog.get_info(trial.dataset, args.data_dir)
        figure = partial(
            segmentation.plots.qualitative,
            *zip(*pairs, strict=True),
            {loss: [found[str(row)] for row in rows] for loss, found in maps.items()},
            info.classes,
            segmentation.plots.palette(trial.dataset, len(info.classes)),
            f"{architectures.get_architecture(trial.model).title} on test images of {info.title}",
        )
        name = f"{self.name}_{trial.model}_{trial.dataset}"
        for path in report.output.saver(args)(figure, out, name):
            print(f"written: {path}")


def _titles(trials):
    titles = [catalog.INFO[trial.dataset].title for trial in trials]
    return ", ".join(dict.fromkeys(titles))


def _notes(scale, table, trials):
    limits = {
        "training images": scale.train_images,
        "images each for validation and test": scale.evaluation_images,
    }
    at_most = "".join(f", at most {limit} {what}" for what, limit in limits.items() if limit)
    notes = [
        f"Scale {scale.name}: {scale.note}.",
        f"Data: {_titles(trials)}{at_most}.",
        *map(protocol.describe, {trial.model: trial for trial in trials}.values()),
        *protocol.missing_starts(scale, trials),
        "Measures on the test set after the last epoch, in %, means with half of their 95 % "
        "interval (Student's t) from three runs on, the paper's value in parentheses; the best is "
        "marked. Classes that occur neither in truth nor in prediction are left out of the mean "
        "IoU, void pixels out of everything. The losses of a run share its images and initial "
        "weights, which Welch's test does not use: its p is cautious.",
        *report.comparison.notes(table),
        recipes.PAPER_SILENT,
    ]
    divided = (
        "Some networks had their batches divided for lack of memory: their BatchNormalization saw "
        "smaller batches."
    )
    return [*notes, divided] if any(cell.divided for cell in table) else notes


def _predictions(out, trial):
    """Return the kept label maps of a trial's network by the image's number; empty without any."""
    path = segmentation.training.predictions_path(out / PREDICTIONS, trial.key)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {row: file[row] for row in file.files}
    # A missing or damaged file leaves its network out of the figure.
    except Exception:
        return {}


_TITLE_4 = "Table 4: mean IoU of segmentation networks"
TABLE_4 = SegmentationTable("table4", _TITLE_4, recipes.TABLE4_SCALES, ["mean_iou"])
TABLE_5 = SegmentationTable("table5", "Table 5: DeepLabv2 by three measures", recipes.TABLE5_SCALES)

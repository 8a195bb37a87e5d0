"""The accuracy tables of paper A, 2 and B.2.2, as experiments."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
from nglkeras import report
from nglkeras.data import catalog, division
from nglkeras.errors import UserError, unknown
from nglkeras.experiments import classification, earlier, footnotes, options, script
from nglkeras.experiments.classification import architectures, protocol
from nglkeras.experiments.classification.protocol import ClassificationScale
from nglkeras.experiments.classification.trial import Trial, plan
from nglkeras.report import output

# The text elsewhere calls points "%", so that the paper's "percentual change" can be either.
_READ_AS = {
    "relative": "change against it, 100 (a - a_CE) / a_CE (the paper does not say whether its "
    "percentual change is this or the difference: --change points)",
    "points": "difference to it in percentage points (the paper does not say whether its "
    "percentual change is this or the relative one: --change relative)",
}


class AccuracyTable(script.Experiment):
    """Table 2 or B.2.2: they differ in the weights that training starts from."""

    scales = protocol.TABLE2_SCALES
    changes = earlier.CHANGES
    needs_a_network = False

    def add_options(self, parser):
        """Add the options of both tables."""
        options.add_losses(parser)
        add_fields = partial(options.add_fields, parser, ClassificationScale)
        add_fields(("runs", "epochs", "stop_after", "train_images", "evaluation_images"))
        add_fields({"image_sizes": "--image-size", "upsamplings": "--upsampling"})
        add_fields(("splits", "datasets", "models", "precision"))
        add, text = parser.add_argument, "what the paper's percentual change is taken for:"
        text += " relative, or points (default: relative)"
        add("--change", default="relative", metavar="READING", help=text)
        text = "write TensorBoard logs there"
        add("--tensorboard", type=options.folder, metavar="DIR", help=text)

    def chosen_scale(self, args):
        """Return the scale that the options name."""
        given = {}
        for name, value in vars(args).items():
            if name in ("image_sizes", "upsamplings") and value is not None:
                limits = [number for dataset, number in value if dataset is None]
                if len(limits) > 1:
                    option = name.removesuffix("s").replace("_", "-")
                    raise UserError(f"--{option} has more than one upper limit")
                given[name.removesuffix("s")] = limits[0] if limits else None
                value = [pair for pair in value if pair[0] is not None] or None
            given[name] = value
        scale = options.chosen_scale(argparse.Namespace(**given), self.scales)
        if args.train_images is not None:
            # It is a limit for all models.
            scale = replace(scale, model_images=())
        for option, pairs in (("image-size", scale.image_sizes), ("upsampling", scale.upsamplings)):
            names = [name for name, _ in pairs]
            for name in names:
                if name not in scale.datasets:
                    raise unknown("data set", name, scale.datasets)
                if names.count(name) > 1:
                    raise UserError(f"--{option} has two values for {name}")
        return scale

    def plan(self, args, scale, replicas):
        """Return the networks of the table."""
        if args.change not in _READ_AS:
            raise unknown("change", args.change, _READ_AS)
        names, formulas = script.named_formulas(args.losses, args.formula, "table2")
        settings = {"seed": args.seed, "data_dir": args.data_dir, "formulas": formulas}
        trials = plan(scale, names, weights=self.weights(args, scale), **settings)
        return [replace(trial, replicas=replicas(trial.schedule.batch_size)) for trial in trials]

    def weights(self, args, scale) -> str | Sequence[str] | None:
        """Return what the backbones start from; as in `trial.plan`."""

    def trainer(self, args, out, missing):
        """Return what trains the networks; those of the same kind are compiled once."""
        return classification.shared_networks.SharedNetworks(
            missing, timeout=args.timeout, data_dir=args.data_dir, log_dir=args.tensorboard
        )

    def printed(self):
        """Return the printed table."""
        return classification.tables.read_paper(self.name)

    def report(self, args, scale, trials, results, out, notes):
        """Print, write and draw the table."""
        tables, paper = classification.tables, self.printed()
        table = tables.cells(trials, results, paper, args.change)
        title = f"{self.title}, {scale.name} scale"
        details = [tables.details(table), *tables.comparisons(table)]
        path = script.show(
            args,
            out / self.name,
            title,
            [tables.layout(table, paper, bold=("**", "**")), *details],
            [
                *_notes(scale, table),
                *_start_notes(trials),
                *footnotes.of_plateaus(trials, results),
                *split_notes(trials, args.data_dir),
                *notes,
            ],
            tables.to_frame(table).assign(precision=scale.precision, **_start(trials)),
            partial(classification.plots.accuracy_table, table, title),
            trials=trials,
            printed=[tables.layout(table, paper), *details],
        )
        if panels := tables.curves(trials, results):
            draw = partial(classification.plots.accuracy_curves, panels, title)
            for file in output.saver(args)(draw, out, f"{path.name}_curves"):
                print(f"written: {file}")


TABLE_2 = AccuracyTable("table2", "Table 2: accuracy from scratch")


def _start(trials):
    """Return the CSV column with what the backbones start from; none if they start at random."""
    starts = dict.fromkeys(
        f"{Path(trial.weights).name} {trial.weights_sha256[:8]}".strip()
        for trial in trials
        if trial.weights is not None
    )
    return {"weights": ", ".join(starts)} if starts else {}


def _start_notes(trials):
    return [f"Backbones start from: {names}." for names in _start(trials).values()]


def split_notes(trials: Sequence[Trial], data_dir: Path | None = None) -> list[str]:
    """Say how the data sets of some trials are divided."""
    kinds = {}
    for trial in trials:
        titles = kinds.setdefault(division.describe(trial, data_dir), [])
        title = catalog.get_info(trial.dataset).title
        if title not in titles:
            titles.append(title)
    return [f"{', '.join(titles)}: {kind}." for kind, titles in kinds.items()]


def _notes(scale, table):
    size = "pixels a side" + (" (without a backbone: the images' own)" if scale.own_size else "")
    limits = {
        "epochs": scale.epochs,
        "training images": scale.train_images,
        "images each for validation and test": scale.evaluation_images,
        size: scale.image_size,
    }
    at_most = ", ".join(f"{limit} {what}" for what, limit in limits.items() if limit is not None)
    limited = [(name, n) for name, n in scale.model_images if name in scale.models]
    notes = [
        f"Scale {scale.name}: {scale.note}.",
        f"Models: {', '.join(map(architectures.label, scale.models))}."
        + (f" At most {at_most}." if at_most else "")
        + "".join(f" {name}: at most {n:,} training images." for name, n in limited)
        + f" Layers in {scale.precision}.",
        f"CE in %, the others as {_READ_AS[table[0].reading]}; the paper's value in parentheses; "
        "the best of a column is marked. The losses of a run share its split and initial weights, "
        "which Welch's test does not use: its p is cautious.",
        *report.comparison.notes(table),
        f"Verdicts are the paper's: a change within ±{report.tables.SAME:g} is the same, "
        "any other better or worse, whatever its interval and p.",
        *classification.tables.verdict_counts(table),
    ]
    for pairs, what in (
        (scale.image_sizes, "images of {} x {} pixels"),
        (scale.upsamplings, "images enlarged {} times in the network"),
    ):
        notes += [
            f"{catalog.get_info(name).title}: {what.format(number, number)}."
            for name, number in pairs
        ]
    divided = sum(cell.divided for cell in table)
    if divided:
        notes.append(
            f"{divided} of the networks had their batches divided for lack of memory: their "
            "BatchNormalization saw smaller batches."
        )
    return notes + footnotes.of_reconstructions(cell.loss for cell in table)

"""The accuracy tables of paper A, 2 and B.2.2, as scripts: options, run, notes, report."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

# What needs Keras, Matplotlib or pandas is reached through it after parsing: see `lazy`.
from nglkeras.data import catalog, division
from nglkeras.errors import UserError, unknown
from nglkeras.experiments import classification, cli, earlier
from nglkeras.experiments.classification import protocol
from nglkeras.experiments.classification.protocol import Scale
from nglkeras.experiments.classification.trial import Trial, plan
from nglkeras.report import output, text
from nglkeras.runs.journal import Journal

# Fields of a scale that options change.
_CHANGED = (
    *("runs", "epochs", "train_images", "evaluation_images", "image_size", "image_sizes"),
    *("upsampling", "upsamplings", "splits", "datasets", "models"),
)
# The rows of tables 2 and B.2.2.
TABLE_LOSSES = ("CE", "SCE", "Focal", "CE + L2", "f1", "f2", "f3", "f4", "NGL")


def add_options(parser: cli.Parser, name: str) -> None:
    """Add the options of a script that trains networks for an accuracy table of that name."""
    scales = protocol.TABLE2_SCALES
    add = parser.add_argument
    add("--scale", default="demo", help=f"one of: {', '.join(scales)} (default: demo)")
    add("--datasets", nargs="+", metavar="NAME", help="instead of the scale's own")
    add("--models", nargs="+", metavar="NAME", help="instead of the scale's own")
    add("--losses", nargs="+", metavar="NAME", default=TABLE_LOSSES, help="rows of the table")
    add(
        "--formula",
        action="append",
        default=[],
        metavar="NAME=FORMULA",
        help="another loss, or one of f1 to f3 as you read it, e.g. f3='sqrt(y_true/y_pred)'",
    )
    add("--runs", type=cli.positive, help="networks for each data set, model and loss")
    add("--epochs", type=cli.positive, help="upper limit on epochs")
    add("--train-images", type=cli.positive, help="upper limit on training images")
    add(
        "--evaluation-images",
        type=cli.positive,
        help="upper limit on images for validation, and for test",
    )
    add(
        "--image-size",
        type=cli.positive_for,
        nargs="+",
        metavar="[NAME=]N",
        help="upper limit in pixels; with the name of a data set, exactly its size",
    )
    add(
        "--upsampling",
        type=cli.positive_for,
        nargs="+",
        metavar="[NAME=]N",
        help="upper limit of the factor by which networks enlarge small images; with the name of "
        "a data set, exactly its factor",
    )
    add(
        "--splits",
        metavar="KIND",
        help="official: a data set's own test split; random: all of its images divided 80/10/10 "
        "for every run (default: official where there is a test split, but random for Caltech 101)",
    )
    add(
        "--change",
        default="relative",
        metavar="READING",
        help="what the paper's percentual change is taken for: relative, or points "
        "(default: relative)",
    )
    add("--seed", type=int, default=0, help="root of all randomness (default: 0)")
    output.add_out_option(parser, name)
    add("--data-dir", type=cli.folder, help="TFDS' folder (default: TFDS_DATA_DIR)")
    add("--tensorboard", type=cli.folder, metavar="DIR", help="write TensorBoard logs there")
    output.add_figure_options(parser)
    cli.add_executor_options(parser)


def chosen_scale(args: argparse.Namespace) -> Scale:
    """Return the scale that the options of `add_options` name.

    Raises:
        UserError: If an option names what does not exist, or an upper limit is given twice.
    """
    changes = vars(args).copy()
    for field in ("image_size", "upsampling"):
        given = changes[field] or []
        limits = [number for name, number in given if name is None]
        if len(limits) > 1:
            raise UserError(f"--{field.replace('_', '-')} has more than one upper limit")
        changes[field] = limits[0] if limits else None
        changes[f"{field}s"] = [pair for pair in given if pair[0] is not None] or None
    args = argparse.Namespace(**changes)
    scale = cli.chosen_scale(args, protocol.TABLE2_SCALES, _CHANGED)
    for name, _ in (*scale.image_sizes, *scale.upsamplings):
        if name not in scale.datasets:
            raise unknown("data set", name, scale.datasets)
    return scale


def accuracy_table(args: argparse.Namespace, name: str, title: str, weights=None) -> None:
    """Train what is missing, then print, write and draw an accuracy table.

    Args:
        args: Options of `add_options`.
        name: "table2" or "table_b22": of the printed numbers and of the files written.
        title: Heading of table and plot.
        weights: What the backbones start from; as in `trial.plan`.
    """
    scale = chosen_scale(args)
    tables = classification.tables
    if args.change not in tables.READINGS:
        raise unknown("change", args.change, tables.READINGS)
    names, formulas = cli.named_formulas(args.losses, args.formula)
    trials = plan(scale, names, seed=args.seed, weights=weights, formulas=formulas)
    out = output.folder(args, name, scale.name)
    # What can be missing is missed before a training, not after it.
    paper, save = tables.read_paper(name), output.saver(args)
    with cli.make_executor(args) as executor:
        trials = [
            replace(trial, replicas=cli.count_replicas(args, executor, trial.schedule.batch_size))
            for trial in trials
        ]
        begun = as_begun(trials, out, chosen_settings(args))
        trials = [begun(trial) for trial in trials]
        results = cli.run_missing(trials, out, args, executor)
    table = tables.cells(trials, results, paper, args.change)
    with output.writing_to(out):
        notes = _notes(scale, table) + split_notes(trials) + begun.notes
        report(table, paper, f"{title}, {scale.name} scale", notes, out / name, save)


def as_begun(trials: Sequence[Trial], out: Path, chosen: Iterable[str] = ()) -> earlier.Earlier:
    """Find the earlier settings with which the journal of a folder goes on.

    Args:
        trials: Today's.
        out: The folder.
        chosen: Names of settings that the user has asked for: see `earlier.settings_of`.
    """
    # Whoever reads it next reports what cannot be read.
    there = Journal(out / "journal.jsonl", report=lambda message: None).results()
    return earlier.settings_of(trials, there, chosen=chosen)


def chosen_settings(args: argparse.Namespace) -> list[str]:
    """List the settings of `earlier.CHANGES` that an option gives, and no journal overrules."""
    return [change.name for change in earlier.CHANGES if getattr(args, change.name, None)]


def split_notes(trials: Sequence[Trial]) -> list[str]:
    """Say how the data sets of some trials are divided."""
    kinds = {}
    for trial in trials:
        titles = kinds.setdefault(division.describe(trial), [])
        title = catalog.get_info(trial.dataset).title
        if title not in titles:
            titles.append(title)
    return [f"{', '.join(titles)}: {kind}." for kind, titles in kinds.items()]


# The text elsewhere calls points "%", so that the paper's "percentual change" can be either.
_READ_AS = {
    "relative": "change against it, 100 (a - a_CE) / a_CE (the paper does not say whether its "
    "percentual change is this or the difference: --change points)",
    "points": "difference to it in percentage points (the paper does not say whether its "
    "percentual change is this or the relative one: --change relative)",
}


def _notes(scale, table):
    limits = {
        "epochs": scale.epochs,
        "training images": scale.train_images,
        "images each for validation and test": scale.evaluation_images,
        "pixels a side": scale.image_size,
    }
    at_most = ", ".join(f"{limit} {what}" for what, limit in limits.items() if limit is not None)
    notes = [
        f"Scale {scale.name}: {scale.note}.",
        f"Models: {', '.join(scale.models)}." + (f" At most {at_most}." if at_most else ""),
        f"CE in %, the others as {_READ_AS[table[0].reading]}; the paper's value in parentheses; "
        "the best of a column is marked. The losses of a run share its split and initial weights, "
        "which Welch's test does not use: its p is cautious.",
        f"Verdicts are the paper's: a change within ±{classification.tables.SAME:g} is the same, "
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
    return notes + cli.reconstruction_note(cell.loss for cell in table)


def report(table, paper, title: str, notes: list[str], path: Path, save: Callable) -> None:
    """Print a table, write it as CSV, Markdown and LaTeX, and draw it."""
    tables = classification.tables
    body = text.as_text(tables.layout(table, paper))
    print("", title, "", body, "", text.as_text(tables.details(table)), "", *notes, sep="\n")
    parts = [tables.layout(table, paper, bold=("**", "**")), tables.details(table)]
    figure = partial(classification.plots.accuracy_table, table, title)
    output.write_table(path, title, parts, notes, tables.to_frame(table), figure, save)

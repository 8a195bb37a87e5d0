"""What the scripts of reproduce/ share: options, one-line errors, and the accuracy tables."""

import argparse
import io
import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

# What needs Keras, Matplotlib or pandas is reached through it after parsing: see `lazy`.
import nglkeras
from nglkeras import catalog, devices, division, earlier, executors, extras, output, paths, protocol
from nglkeras.errors import UserError, in_a_line, unknown
from nglkeras.executors import Executor
from nglkeras.journal import Journal
from nglkeras.protocol import Scale
from nglkeras.runner import pending, run_trials
from nglkeras.trial import Trial, TrialResult, plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Fields of a scale that options change.
_CHANGED = (
    *("runs", "epochs", "train_images", "evaluation_images", "image_size", "image_sizes"),
    *("upsampling", "upsamplings", "splits", "datasets", "models"),
)
# Some libraries never give all memory back; a new worker compiles its networks anew.
TRIALS_PER_WORKER = 100
# The rows of tables 2 and B.2.2.
TABLE_LOSSES = ("CE", "SCE", "Focal", "CE + L2", "f1", "f2", "f3", "f4", "NGL")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that explains itself with the script's docstring and errs in a line."""

    def __init__(self, doc: str):
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message):
        """One line instead of the usage; exit code 2."""
        self.exit(2, f"error: {message}\n")


def run(main: Callable[[], None]) -> None:
    """Run a script; mistakes of the user end in one line and exit code 2."""
    # A terminal without some character shows another one; the results are not lost over it.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    # Every trial traces a network of its own; TensorFlow takes that for a mistake, and says so.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # No information on devices and compilers, in workers neither; warnings are for the user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    _open_closed_streams()
    try:
        with extras.needed():
            main()
    except UserError as error:
        sys.exit(_fail(f"error: {error}", 2))
    except ModuleNotFoundError as error:
        sys.exit(_fail(f"error: {error}; the scripts need nglkeras[reproduce]", 2))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped; the same command goes on from here", 130))


def _open_closed_streams():
    """Replace standard streams that are closed, as by `2>&-`, by the null device.

    Without them progress bars fail, and what libraries write goes into the next file opened.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115 - it stays open
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _fail(message, code):
    print(message, file=sys.stderr)
    return code


def tell(found: str, warnings: Iterable[str] = ()) -> None:
    """Print what was found in a data set, and warnings beside it."""
    print(in_a_line(found), flush=True)
    for warning in warnings:
        print(f"warning: {in_a_line(warning)}", file=sys.stderr, flush=True)


def draw(doc: str, make: "Callable[[], Figure]", name: str) -> None:
    """The whole of a script that draws a figure."""
    parser = Parser(doc)
    default = output.RESULTS / "figures"
    parser.add_argument("--out", default=default, help=f"folder of the files (default: {default})")
    output.add_figure_options(parser, ("png", "svg"))
    args = parser.parse_args()
    out = paths.expand(args.out)
    with output.writing_to(out):
        for path in output.saver(args)(make, out, name):
            print(f"written: {path}")


def add_table_options(parser: Parser, name: str) -> None:
    """The options of a script that trains networks for an accuracy table of that name."""
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
    add("--runs", type=positive, help="networks for each data set, model and loss")
    add("--epochs", type=positive, help="at most so many")
    add("--train-images", type=positive, help="at most so many")
    add("--evaluation-images", type=positive, help="at most so many, for validation and for test")
    add(
        "--image-size",
        type=positive_for,
        nargs="+",
        metavar="[NAME=]N",
        help="upper limit in pixels; with the name of a data set, exactly its size",
    )
    add(
        "--upsampling",
        type=positive_for,
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
    add("--data-dir", type=folder, help="TFDS' folder (default: TFDS_DATA_DIR)")
    add("--tensorboard", type=folder, metavar="DIR", help="write TensorBoard logs there")
    output.add_figure_options(parser)
    add_executor_options(parser)


def add_executor_options(parser: Parser) -> None:
    """The options that say where networks are trained, and on how many devices each."""
    add = parser.add_argument
    add("--executor", default="local", help=f"one of: {', '.join(executors.NAMES)}")
    add("--workers", type=positive, help="networks at a time (default: as many as there are GPUs)")
    add(
        "--gpus-per-worker",
        type=share,
        metavar="F",
        help="GPUs of each, or a share such as 0.5 of one (default: 1 where there are any)",
    )
    add("--ray-address", metavar="ADDRESS", help="of the cluster, e.g. auto or ray://host:10001")
    add(
        "--trials-per-worker",
        type=positive,
        default=TRIALS_PER_WORKER,
        metavar="N",
        help=f"after so many a worker is replaced (default: {TRIALS_PER_WORKER})",
    )
    add("--timeout", type=positive, metavar="SECONDS", help="of a network's training")
    add(
        "--strategy",
        default="auto",
        help="devices that share a batch: auto, none or mirrored (default: auto)",
    )


def make_executor(args: argparse.Namespace) -> Executor:
    """The executor that the options of `add_executor_options` name."""
    return executors.make(
        args.executor,
        workers=args.workers,
        gpus_per_worker=args.gpus_per_worker,
        address=args.ray_address,
        timeout=args.timeout,
        tasks_per_worker=args.trials_per_worker,
    )


def count_replicas(args: argparse.Namespace, executor: Executor, batch_size: int) -> int:
    """Devices that share a batch of a network, wherever it is trained."""
    gpus = executor.gpus_per_worker
    there = None if gpus is None else max(int(gpus), 1)
    return devices.count_replicas(args.strategy, batch_size, there)


def folder(text: str) -> Path:
    """The type of an option that names a folder, wherever a worker is when it looks for it."""
    try:
        return paths.absolute(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def share(text: str) -> float:
    """The type of an option that is a number of GPUs."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of GPUs")
    return number


def positive(text: str) -> int:
    """The type of an option that counts something."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def positive_for(text: str) -> tuple[str | None, int]:
    """Parse an option that counts something for all data sets, or for one: N or NAME=N."""
    name, equals, number = text.rpartition("=")
    if equals and not name:
        raise argparse.ArgumentTypeError(f"{text} is neither N nor NAME=N")
    return name or None, positive(number)


def chosen_scale(args: argparse.Namespace, scales: dict, fields: Sequence[str]):
    """The scale that the options name, with what they change of it.

    Args:
        args: Options; `scale`, and those with the names of fields.
        scales: All scales by name.
        fields: Fields of a scale that options may change.
    """
    if args.scale not in scales:
        raise unknown("scale", args.scale, scales)
    scale = scales[args.scale]
    given = {name: getattr(args, name, None) for name in fields}
    changes = {
        name: tuple(dict.fromkeys(value)) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }
    if not changes:
        return scale
    note = f"with other {', '.join(changes).replace('_', ' ')} than that scale's own"
    if not changes.keys() & {"dataset", "datasets", "models", "model"}:
        note = f"{scale.note}; {note}"
    return replace(scale, note=note, **changes)


def table_scale(args: argparse.Namespace) -> Scale:
    """Return the scale that the options of `add_table_options` name.

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
    scale = chosen_scale(args, protocol.TABLE2_SCALES, _CHANGED)
    for name, _ in (*scale.image_sizes, *scale.upsamplings):
        if name not in scale.datasets:
            raise unknown("data set", name, scale.datasets)
    return scale


def run_missing(
    trials: Sequence[Trial], out: Path, args: argparse.Namespace, executor: Executor
) -> dict[str, TrialResult]:
    """The rows of the trials; what the journal in that folder does not have is trained.

    Args:
        trials: What is wanted.
        out: The folder.
        args: Options; `data_dir`, `timeout` and perhaps `tensorboard`.
        executor: Where networks are trained.
    """
    journal = Journal(out / "journal.jsonl", report=partial(print, file=sys.stderr))
    results = journal.results()
    missing = pending(trials, results)
    if not missing:
        return results
    for dataset in dict.fromkeys(trial.dataset for trial in missing):
        nglkeras.sources.prepare(dataset, args.data_dir)
    print(f"{len(missing)} of {len(trials)} trials to run; rows go to {journal.path}", flush=True)
    log_dir = getattr(args, "tensorboard", None)
    places = {"data_dir": args.data_dir, "log_dir": log_dir}
    return run_trials(
        trials,
        journal,
        nglkeras.benches.Benches(missing, timeout=args.timeout, **places),
        executor=executor,
    )


def named_formulas(names: Sequence[str], texts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Find the names of the losses of a table, and the formulas among them.

    Args:
        names: Rows of the papers' tables.
        texts: Of `--formula`; one with the name of a reconstruction takes its place.

    Raises:
        UserError: If a name is unknown, given twice, or that of a row whose formula is known.
    """
    formulas, names = {}, [nglkeras.losses.row(name).name for name in names]
    for text in texts:
        name, equals, formula = text.partition("=")
        name = name.strip()
        if not (name and equals):
            raise UserError(f"--formula {text}: wanted is NAME=FORMULA")
        # A name with this ending stands beside the printed numbers of the row before it.
        row = _row_of(name.removesuffix(nglkeras.tables.GIVEN))
        if row is not None:
            if not row.reconstructed:
                losses = nglkeras.losses
                guesses = [name for name in losses.ROWS if losses.is_reconstructed(name)]
                reference = ", the reference of all changes" if row.name == "CE" else ""
                raise UserError(
                    f"--formula {text}: {row.name} is a row of the papers{reference}; give the "
                    f"formula another name (it can replace {', '.join(guesses)})"
                )
            name = row.name + nglkeras.tables.GIVEN
            names = [name if other == row.name else other for other in names]
        if name in formulas:
            raise UserError(f"--formula {text}: {name} is given twice")
        formulas[name] = formula
    return names, formulas


def _row_of(name):
    """The row of the papers with this name, whatever its case and spaces, if there is one."""
    try:
        return nglkeras.losses.row(name)
    except UserError:
        return None


def accuracy_table(args: argparse.Namespace, name: str, title: str, weights=None) -> None:
    """Train what is missing, then print, write and draw an accuracy table.

    Args:
        args: Options of `add_table_options`.
        name: "table2" or "table_b22": of the printed numbers and of the files written.
        title: Heading of table and plot.
        weights: What the backbones start from; as in `trial.plan`.
    """
    scale = table_scale(args)
    tables = nglkeras.tables
    if args.change not in tables.READINGS:
        raise unknown("change", args.change, tables.READINGS)
    names, formulas = named_formulas(args.losses, args.formula)
    trials = plan(scale, names, seed=args.seed, weights=weights, formulas=formulas)
    out = output.folder(args, name, scale.name)
    # What can be missing is missed before a training, not after it.
    paper, save = tables.read_paper(name), output.saver(args)
    with make_executor(args) as executor:
        trials = [
            replace(trial, replicas=count_replicas(args, executor, trial.schedule.batch_size))
            for trial in trials
        ]
        begun = as_begun(trials, out, chosen_settings(args))
        trials = [begun(trial) for trial in trials]
        results = run_missing(trials, out, args, executor)
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
        f"Verdicts are the paper's: a change within ±{nglkeras.tables.SAME:g} is the same, any "
        "other better or worse, whatever its interval and p.",
        *nglkeras.tables.verdict_counts(table),
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
    return notes + reconstruction_note(cell.loss for cell in table)


def reconstruction_note(names: Iterable[str]) -> list[str]:
    """What must stand under a table with a reconstructed loss in it; nothing without one."""
    if not any(map(nglkeras.losses.is_reconstructed, names)):
        return []
    return [
        f"{nglkeras.losses.DAGGER} f1 to f3 are reconstructions of equations that no public copy "
        "shows legibly; the paper's values beside them are of the originals."
    ]


def report(table, paper, title: str, notes: list[str], path: Path, save: Callable) -> None:
    """Print a table, write it as CSV, Markdown and LaTeX, and draw it."""
    tables = nglkeras.tables
    body = tables.as_text(tables.layout(table, paper))
    print("", title, "", body, "", tables.as_text(tables.details(table)), "", *notes, sep="\n")
    parts = [tables.layout(table, paper, bold=("**", "**")), tables.details(table)]
    figure = partial(nglkeras.plots.accuracy_table, table, title)
    output.write_table(path, title, parts, notes, tables.to_frame(table), figure, save)

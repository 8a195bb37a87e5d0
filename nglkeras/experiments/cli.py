"""What the scripts of reproduce/ share: options and one-line errors."""

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
from nglkeras import data, executors, paths
from nglkeras.errors import UserError, in_a_line, unknown
from nglkeras.executors import Executor
from nglkeras.experiments import classification
from nglkeras.experiments.classification.trial import Trial
from nglkeras.report import output
from nglkeras.runs.journal import Journal
from nglkeras.runs.runner import pending, run_trials
from nglkeras.runs.trial import TrialResult
from nglkeras.startup import extras
from nglkeras.training import devices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Some libraries never give all memory back; a new worker compiles its networks anew.
TRIALS_PER_WORKER = 100


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
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - it stays open
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
        data.sources.prepare(dataset, args.data_dir)
    print(f"{len(missing)} of {len(trials)} trials to run; rows go to {journal.path}", flush=True)
    log_dir = getattr(args, "tensorboard", None)
    places = {"data_dir": args.data_dir, "log_dir": log_dir}
    return run_trials(
        trials,
        journal,
        classification.shared_networks.SharedNetworks(missing, timeout=args.timeout, **places),
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
        row = _row_of(name.removesuffix(classification.tables.GIVEN))
        if row is not None:
            if not row.reconstructed:
                losses = nglkeras.losses
                guesses = [name for name in losses.ROWS if losses.is_reconstructed(name)]
                reference = ", the reference of all changes" if row.name == "CE" else ""
                raise UserError(
                    f"--formula {text}: {row.name} is a row of the papers{reference}; give the "
                    f"formula another name (it can replace {', '.join(guesses)})"
                )
            name = row.name + classification.tables.GIVEN
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


def reconstruction_note(names: Iterable[str]) -> list[str]:
    """What must stand under a table with a reconstructed loss in it; nothing without one."""
    if not any(map(nglkeras.losses.is_reconstructed, names)):
        return []
    return [
        f"{nglkeras.losses.DAGGER} f1 to f3 are reconstructions of equations that no public copy "
        "shows legibly; the paper's values beside them are of the originals."
    ]

"""The one shape of every experiment's script: options, plan, trainings, report."""

import argparse
import io
import logging
import os
import select
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

# What needs Keras, Matplotlib or pandas is reached through packages: see `startup.lazy`.
import nglkeras
from nglkeras import data, paths, report, training
from nglkeras.data.catalog import FOLDER
from nglkeras.errors import UserError, in_a_line
from nglkeras.experiments import earlier, footnotes, options
from nglkeras.experiments.options import Parser, Scale
from nglkeras.report import output
from nglkeras.runs import runner
from nglkeras.runs.journal import Journal
from nglkeras.runs.trial import Trial, TrialResult
from nglkeras.startup import extras
from nglkeras.training import devices

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nglkeras.training.checkpoint import Checkpoints

# After the name of a row whose formula the user has given: it stands beside the row's paper value.
GIVEN = " (given)"


class Script(ABC):
    """A script with scales and trainings.

    Attributes:
        name: Name of the files that are written.
        title: Heading of table and figure.
        folder: Folder of the results below `results/`; by default the name.
    """

    folder: str = ""
    scales: ClassVar[Mapping[str, Scale]] = {}

    def __init__(self, name: str, title: str = ""):
        self.name = name
        self.title = title

    @abstractmethod
    def add_options(self, parser: Parser) -> None:
        """Add the script's own options to those that all have."""

    def chosen_scale(self, args: argparse.Namespace) -> Scale:
        """Return the scale that the options name, with what they change of it."""
        return options.chosen_scale(args, self.scales)

    def run(self, doc: str) -> None:
        """Run the script, whose docstring `--help` shows."""
        main(lambda: self.carry_out(self.parser(doc).parse_args()))

    def parser(self, doc: str = "") -> Parser:
        """Return the parser of all the script's options."""
        parser = Parser(doc)
        options.add_scale(parser, self.scales)
        self.add_options(parser)
        options.add_common(parser, self.folder or self.name)
        return parser

    @abstractmethod
    def carry_out(self, args: argparse.Namespace) -> None:
        """Do what the options say."""


class Experiment(Script):
    """A table or figure of a paper; a subclass says what is special about it.

    Attributes:
        changes: Settings that earlier versions did not have; see `earlier`.
        needs_a_network: Whether there is nothing to report if no training ended well.
        has_checkpoints: Whether trainings write checkpoints, which their rows make superfluous.
    """

    changes: ClassVar[Sequence[earlier.Change]] = ()
    needs_a_network = True
    has_checkpoints = False

    @abstractmethod
    def plan(
        self, args: argparse.Namespace, scale: Scale, replicas: Callable[[int], int]
    ) -> list[Trial]:
        """Return the networks to be trained; `replicas(size)` is how many devices share a batch."""

    def further(
        self,
        args: argparse.Namespace,
        scale: Scale,
        trials: Sequence[Trial],
        results: Mapping[str, TrialResult],
    ) -> list[Trial]:
        """Return the networks that are wanted next, after these; none for a plan without stages."""
        return []

    def printed(self) -> object:
        """Return the paper's numbers, read before a training so that none is missed after it."""

    def journal(self, out: Path) -> Journal:
        """Return the journal of a folder of results."""
        tell = partial(print, file=sys.stderr)
        return Journal(out / "journal.jsonl", tell, self.checkpoints(out))

    def checkpoints(self, out: Path) -> "Checkpoints | None":
        """Return the checkpoints in a folder of results; `None` if trainings write none."""
        if not self.has_checkpoints:
            return None
        return training.checkpoint.Checkpoints(out / "checkpoints")

    def prepare(self, args: argparse.Namespace, missing: Sequence[Trial]) -> None:
        """Look at the data of the trials that are to be trained, before the first of them.

        Here, data sets are downloaded where that is possible; folders of images are looked through.
        """
        for dataset in dict.fromkeys(trial.dataset for trial in missing):
            data.sources.prepare(dataset, args.data_dir)
            if dataset == FOLDER:
                tell(*data.sources.survey(args.data_dir))

    def trainer(
        self, args: argparse.Namespace, out: Path, missing: Sequence[Trial]
    ) -> Callable[..., TrialResult]:
        """Return the function that turns a trial into its row; by default for classifiers."""
        return nglkeras.experiments.classification.shared_networks.SharedNetworks(
            missing, timeout=args.timeout, data_dir=args.data_dir
        )

    @abstractmethod
    def report(
        self,
        args: argparse.Namespace,
        scale: Scale,
        trials: Sequence[Trial],
        results: Mapping[str, TrialResult],
        out: Path,
        notes: Sequence[str],
    ) -> None:
        """Print, draw and write what was measured; `notes` are about the folder `out`."""

    def carry_out(self, args):
        """Plan the trials, train those that the journal lacks, and report all."""
        scale = self.chosen_scale(args)
        out = output.folder(args, self.folder or self.name, scale.name)
        # What cannot be drawn is refused before a training, not after it.
        output.saver(args)
        self.printed()
        with options.make_executor(args) as executor:
            replicas = partial(options.count_replicas, args, executor)
            trials = self.plan(args, scale, replicas)
            journal = self.journal(out)
            rows = journal.results()
            chosen = chosen_settings(args)
            there = earlier.on_backend(trials, rows.values())
            trials = [replace(trial, backend=there) for trial in trials]
            begun = earlier.settings_of(trials, rows, chosen=chosen, changes=self.changes)
            planned, trials, results = list(map(begun, trials)), [], {}
            while planned:
                trials += planned
                results = runner.run_missing(
                    trials,
                    journal,
                    partial(self.trainer, args, out),
                    executor=executor,
                    prepare=partial(self._ready, args, out),
                    results=rows,
                )
                rows |= results
                planned = self.further(args, scale, trials, results)
        if self.needs_a_network and all(results[trial.key].status != "ok" for trial in trials):
            first = results[trials[0].key]
            why = f"{first.status} ({first.message})" if first.message else first.status
            raise UserError(f"no network was trained to its end; the first: {why}")
        with output.writing_to(out):
            notes = [
                *footnotes.of_data(trials, results),
                *begun.notes,
                *footnotes.of_backend(there),
            ]
            self.report(args, scale, trials, results, out, notes)

    def _ready(self, args, out, missing):
        """Refuse what this process cannot train, and look at the data."""
        for name in {trial.backend for trial in missing} - {devices.backend()}:
            raise UserError(
                f"the networks in {out} were trained on {name}: set KERAS_BACKEND={name} to go on, "
                f"or give another --out"
            )
        self.prepare(args, missing)


def chosen_settings(args: argparse.Namespace) -> list[str]:
    """List the settings of `earlier.CHANGES` that an option gives, and no journal overrules."""
    return [change.name for change in earlier.CHANGES if getattr(args, change.name, None)]


def main(run: Callable[[], None]) -> None:
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
            run()
        sys.stdout.flush()
    except UserError as error:
        sys.exit(_fail(f"error: {error}", 2))
    except ModuleNotFoundError as error:
        sys.exit(_fail(f"error: {error}; the scripts need nglkeras[reproduce]", 2))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped; the same command goes on from here", 130))
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        # There is nobody to tell. Python would complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _reader_is_gone():
    """Return whether nobody reads what is printed any more, as after `| head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


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
    """Print what was found in a data set, and warnings to the standard error stream."""
    print(in_a_line(found), flush=True)
    for warning in warnings:
        print(f"warning: {in_a_line(warning)}", file=sys.stderr, flush=True)


def draw(doc: str, make: "Callable[[], Figure]", name: str) -> None:
    """Run a script that draws a figure without any training."""

    def run():
        parser, default = Parser(doc), output.RESULTS / "figures"
        text = f"folder of the files (default: {default})"
        parser.add_argument("--out", default=default, help=text)
        output.add_figure_options(parser, ("png", "svg"))
        args = parser.parse_args()
        out = paths.expand(args.out)
        with output.writing_to(out):
            for path in output.saver(args)(make, out, name):
                print(f"written: {path}")

    main(run)


def named_formulas(
    names: Sequence[str] | None, texts: Sequence[str], table: str = "table2"
) -> tuple[list[str], dict[str, str]]:
    """Find the names of the losses of a table, and the formulas among them.

    `names` is the value of `--losses`; `None` stands for `losses.rows_of(table)`. `texts` are those
    of `--formula`; one with the name of a reconstruction takes its place.

    Raises:
        UserError: If a name is unknown, given twice, or that of a row whose formula is known.
    """
    names = names or nglkeras.losses.rows_of(table)
    formulas, names = {}, [nglkeras.losses.row(name).name for name in names]
    for text in texts:
        name, equals, formula = text.partition("=")
        name = name.strip()
        if not (name and equals):
            raise UserError(f"--formula {text}: wanted is NAME=FORMULA")
        dagger = nglkeras.losses.DAGGER
        if "$" in name or dagger in name or name.startswith("_"):
            # Figures would set what stands between two $ as mathematics, and no legend has _name;
            # the dagger marks the reconstructions.
            raise UserError(f"--formula {text}: a name has no $, no {dagger} and no _ at the start")
        # A name with this ending stands beside the printed numbers of the row before it.
        row = _row_of(name.removesuffix(GIVEN))
        if row is not None:
            if not row.reconstructed:
                guesses = filter(nglkeras.losses.is_reconstructed, nglkeras.losses.ROWS)
                reference = ", the reference of all changes" if row.name == "CE" else ""
                raise UserError(
                    f"--formula {text}: {row.name} is a row of the papers{reference}; give the "
                    f"formula another name (it can replace {', '.join(guesses)})"
                )
            name = row.name + GIVEN
            names = [name if other == row.name else other for other in names]
        if name in formulas:
            raise UserError(f"--formula {text}: {name} is given twice")
        formulas[name] = formula
    return names, formulas


def _row_of(name):
    """Return the row of the papers with this name; case and spaces do not matter."""
    try:
        return nglkeras.losses.row(name)
    except UserError:
        return None


def settings_of(trials: Sequence[Trial]) -> dict[str, int]:
    """Return what all of these trials have in common of their seed, epochs, batches and images."""
    found = {"seed": {trial.seed for trial in trials}}
    found["batch_size"] = {trial.schedule.batch_size for trial in trials}
    # Where steps are counted, an epoch is what lies between two measurements.
    if not any(getattr(trial.schedule, "steps_per_epoch", None) for trial in trials):
        found["epochs"] = {trial.schedule.epochs for trial in trials}
    found["image_size"] = {getattr(trial, "image_size", None) for trial in trials}
    common = {name: values.pop() for name, values in found.items() if len(values) == 1}
    # An empty cell of a CSV file is not read back as the `None` that it was.
    return {name: value for name, value in common.items() if value is not None}


def show(
    args: argparse.Namespace,
    path: Path,
    title: str,
    parts: Sequence[Sequence[Sequence[str]]],
    notes: Sequence[str],
    frame,
    figure: "Callable[[], Figure]",
    *,
    trials: Sequence[Trial] = (),
    printed: Sequence[Sequence[Sequence[str]]] | None = None,
) -> Path:
    """Print a table; write it as CSV, Markdown and LaTeX; draw its figure.

    `path` is folder and name of the files, without an ending; `parts` are tables as rows of text,
    of which LaTeX has the first; `printed` is what the terminal shows instead. The CSV file gets
    columns with settings of the trials: a table with others does not replace it.
    Returns the path under which the files were written.
    """
    bodies = "\n\n".join(map(report.tables.as_text, parts if printed is None else printed))
    print("", title, "", bodies, "", *notes, sep="\n")
    frame = frame.assign(**settings_of(trials))
    return output.write_table(path, title, parts, notes, frame, figure, output.saver(args))

"""The functions of templates: from committed rows to the cells, lines and counts of a document.

Which rows a text speaks of is said by settings: fields of a trial or of its schedule, `steps` (of
the whole training), or arguments of the loss such as `class_reduction`. `runs=5` are the runs 0 to
4 of each loss, `runs=[250]` is the run of this number; a loss that lacks one, or has several rows
of one, is an error. Rows that are added later do not change a text.

    {% set at_2000 = glo("glo/mnist", "validation", dataset="mnist", steps=2000, runs=5) %}
    {{ at_2000.CE.mean | fixed(4) }} {{ at_2000.CE | interval(4) }}, p {{ at_2000.Baikal.p | p }}

Paths are relative to the folder of results.
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import msgspec
import pandas as pd

from nglkeras.errors import UserError, unknown
from nglkeras.experiments.classification import tables as classification_tables
from nglkeras.experiments.classification.tables import AccuracyCell
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.glo import tables as glo_tables
from nglkeras.experiments.glo.tables import GLOCell
from nglkeras.experiments.segmentation import tables as segmentation_tables
from nglkeras.experiments.segmentation.protocol import SegmentationTrial
from nglkeras.report import statistics
from nglkeras.report.printed import read_numbers
from nglkeras.report.tables import Cell, with_references
from nglkeras.runs.journal import read_records
from nglkeras.runs.trial import Trial as AnyTrial
from nglkeras.runs.trial import TrialResult
from nglkeras.search.records import Record, Result, header_or_record

AnyCell = TypeVar("AnyCell", bound=Cell)


class Cells(dict[str, AnyCell]):
    """Cells by the name of their loss; a loss without exactly the wanted runs is an error.

    Args:
        cells: The cells.
        where: The file and the settings, for errors.
        wrong: The runs that other losses have.
        wanted: The runs that each loss should have.
    """

    def __init__(
        self,
        cells: Sequence[AnyCell],
        where: str,
        wrong: Mapping[str, Sequence[int]],
        wanted: Sequence[int],
    ):
        super().__init__((cell.loss, cell) for cell in cells)
        self._where, self._wrong, self._wanted = where, wrong, wanted
        twice = [loss for loss, count in Counter(cell.loss for cell in cells).items() if count > 1]
        if twice:
            raise UserError(f"{where}: {twice[0]} has several cells; name a model or data set")

    def __missing__(self, loss):
        has = " ".join(map(str, self._wrong.get(loss, ()))) or "none"
        wanted = " ".join(map(str, self._wanted))
        raise UserError(f"{self._where}: wanted are the runs {wanted} of {loss}, there are {has}")


class Table:
    """A CSV file, whose lines are chosen by their values: `case="a"`, or `case=["a", "b"]`.

    Args:
        path: The file.

    Raises:
        UserError: If it cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.frame = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}: {error}") from error

    def one(self, **settings) -> dict[str, object]:
        """Return the only line with these values, by column; an empty cell is `None`.

        Raises:
            UserError: If there is no such line, or several.
        """
        found = self._lines(settings)
        if len(found) != 1:
            raise UserError(f"{self.path}: {len(found)} lines with {_described(settings)}, not 1")
        line = found.iloc[0].to_dict()
        return {name: None if pd.isna(value) else value for name, value in line.items()}

    def values(self, column: str, **settings) -> list[float]:
        """Return a column, of the lines with these values, without its empty cells.

        Raises:
            UserError: If there is no such column, or no such line.
        """
        self._check([column])
        found = self._lines(settings)
        if found.empty:
            raise UserError(f"{self.path}: no line with {_described(settings)}")
        return found[column].dropna().tolist()

    def _lines(self, settings):
        self._check(settings)
        found = self.frame
        for name, value in settings.items():
            found = found[found[name].isin(value if isinstance(value, list) else [value])]
        return found

    def _check(self, columns):
        for name in columns:
            if name not in self.frame:
                raise unknown(f"column of {self.path}", name, self.frame)


@dataclass(frozen=True)
class Search:
    """What a search has done, from its journal.

    Attributes:
        counts: Evaluations "asked", "trained", "failed", "discarded", and saved by reason.
        result: Its records.
    """

    counts: Counter
    result: Result

    @property
    def saved(self) -> int:
        """Evaluations that needed no training."""
        return self.counts["asked"] - self.counts["trained"]

    @property
    def minutes(self) -> float:
        """Minutes of training."""
        return self.result.seconds / 60

    @cached_property
    def winner(self):
        """The best loss: `individual`, with its expression and generation, and `evaluation`."""
        return self.result.best_losses(1)[0]


class Numbers:
    """The functions of templates.

    Args:
        folder: The folder of results.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._journals = {}

    @property
    def functions(self) -> dict[str, Callable]:
        """The functions by their names in templates."""
        methods = (self.accuracies, self.comparison, self.glo, self.segmentation)
        functions = (*methods, self.table, self.search, paper, welch)
        return {function.__name__: function for function in functions}

    def accuracies(
        self, place: str, *, runs: int | Sequence[int], **settings
    ) -> Cells[AccuracyCell]:
        """Return the cells of table 2 or B.2.2, accuracies in %, without the paper's values."""
        return self._cells(
            place, Trial, runs, settings, classification_tables.cells, pd.DataFrame()
        )

    def glo(
        self, place: str, part: str, *, runs: int | Sequence[int], **settings
    ) -> Cells[GLOCell]:
        """Return paper B's cells, accuracies in [0, 1]; part is "test" or "validation"."""
        if part not in glo_tables.PARTS:
            raise unknown("part", part, glo_tables.PARTS)
        printed = glo_tables.printed_numbers()
        return self._cells(place, Trial, runs, settings, glo_tables.cells, part, printed)

    def segmentation(
        self,
        place: str,
        measure: str = "mean_iou",
        *,
        runs: int | Sequence[int],
        table: str = "table4",
        **settings,
    ) -> Cells[Cell]:
        """Return the cells of table 4 or 5, in %; measure is e.g. "iou/pole"."""
        printed = segmentation_tables.read_printed(table)
        make, kind = segmentation_tables.cells, SegmentationTrial
        return self._cells(place, kind, runs, settings, make, [measure], printed)

    def comparison(self, place: str, **settings) -> Cells[AccuracyCell]:
        """Return the accuracies in %, by loss, of a search's comparison.csv."""
        table = self.table(f"{place}/comparison.csv")
        names = dict.fromkeys(table.values("loss", **settings))
        accuracies = {name: table.values("accuracy", **settings, loss=name) for name in names}
        cells = with_references(
            AccuracyCell(loss=name, values=[100 * value for value in values])
            for name, values in accuracies.items()
        )
        return Cells(cells, str(table.path), {}, ())

    def table(self, place: str) -> Table:
        """Return a CSV file."""
        return Table(self.folder / place)

    def search(self, place: str, generations: int | None = None) -> Search:
        """Return what a search has done, up to this generation."""
        path = self.folder / place / "search.jsonl"
        found = self._read(path, header_or_record)
        records = {
            one.individual.id: one
            for one in found
            if isinstance(one, Record)
            and (generations is None or one.individual.generation <= generations)
        }
        counts = Counter(name for one in records.values() for name in one.counts)
        return Search(counts, Result((), records, ()))

    def _cells(self, place, kind, runs, settings, make, *arguments):
        """The cells that `make` makes of the rows with these settings."""
        path = self.folder / place / "journal.jsonl"
        wanted = sorted(range(runs) if isinstance(runs, int) else runs)
        rows = {row.key: row for row in self._read(path, TrialResult.from_json)}
        found = {}
        for row in rows.values():
            trial = msgspec.convert(row.trial, kind)
            if trial.run in wanted and all(
                _setting(trial, name) == value for name, value in settings.items()
            ):
                found.setdefault((trial.loss, trial.model), []).append((trial, row))
        there = {place: sorted(trial.run for trial, _ in pairs) for place, pairs in found.items()}
        wrong = {loss: there[loss, model] for loss, model in there if there[loss, model] != wanted}
        pairs = [pair for (loss, _), pairs in found.items() if loss not in wrong for pair in pairs]
        trials = [trial for trial, _ in pairs]
        results = {trial.key: row for trial, row in pairs}
        where = f"{path}, {_described({'runs': runs} | settings)}"
        return Cells(make(trials, results, *arguments) if trials else [], where, wrong, wanted)

    def _read(self, path, convert):
        if (path, convert) not in self._journals:
            self._journals[path, convert] = list(
                read_records(path, convert, partial(print, file=sys.stderr))
            )
        return self._journals[path, convert]


def paper(table: str, row: str, column: str) -> float:
    """Return a number that a paper prints; table is the name of a file in experiments/paper/.

    Raises:
        UserError: If there is no such table, row or column.
    """
    try:
        numbers = read_numbers(table)
    except OSError as error:
        raise UserError(f"no printed table {table!r}") from error
    for kind, name, names in (("row", row, numbers.index), ("column", column, numbers.columns)):
        if name not in names:
            raise unknown(f"{kind} of the printed {table}", name, names)
    return float(numbers.at[row, column])


def welch(cell: Cell, other: Cell) -> float | None:
    """Return Welch's two-sided p of equal means of two cells."""
    return statistics.welch_p(cell.values, other.values)


def _setting(trial: AnyTrial, name: str) -> object:
    """Return a setting of a trial: see the module's documentation.

    Raises:
        UserError: If trials have no such setting.
    """
    if name == "steps":
        return glo_tables.steps(trial)
    if name == "class_reduction":
        return glo_tables.reduction(trial)
    for holder in (trial, trial.schedule):
        if hasattr(holder, name):
            return getattr(holder, name)
    names = [one.name for holder in (trial, trial.schedule) for one in fields(holder)]
    raise unknown("setting", name, ["steps", "class_reduction", *names])


def _described(settings):
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())

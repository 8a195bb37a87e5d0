"""The functions of templates: from committed rows to the cells, lines and counts of a document.

    {% set at_2000 = glo("glo/mnist", "validation", dataset="mnist", steps=2000, runs=5) %}
    {{ at_2000.CE.mean | fixed(4) }} {{ at_2000.CE | interval(4) }}, p {{ at_2000.Baikal.p | p }}

Settings choose the rows: see `selection`. `runs=5` are the runs 0 to 4 of each loss, `runs=[250]`
is the run of this number; a loss that lacks one, or has several rows of one, is an error. Rows that
are added later thus do not change a text. `losses` are the losses that are compared with each
other, by default all: name them for `p_holm`. Paths are relative to the folder of results.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import correlation

import pandas as pd

from nglkeras.data import catalog
from nglkeras.errors import UserError, unknown
from nglkeras.experiments.classification import tables as classification_tables
from nglkeras.experiments.classification.tables import AccuracyCell
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.glo import tables as glo_tables
from nglkeras.experiments.glo.tables import GLOCell
from nglkeras.experiments.learning_rates import protocol as rates_protocol
from nglkeras.experiments.learning_rates import tables as rates_tables
from nglkeras.experiments.segmentation import tables as segmentation_tables
from nglkeras.experiments.segmentation.protocol import SegmentationTrial
from nglkeras.experiments.verification.computed import (
    difference,
    epochs_at_first_rate,
    holds,
    paper,
    steps_until,
    welch,
)
from nglkeras.experiments.verification.selection import (
    ByLoss,
    Journals,
    Runs,
    by_loss,
    described,
    numbers_of,
    wrong_runs,
)
from nglkeras.experiments.verification.shapes import shape
from nglkeras.experiments.verification.studies import STUDIES, Outcome, judged, read_studies
from nglkeras.report import output, statistics
from nglkeras.report.best_rates import BestRateCell
from nglkeras.report.rates import FIRST_NEW, RateCurve
from nglkeras.report.tables import Cell, with_references
from nglkeras.runs.journal import latest
from nglkeras.runs.trial import TrialResult
from nglkeras.search.records import Record, by_id, header_or_record
from nglkeras.search.result import Result


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
            raise UserError(f"{self.path}: {len(found)} lines with {_text(settings)}, not 1")
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
            raise UserError(f"{self.path}: no line with {_text(settings)}")
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
        self._journals = Journals()

    @property
    def functions(self) -> dict[str, Callable]:
        """The functions by their names in templates."""
        own = (self.comparison, self.rate_curves, self.search, self.confirmation, self.table)
        own += (self.studies, self.rows)
        of_cells = (difference, epochs_at_first_rate, paper, steps_until, welch)
        functions = (*own, *of_cells, correlation, holds, judged, shape, statistics.holm)
        found = self._of_runs | {function.__name__: function for function in functions}
        return found | {"paired": statistics.paired_difference}

    @property
    def _of_runs(self):
        """Those that return cells which know their runs, of which studies are made."""
        functions = (self.accuracies, self.best_rates, self.glo, self.segmentation)
        return {function.__name__: function for function in functions}

    def accuracies(
        self, place: str, *, runs: Runs, losses: Sequence[str] | None = None, **settings
    ) -> ByLoss[AccuracyCell]:
        """Return the cells of table 2 or B.2.2, accuracies in %, without the paper's values."""
        found = self._select(place, Trial, losses, settings)
        return _cells(found, runs, losses, classification_tables.cells, pd.DataFrame())

    def glo(
        self, place: str, part: str, *, runs: Runs, losses: Sequence[str] | None = None, **settings
    ) -> ByLoss[GLOCell]:
        """Return paper B's cells, accuracies in [0, 1]; part is "test" or "validation"."""
        if part not in glo_tables.PARTS:
            raise unknown("part", part, glo_tables.PARTS)
        found = self._select(place, Trial, losses, settings)
        return _cells(found, runs, losses, glo_tables.cells, part, glo_tables.printed_numbers())

    def segmentation(
        self,
        place: str,
        measure: str = "mean_iou",
        *,
        runs: Runs,
        losses: Sequence[str] | None = None,
        **settings,
    ) -> ByLoss[Cell]:
        """Return the cells of table 4, in %; measure is e.g. "iou/pole"."""
        found = self._select(place, SegmentationTrial, losses, settings)
        printed = segmentation_tables.read_printed("table4")
        return _cells(found, runs, losses, segmentation_tables.cells, [measure], printed)

    def best_rates(
        self,
        place: str,
        *,
        runs: int,
        new_runs: int,
        losses: Sequence[str] | None = None,
        **settings,
    ) -> ByLoss[BestRateCell]:
        """Return each loss at its own best learning rate, test accuracies in %.

        The rate is chosen by `runs` networks a rate, and tested by `new_runs` with new seeds.
        """
        found = self._select(place, Trial, losses, settings)
        curves = _curves(found, runs)
        new = [*range(FIRST_NEW, FIRST_NEW + new_runs)]
        tested = {loss: [] for loss in curves}
        for trial in found.trials:
            curve = curves.get(trial.loss)
            if curve and trial.run in new and trial.schedule.learning_rate == curve.best:
                tested[trial.loss].append(trial)
        runs_of = {loss: sorted(trial.run for trial in trials) for loss, trials in tested.items()}
        wrong = {loss: [*range(runs), *has] for loss, has in runs_of.items() if has != new}
        trials = [trial for loss in tested if loss not in wrong for trial in tested[loss]]
        complete = {loss: curve for loss, curve in curves.items() if loss not in wrong}
        cells = rates_tables.cells(trials, found.results, complete, {})
        wrong, wanted = wrong | curves.wrong, [*range(runs), *new]
        cells = ByLoss(by_loss(cells, found.where), found.where, wrong, wanted)
        return cells.require(losses or ())

    def rate_curves(
        self, place: str, *, runs: int, losses: Sequence[str] | None = None, **settings
    ) -> ByLoss[RateCurve]:
        """Return the validation accuracies of each loss over the learning rates."""
        curves = _curves(self._select(place, Trial, losses, settings), runs)
        return curves.require(losses or ())

    def comparison(self, place: str, **settings) -> ByLoss[AccuracyCell]:
        """Return the accuracies in %, by loss, of a search's comparison.csv."""
        table = self.table(f"{place}/comparison.csv")
        cells = []
        for dataset in dict.fromkeys(table.values("dataset", **settings)):
            where = settings | {"dataset": dataset}
            for name in dict.fromkeys(table.values("loss", **where)):
                values = [100 * one for one in table.values("accuracy", **where, loss=name)]
                cells.append(AccuracyCell(loss=name, dataset=dataset, values=values))
        cells = with_references(cells)
        return ByLoss(by_loss(cells, table.path), str(table.path))

    def table(self, place: str) -> Table:
        """Return a CSV file."""
        return Table(self.folder / place)

    def search(self, place: str, generations: int | None = None) -> Search:
        """Return what a search has done, up to this generation."""
        path = self.folder / place / "search.jsonl"
        found = self._journals.records(path, header_or_record)
        records = by_id(
            one
            for one in found
            if isinstance(one, Record)
            and (generations is None or one.individual.generation <= generations)
        )
        counts = Counter(name for one in records.values() for name in one.counts)
        return Search(counts, Result((), records, ()))

    def confirmation(self, place: str) -> dict:
        """Return the confirmation in a search's best.json, its losses by name as "by_loss".

        The script writes it anew from the journals.
        """
        path = self.folder / place / "best.json"
        try:
            found = json.loads(path.read_bytes())["confirmation"]
            return {**found, "by_loss": {one["loss"]: one for one in found["losses"]}}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(f"cannot read the confirmation in {path}: {error}") from error

    def rows(self) -> list[dict[str, object]]:
        """Return a summary of every row of every journal of trainings, a dictionary each.

        It has the row's "journal", "dataset", "model", "loss", "status", "hardware", "backend" and
        "date", "tested", whether it has a measure on the test set, and "minutes".
        """
        found = []
        for path in output.kept(self.folder, "journal.jsonl", "trials.jsonl"):
            journal = path.relative_to(self.folder).as_posix()
            rows = latest(self._journals.records(path, TrialResult.from_json)).values()
            found += [{"journal": journal, **_summary(row)} for row in rows]
        return found

    def studies(self) -> dict[str, dict[str, Outcome]]:
        """Return what each loss is worth in each study of studies.toml, by key and loss."""
        return self._outcomes

    @cached_property
    def _outcomes(self):
        found = {}
        for study in read_studies(self.folder / STUDIES):
            if study.function not in self._of_runs:
                raise unknown(f"function in {STUDIES}", study.function, self._of_runs)
            cells = study.cells(self._of_runs[study.function])
            found[study.key] = {loss: Outcome(study, cell) for loss, cell in cells.items()}
        return found

    def _select(self, place, kind, losses, settings):
        path = self.folder / place / "journal.jsonl"
        return self._journals.select(path, kind, losses, settings)


def _summary(row):
    where = row.environment
    gpus = ", ".join(where.get("gpus", ()))
    names = {name: row.trial.get(name) for name in ("dataset", "model", "loss")}
    return names | {
        "status": row.status,
        "hardware": gpus or f"{where.get('cpu')}, {where.get('cores')} cores",
        "backend": where.get("backend"),
        "date": row.finished[:10],
        "tested": row.accuracy is not None or bool(row.metrics),
        "minutes": row.seconds / 60,
    }


def _cells(found, runs, losses, make, *arguments):
    """Return the cells that `make` makes of these runs of a selection."""
    wanted = numbers_of(runs)
    trials = [trial for trial in found.trials if trial.run in wanted]
    wrong = wrong_runs(trials, wanted, lambda trial: trial.model)
    trials = [trial for trial in trials if trial.loss not in wrong]
    settings = {}
    for trial in trials:
        other = settings.setdefault((trial.loss, trial.model), trial)
        if replace(trial, run=other.run) != other:
            raise UserError(
                f"{found.where}: runs {other.run} and {trial.run} of {trial.loss} differ in more "
                "than their number; name a setting"
            )
    cells = make(trials, found.results, *arguments) if trials else []
    cells = ByLoss(by_loss(cells, found.where), found.where, wrong, wanted)
    return cells.require(losses or ())


def _curves(found, runs):
    """Return the curves of a study of learning rates; each rate of a loss has all of these runs."""
    wanted = [*range(runs)]
    trials = [trial for trial in found.trials if trial.run in wanted]
    datasets = {trial.dataset for trial in trials}
    if len(datasets) > 1:
        names = ", ".join(sorted(datasets))
        raise UserError(f"{found.where}: several data sets; name one of {names}")
    wrong = wrong_runs(trials, wanted, lambda trial: trial.schedule.learning_rate)
    trials = [trial for trial in trials if trial.loss not in wrong]
    curves = {}
    for dataset in datasets:
        curves = rates_protocol.curves(trials, found.results, catalog.get_info(dataset).classes)
    return ByLoss(curves, found.where, wrong, wanted)


def _text(settings):
    return ", ".join(described(settings))

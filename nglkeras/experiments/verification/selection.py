"""Which rows a text speaks of: by their settings, by their runs, by their losses.

A setting is a field of a trial or of its schedule, `steps` (of the whole training), or
`class_reduction`, which says how the loss is reduced over the classes.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Self, TypeVar

import msgspec

from nglkeras.errors import UserError, unknown
from nglkeras.experiments.glo import tables as glo_tables
from nglkeras.report.tables import Cell
from nglkeras.runs.journal import latest, read_records
from nglkeras.runs.trial import Trial, TrialResult

AnyCell = TypeVar("AnyCell", bound=Cell)
AnyValue = TypeVar("AnyValue")
# The first so many runs, or the runs of these numbers.
Runs = Annotated[int, msgspec.Meta(ge=1)] | Annotated[Sequence[int], msgspec.Meta(min_length=1)]


@dataclass(frozen=True)
class Selection:
    """Trials of a journal with their rows.

    Attributes:
        trials: The trials.
        results: Their rows by key.
        where: The journal and the settings, for errors.
    """

    trials: list[Trial]
    results: dict[str, TrialResult]
    where: str


class ByLoss(dict[str, AnyValue]):
    """Something of each loss, by its name; a loss without exactly the wanted runs is an error.

    Args:
        found: What there is of the losses that have these runs.
        where: Where it is from, for errors.
        wrong: The runs that other losses have.
        wanted: The runs that each loss should have.
    """

    def __init__(
        self,
        found: Mapping[str, AnyValue],
        where: str,
        wrong: Mapping[str, Sequence[int]] | None = None,
        wanted: Sequence[int] = (),
    ):
        super().__init__(found)
        self.where, self.wrong, self.wanted = where, wrong or {}, wanted

    def __missing__(self, loss):
        has = " ".join(map(str, self.wrong.get(loss, ()))) or "none"
        wanted = f"the runs {' '.join(map(str, self.wanted))} of " if self.wanted else ""
        raise UserError(f"{self.where}: wanted are {wanted}{loss}, there are {has}")

    def require(self, losses: Iterable[str]) -> Self:
        """Return this.

        Raises:
            UserError: If one of these losses is missing.
        """
        for loss in losses:
            self[loss]
        return self


def by_loss(cells: Iterable[AnyCell], where: str) -> dict[str, AnyCell]:
    """Return cells by their loss.

    Raises:
        UserError: If a loss has several.
    """
    found = {}
    for cell in cells:
        if cell.loss in found:
            raise UserError(f"{where}: {cell.loss} has several cells; name a model or data set")
        found[cell.loss] = cell
    return found


class Journals:
    """Journals, each read once; lines that cannot be read are reported and passed over."""

    def __init__(self):
        self._read, self._trials = {}, {}

    def records(self, path: Path, convert: Callable[[dict], object]) -> list:
        """Return `convert(record)` for each record; see `read_records`."""
        if (path, convert) not in self._read:
            report = partial(print, file=sys.stderr)
            self._read[path, convert] = list(read_records(path, convert, report))
        return self._read[path, convert]

    def select(
        self, path: Path, kind: type[Trial], losses: Sequence[str] | None, settings: dict
    ) -> Selection:
        """Return the trials with these losses (`None` for all) and settings, in order of runs.

        A list is of values of which a trial has one, e.g. the rates among which one is chosen.

        Raises:
            UserError: If the journal cannot be read, or there is no such setting.
        """
        rows = latest(self.records(path, TrialResult.from_json))
        trials, results = [], {}
        for row in rows.values():
            if (row.key, kind) not in self._trials:
                self._trials[row.key, kind] = msgspec.convert(row.trial, kind)
            trial = self._trials[row.key, kind]
            if (losses is None or trial.loss in losses) and all(
                setting(trial, name) in (value if isinstance(value, list) else [value])
                for name, value in settings.items()
            ):
                trials.append(trial)
                results[trial.key] = row
        # Several workers write rows in the order in which they are done.
        trials.sort(key=lambda trial: trial.run)
        return Selection(trials, results, ", ".join([str(path), *described(settings)]))


def numbers_of(runs: Runs) -> list[int]:
    """Return the numbers of some runs, of which an integer stands for the first."""
    return sorted(range(runs) if isinstance(runs, int) else runs)


def wrong_runs(
    trials: Iterable[Trial], wanted: Sequence[int], place: Callable[[Trial], object]
) -> dict[str, list[int]]:
    """Return the runs of the losses that have others than the wanted ones at some place."""
    runs = {}
    for trial in trials:
        runs.setdefault((trial.loss, place(trial)), []).append(trial.run)
    return {loss: sorted(found) for (loss, _), found in runs.items() if sorted(found) != wanted}


def setting(trial: Trial, name: str) -> object:
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


def described(settings: Mapping[str, object]) -> list[str]:
    """Return settings as text, one each."""
    return [f"{name}={value!r}" for name, value in settings.items()]

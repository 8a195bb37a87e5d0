"""The comparisons with cross entropy that the report counts, and what each loss is worth in them.

They are listed in `studies.toml` in the folder of results, as the functions of templates that take
their rows: see `numbers`. Differences are in percentage points.
"""

import inspect
import itertools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import pandas as pd

# What needs Keras or Matplotlib is reached through packages: see `startup.lazy`.
import nglkeras
from nglkeras.errors import UserError, unknown
from nglkeras.report import statistics, tables
from nglkeras.report.tables import SAME, Cell, number

STUDIES = "studies.toml"
REPRODUCED, SMALLER, LARGER = "reproduced", "smaller than printed", "larger than printed"
REFUTED, OPEN = "not reproduced", "not settled"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One comparison of losses with cross entropy.

    Attributes:
        key: Its name in templates.
        title: What was trained, on what, for how long.
        own_rates: Whether each loss has its own best learning rate.
        function: The function of templates that takes the rows, e.g. "best_rates".
        parts: Arguments of the function, which is called with each of them; what they select is
            put together. Runs are paired within a `place`; pairs of one seed count as one.
        names: Names of losses in the report, by those in the journal: under plain SGD a factor on
            a loss stands for a learning rate.
    """

    key: str
    title: str
    own_rates: bool
    function: str
    parts: list[dict[str, object]]
    names: dict[str, str] = field(default_factory=dict)

    def cells(self, function: Callable[..., Mapping[str, Cell]]) -> dict[str, Cell]:
        """Return the cells of the function under the report's names, compared with its "CE".

        Raises:
            UserError: If no loss is "CE", an argument or a name is missing, unknown or not what it
                should be, a loss has no value or a network that was not trained to the end, or
                cells cannot be put together: they have a run twice, or are of several networks,
                data sets or best rates.
        """
        where, found, known = f"{STUDIES}, {self.title!r}", {}, set()
        for part in self.parts:
            try:
                _check(function, part)
            except TypeError as error:
                raise UserError(f"{where}: {self.function}: {error}") from error
            for cell in function(**part).values():
                if not cell.runs:
                    raise UserError(f"{where}: {cell.loss} has no value of what is measured")
                if cell.failed:
                    # The mean of the others would say nothing of them.
                    raise UserError(f"{where}: networks of {cell.loss} are {cell.failed}")
                known.add(cell.loss)
                loss = self.names.get(cell.loss, cell.loss)
                runs = [(part["place"], run) for run in cell.run_numbers]
                # "equivalent" means the same in all studies.
                points = {"reading": "points"} if hasattr(cell, "reading") else {}
                cell = replace(cell, loss=loss, run_numbers=runs, **points)
                found.setdefault(loss, []).append(cell)
        for name in self.names:
            if name not in known:
                raise unknown(f"loss in {where}", name, known)
        if "CE" not in found:
            raise UserError(f"{where}: no loss is CE")
        rows = [row.trial for cells in found.values() for one in cells for row in one.rows]
        if len({(trial["model"], trial["dataset"]) for trial in rows}) > 1:
            raise UserError(f"{where}: its parts are of several networks or data sets")
        for loss, cells in found.items():
            if len({getattr(cell, "rate", None) for cell in cells}) > 1:
                raise UserError(f"{where}: two parts have different best rates of {loss}")
            runs = [run for cell in cells for run in cell.run_numbers]
            if len(set(runs)) < len(runs):
                raise UserError(f"{where}: two parts have the same runs of {loss}")
        cells = tables.with_pairs([*map(_together, found.values())])
        reference = next(cell for cell in cells if cell.loss == "CE")
        cells = tables.with_holm([_with_seeds(cell, reference) for cell in cells])
        return {cell.loss: cell for cell in cells}


def _check(function, part):
    """Compare a part with the function's arguments and their types."""
    kinds = inspect.get_annotations(function)
    for name, value in inspect.signature(function).bind(**part).arguments.items():
        try:
            msgspec.convert(value, kinds.get(name, object))
        except msgspec.ValidationError as error:
            raise TypeError(f"{name}: {error}") from error


def _together(cells):
    """Return one cell of the runs of several."""
    joined = {
        name: [one for cell in cells for one in getattr(cell, name)]
        for name in ("values", "rows", "run_numbers")
    }
    return replace(cells[0], reference=None, pairs=None, **joined)


def _with_seeds(cell, reference):
    """Return the cell with one pair a seed, the mean over the places of runs of this number."""
    if cell.pairs is None:
        return cell
    both = [run for run in cell.run_numbers if run in reference.run_numbers]
    return replace(cell, pairs=tuple(_by_seed(both, values) for values in cell.pairs))


def _by_seed(runs, values):
    """Return the mean of each seed: networks of one seed at two places are not independent."""
    seeds = {}
    for (_, run), value in zip(runs, values, strict=True):
        seeds.setdefault(run, []).append(value)
    return tuple(float(np.mean(found)) for found in seeds.values())


@dataclass(frozen=True)
class Outcome:
    """A loss in a study, in percentage points.

    Attributes:
        study: The study.
        cell: The loss's accuracies there.
    """

    study: Study
    cell: Cell

    @property
    def percent(self) -> tuple[float, float | None, float | None]:
        """Mean accuracy over the seeds in %, and the ends of its interval."""
        # A cell's own interval may be one of a change.
        means = _by_seed(self.cell.run_numbers, self.cell.values)
        return self._points(float(np.mean(means)), *statistics.interval(means))

    @property
    def points(self) -> tuple[float | None, float | None, float | None]:
        """Mean difference to cross entropy in points, and the ends of its interval."""
        paired = self.cell.paired
        return self._points(paired.mean, paired.low, paired.high)

    @property
    def n(self) -> int:
        """How many seeds the difference is of; of cross entropy, how many it has."""
        if self.cell.pairs:
            return len(self.cell.pairs[0])
        return len({run for _, run in self.cell.run_numbers})

    def _points(self, *values):
        return tuple(None if value is None else self.cell.unit * value for value in values)


_COLUMNS = {
    "study": lambda one: one.study.title,
    "own_rates": lambda one: one.study.own_rates,
    "loss": lambda one: one.cell.loss,
    "rate": lambda one: getattr(one.cell, "rate", None),
    "networks": lambda one: one.cell.runs,
    "n": lambda one: one.n,
    "test_accuracy": lambda one: one.percent[0],
    "low": lambda one: one.percent[1],
    "high": lambda one: one.percent[2],
    "less_CE": lambda one: one.points[0],
    "less_CE_low": lambda one: one.points[1],
    "less_CE_high": lambda one: one.points[2],
    "p_holm": lambda one: one.cell.p_holm,
    "p_outside": lambda one: one.cell.p_outside,
    "shown": lambda one: one.cell.shown,
    "not_ok": lambda one: one.cell.failed,
}


def to_frame(studies: Mapping[str, Mapping[str, Outcome]]) -> pd.DataFrame:
    """Return a line for each loss in each study; accuracies in %, differences in points."""
    return tables.frame([one for found in studies.values() for one in found.values()], _COLUMNS)


def layout(studies: Mapping[str, Mapping[str, Outcome]]) -> list[list[str]]:
    """Return rows of text: a line a loss, a column a study; differences to cross entropy."""
    found = {loss for outcomes in studies.values() for loss in outcomes}
    lines = [["loss", *(one["CE"].study.title for one in studies.values())]]
    for name in tables.in_order(found):
        texts = [_text(one[name]) if name in one else "" for one in studies.values()]
        lines.append([nglkeras.losses.label(name), *texts])
    return lines


def _text(one):
    mean, low, high = one.points
    if mean is None:
        return f"{number(one.percent[0], '.2f')} % (n {one.n})"
    ends = "" if low is None else f"[{low:+.2f}, {high:+.2f}]"
    texts = f"{mean:+.2f}", ends, one.cell.shown, f"(n {one.n})"
    return " ".join(filter(None, texts))


def figure(studies: Mapping[str, Mapping[str, Outcome]], heading: str):
    """Return the forest plot of the studies; dots at one rate that all losses share are hollow.

    The interval of two pairs, often huge, is left to the table.
    """
    found, shared = {}, []
    for outcomes in studies.values():
        study = outcomes["CE"].study
        found[study.title] = {
            loss: statistics.Difference(*(one.points if one.n > 2 else one.points[:1]))
            for loss, one in outcomes.items()
            if one.cell.pairs
        }
        if not study.own_rates:
            shared.append(study.title)
    drawn = {title: differences for title, differences in found.items() if differences}
    return nglkeras.report.forest.forest_plot(drawn, heading, hollow=shared)


def read_studies(path: Path) -> list[Study]:
    """Read the studies of a file.

    Raises:
        UserError: If it cannot be read, is not what `Study` has, or has a key or a title twice.
    """
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))["study"]
        studies = msgspec.convert(listed, Annotated[list[Study], msgspec.Meta(min_length=1)])
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"cannot read the studies in {path}: {error}") from error
    known = [one.name for one in fields(Study)]
    for name in itertools.chain.from_iterable(listed):
        if name not in known:
            raise unknown(f"setting of a study in {path}", name, known)
    for name in itertools.chain(*((study.key, study.title) for study in studies)):
        if sum(name in (study.key, study.title) for study in studies) > 1:
            raise UserError(f"several studies in {path} are called {name!r}")
    return studies


def judged(cell: Cell, printed: float, same: float = SAME) -> str:
    """Say whether a comparison in pairs reproduces a printed difference to cross entropy.

    A printed difference within ±`same` is reproduced if the measured one lies there, too (TOST),
    and not reproduced if its interval lies outside. A larger one is reproduced if the loss is
    better, or worse, with Holm's correction, as printed; if the interval then excludes the printed
    one, it is smaller or larger than printed. It is not reproduced if neither is shown and the
    interval ends short of the printed one.

    Args:
        cell: The loss.
        printed: The printed difference in percentage points.
        same: What counts as the same, in points: paper A's ±0.5; 0 if any printed difference is a
            claim.

    Returns:
        "reproduced", "smaller than printed", "larger than printed", "not reproduced", or "not
        settled" where the pairs show nothing of this.
    """
    if cell.paired.low is None:
        return OPEN
    low, high = cell.unit * cell.paired.low, cell.unit * cell.paired.high
    if same and abs(printed) <= same:
        p = statistics.equivalence_p(*cell.pairs, same / cell.unit, paired=True)
        if p is not None and p < statistics.SIGNIFICANCE:
            return REPRODUCED
        return REFUTED if low > same or high < -same else OPEN
    below, above = high < printed, low > printed
    smaller, larger = (below, above) if printed > 0 else (above, below)
    if cell.shown == ("better" if printed > 0 else "worse"):
        return SMALLER if smaller else LARGER if larger else REPRODUCED
    return REFUTED if smaller else OPEN

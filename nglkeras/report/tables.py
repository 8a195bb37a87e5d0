"""Tables of results: cells with their statistics, columns as data, rows of text."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import pandas as pd

# Losses, which need Keras, are reached through it: see `startup.lazy`.
import nglkeras
from nglkeras.report import statistics
from nglkeras.runs.trial import Trial, TrialResult

NOTHING = "–"
# Paper A counts a change within +-0.5 % as the same.
SAME = 0.5

AnyCell = TypeVar("AnyCell", bound="Cell")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The results in one cell of a table.

    Attributes:
        loss: Name of the loss.
        model: Name of the network; empty where a cell is about several.
        dataset: Name of the data set.
        measure: What was measured.
        values: What each finished network, or run, has reached, in the table's unit.
        rows: The networks' rows; `None` for one that is missing.
        paper: The printed value; `None` without one.
        reference: The values of cross entropy at the same place; `None` for cross entropy itself.
        run_numbers: The run of each value; empty where it is not known. Losses at the same place
            share split and initial weights in runs of the same number.
        pairs: The values of the loss, and of cross entropy, in the runs that have both; `None` for
            cross entropy itself and where there are none.
        p_holm: p of `paired` with Holm's correction for all losses at the same place.
        unit: Percentage points in a unit of the values.
    """

    unit: ClassVar[float] = 1.0

    loss: str
    model: str = ""
    dataset: str = ""
    measure: str = ""
    values: Sequence[float] = ()
    rows: Sequence[TrialResult | None] = ()
    paper: float | None = None
    reference: Sequence[float] | None = None
    run_numbers: Sequence[int] = ()
    pairs: tuple[Sequence[float], Sequence[float]] | None = None
    p_holm: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean of the values; `None` without one."""
        return statistics.mean(self.values)

    @cached_property
    def interval(self) -> tuple[float | None, float | None]:
        """95 % interval of the mean (Student's t)."""
        return statistics.interval(self.values)

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return self.interval[0]

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return self.interval[1]

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None else (self.high - self.low) / 2

    @cached_property
    def p(self) -> float | None:
        """Welch's two-sided p of equal means with cross entropy."""
        return statistics.welch_p(self.values, self.reference)

    @cached_property
    def paired(self) -> statistics.Difference:
        """The difference to cross entropy in the pairs, in the values' unit; empty without any."""
        return statistics.paired_difference(*(self.pairs or ((), ())))

    @property
    def p_paired(self) -> float | None:
        """Two-sided p of no difference in the pairs."""
        return self.paired.p

    @property
    def p_better(self) -> float | None:
        """Probability that a run is better than one of cross entropy; from two runs each on."""
        # A single run of each would say 0 or 1.
        if self.reference is None or min(len(self.values), len(self.reference)) < 2:
            return None
        return statistics.probability_of_improvement([self.values], [self.reference])

    @property
    def margin(self) -> float:
        """Half the paper's band of changes that count as the same, in the values' unit."""
        return SAME / self.unit

    @cached_property
    def p_outside(self) -> float | None:
        """The p of a difference outside the paper's band (TOST on the pairs)."""
        if self.pairs is None:
            return None
        return statistics.equivalence_p(*self.pairs, self.margin, paired=True)

    @property
    def shown(self) -> str:
        """What the pairs show, as `statistics.verdict` says it; empty where they cannot."""
        if self.p_holm is None:
            return ""
        return statistics.verdict(self.paired, self.p_holm, self.p_outside)

    @property
    def runs(self) -> int:
        """Number of values."""
        return len(self.values)

    @property
    def failed(self) -> str:
        """Networks that ended in another status than "ok", e.g. "2 non_finite, 1 missing"."""
        statuses = ["missing" if row is None else row.status for row in self.rows]
        bad = Counter(status for status in statuses if status != "ok")
        return ", ".join(f"{count} {status}" for status, count in bad.most_common())

    @property
    def finished(self) -> list[TrialResult]:
        """The rows of networks that were trained to the end."""
        return [row for row in self.rows if row is not None and row.status == "ok"]

    @property
    def divided(self) -> int:
        """Finished networks whose batches were divided further than planned, for lack of memory."""
        return sum(
            row.accumulation > (row.trial.get("schedule") or {}).get("accumulation", 1)
            for row in self.finished
        )

    @property
    def difference(self) -> float | None:
        """Measured mean less printed value."""
        return None if None in (self.mean, self.paper) else self.mean - self.paper


def sample(
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    value: Callable[[TrialResult], float | None],
) -> dict[str, Sequence]:
    """Return what some trials have reached: `rows`, `values` and `run_numbers` of a `Cell`.

    `value` takes a value from the row of a network that was trained to the end; `None` where the
    row lacks it.
    """
    rows = [results.get(trial.key) for trial in trials]
    found = {
        trial.run: value(row)
        for trial, row in zip(trials, rows, strict=True)
        if row is not None and row.status == "ok"
    }
    found = {run: one for run, one in found.items() if one is not None}
    return {"rows": rows, "values": np.array([*found.values()]), "run_numbers": [*found]}


def with_references(cells: Iterable[AnyCell]) -> list[AnyCell]:
    """Give each cell the values of cross entropy at its place, the pairs, and Holm's p."""
    cells = list(cells)
    places = {}
    for i, cell in enumerate(cells):
        places.setdefault((cell.model, cell.dataset, cell.measure), []).append(i)
    for of_place in places.values():
        compared = with_holm(with_pairs([cells[i] for i in of_place]))
        for i, cell in zip(of_place, compared, strict=True):
            cells[i] = cell
    return cells


def with_pairs(cells: Sequence[AnyCell]) -> list[AnyCell]:
    """Give each cell of a place the values of cross entropy and the pairs."""
    reference = next((cell for cell in cells if cell.loss == "CE"), None)
    return [_with_reference(cell, reference) for cell in cells]


def with_holm(cells: Sequence[AnyCell]) -> list[AnyCell]:
    """Give each cell its p in pairs with Holm's correction for all these cells."""
    adjusted = statistics.holm([cell.p_paired for cell in cells])
    return [replace(cell, p_holm=p) for cell, p in zip(cells, adjusted, strict=True)]


def _with_reference(cell, reference):
    if reference is None or cell is reference:
        return cell
    there = dict(zip(reference.run_numbers, reference.values, strict=False))
    here = dict(zip(cell.run_numbers, cell.values, strict=False))
    both = [run for run in here if run in there]
    pairs = ([here[run] for run in both], [there[run] for run in both]) if both else None
    return replace(cell, reference=reference.values, pairs=pairs)


def in_order(losses: Iterable[str]) -> list[str]:
    """Sort names of losses as `losses.ROWS` has them; others follow, in alphabetical order."""
    places = {name: i for i, name in enumerate(nglkeras.losses.ROWS)}
    return sorted(losses, key=lambda name: (places.get(name, len(places)), name))


def number(value: float | None, form: str) -> str:
    """Return a number in a format such as ".2f"; a dash where there is none."""
    return NOTHING if value is None or np.isnan(value) else format(value, form)


def range_text(low: float | None, high: float | None, form: str = ".2f") -> str:
    """Return both ends of an interval, e.g. "[1.00, 2.00]"; a dash where there is none."""
    return NOTHING if low is None else f"[{low:{form}}, {high:{form}}]"


def interval_text(cell: Cell, form: str = ".2f") -> str:
    """Return the interval of a cell, as `range_text` writes it."""
    return range_text(cell.low, cell.high, form)


def columns_of(
    items: Sequence, columns: dict[str, Callable[[object], str | float | None]]
) -> list[list[str]]:
    """Return rows of text: the headings, then a line an item, whose values are shown as `str`."""
    return [[*columns], *([str(column(item)) for column in columns.values()] for item in items)]


def frame(
    items: Sequence, columns: Sequence[str] | dict[str, Callable] | None = None
) -> pd.DataFrame:
    """Return a data frame, a line an item; `columns` are by default those of the mappings."""
    if columns is None:
        return pd.DataFrame(items)
    if not isinstance(columns, dict):
        columns = {name: lambda item, name=name: getattr(item, name) for name in columns}
    return pd.DataFrame([{name: get(item) for name, get in columns.items()} for item in items])


def networks(
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    columns: dict[str, Callable[[Trial, TrialResult], object]],
) -> pd.DataFrame:
    """Return a data frame for a CSV file, a line a network that has a row."""
    pairs = [(trial, results[trial.key]) for trial in trials if trial.key in results]
    return pd.DataFrame([{name: get(*pair) for name, get in columns.items()} for pair in pairs])


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file that a script has written; an empty cell stays an empty text."""
    return pd.read_csv(path, keep_default_na=False)


def mark_best(
    texts: Sequence[str], values: Sequence[float | None], bold: tuple[str, str]
) -> list[str]:
    """Put `bold` around the texts whose value is the greatest; the first part is before it."""
    best = max((value for value in values if value is not None), default=None)
    return [
        text.join(bold) if value is not None and value == best else text
        for text, value in zip(texts, values, strict=True)
    ]


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * sum(widths, 2 * (len(widths) - 1)))
    return "\n".join(lines)


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table; the first row is the heading."""
    # The name of a formula may have the sign that separates cells.
    rows = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    heading, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([heading, "|" + " --- |" * len(rows[0]), *body])

"""Losses against cross entropy, run by run: the tables that stand below a table's details."""

from collections.abc import Callable, Sequence

from nglkeras.report import statistics, tables
from nglkeras.report.tables import SAME, Cell, number, range_text

# Columns of a CSV file, attributes of a cell.
COLUMNS = ("p_paired", "p_holm", "p_better", "p_outside", "shown")
_OUTSIDE = f"p, ±{SAME:g} %"


def parts(cells: Sequence[Cell], places: dict[str, Callable[[Cell], str]]) -> list[list[list[str]]]:
    """Return the tables of a comparison as rows of text: by place, and over all places.

    Without a loss that has two pairs there is none; without a loss at several places there is no
    second one.

    Args:
        cells: Cells as `tables.with_references` returns them.
        places: The first columns, which say what a cell is about; "loss" is among them.
    """
    compared = _compared(cells)
    if not compared:
        return []
    columns = places | {
        "pairs": lambda cell: len(cell.pairs[0]),
        "points": lambda cell: number(cell.unit * cell.paired.mean, "+.2f"),
        "95 % interval": lambda cell: _range(cell, cell.paired.low, cell.paired.high),
        "paired p": lambda cell: number(cell.p_paired, ".2g"),
        "Holm's p": lambda cell: number(cell.p_holm, ".2g"),
        "P(better)": lambda cell: number(cell.p_better, ".2f"),
        _OUTSIDE: lambda cell: number(cell.p_outside, ".2g"),
        "shown": lambda cell: cell.shown,
    }
    return [tables.columns_of(compared, columns), *_over_places(compared, places["loss"])]


def notes(cells: Sequence[Cell]) -> list[str]:
    """Say what the tables of `parts` hold, if there are any."""
    if not _compared(cells):
        return []
    return [
        "Against CE, in pairs: a pair is the same run with both losses, with the same split and "
        "initial weights. Points: mean difference in percentage points, with Student's interval "
        "and p. Holm's p: corrected for the number of losses in the same place. P(better): "
        f"chance that a run is better than one with CE. {_OUTSIDE}: of a true change of {SAME:g} % "
        "or more (two one-sided tests). Shown: better or worse if Holm's p is below "
        f"{statistics.SIGNIFICANCE:g}, else equivalent if the last p is, else not settled.",
    ]


def _compared(cells):
    found = [cell for cell in cells if cell.pairs is not None]
    return found if any(len(cell.pairs[0]) > 1 for cell in found) else []


def _over_places(compared, label):
    """Return a table over the places of a measure, by stratified bootstrap."""
    groups = {}
    for cell in compared:
        groups.setdefault((cell.loss, cell.measure), []).append(cell)
    if all(len(group) == 1 for group in groups.values()):
        return []
    rows = [["over all places", "measure", "places", "points", "95 %", "P(better)", "95 %"]]
    for group in groups.values():
        first, strata = group[0], ([cell.values for cell in group], [c.reference for c in group])
        pairs = [list(side) for side in zip(*(cell.pairs for cell in group), strict=True)]
        points = first.unit * statistics.mean([cell.paired.mean for cell in group])
        low, high = statistics.probability_of_improvement_interval(*strata)
        rows.append(
            [
                label(first),
                first.measure,
                str(len(group)),
                number(points, "+.2f"),
                _range(first, *statistics.bootstrap_interval(*pairs, paired=True)),
                number(statistics.probability_of_improvement(*strata), ".2f"),
                range_text(low, high),
            ]
        )
    if not any(cell.measure for cell in compared):
        rows = [[text for i, text in enumerate(row) if i != 1] for row in rows]
    return [rows]


def _range(cell, low, high):
    if low is None:
        return tables.NOTHING
    return range_text(cell.unit * low, cell.unit * high, "+.2f")

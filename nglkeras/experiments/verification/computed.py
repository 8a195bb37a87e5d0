"""What templates compute of cells: differences, steps, epochs; and what their sentences rest on."""

from nglkeras.errors import UserError, unknown
from nglkeras.experiments.glo import tables as glo_tables
from nglkeras.report import statistics
from nglkeras.report.printed import read_numbers
from nglkeras.report.tables import Cell


def difference(one: Cell, other: Cell, skip: int = 0) -> statistics.Difference:
    """Return the mean difference of two cells in points, of networks of the same runs, in pairs.

    Args:
        one: A cell.
        other: What is subtracted.
        skip: Leave out so many of the first runs that both have.

    Raises:
        UserError: If a cell has runs of the same number, at several places.
    """
    here, there = _by_run(one), _by_run(other)
    both = sorted(here.keys() & there.keys())[skip:]
    pairs = [here[run] for run in both], [there[run] for run in both]
    return statistics.paired_difference(*pairs)


def _by_run(cell):
    """Return values in points by the run's number; a study's cells have its place beside it."""
    runs = [run[-1] if isinstance(run, tuple) else run for run in cell.run_numbers]
    if len(set(runs)) < len(runs):
        raise UserError(f"{cell.loss}: runs of the same number, at several places")
    return {run: cell.unit * value for run, value in zip(runs, cell.values, strict=True)}


def welch(cell: Cell, other: Cell) -> float | None:
    """Return Welch's two-sided p of equal means of two cells."""
    return statistics.welch_p(cell.values, other.values)


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


def steps_until(cell: Cell, accuracy: float) -> list[int]:
    """Return the steps until the test accuracy of each network of a cell was at least this.

    Raises:
        UserError: If it never was in one of them.
    """
    found = [glo_tables.steps_until(row, accuracy) for row in cell.finished]
    if None in found:
        raise UserError(f"{cell.loss}: a network never had a test accuracy of {accuracy:g}")
    return sorted(found)


def epochs_at_first_rate(cell: Cell) -> list[int]:
    """Return the epochs before the first reduction of the learning rate, of each network."""
    rates = [[epoch["learning_rate"] for epoch in row.history] for row in cell.finished]
    return [sum(rate == first for rate in (first, *later)) for first, *later in rates]


def holds(condition: bool, sentence: str) -> str:
    """Return a sentence that rests on a condition, so that new rows cannot make it false.

    Raises:
        UserError: If the condition is false.
    """
    if not condition:
        raise UserError(f"no longer true, write it anew: {sentence!r}")
    return sentence

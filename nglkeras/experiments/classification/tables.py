"""From rows to tables 2 and B.2.2 of paper A: accuracies, percentual changes, verdicts, layouts.

The tables give the cross entropy's accuracy in % and, for every other loss, the "percentual
change" against it, and do not say whether that is 100 (a - a_CE) / a_CE, the `reading` "relative",
or a - a_CE, "points". A cell is the mean over the models and runs;
its sample, for intervals and tests, is the runs, each the mean over the models. The losses of a
run share its split and initial weights, which only the comparison of pairs uses. The interval of a
relative change takes a_CE in the denominator as exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

# Losses, which need Keras, are reached through it: see `startup.lazy`.
import nglkeras
from nglkeras.data import catalog
from nglkeras.experiments.classification import architectures
from nglkeras.experiments.script import GIVEN
from nglkeras.report import comparison, statistics, tables
from nglkeras.report.printed import read_numbers
from nglkeras.report.tables import SAME, interval_text, number
from nglkeras.runs.trial import Trial, TrialResult

VERDICTS = ("better", "same", "worse")


@dataclass(frozen=True, kw_only=True)
class AccuracyCell(tables.Cell):
    """A data set and a loss; values are accuracies in %, one a run.

    Attributes:
        reading: What a change is, "relative" or "points".
    """

    reading: str = "relative"

    @property
    def points(self) -> float | None:
        """Difference to CE in percentage points; `None` for CE itself and where CE is missing."""
        if self.reference is None or not len(self.reference) or self.mean is None:
            return None
        return float(self.mean - np.mean(self.reference))

    @property
    def change(self) -> float | None:
        """Change against CE in %; `None` as `points`."""
        return None if self.points is None else float(100 * self.points / np.mean(self.reference))

    @property
    def value(self) -> float | None:
        """What the paper prints: the accuracy for CE, else the change as it is read."""
        if self.loss == "CE":
            return self.mean
        return self.points if self.reading == "points" else self.change

    @cached_property
    def interval(self) -> tuple[float | None, float | None]:
        """95 % interval of `value`: Student's t for CE, Welch's for the change."""
        if self.loss == "CE":
            return statistics.interval(self.values)
        if self.points is None:
            return None, None
        found = statistics.unpaired_difference(self.values, self.reference)
        if found.low is None:
            return None, None
        base = np.mean(self.reference) if self.reading == "relative" else 100
        return float(100 * found.low / base), float(100 * found.high / base)

    @property
    def margin(self) -> float:
        """Half the paper's band of changes that count as the same, in points, as they are read."""
        return SAME if self.reading == "points" else SAME / 100 * float(np.mean(self.reference))

    @property
    def verdict(self) -> str:
        """The change in one word, one of `VERDICTS`; empty for CE and without a change."""
        return "" if self.loss == "CE" else verdict(self.value)

    @property
    def paper_verdict(self) -> str:
        """As `verdict`, of the printed change."""
        return "" if self.loss == "CE" else verdict(self.paper)

    @property
    def difference(self) -> float | None:
        """Measured value less printed one."""
        return None if self.value is None or self.paper is None else self.value - self.paper


def read_paper(name: str) -> pd.DataFrame:
    """Return the printed "table2" or "table_b22", its rows by our names of the losses."""
    table = read_numbers(name)
    table.index = [nglkeras.losses.row(row).name for row in table.index]
    return table


def verdict(change: float | None) -> str:
    """Say whether a change is better, the same or worse, as the paper counts it; else nothing."""
    if change is None or np.isnan(change):
        return ""
    better, same, worse = VERDICTS
    if abs(change) <= SAME:
        return same
    return better if change > 0 else worse


def cells(
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    paper: pd.DataFrame,
    reading: str = "relative",
) -> list[AccuracyCell]:
    """Return the cells of an accuracy table, data set by data set, in the order of the trials."""
    places = {}
    for trial in trials:
        places.setdefault((trial.dataset, trial.loss), []).append((trial, results.get(trial.key)))
    datasets = list(dict.fromkeys(dataset for dataset, _ in places))
    return tables.with_references(
        AccuracyCell(
            dataset=dataset,
            loss=loss,
            **_runs(pairs),
            rows=[row for _, row in pairs],
            paper=paper.get(_title(dataset), pd.Series(dtype=float)).get(loss.removesuffix(GIVEN)),
            reading=reading,
        )
        for (dataset, loss), pairs in sorted(places.items(), key=lambda i: datasets.index(i[0][0]))
    )


def curves(
    trials: Sequence[Trial], results: Mapping[str, TrialResult]
) -> dict[str, dict[str, list[list[float]]]]:
    """Validation accuracies in %, an epoch each, by data set and model, loss, and run.

    Trainings that failed are left out.
    """
    found = {}
    for trial in trials:
        row = results.get(trial.key)
        if row is None or row.status != "ok":
            continue
        accuracies = [epoch.get("val_accuracy") for epoch in row.history]
        if accuracies and None not in accuracies:
            panel = f"{_title(trial.dataset)}, {architectures.label(trial.model)}"
            runs = found.setdefault(panel, {}).setdefault(trial.loss, [])
            runs.append([100 * value for value in accuracies])
    return found


def _runs(pairs):
    """Return the mean accuracy of each run over its models, in %; not of runs with a failure."""
    runs = {}
    for trial, row in pairs:
        runs.setdefault(trial.run, []).append(None if row is None else row.accuracy)
    means = {run: np.mean(found) for run, found in runs.items() if None not in found}
    return {"values": 100 * np.array([*means.values()]), "run_numbers": [*means]}


def _title(dataset):
    return catalog.get_info(dataset).title


def to_frame(table: Sequence[AccuracyCell]) -> pd.DataFrame:
    """Make a data frame for CSV files, a line a cell: changes relative and in points, and the rest.

    The interval is that of the column `reading`.
    """
    columns = (
        *("dataset", "loss", "mean", "change", "points", "low", "high", "p", "runs"),
        *("failed", "paper", "divided", "reading", "difference", "verdict", "paper_verdict"),
        *comparison.COLUMNS,
    )
    frame = tables.frame(table, columns).rename(columns={"mean": "accuracy"})
    frame["reconstructed"] = [nglkeras.losses.is_reconstructed(cell.loss) for cell in table]
    frame.loc[(frame.loss == "CE") & frame.accuracy.notna(), "points"] = 0.0
    return frame


def layout(
    table: Sequence[AccuracyCell], paper: pd.DataFrame, bold: tuple[str, str] = ("*", "")
) -> list[list[str]]:
    """Return the paper's layout: a row a loss, a column a data set, cells `measured (paper)`.

    `bold` is put before and after the best accuracy of a column, and the best mean if there is one
    above cross entropy's.
    """
    losses = list(dict.fromkeys(cell.loss for cell in table))
    columns = {}
    for cell in table:
        columns.setdefault(_title(cell.dataset), {})[cell.loss] = cell
    texts = []
    for column in columns.values():
        found = [column[loss] for loss in losses]
        values = [_number(cell.value, cell.loss) for cell in found]
        # Without cross entropy there is no number to mark.
        shown = [None if cell.value is None else cell.mean for cell in found]
        marked = tables.mark_best(values, shown, bold)
        papers = [_number(cell.paper, cell.loss) for cell in found]
        texts.append([f"{text} ({paper})" for text, paper in zip(marked, papers, strict=True)])
    means = _means(columns, losses)
    if max((mean for mean in means if mean is not None), default=0) <= 0:
        bold = ("", "")
    marked = tables.mark_best([_number(mean) for mean in means], means, bold)
    printed = paper["Mean"] if columns.keys() == set(paper.columns) - {"Mean"} else {}
    papers = [_number(printed.get(loss.removesuffix(GIVEN))) for loss in losses]
    texts.append([f"{text} ({paper})" for text, paper in zip(marked, papers, strict=True)])
    if "CE" in losses:
        texts[-1][losses.index("CE")] = ""
    labels = map(nglkeras.losses.label, losses)
    return [["", *columns, "Mean"], *map(list, zip(labels, *texts, strict=True))]


def _means(columns, losses):
    """Return the mean change of each loss over the data sets; `None` for CE, or without one."""
    means = []
    for loss in losses:
        values = [column[loss].value for column in columns.values()]
        means.append(None if loss == "CE" or None in values else float(np.mean(values)))
    return means


def details(table: Sequence[AccuracyCell]) -> list[list[str]]:
    """Return everything about each cell, a line each."""
    change = "change %" if table[0].reading == "relative" else "points"
    columns = {
        "data set": lambda cell: _title(cell.dataset),
        "loss": lambda cell: nglkeras.losses.label(cell.loss),
        "runs": lambda cell: cell.runs,
        "accuracy %": lambda cell: number(cell.mean, ".2f"),
        change: lambda cell: "" if cell.loss == "CE" else _number(cell.value),
        "95 % interval": interval_text,
        "Welch's p": lambda cell: number(cell.p, ".2g"),
        "verdict": lambda cell: cell.verdict,
        "paper": lambda cell: _number(cell.paper, cell.loss),
        "its verdict": lambda cell: cell.paper_verdict,
        "difference": lambda cell: _number(cell.difference),
        "not ok": lambda cell: cell.failed,
    }
    return tables.columns_of(table, columns)


def comparisons(table: Sequence[AccuracyCell]) -> list[list[list[str]]]:
    """Return the losses against cross entropy in pairs of runs, as `comparison.parts` has them."""
    return comparison.parts(
        table,
        {
            "data set": lambda cell: _title(cell.dataset),
            "loss": lambda cell: nglkeras.losses.label(cell.loss),
        },
    )


def verdict_counts(table: Sequence[AccuracyCell]) -> list[str]:
    """Count the verdicts of each data set, a line each, measured and printed."""
    lines = []
    for dataset in dict.fromkeys(cell.dataset for cell in table):
        of_dataset = [cell for cell in table if cell.dataset == dataset]
        verdicts = {
            "measured": [cell.verdict for cell in of_dataset if cell.verdict],
            "printed": [cell.paper_verdict for cell in of_dataset if cell.paper_verdict],
        }
        counts = [f"{name} {_counted(found)}" for name, found in verdicts.items() if found]
        if counts:
            lines.append(f"{_title(dataset)}: {'; '.join(counts)}.")
    return lines


def _counted(verdicts):
    better, same, worse = (verdicts.count(one) for one in VERDICTS)
    return f"{better or 'none'} of {len(verdicts)} better than CE, {same} the same, {worse} worse"


def _number(value, loss=""):
    return number(value, ".1f" if loss == "CE" else "+.2f")

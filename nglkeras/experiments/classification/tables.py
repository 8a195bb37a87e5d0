"""From rows to the paper's tables: means, percentual changes, intervals, tests, verdicts, layouts.

Paper A's tables 2 and B.2.2 give the cross entropy's accuracy in % and, for every other loss,
the "percentual change" against it; `READINGS` are what that can mean. A cell is the mean over the
models and runs; its sample, for intervals and tests, is the runs, each the mean over the models.
The losses of a run share its split and initial weights; Welch's test does not use that, and the
interval of a relative change takes a_CE in the denominator as exact.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

# Losses, which need Keras, are reached through it: see `lazy`.
import nglkeras
from nglkeras.data import catalog
from nglkeras.experiments.classification.trial import Trial
from nglkeras.report.printed import read_numbers
from nglkeras.report.statistics import CONFIDENCE, interval, welch
from nglkeras.runs.trial import TrialResult

# After the name of a row whose formula the user has given: it stands beside the row's paper value.
GIVEN = " (given)"
# "relative": 100 (a - a_CE) / a_CE. "points": the difference a - a_CE in percentage points. The
# paper does not say which it prints.
READINGS = ("relative", "points")
# Paper A counts a change within +-0.5 as the same.
SAME = 0.5
VERDICTS = ("better", "same", "worse")


@dataclass(frozen=True)
class Cell:
    """A data set and a loss.

    Attributes:
        accuracy: Mean test accuracy in %; `None` without a finished run.
        change: Change against CE, relative, in %; `None` for CE itself and where CE is missing.
        points: Difference to CE in percentage points; `None` as `change`.
        low: Lower end of the 95 % interval: of `value` (Welch's for other losses than CE).
        high: Upper end.
        p: Welch's p of equal mean accuracies with CE, two-sided.
        runs: Finished runs.
        failed: Trials that ended in another status than ok, e.g. "2 non_finite".
        paper: The printed value: accuracy for CE, else change.
        divided: Finished networks whose batches were divided for lack of memory.
        reading: What a change is; one of `READINGS`.
    """

    dataset: str
    loss: str
    accuracy: float | None
    change: float | None
    points: float | None
    low: float | None
    high: float | None
    p: float | None
    runs: int
    failed: str
    paper: float | None
    divided: int = 0
    reading: str = "relative"

    @property
    def value(self) -> float | None:
        """What the paper prints: the accuracy for CE, else the change as it is read."""
        if self.loss == "CE":
            return self.accuracy
        return self.points if self.reading == "points" else self.change

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
        """Measured less printed."""
        return None if self.value is None or self.paper is None else self.value - self.paper


def read_paper(name: str) -> pd.DataFrame:
    """A printed table of accuracies, e.g. "table2": rows by our names of the losses."""
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
    results: dict[str, TrialResult],
    paper: pd.DataFrame,
    reading: str = "relative",
) -> list[Cell]:
    """Compute the cells of an accuracy table, in the order of the trials.

    Args:
        trials: Of the table.
        results: Rows by key.
        paper: The printed table.
        reading: What a change is; one of `READINGS`.
    """
    frame = pd.DataFrame(
        [
            {
                "dataset": trial.dataset,
                "loss": trial.loss,
                "run": trial.run,
                "accuracy": results[trial.key].accuracy if trial.key in results else None,
                "status": results[trial.key].status if trial.key in results else "missing",
                "parts": results[trial.key].accumulation if trial.key in results else 1,
            }
            for trial in trials
        ]
    )
    frame["accuracy"] = frame["accuracy"].astype(float)
    table = []
    for dataset, of_dataset in frame.groupby("dataset", sort=False):
        samples = {loss: _runs(rows) for loss, rows in of_dataset.groupby("loss", sort=False)}
        title = catalog.get_info(dataset).title
        for loss, rows in of_dataset.groupby("loss", sort=False):
            printed = paper.get(title, pd.Series(dtype=float)).get(loss.removesuffix(GIVEN))
            bad = rows.status[rows.status != "ok"].value_counts()
            failed = ", ".join(f"{count} {status}" for status, count in bad.items())
            statistics = compare(samples[loss], samples.get("CE", []), loss == "CE", reading)
            table.append(
                Cell(
                    dataset,
                    loss,
                    **statistics,
                    runs=len(samples[loss]),
                    failed=failed,
                    paper=printed,
                    divided=int(((rows.status == "ok") & (rows.parts > 1)).sum()),
                    reading=reading,
                )
            )
    return table


def _runs(rows):
    """The accuracy of each run in %, averaged over its models; runs with a failure are left out."""
    means = rows.groupby("run").accuracy.agg(lambda accuracies: accuracies.mean(skipna=False))
    return 100 * means.dropna().to_numpy()


def compare(
    sample: Sequence[float],
    reference: Sequence[float],
    is_reference: bool,
    reading: str = "relative",
) -> dict:
    """Compute accuracy in %, change and difference to the reference, 95 % interval and Welch's p.

    Args:
        sample: Accuracies in %, one a run.
        reference: Those of the reference.
        is_reference: Whether the sample is the reference: its interval is then of the accuracy.
        reading: Of which the interval is otherwise: the change ("relative") or the difference
            ("points").
    """
    accuracy = float(np.mean(sample)) if len(sample) else None
    change = points = low = high = p = None
    if is_reference:
        low, high = interval(sample)
    elif len(sample) and len(reference):
        points = float(accuracy - np.mean(reference))
        change = float(100 * points / np.mean(reference))
        base = np.mean(reference) if reading == "relative" else 100
        test = welch(sample, reference)
        if test is not None:
            low, high = (100 * end / base for end in test.confidence_interval(CONFIDENCE))
            p = float(test.pvalue)
    ends = {"low": low, "high": high}
    return {"accuracy": accuracy, "change": change, "points": points, **ends, "p": p}


def to_frame(table: Sequence[Cell]) -> pd.DataFrame:
    """Make a data frame for CSV files, a line a cell: changes relative and in points, and the rest.

    The interval is that of the column `reading`.
    """
    frame = pd.DataFrame(map(asdict, table))
    of_ce = frame[frame.loss == "CE"].set_index("dataset").accuracy
    frame["points"] = frame.accuracy - frame.dataset.map(of_ce)
    frame["difference"] = [cell.difference for cell in table]
    frame["verdict"] = [cell.verdict for cell in table]
    frame["paper_verdict"] = [cell.paper_verdict for cell in table]
    frame["reconstructed"] = [nglkeras.losses.is_reconstructed(cell.loss) for cell in table]
    return frame


def layout(table: Sequence[Cell], paper: pd.DataFrame, bold=("*", "")) -> list[list[str]]:
    """The paper's layout: a row a loss, a column a data set, `measured (paper)` in the cells.

    Args:
        table: The cells.
        paper: The printed table, for its column of means.
        bold: What to put before and after the best accuracy of a column, and the best mean if
            there is one above cross entropy's.
    """
    by_place = {(cell.loss, cell.dataset): cell for cell in table}
    names = list(dict.fromkeys(cell.loss for cell in table))
    columns = list(dict.fromkeys(cell.dataset for cell in table))
    best = {
        dataset: max(
            (c.accuracy for c in table if c.dataset == dataset and c.accuracy is not None),
            default=None,
        )
        for dataset in columns
    }
    changes = {
        loss: [by_place[loss, dataset].value for dataset in columns]
        for loss in names
        if loss != "CE"
    }
    means = {
        loss: None if None in values else float(np.mean(values)) for loss, values in changes.items()
    }
    best_mean = max((mean for mean in means.values() if mean is not None), default=None)
    titles = {catalog.get_info(dataset).title: dataset for dataset in columns}
    rows = [["", *titles, "Mean"]]
    for loss in names:
        row = [nglkeras.losses.label(loss)]
        for dataset in columns:
            cell = by_place[loss, dataset]
            text = _number(cell.value, cell.loss)
            if cell.accuracy is not None and cell.accuracy == best[dataset]:
                text = text.join(bold)
            row.append(f"{text} ({_number(cell.paper, cell.loss)})")
        mean = means.get(loss)
        printed = (
            paper["Mean"].get(loss.removesuffix(GIVEN))
            if titles.keys() == set(paper.columns) - {"Mean"}
            else None
        )
        text = _number(mean)
        if mean is not None and 0 < mean == best_mean:
            text = text.join(bold)
        row.append("" if loss == "CE" else f"{text} ({_number(printed)})")
        rows.append(row)
    return rows


def details(table: Sequence[Cell]) -> list[list[str]]:
    """Everything about each cell, a line each."""
    rows = [
        [
            "data set",
            "loss",
            "runs",
            "accuracy %",
            "change %" if table[0].reading == "relative" else "points",
            "95 % interval",
            "Welch's p",
            "verdict",
            "paper",
            "its verdict",
            "difference",
            "not ok",
        ]
    ]
    for cell in table:
        interval = "–" if cell.low is None else f"[{cell.low:.2f}, {cell.high:.2f}]"
        rows.append(
            [
                catalog.get_info(cell.dataset).title,
                nglkeras.losses.label(cell.loss),
                str(cell.runs),
                "–" if cell.accuracy is None else f"{cell.accuracy:.2f}",
                "" if cell.loss == "CE" else _number(cell.value),
                interval,
                "–" if cell.p is None else f"{cell.p:.2g}",
                cell.verdict,
                _number(cell.paper, cell.loss),
                cell.paper_verdict,
                _number(cell.difference),
                cell.failed,
            ]
        )
    return rows


def verdict_counts(table: Sequence[Cell]) -> list[str]:
    """Count the verdicts of each data set, a line each, measured and printed."""
    lines = []
    for dataset in dict.fromkeys(cell.dataset for cell in table):
        cells_of_it = [cell for cell in table if cell.dataset == dataset]
        counts = [
            f"{name} {_counted(verdicts)}"
            for name, verdicts in (
                ("measured", [cell.verdict for cell in cells_of_it if cell.verdict]),
                ("printed", [cell.paper_verdict for cell in cells_of_it if cell.paper_verdict]),
            )
            if verdicts
        ]
        if counts:
            lines.append(f"{catalog.get_info(dataset).title}: {'; '.join(counts)}.")
    return lines


def _counted(verdicts):
    better, same, worse = (verdicts.count(one) for one in VERDICTS)
    return f"{better or 'none'} of {len(verdicts)} better than CE, {same} the same, {worse} worse"


def _number(value, loss=""):
    if value is None or np.isnan(value):
        return "–"
    return f"{value:.1f}" if loss == "CE" else f"{value:+.2f}"

"""From rows to the paper's tables: means, percentual changes, intervals, tests, layouts.

Paper A's tables 2 and B.2.2 give the cross entropy's accuracy in % and, for every other loss,
the percentual change against it, 100 (a - a_CE) / a_CE. A cell is the mean over the models and
runs; its sample, for intervals and tests, is the runs, each the mean over the models. The losses
of a run share its split and initial weights; Welch's test does not use that, and its interval
takes a_CE in the denominator as exact.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources

import numpy as np
import pandas as pd
from scipy import stats

from nglkeras import catalog, losses
from nglkeras.trial import Trial, TrialResult

CONFIDENCE = 0.95
# After the name of a row whose formula the user has given: it stands beside the row's paper value.
GIVEN = " (given)"


@dataclass(frozen=True)
class Cell:
    """A data set and a loss.

    Attributes:
        accuracy: Mean test accuracy in %; `None` without a finished run.
        change: Percentual change against CE; `None` for CE itself and where CE is missing.
        low: Lower end of the 95 % interval: of `change` (Welch), of `accuracy` for CE.
        high: Upper end.
        p: Welch's p of equal mean accuracies with CE, two-sided.
        runs: Finished runs.
        failed: Trials that ended in another status than ok, e.g. "2 non_finite".
        paper: The printed value: accuracy for CE, else change.
        divided: Finished networks whose batches were divided for lack of memory.
    """

    dataset: str
    loss: str
    accuracy: float | None
    change: float | None
    low: float | None
    high: float | None
    p: float | None
    runs: int
    failed: str
    paper: float | None
    divided: int = 0

    @property
    def value(self) -> float | None:
        """What the paper prints: the accuracy for CE, else the change."""
        return self.accuracy if self.loss == "CE" else self.change

    @property
    def difference(self) -> float | None:
        """Measured less printed."""
        return None if self.value is None or self.paper is None else self.value - self.paper


def read_numbers(name: str, **options) -> pd.DataFrame:
    """Read a table that a paper prints; the files are part of the package.

    Args:
        name: E.g. `"table2"`.
        **options: For `pandas.read_csv`.
    """
    path = resources.files("nglkeras") / "paper" / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, index_col=0, **options)


def read_printed(name: str) -> pd.DataFrame:
    """Read a printed table, e.g. `"table1"`, with every cell as text."""
    return read_numbers(name, dtype=str, keep_default_na=False)


def read_paper(name: str) -> pd.DataFrame:
    """A printed table of accuracies, e.g. "table2": rows by our names of the losses."""
    table = read_numbers(name)
    table.index = [losses.row(row).name for row in table.index]
    return table


def cells(
    trials: Sequence[Trial], results: dict[str, TrialResult], paper: pd.DataFrame
) -> list[Cell]:
    """The cells of an accuracy table, in the order of the trials."""
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
            statistics = compare(samples[loss], samples.get("CE", []), loss == "CE")
            table.append(
                Cell(
                    dataset,
                    loss,
                    **statistics,
                    runs=len(samples[loss]),
                    failed=failed,
                    paper=printed,
                    divided=int(((rows.status == "ok") & (rows.parts > 1)).sum()),
                )
            )
    return table


def _runs(rows):
    """The accuracy of each run in %, averaged over its models; runs with a failure are left out."""
    means = rows.groupby("run").accuracy.agg(lambda accuracies: accuracies.mean(skipna=False))
    return 100 * means.dropna().to_numpy()


def compare(sample: Sequence[float], reference: Sequence[float], is_reference: bool) -> dict:
    """Mean accuracy in %, change against the reference in %, its 95 % interval and Welch's p.

    Args:
        sample: Accuracies in %, one a run.
        reference: Those of the reference.
        is_reference: Whether the sample is the reference: its interval is then of the accuracy.
    """
    accuracy = float(np.mean(sample)) if len(sample) else None
    change = low = high = p = None
    if is_reference:
        low, high = interval(sample)
    elif len(sample) and len(reference):
        base = np.mean(reference)
        change = float(100 * (accuracy - base) / base)
        test = welch(sample, reference)
        if test is not None:
            low, high = (100 * end / base for end in test.confidence_interval(CONFIDENCE))
            p = float(test.pvalue)
    return {"accuracy": accuracy, "change": change, "low": low, "high": high, "p": p}


def interval(sample: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean (Student's t); nothing for fewer than two, or equal ones."""
    if not _varies(sample):
        return None, None
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(CONFIDENCE)
    return float(low), float(high)


def welch(sample: Sequence[float], other: Sequence[float]):
    """Welch's two-sided test of equal means, as SciPy has it; `None` where it says nothing."""
    if min(len(sample), len(other)) < 2 or not (_varies(sample) or _varies(other)):
        return None
    with warnings.catch_warnings():
        # Of one sample without variance; the test then rests on the other's.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        return stats.ttest_ind(sample, other, equal_var=False)


def _varies(sample):
    # Equal but for rounding is equal.
    return len(sample) > 1 and np.ptp(sample) > 1e-6 * np.max(np.abs(sample))


def to_frame(table: Sequence[Cell]) -> pd.DataFrame:
    """One line a cell, for CSV files: accuracies, changes and points (differences to CE) in %."""
    frame = pd.DataFrame(map(asdict, table))
    of_ce = frame[frame.loss == "CE"].set_index("dataset").accuracy
    frame.insert(4, "points", frame.accuracy - frame.dataset.map(of_ce))
    frame["difference"] = [cell.difference for cell in table]
    frame["reconstructed"] = [losses.is_reconstructed(cell.loss) for cell in table]
    return frame


def layout(table: Sequence[Cell], paper: pd.DataFrame, bold=("*", "")) -> list[list[str]]:
    """The paper's layout: a row a loss, a column a data set, `measured (paper)` in the cells.

    Args:
        table: The cells.
        paper: The printed table, for its column of means.
        bold: What to put before and after the best accuracy of a column.
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
    titles = {catalog.get_info(dataset).title: dataset for dataset in columns}
    rows = [["", *titles, "Mean"]]
    for loss in names:
        row = [losses.label(loss)]
        for dataset in columns:
            cell = by_place[loss, dataset]
            text = _number(cell.value, cell.loss)
            if cell.accuracy is not None and cell.accuracy == best[dataset]:
                text = text.join(bold)
            row.append(f"{text} ({_number(cell.paper, cell.loss)})")
        changes = [by_place[loss, dataset].change for dataset in columns]
        mean = None if None in changes else float(np.mean(changes))
        printed = (
            paper["Mean"].get(loss.removesuffix(GIVEN))
            if titles.keys() == set(paper.columns) - {"Mean"}
            else None
        )
        row.append("" if loss == "CE" else f"{_number(mean)} ({_number(printed)})")
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
            "change %",
            "95 % interval",
            "Welch's p",
            "paper",
            "difference",
            "not ok",
        ]
    ]
    for cell in table:
        interval = "–" if cell.low is None else f"[{cell.low:.2f}, {cell.high:.2f}]"
        rows.append(
            [
                catalog.get_info(cell.dataset).title,
                losses.label(cell.loss),
                str(cell.runs),
                "–" if cell.accuracy is None else f"{cell.accuracy:.2f}",
                "" if cell.loss == "CE" else _number(cell.change),
                interval,
                "–" if cell.p is None else f"{cell.p:.2g}",
                _number(cell.paper, cell.loss),
                _number(cell.difference),
                cell.failed,
            ]
        )
    return rows


def _number(value, loss=""):
    if value is None or np.isnan(value):
        return "–"
    return f"{value:.1f}" if loss == "CE" else f"{value:+.2f}"


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns; the first row is the heading."""
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
    """Rows as a Markdown table; the first row is the heading."""
    heading, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([heading, "|" + " --- |" * len(rows[0]), *body])

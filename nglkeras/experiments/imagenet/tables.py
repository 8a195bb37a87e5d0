"""From rows to table 3: top-1 accuracy by model and loss, beside the printed one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from nglkeras import losses
from nglkeras.experiments.imagenet.protocol import ImageNetTrial
from nglkeras.report.printed import read_numbers
from nglkeras.report.statistics import interval, welch
from nglkeras.runs.trial import TrialResult


@dataclass(frozen=True)
class Cell:
    """A model and a loss.

    Attributes:
        model: The model.
        loss: The loss.
        accuracy: Mean top-1 accuracy in %; `None` without a finished run.
        low: Lower end of its 95 % interval (Student's t).
        high: Upper end.
        p: Welch's p of equal mean accuracies with CE, two-sided.
        top5: Mean top-5 accuracy in %.
        runs: Finished runs.
        failed: Trials that ended in another status than ok, e.g. "2 non_finite".
        hours: Mean time of a training.
        paper: The printed accuracy.
        divided: Finished networks whose batches were divided for lack of memory.
    """

    model: str
    loss: str
    accuracy: float | None
    low: float | None
    high: float | None
    p: float | None
    top5: float | None
    runs: int
    failed: str
    hours: float | None
    paper: float | None
    divided: int

    @property
    def difference(self) -> float | None:
        """Measured less printed."""
        return None if None in (self.accuracy, self.paper) else self.accuracy - self.paper


def read_printed() -> pd.DataFrame:
    """Table 3 as printed, a row a model."""
    return read_numbers("table3")


def cells(
    trials: Sequence[ImageNetTrial], results: dict[str, TrialResult], printed: pd.DataFrame
) -> list[Cell]:
    """The cells of the table, in the order of the trials."""
    by_place = {}
    for trial in trials:
        by_place.setdefault((trial.model, trial.loss), []).append(results.get(trial.key))
    samples = {place: _accuracies(rows) for place, rows in by_place.items()}
    return [_cell(model, loss, rows, samples, printed) for (model, loss), rows in by_place.items()]


def _accuracies(rows):
    return [100 * row.accuracy for row in rows if _is_finished(row)]


def _is_finished(row):
    return row is not None and row.status == "ok" and row.accuracy is not None


def _cell(model, loss, rows, samples, printed):
    sample = samples[model, loss]
    finished = [row for row in rows if _is_finished(row)]
    bad = pd.Series(["missing" if row is None else row.status for row in rows])
    bad = bad[bad != "ok"].value_counts()
    low, high = interval(sample)
    test = None if loss == "CE" else welch(sample, samples.get((model, "CE"), []))
    top5 = [100 * row.metrics["top5"] for row in finished if row.metrics.get("top5") is not None]
    paper = None
    if model in printed.index and loss in printed.columns:
        paper = float(printed.loc[model, loss])
    return Cell(
        model=model,
        loss=loss,
        accuracy=_mean(sample),
        low=low,
        high=high,
        p=None if test is None else float(test.pvalue),
        top5=_mean(top5),
        runs=len(sample),
        failed=", ".join(f"{count} {status}" for status, count in bad.items()),
        hours=_mean([row.seconds / 3600 for row in finished]),
        paper=paper,
        divided=sum(row.accumulation > 1 for row in finished),
    )


def _mean(values):
    return float(np.mean(values)) if len(values) else None


def to_frame(table: Sequence[Cell]) -> pd.DataFrame:
    """One line a cell, for CSV files; accuracies in %."""
    frame = pd.DataFrame(map(asdict, table))
    frame["difference"] = [cell.difference for cell in table]
    return frame


def layout(table: Sequence[Cell], printed: pd.DataFrame, bold=("*", "")) -> list[list[str]]:
    """The paper's layout: a row a model, a column a loss, `measured (paper)` in the cells.

    The paper's models that were not trained have their rows too.

    Args:
        table: The cells.
        printed: As `read_printed` gives it.
        bold: What to put before and after the best accuracy of a row.
    """
    by_place = {(cell.model, cell.loss): cell for cell in table}
    names = list(dict.fromkeys(cell.loss for cell in table))
    trained = list(dict.fromkeys(cell.model for cell in table))
    rows = [["model", "original", *map(losses.label, names)]]
    for model in dict.fromkeys([*trained, *printed.index]):
        found = [by_place.get((model, name)) for name in names]
        best = max((c.accuracy for c in found if c and c.accuracy is not None), default=None)
        row = [model, _original(model, printed)]
        for name, cell in zip(names, found, strict=True):
            text = _number(cell.accuracy if cell else None)
            if cell and best is not None and cell.accuracy == best:
                text = text.join(bold)
            of_paper = None
            if model in printed.index and name in printed.columns:
                of_paper = float(printed.loc[model, name])
            row.append(f"{text} ({_number(of_paper)})")
        rows.append(row)
    return rows


def _original(model, printed):
    """What the model's own publication has; nothing was trained for it."""
    if model not in printed.index:
        return "–"
    crops = ", 10 crops" if printed.loc[model, "original_is_10_crop"] else ""
    return f"({printed.loc[model, 'original_top1']:.2f}{crops})"


def details(table: Sequence[Cell]) -> list[list[str]]:
    """Everything about each cell, a line each."""
    heading = "model,loss,runs,top-1 %,95 % interval,top-5 %,Welch's p,paper,difference,hours"
    rows = [[*heading.split(","), "not ok"]]
    for cell in table:
        ends = "–" if cell.low is None else f"[{cell.low:.2f}, {cell.high:.2f}]"
        rows.append(
            [
                cell.model,
                losses.label(cell.loss),
                str(cell.runs),
                _number(cell.accuracy),
                ends,
                _number(cell.top5),
                "–" if cell.p is None else f"{cell.p:.2g}",
                _number(cell.paper),
                "–" if cell.difference is None else f"{cell.difference:+.2f}",
                "–" if cell.hours is None else f"{cell.hours:.3g}",
                cell.failed,
            ]
        )
    return rows


def _number(value):
    return "–" if value is None else f"{value:.2f}"


def curves(
    trials: Sequence[ImageNetTrial], results: dict[str, TrialResult]
) -> dict[str, np.ndarray]:
    """Accuracy in % after each epoch, `[runs, epochs]`, by loss; of trainings that ended well."""
    found = {}
    for trial in trials:
        row = results.get(trial.key)
        if not _is_finished(row):
            continue
        looks = [epoch.get("test_accuracy") for epoch in row.history]
        if len(looks) == trial.schedule.epochs and None not in looks:
            found.setdefault(trial.loss, []).append(looks)
    return {loss: 100 * np.array(looks, float) for loss, looks in found.items()}


def curves_to_frame(found: dict[str, np.ndarray]) -> pd.DataFrame:
    """One line a loss, run and epoch, for CSV files."""
    return pd.DataFrame(
        [
            {"loss": loss, "run": run + 1, "epoch": epoch + 1, "accuracy": value}
            for loss, runs in found.items()
            for run, looks in enumerate(runs)
            for epoch, value in enumerate(looks)
        ]
    )

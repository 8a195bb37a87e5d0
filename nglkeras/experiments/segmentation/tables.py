"""From rows to tables 4 and 5: means in %, intervals, Welch's tests against cross entropy."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from nglkeras import losses
from nglkeras.experiments.segmentation.architectures import get_architecture
from nglkeras.experiments.segmentation.protocol import SegmentationTrial
from nglkeras.report.printed import read_numbers
from nglkeras.report.statistics import interval, welch
from nglkeras.runs.trial import TrialResult

# Of the columns of table 5.
TITLES = {
    "pixel_accuracy": "Pixel accuracy",
    "mean_iou": "Mean IoU",
    "mean_accuracy": "Mean accuracy",
}


@dataclass(frozen=True)
class Cell:
    """A network, a loss and a measure.

    Attributes:
        model: One of `ARCHITECTURES`.
        loss: Name of the row.
        measure: One of `TITLES`.
        mean: Over the finished runs, in %; `None` without one.
        low: Lower end of the 95 % interval of the mean (Student's t).
        high: Upper end.
        p: Welch's p of equal means with CE, two-sided; `None` for CE itself.
        runs: Finished runs.
        failed: Trials that ended in another status than ok, e.g. "2 non_finite".
        paper: The printed value.
        divided: Finished networks whose batches were divided into more parts than planned, for
            lack of memory.
    """

    model: str
    loss: str
    measure: str
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    runs: int
    failed: str
    paper: float | None
    divided: int = 0

    @property
    def difference(self) -> float | None:
        """Measured less printed."""
        return None if None in (self.mean, self.paper) else self.mean - self.paper


def read_printed(name: str) -> dict[tuple[str, str, str], float]:
    """The printed values of "table4" or "table5" by architecture's title, loss and measure."""
    frame = read_numbers(name)
    if name == "table4":
        return {
            (model, loss, "mean_iou"): float(frame.loc[model, loss])
            for model in frame.index
            for loss in frame.columns
        }
    return {
        ("DeepLabv2", loss, measure): float(frame.loc[loss, measure])
        for loss in frame.index
        for measure in frame.columns
    }


def cells(
    trials: Sequence[SegmentationTrial],
    results: dict[str, TrialResult],
    measures: Sequence[str],
    printed: dict[tuple[str, str, str], float],
) -> list[Cell]:
    """A cell for each model, loss and measure, in the order of the trials.

    Args:
        trials: Of one data set.
        results: Their rows by key.
        measures: Of `TITLES`.
        printed: As `read_printed` gives them.
    """
    groups, parts = {}, {}
    for trial in trials:
        groups.setdefault((trial.model, trial.loss), []).append(results.get(trial.key))
        parts[trial.model] = trial.schedule.accumulation
    found = []
    for (model, loss), rows in groups.items():
        bad = pd.Series([_status(row) for row in rows if _status(row) != "ok"], dtype=object)
        failed = ", ".join(f"{count} {status}" for status, count in bad.value_counts().items())
        for measure in measures:
            sample = _sample(rows, measure)
            reference = _sample(groups.get((model, "CE"), []), measure)
            test = None if loss == "CE" else welch(sample, reference)
            low, high = interval(sample)
            found.append(
                Cell(
                    model,
                    loss,
                    measure,
                    float(sample.mean()) if len(sample) else None,
                    low,
                    high,
                    None if test is None else float(test.pvalue),
                    len(sample),
                    failed,
                    # The paper has one row for each architecture, whatever its variants here.
                    printed.get((get_architecture(model).title.split(",")[0], loss, measure)),
                    sum(_status(row) == "ok" and row.accumulation > parts[model] for row in rows),
                )
            )
    return found


def _status(row):
    return "missing" if row is None else row.status


def _sample(rows, measure):
    """A measure of the finished runs, in %."""
    # A row from elsewhere may lack a measure.
    values = [row.metrics.get(measure) for row in rows if _status(row) == "ok"]
    return 100 * np.array([value for value in values if value is not None])


def layout4(table: Sequence[Cell], bold=("*", "")) -> list[list[str]]:
    """Table 4: a row a model, a column a loss, mean IoU in %, `measured (paper)`.

    Args:
        table: The cells.
        bold: What to put before and after the best of a row.
    """
    by_place = {(cell.model, cell.loss): cell for cell in table if cell.measure == "mean_iou"}
    names = list(dict.fromkeys(loss for _, loss in by_place))
    rows = [["", *(losses.label(name) for name in names)]]
    for model in dict.fromkeys(model for model, _ in by_place):
        row = [by_place[model, loss] for loss in names]
        rows.append([get_architecture(model).title, *_texts(row, bold)])
    return rows


def layout5(table: Sequence[Cell], bold=("*", "")) -> list[list[str]]:
    """Table 5: a row a loss, a column a measure, in %; a part for each model.

    Args:
        table: The cells.
        bold: What to put before and after the best of a column.
    """
    models = list(dict.fromkeys(cell.model for cell in table))
    rows = [["", *TITLES.values()]]
    for model in models:
        of_model = [cell for cell in table if cell.model == model]
        columns = [
            _texts([cell for cell in of_model if cell.measure == measure], bold)
            for measure in TITLES
        ]
        names = dict.fromkeys(cell.loss for cell in of_model)
        title = "" if len(models) == 1 else f"{get_architecture(model).title}, "
        for name, *texts in zip(names, *columns, strict=True):
            rows.append([title + losses.label(name), *texts])
    return rows


# What each table shows, and what makes rows of text of it.
LAYOUTS = {"table4": (["mean_iou"], layout4), "table5": (list(TITLES), layout5)}


def _texts(row, bold):
    """Cells that are compared with each other, the best of them marked."""
    best = max((cell.mean for cell in row if cell.mean is not None), default=None)
    texts = []
    for cell in row:
        text = "–" if cell.mean is None else f"{cell.mean:.1f}"
        # That of two runs is mostly wider than the scale; it is among the details.
        if cell.low is not None and cell.runs > 2:
            text += f" ± {(cell.high - cell.low) / 2:.1f}"
        if cell.mean is not None and cell.mean == best:
            text = text.join(bold)
        texts.append(f"{text} ({'–' if cell.paper is None else format(cell.paper, '.1f')})")
    return texts


def details(table: Sequence[Cell]) -> list[list[str]]:
    """Everything about each cell, a line each."""
    heading = ["model", "loss", "measure", "runs", "mean %", "95 % interval", "Welch's p"]
    rows = [[*heading, "paper", "difference", "not ok"]]
    for cell in table:
        ends = "–" if cell.low is None else f"[{cell.low:.2f}, {cell.high:.2f}]"
        rows.append(
            [
                cell.model,
                losses.label(cell.loss),
                TITLES[cell.measure],
                str(cell.runs),
                _number(cell.mean, ".2f"),
                ends,
                _number(cell.p, ".2g"),
                _number(cell.paper, ".1f"),
                _number(cell.difference, "+.2f"),
                cell.failed,
            ]
        )
    return rows


def _number(value, form):
    return "–" if value is None else format(value, form)


def to_frame(table: Sequence[Cell]) -> pd.DataFrame:
    """One line a cell, for CSV files; in %."""
    frame = pd.DataFrame(map(asdict, table))
    frame["difference"] = [cell.difference for cell in table]
    return frame


def classes_layout(
    trials: Sequence[SegmentationTrial], results: dict[str, TrialResult]
) -> list[list[str]]:
    """Rows of text: the mean IoU of each class in %, a line for each class.

    Args:
        trials: Of one data set.
        results: Their rows by key.
    """
    columns = {}
    for trial in trials:
        row = results.get(trial.key)
        if _status(row) == "ok":
            columns.setdefault((trial.model, trial.loss), []).append(row.metrics)
    one_model = len({model for model, _ in columns}) == 1
    heading = [losses.label(loss) if one_model else f"{m} {loss}" for m, loss in columns]
    names = [name for name in next(iter(columns.values()))[0] if name.startswith("iou/")]
    rows = [["IoU %", *heading]]
    for name in names:
        row = [name.removeprefix("iou/")]
        for found in columns.values():
            values = [metrics.get(name) for metrics in found]
            values = [value for value in values if value is not None]
            row.append(f"{100 * np.mean(values):.1f}" if values else "–")
        rows.append(row)
    return rows

"""From rows to table 3: top-1 accuracy by model and loss, beside the printed one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import pandas as pd

from nglkeras import losses
from nglkeras.experiments.imagenet.protocol import ImageNetTrial
from nglkeras.report import comparison, statistics, tables
from nglkeras.report.tables import NOTHING, number
from nglkeras.runs.trial import TrialResult


@dataclass(frozen=True, kw_only=True)
class ImageNetCell(tables.Cell):
    """A model and a loss; values are top-1 accuracies in %, one a run."""

    @property
    def top5(self) -> float | None:
        """Mean top-5 accuracy in %."""
        found = [row.metrics.get("top5") for row in self.finished]
        return statistics.mean([100 * value for value in found if value is not None])

    @property
    def hours(self) -> float | None:
        """Mean time of a training."""
        return statistics.mean([row.seconds / 3600 for row in self.finished])


# Columns of the CSV file, and of the table with the details.
COLUMNS = (
    *("model", "loss", "mean", "low", "high", "p", "top5", "runs", "failed", "hours", "paper"),
    *("divided", "difference", *comparison.COLUMNS),
)
DETAILS = {
    "model": attrgetter("model"),
    "loss": lambda cell: losses.label(cell.loss),
    "runs": attrgetter("runs"),
    "top-1 %": lambda cell: number(cell.mean, ".2f"),
    "95 % interval": tables.interval_text,
    "top-5 %": lambda cell: number(cell.top5, ".2f"),
    "Welch's p": lambda cell: number(cell.p, ".2g"),
    "paper": lambda cell: number(cell.paper, ".2f"),
    "difference": lambda cell: number(cell.difference, "+.2f"),
    "hours": lambda cell: number(cell.hours, ".3g"),
    "not ok": attrgetter("failed"),
}


def cells(
    trials: Sequence[ImageNetTrial], results: Mapping[str, TrialResult], printed: pd.DataFrame
) -> list[ImageNetCell]:
    """Return a cell for each model and loss, in the order of the trials."""
    places = {}
    for trial in trials:
        places.setdefault((trial.model, trial.loss), []).append(trial)
    return tables.with_references(
        ImageNetCell(
            model=model,
            loss=loss,
            **tables.sample(of_place, results, lambda row: 100 * row.accuracy),
            paper=_paper(model, loss, printed),
        )
        for (model, loss), of_place in places.items()
    )


def _paper(model, loss, printed):
    if model not in printed.index or loss not in printed.columns:
        return None
    return float(printed.loc[model, loss])


def comparisons(table: Sequence[ImageNetCell]) -> list[list[list[str]]]:
    """Return the losses against cross entropy in pairs, as `comparison.parts` has them."""
    return comparison.parts(table, {name: DETAILS[name] for name in ("model", "loss")})


def layout(table: Sequence[ImageNetCell], printed: pd.DataFrame, bold=("*", "")) -> list[list[str]]:
    """Return the paper's layout: a row a model, a column a loss, `measured (paper)` in the cells.

    The paper's models that were not trained have their rows too; the best of a row is marked.
    """
    means = {(cell.model, cell.loss): cell.mean for cell in table}
    names = list(dict.fromkeys(cell.loss for cell in table))
    models = dict.fromkeys([*(cell.model for cell in table), *printed.index])
    rows = [["model", "original", *map(losses.label, names)]]
    for model in models:
        values = [means.get((model, name)) for name in names]
        texts = tables.mark_best([number(value, ".2f") for value in values], values, bold)
        paper = [number(_paper(model, name, printed), ".2f") for name in names]
        both = [f"{text} ({value})" for text, value in zip(texts, paper, strict=True)]
        rows.append([model, _original(model, printed), *both])
    return rows


def _original(model, printed):
    """Return the accuracy in the model's own publication; nothing was trained for it."""
    if model not in printed.index:
        return NOTHING
    crops = ", 10 crops" if printed.loc[model, "original_is_10_crop"] else ""
    return f"({printed.loc[model, 'original_top1']:.2f}{crops})"


def curves(
    trials: Sequence[ImageNetTrial], results: Mapping[str, TrialResult]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return epochs `[n]` and accuracies in % `[runs, n]` by loss, of trainings that ended well."""
    found = {}
    for trial, accuracies in _courses(trials, results):
        found.setdefault(trial.loss, []).append(accuracies)
    return {loss: (np.arange(1, len(runs[0]) + 1), np.array(runs)) for loss, runs in found.items()}


def curves_frame(
    trials: Sequence[ImageNetTrial], results: Mapping[str, TrialResult]
) -> pd.DataFrame:
    """Return the data frame of the CSV file: a line for each model, loss, run and epoch."""
    lines = [
        (trial.model, trial.loss, trial.run + 1, epoch, value)
        for trial, accuracies in _courses(trials, results)
        for epoch, value in enumerate(accuracies, start=1)
    ]
    return pd.DataFrame(lines, columns=["model", "loss", "run", "epoch", "accuracy"])


def _courses(trials, results):
    """Yield the trials that ended well, and their accuracies in %, an epoch each."""
    for trial in trials:
        row = results.get(trial.key)
        if row is None or row.status != "ok":
            continue
        accuracies = [epoch.get("test_accuracy") for epoch in row.history]
        if len(accuracies) == trial.schedule.epochs and None not in accuracies:
            yield trial, [100 * value for value in accuracies]

"""From rows to paper B's numbers: mean accuracies, intervals, Welch's tests, rates.

The values of a cell are the accuracies of a loss's networks, as fractions. Paper B compares each
loss with the one to its left in figure 1, by a two-tailed t-test for unequal variances (Welch's).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import ClassVar

import numpy as np
import pandas as pd

# Losses, which need Keras, are reached through it: see `startup.lazy`.
import nglkeras
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.glo.protocol import SCALES
from nglkeras.report import comparison, statistics, tables
from nglkeras.report.printed import read_numbers
from nglkeras.report.tables import interval_text, number
from nglkeras.runs.trial import TrialResult

PARTS = {"test": "accuracy", "validation": "validation_accuracy"}
# Rows of glo.csv by part and number of steps: the paper gives these two.
_PRINTED = {
    ("test", 20_000): "MNIST mean test accuracy (10 models)",
    ("validation", 2_000): "MNIST validation accuracy at 2000 steps",
}


@dataclass(frozen=True, kw_only=True)
class GLOCell(tables.Cell):
    """A loss under one setting; `measure` is "test" or "validation", values are in [0, 1].

    Attributes:
        before: The values of the loss before it; `None` for the first.
    """

    unit: ClassVar[float] = 100.0

    before: Sequence[float] | None = None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the networks."""
        return statistics.deviation(self.values)

    @property
    def p_before(self) -> float | None:
        """Welch's two-sided p of equal means with the loss before it."""
        return statistics.welch_p(self.values, self.before)


def cells(
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    part: str = "test",
    printed: pd.DataFrame | None = None,
) -> list[GLOCell]:
    """Return a cell for each loss of one setting, trial by trial; `part` is a key of `PARTS`."""
    by_loss = {}
    for trial in trials:
        by_loss.setdefault(trial.loss, []).append(trial)
    found = tables.with_references(
        GLOCell(
            loss=loss,
            measure=part,
            # A row from elsewhere may lack a part.
            **tables.sample(of_loss, results, attrgetter(PARTS[part])),
            paper=_printed(printed, part, trials[0], loss),
        )
        for loss, of_loss in by_loss.items()
    )
    befores = [None, *(cell.values for cell in found)]
    return [replace(cell, before=before) for cell, before in zip(found, befores, strict=False)]


def printed_numbers() -> pd.DataFrame:
    """Return the paper's numbers: a row a quantity, a column a loss."""
    return read_numbers("glo")


def _printed(printed, part, trial, loss):
    """Return the paper's number, if it has one for this part, number of steps and setting."""
    paper = SCALES["paper"]
    fields = ("dataset", "model", "train_images", "evaluation_images")
    is_its_setting = all(getattr(trial, name) == getattr(paper, name) for name in fields)
    row = _PRINTED.get((part, steps(trial)))
    if printed is None or row is None or not is_its_setting or reduction(trial) != "sum":
        return None
    return float(printed.loc[row, loss]) if loss in printed.columns else None


def steps(trial: Trial) -> int:
    """Return the number of steps of the whole training."""
    return trial.schedule.epochs * trial.schedule.steps_per_epoch


def reduction(trial: Trial) -> str:
    """Return how the loss of a trial is reduced over the classes, "sum" or "mean"."""
    # Keras' cross entropy is the sum, and says nothing of it.
    return dict(trial.loss_settings).get("class_reduction", "sum")


def comparisons(table: Sequence[GLOCell]) -> list[list[list[str]]]:
    """Return the losses against cross entropy in pairs of runs, as `comparison.parts` has them."""
    return comparison.parts(
        table,
        {"loss": lambda cell: nglkeras.losses.label(cell.loss), "part": lambda cell: cell.measure},
    )


def curves(
    trials: Sequence[Trial], results: Mapping[str, TrialResult]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the training curve of each loss: steps `[n]`, and test accuracies `[runs, n]`.

    Networks whose training broke off are left out, see `left_out`.
    """
    found = {}
    for trial in trials:
        row = results.get(trial.key)
        if row is not None and row.status == "ok":
            found.setdefault(trial.loss, []).append([r["test_accuracy"] for r in row.history])
    every = trials[0].schedule.steps_per_epoch
    return {
        loss: (every * np.arange(1, len(runs[0]) + 1), np.array(runs))
        for loss, runs in found.items()
    }


def left_out(trials: Sequence[Trial], results: Mapping[str, TrialResult]) -> list[str]:
    """Return a line for each loss some of whose networks have no curve: how many, and why."""
    return [
        f"{nglkeras.losses.label(cell.loss)}: {cell.failed}, not among them."
        for cell in cells(trials, results)
        if cell.failed
    ]


def steps_until(row: TrialResult, accuracy: float) -> int | None:
    """Return the steps until the test accuracy is at least this; `None` where it never is."""
    every = row.trial["schedule"]["steps_per_epoch"]
    for i, epoch in enumerate(row.history, start=1):
        if epoch["test_accuracy"] >= accuracy:
            return every * i
    return None


def steps_per_second(row: TrialResult) -> float | None:
    """Return the median steps a second in a training, without evaluations and the first epoch.

    `None` where a row has no more than one epoch, or does not say.
    """
    try:
        every = row.trial["schedule"]["steps_per_epoch"]
        rates = [every / epoch["training_seconds"] for epoch in row.history[1:]]
    except (KeyError, TypeError, ArithmeticError):
        return None
    return float(np.median(rates)) if rates else None


def layout(table: Sequence[GLOCell]) -> list[list[str]]:
    """Return rows of text: a heading, then a line for each cell."""
    columns = {
        "loss": lambda cell: nglkeras.losses.label(cell.loss),
        "part": lambda cell: cell.measure,
        "runs": lambda cell: cell.runs,
        "accuracy": lambda cell: number(cell.mean, ".4f"),
        "95 % interval": lambda cell: interval_text(cell, ".4f"),
        "std": lambda cell: number(cell.deviation, ".4f"),
        "p, loss before": lambda cell: number(cell.p_before, ".2g"),
        "p, CE": lambda cell: number(cell.p, ".2g"),
        "paper": lambda cell: number(cell.paper, ".4f"),
        "difference": lambda cell: number(cell.difference, "+.4f"),
        "not ok": lambda cell: cell.failed,
    }
    return tables.columns_of(table, columns)


def to_frame(trials: Sequence[Trial], results: Mapping[str, TrialResult]) -> pd.DataFrame:
    """Return a line a network, for CSV files; accuracies in [0, 1]."""
    columns = {
        "dataset": lambda trial, row: trial.dataset,
        "loss": lambda trial, row: trial.loss,
        "class_reduction": lambda trial, row: reduction(trial),
        "precision": lambda trial, row: trial.precision,
        "train_images": lambda trial, row: row.sizes[0] if row.sizes else trial.train_images,
        "steps": lambda trial, row: steps(trial),
        "run": lambda trial, row: trial.run,
        "status": lambda trial, row: row.status,
        "accumulation": lambda trial, row: row.accumulation,
        "validation_accuracy": lambda trial, row: row.validation_accuracy,
        "test_accuracy": lambda trial, row: row.accuracy,
        "steps_per_second": lambda trial, row: steps_per_second(row),
        "seconds": lambda trial, row: row.seconds,
    }
    return tables.networks(trials, results, columns)


def curve_layout(found: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[list[str]]:
    """Return rows of text: mean test accuracies of each loss at some of the steps."""
    at = next(iter(found.values()))[0]
    # At most a dozen columns; the last evaluation is among them.
    shown = np.unique(np.linspace(len(at) - 1, 0, min(len(at), 10)).round().astype(int))
    rows = [["steps", "runs", *(str(at[i]) for i in shown)]]
    for loss, (_, runs) in found.items():
        means = [f"{runs[:, i].mean():.4f}" for i in shown]
        rows.append([nglkeras.losses.label(loss), str(len(runs)), *means])
    return rows


def layout_over(
    found: Mapping[float, Sequence[GLOCell]], name: str, labels: Sequence[str]
) -> list[list[str]]:
    """Return rows of text: a line for each loss, a column for each value of a quantity."""
    by_loss = {}
    for table in found.values():
        for cell in table:
            by_loss.setdefault(cell.loss, []).append(_with_half_interval(cell))
    return [
        [name, *labels],
        *([nglkeras.losses.label(loss), *texts] for loss, texts in by_loss.items()),
    ]


def _with_half_interval(cell):
    half = "" if cell.half is None else f" ± {cell.half:.4f}"
    return number(cell.mean, ".4f") + half + (f" ({cell.failed})" if cell.failed else "")


def paired(trials: Sequence[Trial], results: Mapping[str, TrialResult]) -> list[str]:
    """Return a line for each loss but CE: how often it was better, and the t-test of the pairs.

    Pairs are of the runs in which both were trained to the end.
    """
    lines = []
    for cell in cells(trials, results):
        if cell.pairs is None or len(cell.pairs[0]) < 2:
            continue
        wins = sum(a > b for a, b in zip(*cell.pairs, strict=True))
        line = (
            f"{nglkeras.losses.label(cell.loss)} beats CE in {wins} of {len(cell.pairs[0])} tests, "
            f"by {cell.paired.mean:+.4f} in the mean"
        )
        if cell.p_paired is not None:
            line += f"; paired t-test p {cell.p_paired:.2g}"
        lines.append(line + ".")
    return lines

"""From rows to what each loss is worth at its own best learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

# Losses, which need Keras, are reached through it: see `startup.lazy`.
import nglkeras
from nglkeras.experiments.classification import architectures
from nglkeras.experiments.learning_rates.protocol import FIRST_NEW, RateCurve
from nglkeras.report import statistics, tables
from nglkeras.report.tables import interval_text, number
from nglkeras.runs.trial import Trial, TrialResult


@dataclass(frozen=True, kw_only=True)
class BestRateCell(tables.Cell):
    """A loss at its own best rate; values are test accuracies in %, one a new seed.

    Attributes:
        rate: The best rate; `None` where no network gave one.
        open_ends: The ends of the rates beyond which a better one may lie.
        validation: Mean validation accuracy that it was chosen by, in %.
        factor: Size of the loss's gradient at uniform predictions, as a multiple of CE's; `None`
            where it was not asked for.
    """

    rate: float | None
    open_ends: tuple[str, ...]
    validation: float | None
    factor: float | None

    @property
    def rate_seen(self) -> float | None:
        """The rate in cross entropy's terms: with which CE would take as large a first step."""
        return None if None in (self.rate, self.factor) else self.rate * self.factor

    @cached_property
    def paired_interval(self) -> tuple[float | None, float | None]:
        """95 % bootstrap interval of the paired difference."""
        if self.pairs is None:
            return None, None
        values, references = self.pairs
        return statistics.bootstrap_interval([values], [references], paired=True)


def cells(
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    curves: Mapping[str, RateCurve],
    sizes: Mapping[str, float],
) -> list[BestRateCell]:
    """A cell for each loss, in the order of `curves`; `sizes` are `sizes.factors`, if any."""
    made = []
    for loss, curve in curves.items():
        tests = [
            trial
            for trial in trials
            if (trial.loss, trial.schedule.learning_rate) == (loss, curve.best)
            and trial.run >= FIRST_NEW
        ]
        best = curve.accuracies.get(curve.best)
        made.append(
            BestRateCell(
                loss=loss,
                **tables.sample(tests, results, lambda row: 100 * row.accuracy),
                rate=curve.best,
                open_ends=curve.open_ends,
                validation=None if best is None else 100 * best,
                factor=sizes.get(loss),
            )
        )
    return tables.with_references(made)


def layout(table: Sequence[BestRateCell]) -> list[list[str]]:
    """Rows of text: a heading, then a line for each loss at its own best rate."""
    columns = {
        "loss": lambda cell: nglkeras.losses.label(cell.loss),
        "gradient": lambda cell: f"{cell.factor:.3g}",
        "best rate": lambda cell: number(cell.rate, "g") + " (edge)" * bool(cell.open_ends),
        "as CE's": lambda cell: number(cell.rate_seen, ".2g"),
        "n": lambda cell: cell.runs,
        "test %": lambda cell: number(cell.mean, ".2f"),
        "95 %": interval_text,
        "less CE": lambda cell: number(cell.paired.mean, "+.2f"),
        "95 % of it": lambda cell: _range((cell.paired.low, cell.paired.high)),
        "bootstrap": lambda cell: _range(cell.paired_interval),
        "P(better)": lambda cell: number(cell.p_better, ".2f"),
        "Holm's p": lambda cell: number(cell.p_holm, ".2g"),
        "verdict": lambda cell: cell.shown,
        "not ok": lambda cell: cell.failed,
    }
    return tables.columns_of(table, columns)


def _range(ends):
    low, high = ends
    return tables.NOTHING if low is None else f"[{low:+.2f}, {high:+.2f}]"


def curve_layout(curves: Mapping[str, RateCurve]) -> list[list[str]]:
    """Rows of text: validation accuracy in % of each loss (a line) at each rate (a column).

    The best of a loss is marked with *, a rate at which a network diverged with x.
    """
    rates = sorted({rate for curve in curves.values() for rate in curve.trials})
    lines = [["rate", *(f"{rate:g}" for rate in rates)]]
    for loss, curve in curves.items():
        texts = []
        for rate in rates:
            text = ""
            if rate in curve.accuracies:
                text = f"{100 * curve.accuracies[rate]:.2f}"
                text += "*" * (rate == curve.best) + "x" * (rate in curve.diverged)
            texts.append(text)
        lines.append([nglkeras.losses.label(loss), *texts])
    return lines


def to_frame(
    trials: Sequence[Trial], results: Mapping[str, TrialResult], sizes: Mapping[str, float]
) -> pd.DataFrame:
    """A line a network, for CSV files; accuracies in [0, 1], `sizes` as in `cells`."""
    columns = {
        "dataset": lambda trial, row: trial.dataset,
        "model": lambda trial, row: architectures.label(trial.model),
        "loss": lambda trial, row: trial.loss,
        "gradient": lambda trial, row: sizes[trial.loss],
        "precision": lambda trial, row: trial.precision,
        "steps": lambda trial, row: trial.schedule.epochs * trial.schedule.steps_per_epoch,
        "learning_rate": lambda trial, row: trial.schedule.learning_rate,
        "run": lambda trial, row: trial.run,
        "status": lambda trial, row: row.status,
        "validation_accuracy": lambda trial, row: row.validation_accuracy,
        "test_accuracy": lambda trial, row: row.accuracy,
        "seconds": lambda trial, row: row.seconds,
    }
    return tables.networks(trials, results, columns)

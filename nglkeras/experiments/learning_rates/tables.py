"""From rows to what each loss is worth at its own best learning rate."""

from collections.abc import Mapping, Sequence

import pandas as pd

from nglkeras.experiments.classification import architectures
from nglkeras.report import tables
from nglkeras.report.best_rates import BestRateCell, cell_of
from nglkeras.report.rates import FIRST_NEW, RateCurve
from nglkeras.runs.trial import Trial, TrialResult


def cells(
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    curves: Mapping[str, RateCurve],
    sizes: Mapping[str, float],
) -> list[BestRateCell]:
    """Return a cell for each loss, in the order of `curves`; `sizes` are `sizes.factors`, or {}."""
    made = []
    for loss, curve in curves.items():
        tests = [
            trial
            for trial in trials
            if (trial.loss, trial.schedule.learning_rate) == (loss, curve.best)
            and trial.run >= FIRST_NEW
        ]
        sample = tables.sample(tests, results, lambda row: 100 * row.accuracy)
        made.append(cell_of(loss, curve, sizes.get(loss), **sample))
    return tables.with_references(made)


def to_frame(
    trials: Sequence[Trial], results: Mapping[str, TrialResult], sizes: Mapping[str, float]
) -> pd.DataFrame:
    """Return a line a network, for CSV files; accuracies in [0, 1], `sizes` as in `cells`."""
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

"""From rows to paper B's numbers: mean accuracies, intervals, Welch's tests, rates.

A sample is the accuracies of a loss's networks, as fractions. Paper B compares each loss with the
one to its left in figure 1, by a two-tailed t-test for unequal variances (Welch's).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from nglkeras import losses
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.glo.protocol import SCALES
from nglkeras.report.printed import read_numbers
from nglkeras.report.statistics import interval, welch
from nglkeras.runs.trial import TrialResult

PARTS = {"test": "accuracy", "validation": "validation_accuracy"}
# Rows of glo.csv by part and number of steps: the paper gives these two.
_PRINTED = {
    ("test", 20_000): "MNIST mean test accuracy (10 models)",
    ("validation", 2_000): "MNIST validation accuracy at 2000 steps",
}
_COLUMNS = {"CE": "cross_entropy", "Baikal": "Baikal", "BaikalCMA": "BaikalCMA"}


@dataclass(frozen=True)
class Summary:
    """A loss under one setting.

    Attributes:
        loss: Its name.
        part: "test" or "validation".
        runs: Networks that were trained to the end.
        mean: Of their accuracies, in [0, 1]; `None` without a network.
        low: Lower end of the 95 % interval of the mean (Student's t).
        high: Upper end.
        deviation: Standard deviation over the networks.
        p: Welch's p against the loss before it; `None` for the first.
        p_ce: The same against cross entropy; `None` for itself.
        paper: The printed mean, where the paper gives one for this setting.
        failed: Trials that ended otherwise, e.g. "1 non_finite".
    """

    loss: str
    part: str
    runs: int
    mean: float | None
    low: float | None
    high: float | None
    deviation: float | None
    p: float | None
    p_ce: float | None
    paper: float | None
    failed: str


def accuracies(
    trials: Sequence[Trial], results: dict[str, TrialResult], part: str = "test"
) -> dict[str, np.ndarray]:
    """The accuracies of each loss's networks, in the order of the trials."""
    found = {trial.loss: [] for trial in trials}
    for trial in trials:
        row = results.get(trial.key)
        value = None if row is None or row.status != "ok" else getattr(row, PARTS[part])
        # A row from elsewhere may lack a part.
        if value is not None:
            found[trial.loss].append(value)
    return {loss: np.array(values) for loss, values in found.items()}


def summaries(
    trials: Sequence[Trial],
    results: dict[str, TrialResult],
    part: str = "test",
    printed: pd.DataFrame | None = None,
) -> list[Summary]:
    """A summary for each loss, in the order of the trials.

    Args:
        trials: Of one setting.
        results: Their rows.
        part: "test" or "validation".
        printed: `printed_numbers()`, if the paper's are wanted.
    """
    samples = accuracies(trials, results, part)
    found, before = [], None
    for loss, sample in samples.items():
        low, high = interval(sample)
        bad = pd.Series(
            [
                results[trial.key].status if trial.key in results else "missing"
                for trial in trials
                if trial.loss == loss
            ]
        )
        bad = bad[bad != "ok"].value_counts()
        found.append(
            Summary(
                loss,
                part,
                len(sample),
                float(sample.mean()) if len(sample) else None,
                low,
                high,
                float(sample.std(ddof=1)) if len(sample) > 1 else None,
                None if before is None else _p(sample, samples[before]),
                None if loss == "CE" or "CE" not in samples else _p(sample, samples["CE"]),
                _printed(printed, part, trials[0], loss),
                ", ".join(f"{count} {status}" for status, count in bad.items()),
            )
        )
        before = loss
    return found


def printed_numbers() -> pd.DataFrame:
    """The paper's numbers: a row a quantity, a column a loss."""
    return read_numbers("glo")


def _p(sample, other):
    test = welch(sample, other)
    return None if test is None else float(test.pvalue)


def _printed(printed, part, trial, loss):
    """The paper's number, if it has one for this part, number of steps and setting."""
    paper = SCALES["paper"]
    is_its_setting = (trial.dataset, trial.model, trial.train_images, trial.evaluation_images) == (
        paper.dataset,
        paper.model,
        paper.train_images,
        paper.evaluation_images,
    ) and reduction(trial) == "sum"
    row = _PRINTED.get((part, steps(trial)))
    if printed is None or row is None or not is_its_setting or loss not in _COLUMNS:
        return None
    return float(printed.loc[row, _COLUMNS[loss]])


def steps(trial: Trial) -> int:
    """Of the whole training."""
    return trial.schedule.epochs * trial.schedule.steps_per_epoch


def curve(
    trials: Sequence[Trial], results: dict[str, TrialResult]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The training curve of each loss: steps `[n]`, and test accuracies `[runs, n]`.

    Networks whose training broke off are left out.
    """
    found = {}
    for trial in trials:
        row = results.get(trial.key)
        if row is not None and row.status == "ok":
            found.setdefault(trial.loss, []).append([r["test_accuracy"] for r in row.history])
    every = trials[0].schedule.steps_per_epoch
    return {
        loss: (every * np.arange(1, len(rows[0]) + 1), np.array(rows))
        for loss, rows in found.items()
    }


def steps_per_second(row: TrialResult) -> float | None:
    """Median rate of a training's epochs, evaluation aside; without the first, which compiles.

    `None` where a row has no more than one epoch, or does not say.
    """
    try:
        every = row.trial["schedule"]["steps_per_epoch"]
        rates = [every / epoch["training_seconds"] for epoch in row.history[1:]]
    except (KeyError, TypeError, ArithmeticError):
        return None
    return float(np.median(rates)) if rates else None


def layout(found: Sequence[Summary]) -> list[list[str]]:
    """Rows of text: a heading, then a line for each summary."""
    rows = [
        [
            "loss",
            "part",
            "runs",
            "accuracy",
            "95 % interval",
            "std",
            "p, loss before",
            "p, CE",
            "paper",
            "difference",
            "not ok",
        ]
    ]
    for one in found:
        difference = None if None in (one.mean, one.paper) else one.mean - one.paper
        ends = "–" if one.low is None else f"[{one.low:.4f}, {one.high:.4f}]"
        rows.append(
            [
                losses.label(one.loss),
                one.part,
                str(one.runs),
                _number(one.mean, ".4f"),
                ends,
                _number(one.deviation, ".4f"),
                _number(one.p, ".2g"),
                _number(one.p_ce, ".2g"),
                _number(one.paper, ".4f"),
                _number(difference, "+.4f"),
                one.failed,
            ]
        )
    return rows


def _number(value, form):
    return "–" if value is None else format(value, form)


def to_frame(trials: Sequence[Trial], results: dict[str, TrialResult]) -> pd.DataFrame:
    """One line a network, for CSV files; accuracies in [0, 1]."""
    rows = [(trial, results[trial.key]) for trial in trials if trial.key in results]
    return pd.DataFrame(
        [
            {
                "dataset": trial.dataset,
                "loss": trial.loss,
                "class_reduction": reduction(trial),
                "precision": trial.precision,
                "train_images": row.sizes[0] if row.sizes else None,
                "steps": steps(trial),
                "run": trial.run,
                "status": row.status,
                "accumulation": row.accumulation,
                "validation_accuracy": row.validation_accuracy,
                "test_accuracy": row.accuracy,
                "steps_per_second": steps_per_second(row),
                "seconds": row.seconds,
            }
            for trial, row in rows
        ]
    )


def reduction(trial: Trial) -> str:
    """How the loss of a trial is reduced over the classes."""
    # Keras' cross entropy is the sum, and says nothing of it.
    return dict(trial.loss_settings).get("class_reduction", "sum")


def curve_layout(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[list[str]]:
    """Rows of text: mean test accuracies of each loss at some of the steps."""
    steps = next(iter(curves.values()))[0]
    # At most a dozen columns; the last evaluation is among them.
    shown = np.unique(np.linspace(len(steps) - 1, 0, min(len(steps), 10)).round().astype(int))
    rows = [["steps", *(str(steps[i]) for i in shown)]]
    for loss, (_, values) in curves.items():
        rows.append([losses.label(loss), *(f"{values[:, i].mean():.4f}" for i in shown)])
    return rows


def layout_over(found: dict, name: str, labels: Sequence[str]) -> list[list[str]]:
    """Rows of text: a line for each loss, a column for each value of a quantity."""
    names = list(dict.fromkeys(one.loss for ones in found.values() for one in ones))
    rows = [[name, *labels]]
    for loss in names:
        row = [losses.label(loss)]
        for ones in found.values():
            one = next(one for one in ones if one.loss == loss)
            half = "" if one.low is None else f" ± {(one.high - one.low) / 2:.4f}"
            failed = f" ({one.failed})" if one.failed else ""
            row.append(_number(one.mean, ".4f") + half + failed)
        rows.append(row)
    return rows


def paired(trials: Sequence[Trial], results: dict[str, TrialResult]) -> list[str]:
    """A line for each loss but CE: how often it was better than CE, and the t-test of the pairs.

    Pairs are of the runs in which both were trained to the end.
    """
    by_loss = {}
    for trial in trials:
        row = results.get(trial.key)
        found = by_loss.setdefault(trial.loss, {})
        if row is not None and row.status == "ok":
            found[trial.run] = row.accuracy
    reference = by_loss.pop("CE", {})
    lines = []
    for loss, found in by_loss.items():
        difference = np.array([found[run] - reference[run] for run in found.keys() & reference])
        if len(difference) < 2:
            continue
        line = (
            f"{losses.label(loss)} beats CE in {(difference > 0).sum()} of {len(difference)} "
            f"tests, by {difference.mean():+.4f} in the mean"
        )
        if np.ptp(difference) > 0:
            line += f"; paired t-test p {stats.ttest_1samp(difference, 0).pvalue:.2g}"
        lines.append(line + ".")
    return lines

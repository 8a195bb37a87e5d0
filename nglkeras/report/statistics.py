"""Intervals and tests of small samples, as SciPy has them; nothing where they would say nothing."""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def mean(sample: Sequence[float]) -> float | None:
    """The mean of a sample; `None` for an empty one."""
    return float(np.mean(sample)) if len(sample) else None


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


def welch_p(sample: Sequence[float], other: Sequence[float] | None) -> float | None:
    """The p of `welch`; `None` where there is nothing to compare with."""
    test = None if other is None else welch(sample, other)
    return None if test is None else float(test.pvalue)


def _varies(sample):
    # Equal but for rounding is equal.
    return len(sample) > 1 and np.ptp(sample) > 1e-6 * np.max(np.abs(sample))

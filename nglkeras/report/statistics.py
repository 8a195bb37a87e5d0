"""Intervals and tests of small samples, for all tables and searches; `None` where they say nothing.

A sample is the values of one loss, one a run; every value counts the same. Two samples are
*paired* where equal indices have the same split and initial weights. *Strata* are samples of one
loss at several places, such as the data sets and networks of a table: means are over the strata,
each counts the same, and runs are resampled within each.

A test says nothing of fewer than two values, and nothing where no value differs from another: such
runs are copies of each other, and not a sample of anything. Differences are `sample - other`
throughout, so that a positive one says that `sample` is better where more is better.

*Crossed* differences are those of pairs (lines) on several parts of the test data (columns): both
are samples. A difference that is the same in all runs may still be one of these test data alone,
and the parts tell how large such differences are.

Probability of improvement and stratified bootstrap are those of Agarwal et al., "Deep
reinforcement learning at the edge of the statistical precipice" (NeurIPS 2021).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
RESAMPLES = 9_999
# Every bootstrap begins with the same seed: equal samples print equal tables.
SEED = 0
# Values that differ by less, relative to the greatest, are equal but for rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Difference:
    """A mean difference `sample - other`, in the samples' unit.

    Attributes:
        mean: The mean difference; `None` if a sample is empty.
        low: Lower end of its 95 % interval; `None` where a test says nothing.
        high: Upper end, likewise.
        p: Two-sided p of no difference; `None` where a test says nothing.
    """

    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def mean(sample: Sequence[float]) -> float | None:
    """Return the mean of a sample; `None` for an empty one."""
    return float(np.mean(sample)) if len(sample) else None


def deviation(sample: Sequence[float]) -> float | None:
    """Return the standard deviation (n - 1); `None` for fewer than two values."""
    return float(np.std(sample, ddof=1)) if len(sample) > 1 else None


def interval(sample: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean (Student's t); nothing for one value or equal ones."""
    if not _varies(sample):
        return None, None
    low, high = stats.ttest_1samp(sample, 0).confidence_interval(CONFIDENCE)
    return float(low), float(high)


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, `count` of `total` (Clopper and Pearson).

    Raises:
        ValueError: If `count` is not within 0 and `total`, or `total` is 0.
    """
    low, high = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="exact")
    return float(low), float(high)


def paired_difference(sample: Sequence[float], other: Sequence[float]) -> Difference:
    """Return the mean difference of pairs, its interval and p (Student's t).

    Raises:
        ValueError: If the samples differ in length.
    """
    differences = _differences(sample, other)
    if not len(differences):
        return Difference()
    if not _varies(differences, scale=_scale(sample, other)):
        return Difference(float(differences.mean()))
    return _difference(differences.mean(), stats.ttest_1samp(differences, 0))


def crossed_difference(differences: Sequence[Sequence[float]]) -> Difference:
    """Return the mean of crossed differences, its interval and p, for other runs and test data.

    The variance of the mean is that of a two-way layout with random lines and columns, (MS_lines +
    MS_columns - MS_rest) / n, with Satterthwaite's degrees of freedom.

    Args:
        differences: `[runs, parts]`.
    """
    mean, error, freedom = _crossed(differences)
    if not error:
        return Difference(mean)
    half = error * stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
    p = 2 * stats.t.sf(abs(mean) / error, freedom)
    return Difference(mean, float(mean - half), float(mean + half), float(p))


def crossed_equivalence_p(differences: Sequence[Sequence[float]], margin: float) -> float | None:
    """Return the p of `equivalence_p` for crossed differences."""
    mean, error, freedom = _crossed(differences)
    return float(stats.t.sf((margin - abs(mean)) / error, freedom)) if error else None


def crossed_interval(
    differences: Sequence[Sequence[float]],
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean of crossed differences by bootstrap of both axes.

    It is somewhat too wide (McCullagh, "Resampling and exchangeable arrays", 2000).
    """
    found = np.asarray(differences, float)
    if not _crossed(found)[1]:
        return None, None
    random = np.random.default_rng(SEED)
    lines, columns = (random.multinomial(n, np.full(n, 1 / n), RESAMPLES) for n in found.shape)
    means = np.einsum("bi,ij,bj->b", lines, found, columns) / found.size
    tail = (1 - CONFIDENCE) / 2
    return tuple(np.quantile(means, [tail, 1 - tail]).tolist())


def _crossed(differences):
    """Return mean, standard error (0 where nothing varies) and degrees of freedom."""
    found = np.asarray(differences, float)
    runs, parts = found.shape
    mean = float(found.mean())
    if min(runs, parts) < 2 or not _varies(found.ravel(), scale=max(np.abs(found).max(), 1e-12)):
        return mean, 0.0, 0.0
    lines, columns = found.mean(axis=1), found.mean(axis=0)
    rest = found - lines[:, None] - columns + mean
    freedom = np.array([runs - 1, parts - 1, (runs - 1) * (parts - 1)])
    squares = [parts * ((lines - mean) ** 2).sum(), runs * ((columns - mean) ** 2).sum()]
    variances = np.array([*squares, (rest**2).sum()]) / freedom / found.size
    # Less than one of them is by chance.
    variance = max(variances[0] + variances[1] - variances[2], *variances[:2])
    own = variance**2 / (variances**2 / freedom).sum()
    return mean, float(np.sqrt(variance)), float(max(own, min(freedom)))


def unpaired_difference(sample: Sequence[float], other: Sequence[float]) -> Difference:
    """Return the difference of the means, its interval and p (Welch's test)."""
    if not (len(sample) and len(other)):
        return Difference()
    found = float(np.mean(sample) - np.mean(other))
    if not _is_testable(sample, other):
        return Difference(found)
    return _difference(found, _welch(sample, other))


def welch_p(sample: Sequence[float], other: Sequence[float] | None) -> float | None:
    """Return the p of `unpaired_difference`; `None` where there is nothing to compare with."""
    return None if other is None else unpaired_difference(sample, other).p


def equivalence_p(
    sample: Sequence[float], other: Sequence[float], margin: float, *, paired: bool = False
) -> float | None:
    """Return the p of a difference of `margin` or more (TOST: two one-sided tests).

    A small p says that the means differ by less than `margin`; a large one says nothing.

    Args:
        sample: One sample.
        other: The other.
        margin: Half the band around 0, in the samples' unit; above 0.
        paired: Whether equal indices are pairs: Student's t on them instead of Welch's.

    Raises:
        ValueError: If `margin` is not above 0, or pairs are missing.
    """
    if not margin > 0:
        raise ValueError(f"margin is {margin}; it must be above 0")
    sample, other = np.asarray(sample, float), np.asarray(other, float)
    if paired:
        differences = _differences(sample, other)
        if not _varies(differences, scale=_scale(sample, other)):
            return None
        above = stats.ttest_1samp(differences, -margin, alternative="greater")
        below = stats.ttest_1samp(differences, margin, alternative="less")
    else:
        if not _is_testable(sample, other):
            return None
        above = _welch(sample + margin, other, alternative="greater")
        below = _welch(sample - margin, other, alternative="less")
    return float(max(above.pvalue, below.pvalue))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of p values that are looked at together, in their order.

    An adjusted p below 0.05 holds although several were looked at. `None` stays `None` and does
    not count as a test.

    Raises:
        ValueError: If a p is not within 0 and 1.
    """
    for p in ps:
        if p is not None and not 0 <= p <= 1:
            raise ValueError(f"p is {p}; it must be within 0 and 1")
    order = sorted((i for i, p in enumerate(ps) if p is not None), key=lambda i: ps[i])
    adjusted, least = [None] * len(ps), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * float(ps[i])))
        adjusted[i] = least
    return adjusted


def probability_of_improvement(
    samples: Sequence[Sequence[float]], others: Sequence[Sequence[float]]
) -> float | None:
    """P(X > Y) + P(X = Y) / 2 of a run of `samples` and one of `others`, averaged over the strata.

    This is Mann and Whitney's U divided by the number of pairs of runs, as in rliable. `None` if a
    stratum is empty, or there is none.

    Raises:
        ValueError: If the numbers of strata differ.
    """
    strata = [*samples, *_strata_of(others, samples)]
    if not strata or not all(map(len, strata)):
        return None
    return float(_improvement(*(np.asarray(one, float) for one in strata)))


def bootstrap_interval(
    samples: Sequence[Sequence[float]],
    others: Sequence[Sequence[float]] | None = None,
    *,
    paired: bool = False,
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean over the strata by stratified bootstrap (percentiles).

    It assumes no distribution, but of five runs or fewer it is too narrow: Student's interval is
    the one to read there.

    Args:
        samples: A sample a stratum.
        others: Samples to subtract, for the interval of the mean difference.
        paired: Whether equal indices are pairs; they are then resampled together.

    Returns:
        Both ends; `None` if a stratum has fewer than two values, or no value differs.

    Raises:
        ValueError: If the numbers of strata differ, or pairs are missing.
    """
    if others is None:
        return _bootstrap(samples, _mean_of)
    others = _strata_of(others, samples)
    if not paired:
        return _bootstrap([*samples, *others], _mean_difference)
    differences = [_differences(*pair) for pair in zip(samples, others, strict=True)]
    return _bootstrap(differences, _mean_of, scale=_scale(*samples, *others))


def probability_of_improvement_interval(
    samples: Sequence[Sequence[float]], others: Sequence[Sequence[float]]
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of `probability_of_improvement`, as `bootstrap_interval` makes it.

    Raises:
        ValueError: If the numbers of strata differ.
    """
    return _bootstrap([*samples, *_strata_of(others, samples)], _improvement)


def verdict(difference: Difference, p: float | None, equivalence: float | None = None) -> str:
    """Say in words what a difference shows, where more is better.

    Args:
        difference: The difference to a reference.
        p: Its p, corrected for the number of differences that are looked at (`holm`).
        equivalence: The p of `equivalence_p`, if that was asked.

    Returns:
        "better" or "worse" if p is below 0.05, else "equivalent" if `equivalence` is, else "not
        settled"; nothing without a difference.
    """
    if difference.mean is None:
        return ""
    if p is not None and p < SIGNIFICANCE:
        return "better" if difference.mean > 0 else "worse"
    if equivalence is not None and equivalence < SIGNIFICANCE:
        return "equivalent"
    return "not settled"


def _difference(found, test):
    low, high = test.confidence_interval(CONFIDENCE)
    return Difference(float(found), float(low), float(high), float(test.pvalue))


def _differences(sample, other):
    if len(sample) != len(other):
        raise ValueError(f"{len(sample)} and {len(other)} values are not pairs")
    return np.asarray(sample, float) - np.asarray(other, float)


def _strata_of(others, samples):
    if len(others) != len(samples):
        raise ValueError(f"{len(samples)} and {len(others)} strata; the numbers must agree")
    return others


def _welch(sample, other, alternative="two-sided"):
    with warnings.catch_warnings():
        # Of one sample without variance; the test then rests on the other's.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        return stats.ttest_ind(sample, other, equal_var=False, alternative=alternative)


def _is_testable(sample, other):
    return min(len(sample), len(other)) > 1 and (_varies(sample) or _varies(other))


def _scale(*samples):
    return max((np.max(np.abs(sample)) for sample in samples if len(sample)), default=0.0)


def _varies(sample, scale=None):
    # Equal but for rounding is equal. Differences are rounded as the values they are of.
    scale = _scale(sample) if scale is None else scale
    return len(sample) > 1 and np.ptp(sample) > ROUNDING * scale


def _mean_of(*strata, axis=-1):
    return np.mean([stratum.mean(axis) for stratum in strata], axis=0)


def _mean_difference(*strata, axis=-1):
    half = len(strata) // 2
    return _mean_of(*strata[:half], axis=axis) - _mean_of(*strata[half:], axis=axis)


def _improvement(*strata, axis=-1):
    half, rounding = len(strata) // 2, ROUNDING * _scale(*strata)
    signs = []
    for x, y in zip(strata[:half], strata[half:], strict=True):
        difference = x[..., :, None] - y[..., None, :]
        signs.append(np.where(np.abs(difference) > rounding, np.sign(difference), 0).mean((-2, -1)))
    return (1 + np.mean(signs, axis=0)) / 2


def _bootstrap(strata, statistic, scale=None):
    """Return the percentile interval of a statistic of all strata, each resampled on its own."""
    strata = [np.asarray(stratum, float) for stratum in strata]
    if not all(len(stratum) > 1 for stratum in strata):
        return None, None
    if not any(_varies(stratum, scale) for stratum in strata):
        return None, None
    low, high = stats.bootstrap(
        strata,
        statistic,
        n_resamples=RESAMPLES,
        batch=1_000,
        axis=-1,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(low), float(high)

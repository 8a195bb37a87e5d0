"""Intervals, tests, corrections and probabilities of small samples."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nglkeras.report import statistics
from nglkeras.report.statistics import (
    Difference,
    bootstrap_interval,
    equivalence_p,
    holm,
    paired_difference,
    probability_of_improvement,
    probability_of_improvement_interval,
    unpaired_difference,
    verdict,
)

# Student's sleep data (1908): extra hours of sleep of ten patients under two drugs.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

SAMPLES = st.lists(st.integers(0, 10), min_size=1, max_size=6)


class TestDifferences:
    def test_paired_sleep_data(self):
        # As R prints t.test(..., paired = TRUE): t = -4.0621, p-value = 0.002833.
        found = paired_difference(DRUG_1, DRUG_2)
        assert found.mean == pytest.approx(-1.58)
        assert found.low == pytest.approx(-2.4598858, abs=1e-7)
        assert found.high == pytest.approx(-0.7001142, abs=1e-7)
        assert found.p == pytest.approx(0.002833, abs=1e-6)

    def test_unpaired_sleep_data(self):
        # As R prints t.test(...): t = -1.8608, df = 17.776, p-value = 0.07939.
        found = unpaired_difference(DRUG_1, DRUG_2)
        assert found.mean == pytest.approx(-1.58)
        assert found.low == pytest.approx(-3.3654832, abs=1e-7)
        assert found.high == pytest.approx(0.2054832, abs=1e-7)
        assert found.p == pytest.approx(0.07939, abs=1e-5)

    def test_paired_by_hand(self):
        # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t = 2 sqrt(3) on 2 degrees.
        found = paired_difference([2, 4, 6], [1, 2, 3])
        half = stats.t.ppf(0.975, 2) / 3**0.5
        assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
        assert found.p == pytest.approx(1 - (12 / 14) ** 0.5)

    @pytest.mark.parametrize("difference", [paired_difference, unpaired_difference])
    def test_nothing_of_small_or_equal_samples(self, difference):
        assert difference([], []) == Difference()
        assert difference([0.5], [0.25]) == Difference(0.25)
        assert difference([0.5, 0.5], [0.25, 0.25]) == Difference(0.25)
        assert difference([0.3, 0.1 + 0.2], [0.1, 0.1]).p is None

    def test_equal_differences_but_for_rounding(self):
        found = paired_difference([0.1, 0.2, 0.3], [0.1 + 1e-17, 0.1 + 0.1, 0.1 + 0.2])
        assert found.p is None
        assert paired_difference([0.91, 0.82], [0.9, 0.81]).p is None

    def test_unpaired_of_one_sample_without_variance(self):
        # A difference to a constant: Student's test of the other sample.
        found = unpaired_difference([1, 2, 3], [0, 0])
        assert found.p == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)

    def test_unequal_lengths_are_not_pairs(self):
        with pytest.raises(ValueError, match="3 and 2 values are not pairs"):
            paired_difference([1, 2, 3], [1, 2])
        assert unpaired_difference([1, 2, 3], [1]).mean == 1
        assert unpaired_difference([1, 2, 3], []) == Difference()

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=8))
    def test_signs_and_shifts(self, pairs):
        sample, other = zip(*pairs, strict=True)
        for difference in (paired_difference, unpaired_difference):
            found, turned = difference(sample, other), difference(other, sample)
            assert turned.mean == -found.mean
            assert turned.p == pytest.approx(found.p)
            moved = difference(np.add(sample, 50), np.add(other, 50))
            assert moved.mean == pytest.approx(found.mean)
            assert moved.p == pytest.approx(found.p)
            if found.p is not None:
                assert found.low <= found.mean <= found.high
                # The interval holds 0 just where the test does not reject it.
                assert (found.low <= 0 <= found.high) == (found.p >= 0.05)


class TestEquivalence:
    def test_two_one_sided_tests_by_hand(self):
        # Differences -1, 0, 1: t = margin / (1/sqrt(3)) on 2 degrees in both directions.
        p = equivalence_p([0, 2, 4], [1, 2, 3], 2, paired=True)
        assert p == pytest.approx(stats.t.sf(2 * 3**0.5, 2))

    def test_agrees_with_the_90_percent_interval(self):
        # TOST at 5 % asks whether the 90 % interval lies within the band.
        test = stats.ttest_ind(DRUG_1, DRUG_2, equal_var=False)
        widest = max(map(abs, test.confidence_interval(0.9)))
        assert equivalence_p(DRUG_1, DRUG_2, widest) == pytest.approx(0.05)
        test = stats.ttest_rel(DRUG_1, DRUG_2)
        widest = max(map(abs, test.confidence_interval(0.9)))
        assert equivalence_p(DRUG_1, DRUG_2, widest, paired=True) == pytest.approx(0.05)

    def test_grows_with_the_difference_and_shrinks_with_the_margin(self):
        ps = [equivalence_p(np.add(DRUG_1, shift), DRUG_1, 3) for shift in range(4)]
        assert ps == sorted(ps)
        assert ps[-1] == pytest.approx(0.5)
        ps = [equivalence_p(DRUG_1, DRUG_1, margin) for margin in (0.1, 1, 10)]
        assert ps == sorted(ps, reverse=True)

    def test_direction_does_not_matter(self):
        for paired in (False, True):
            assert equivalence_p(DRUG_1, DRUG_2, 2, paired=paired) == pytest.approx(
                equivalence_p(DRUG_2, DRUG_1, 2, paired=paired)
            )

    @pytest.mark.parametrize("paired", [False, True])
    def test_nothing_of_small_or_equal_samples(self, paired):
        assert equivalence_p([], [], 1, paired=paired) is None
        assert equivalence_p([1], [1], 1, paired=paired) is None
        assert equivalence_p([1, 1], [1, 1], 1, paired=paired) is None

    @pytest.mark.parametrize("margin", [0, -1, float("nan")])
    def test_a_band_must_have_a_width(self, margin):
        with pytest.raises(ValueError, match="must be above 0"):
            equivalence_p(DRUG_1, DRUG_2, margin)


class TestHolm:
    def test_by_hand(self):
        # 0.01 x 4, 0.02 x 3, 0.03 x 2, and 0.04 x 1 raised to the one before it.
        assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
        # statsmodels' multipletests(method="holm").
        assert holm([0.01, 0.01, 0.5]) == pytest.approx([0.03, 0.03, 0.5])

    def test_none_does_not_count(self):
        assert holm([None, 0.02, None, 0.03]) == pytest.approx([None, 0.04, None, 0.04])
        assert holm([None]) == [None]
        assert holm([]) == []

    def test_never_above_one(self):
        assert holm([0.9, 0.8]) == [1.0, 1.0]

    @pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
    def test_refuses_what_is_no_probability(self, p):
        with pytest.raises(ValueError, match="must be within 0 and 1"):
            holm([0.5, p])

    @settings(deadline=None)
    @given(st.lists(st.none() | st.floats(0, 1), max_size=9), st.randoms())
    def test_properties(self, ps, random):
        adjusted = holm(ps)
        pairs = [(a, b) for a, b in zip(ps, adjusted, strict=True) if a is not None]
        assert [b is None for b in adjusted] == [a is None for a in ps]
        # At least the raw p, at most Bonferroni's, in the same order.
        assert all(a <= b <= min(1, len(pairs) * a) for a, b in pairs)
        in_order = [b for _, b in sorted(pairs)]
        assert in_order == sorted(in_order)
        order = random.sample(range(len(ps)), len(ps))
        assert holm([ps[i] for i in order]) == [adjusted[i] for i in order]


class TestProbabilityOfImprovement:
    def test_by_hand(self):
        # Of nine pairs three are won, three even and three lost: (3 + 3 / 2) / 9.
        assert probability_of_improvement([[1, 2, 3]], [[1, 2, 3]]) == 0.5
        # Accuracies that differ in the last digit of float32 are equal.
        assert probability_of_improvement([[90.00000358]], [[90.0]]) == 0.5
        assert probability_of_improvement([[90.01]], [[90.0]]) == 1
        # 2 beats 1, ties with 2 and loses to 3; 4 beats all three.
        assert probability_of_improvement([[2, 4]], [[1, 2, 3]]) == pytest.approx(4.5 / 6)

    def test_is_the_mean_over_strata(self):
        # 1 and 1/4, of samples of different lengths.
        found = probability_of_improvement([[5, 6], [1, 4]], [[1, 2, 3], [2, 5]])
        assert found == pytest.approx((1 + 0.25) / 2)

    @settings(deadline=None)
    @given(st.lists(st.tuples(SAMPLES, SAMPLES), min_size=1, max_size=4), st.integers(-5, 5))
    def test_properties(self, pairs, shift):
        samples, others = zip(*pairs, strict=True)
        found = probability_of_improvement(samples, others)
        # Mann and Whitney's U over the number of pairs, as rliable has it.
        expected = [
            stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) if x != y else 0.5
            for x, y in pairs
        ]
        assert found == pytest.approx(np.mean(expected))
        assert found + probability_of_improvement(others, samples) == pytest.approx(1)
        moved = [np.add(one, shift) for one in samples], [np.add(one, shift) for one in others]
        assert probability_of_improvement(*moved) == pytest.approx(found)

    def test_nothing_of_empty_strata(self):
        assert probability_of_improvement([], []) is None
        assert probability_of_improvement([[1], []], [[0], [1]]) is None
        assert probability_of_improvement_interval([], []) == (None, None)

    def test_one_run_has_a_probability_without_interval(self):
        assert probability_of_improvement([[1]], [[0]]) == 1
        assert probability_of_improvement_interval([[1]], [[0]]) == (None, None)

    def test_strata_must_agree(self):
        for function in (
            probability_of_improvement,
            probability_of_improvement_interval,
            bootstrap_interval,
        ):
            with pytest.raises(ValueError, match="1 and 2 strata"):
                function([[1, 2]], [[1, 2], [3, 4]])


class TestBootstrap:
    def test_of_five_runs_it_is_too_narrow(self):
        # The learning-rate study says so: 84 % instead of 95.
        samples = np.random.default_rng(0).normal(size=(1_000, 5))
        held = [low <= 0 <= high for low, high in (bootstrap_interval([one]) for one in samples)]
        assert 0.82 <= np.mean(held) <= 0.86

    def test_all_resamples_of_two_by_two(self):
        # The mean of two draws of {0, 1}: 0 and 1 with a chance of 1/4 each, so both are ends.
        assert bootstrap_interval([[0, 1]]) == (0, 1)
        # Of ten strata of {0, 1}, the mean is binomial with n = 20.
        low, high = bootstrap_interval([[0, 1]] * 10)
        assert (low, high) == pytest.approx(np.array(stats.binom.interval(0.95, 20, 0.5)) / 20)

    def test_resamples_within_strata(self):
        # Strata far apart, runs close together: draws across strata would give a wide interval.
        low, high = bootstrap_interval([[0.0, 0.1], [100.0, 100.1]])
        assert (low, high) == pytest.approx((50, 50.1))

    def test_normal_samples(self):
        sample = np.random.default_rng(0).normal(3, 1, 200)
        assert bootstrap_interval([sample]) == pytest.approx(statistics.interval(sample), abs=0.01)
        other = np.random.default_rng(1).normal(3, 2, 300)
        found = unpaired_difference(sample, other)
        assert bootstrap_interval([sample], [other]) == pytest.approx(
            (found.low, found.high), abs=0.02
        )
        found = paired_difference(sample, other[:200])
        assert bootstrap_interval([sample], [other[:200]], paired=True) == pytest.approx(
            (found.low, found.high), abs=0.02
        )

    def test_pairs_stay_together(self):
        sample = np.array([0.0, 10, 20, 30])
        low, high = bootstrap_interval([sample], [sample - [1, 2, 1, 2]], paired=True)
        assert 1 <= low < high <= 2
        low, high = bootstrap_interval([sample], [sample - [1, 2, 1, 2]])
        assert low < -5

    def test_probability_of_improvement(self):
        samples, others = [DRUG_2, DRUG_1], [DRUG_1, DRUG_2]
        low, high = probability_of_improvement_interval(samples, others)
        assert low < probability_of_improvement(samples, others) == 0.5 < high
        # Every run of one is above every run of the other, however they are drawn.
        assert probability_of_improvement_interval([[3, 4]], [[1, 2]]) == (1, 1)

    def test_is_reproducible_and_keeps_the_global_generator(self):
        before = np.random.get_state()[1].tolist()
        once, again = (bootstrap_interval([DRUG_1, DRUG_2]) for _ in range(2))
        assert once == again
        assert np.random.get_state()[1].tolist() == before

    @settings(deadline=None)
    @given(st.floats(-10, 10))
    def test_moves_with_the_sample(self, shift):
        low, high = bootstrap_interval([DRUG_1])
        moved = bootstrap_interval([np.add(DRUG_1, shift)])
        assert moved == pytest.approx((low + shift, high + shift))

    @pytest.mark.parametrize("strata", [[], [[]], [[1]], [[1, 2], [3]], [[1, 1], [2, 2]]])
    def test_nothing_of_small_or_equal_samples(self, strata):
        assert bootstrap_interval(strata) == (None, None)
        assert bootstrap_interval(strata, strata) == (None, None)
        assert bootstrap_interval(strata, strata, paired=True) == (None, None)

    def test_nothing_of_differences_that_are_equal_but_for_rounding(self):
        assert bootstrap_interval([[0.91, 0.82]], [[0.9, 0.81]], paired=True) == (None, None)

    def test_missing_pairs(self):
        with pytest.raises(ValueError, match="2 and 3 values are not pairs"):
            bootstrap_interval([[1, 2]], [[1, 2, 3]], paired=True)


def crossed(runs, parts, rest, *, count=400, mean=0.0, shape=(10, 10)):
    """Layouts of differences with these deviations of runs, of parts and of the rest."""
    random = np.random.default_rng(0)
    for _ in range(count):
        lines, columns = random.normal(size=(shape[0], 1)), random.normal(size=(1, shape[1]))
        yield mean + runs * lines + parts * columns + rest * random.normal(size=shape)


class TestCrossed:
    @pytest.mark.parametrize("deviations", [(1, 0, 0.1), (0, 1, 0.1), (1, 1, 1), (0.1, 0, 1)])
    def test_says_of_nothing_that_it_is_something_one_time_in_twenty(self, deviations):
        ps = [statistics.crossed_difference(one).p for one in crossed(*deviations)]
        assert np.mean(np.array(ps) < 0.05) < 0.08

    def test_runs_alone_do_not_see_what_is_of_these_test_data_alone(self):
        layouts = list(crossed(0.1, 1, 0.1))
        alone = [paired_difference(one.mean(axis=1), np.zeros(10)).p for one in layouts]
        assert np.mean(np.array(alone) < 0.05) > 0.8

    def test_without_it_both_say_the_same(self):
        (layout,) = crossed(1, 0, 0, mean=2.0, count=1)
        found = statistics.crossed_difference(layout)
        expected = paired_difference(layout.mean(axis=1), np.zeros(10))
        assert (found.mean, found.low, found.high, found.p) == pytest.approx(
            (expected.mean, expected.low, expected.high, expected.p)
        )

    def test_intervals_hold_the_truth(self):
        layouts = list(crossed(1, 1, 1, mean=5.0, count=100))
        for ends in (
            [(one.low, one.high) for one in map(statistics.crossed_difference, layouts)],
            list(map(statistics.crossed_interval, layouts)),
        ):
            assert np.mean([low < 5 < high for low, high in ends]) >= 0.9

    def test_small_differences_are_equivalent(self):
        (near,), (far,) = crossed(0.1, 0.1, 0.1, count=1), crossed(1, 1, 1, count=1)
        assert statistics.crossed_equivalence_p(near, 0.5) < 0.05
        assert statistics.crossed_equivalence_p(far, 0.5) > 0.05

    @pytest.mark.parametrize("layout", [np.zeros((3, 4)), np.ones((3, 4)), [[1, 2, 3]], [[1], [2]]])
    def test_what_does_not_vary_says_nothing(self, layout):
        assert statistics.crossed_difference(layout) == Difference(np.mean(layout))
        assert statistics.crossed_interval(layout) == (None, None)
        assert statistics.crossed_equivalence_p(layout, 1.0) is None


class TestVerdict:
    @pytest.mark.parametrize(
        ("mean", "p", "equivalence", "expected"),
        [
            (1.0, 0.01, 0.9, "better"),
            (-1.0, 0.01, 0.9, "worse"),
            (0.1, 0.01, 0.01, "better"),
            (0.1, 0.2, 0.01, "equivalent"),
            (0.1, 0.2, 0.2, "not settled"),
            (0.1, 0.05, 0.05, "not settled"),
            (0.1, None, None, "not settled"),
            (None, None, None, ""),
        ],
    )
    def test_words(self, mean, p, equivalence, expected):
        assert verdict(Difference(mean), p, equivalence) == expected


class TestSingleSamples:
    def test_mean_and_deviation(self):
        assert statistics.mean([]) is None
        assert statistics.deviation([1.0]) is None
        assert statistics.deviation([1, 3]) == pytest.approx(2**0.5)

    def test_interval_of_a_share(self):
        # Clopper and Pearson: none of ten, 1 - 0.025^(1/10); all of them, the mirror image.
        end = 1 - 0.025**0.1
        assert statistics.share_interval(0, 10) == pytest.approx((0, end))
        assert statistics.share_interval(10, 10) == pytest.approx((1 - end, 1))
        low, high = statistics.share_interval(3, 10)
        assert stats.binom.sf(2, 10, low) == pytest.approx(0.025)
        assert stats.binom.cdf(3, 10, high) == pytest.approx(0.025)
        with pytest.raises(ValueError, match="k"):
            statistics.share_interval(11, 10)

    def test_welch_p_without_a_reference(self):
        assert statistics.welch_p([1, 2], None) is None
        assert statistics.welch_p([1, 2], []) is None


def test_every_function_takes_lists_tuples_and_arrays():
    for make in (list, tuple, np.array):
        one, other = make([1.0, 2.0, 4.0]), make([1.0, 3.0, 3.0])
        for function, arguments in itertools.chain(
            [(paired_difference, (one, other)), (unpaired_difference, (one, other))],
            [(equivalence_p, (one, other, 1)), (probability_of_improvement, ([one], [other]))],
            [(bootstrap_interval, ([one], [other]))],
        ):
            assert function(*arguments) is not None

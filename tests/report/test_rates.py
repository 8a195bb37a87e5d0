"""Rates half a decade apart, and what a loss has learnt at them."""

import pytest

from nglkeras.report.rates import RateCurve, curve_of, rates_around


@pytest.mark.parametrize(
    ("count", "rates"),
    [
        (5, (0.001, 0.0032, 0.01, 0.032, 0.1)),
        (6, (0.001, 0.0032, 0.01, 0.032, 0.1, 0.32)),
        (1, (0.01,)),
    ],
)
def test_rates_lie_around_the_given_one(count, rates):
    assert rates_around(0.01, count) == rates


@pytest.mark.parametrize(
    ("chance", "accuracy", "learnt"),
    [
        (0.1, 0.19, False),
        (0.1, 0.21, True),
        # Of two classes nothing is twice as good as chance.
        (0.5, 0.6, False),
        (0.5, 0.7, True),
        (None, 0.01, True),
    ],
)
def test_what_a_loss_has_learnt(chance, accuracy, learnt):
    curve = RateCurve((1.0, 2.0, 3.0), chance, {1.0: 0.0, 2.0: accuracy, 3.0: 0.0})
    assert curve.has_learnt == learnt
    assert curve.open_ends == (() if learnt else ("low", "high"))


@pytest.mark.parametrize(("chance", "diverged"), [(0.1, 0.1), (None, 0.6)])
def test_a_diverged_network_is_a_guess_or_the_worst(chance, diverged):
    outcomes = {3.0: [("non_finite", None)], 1.0: [("ok", 0.6), ("crashed", None)]}
    outcomes[2.0] = [("ok", 0.8), ("exploded", None)]
    curve = curve_of(outcomes, chance)
    assert curve.accuracies == pytest.approx({1.0: 0.6, 2.0: (0.8 + diverged) / 2, 3.0: diverged})
    assert curve.diverged == {2.0, 3.0}
    assert curve_of({1.0: [("crashed", None)]}, chance).best is None


def test_of_equals_the_least_rate_is_the_best():
    # 41 of 180 hits, as float32 has them.
    accuracies = {0.01: 0.2, 0.1: 0.22777777910, 1.0: 0.22777779400}
    assert RateCurve(tuple(accuracies), 0.1, accuracies).best == 0.1


def test_added_rates_end():
    begun = (1.0, 3.2, 10.0)
    curve = RateCurve(begun, 0.1, dict(zip(begun, (0.5, 0.6, 0.7), strict=True)))
    assert curve.wanted(begun) == [32.0]
    assert curve.wanted(begun, most=0) == []
    longer = RateCurve((*begun, 32.0), 0.1, {**curve.accuracies, 32.0: 0.8})
    assert longer.wanted(begun, most=1) == []
    assert longer.wanted(begun, most=2) == [100.0]

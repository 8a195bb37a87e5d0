"""Losses are told apart by what they do, however their formula is written."""

import pytest

from nglkeras.errors import UserError
from nglkeras.experiments.discovery.kinds import (
    BAIKAL,
    CROSS_ENTROPY,
    KINDS,
    LIKE_BAIKAL,
    OTHER,
    POLE,
    has_pole,
    is_affine_in,
    kind_of,
    trains_like,
)
from nglkeras.expression import Expression
from nglkeras.expression.papers import FORMULAS

CASES = {
    BAIKAL: [
        FORMULAS["Baikal"],
        "3*(y_true/y_pred - log(y_pred)) + 2",
        "1e-4*(y_true/y_pred - log(y_pred)) - 1e3",
        "(y_true - y_pred*log(y_pred))/y_pred",
        "y_true*y_pred/square(y_pred) - log(sqrt(y_pred)) - log(sqrt(y_pred))",
        "log(1/y_pred) + y_true/y_pred",
        "-(log(y_pred*y_pred) - (y_true + y_true)/y_pred)",
        "square(sqrt(y_true))/y_pred - log(-y_pred)",
        "y_true*(1/y_pred) - log(y_pred)",
    ],
    LIKE_BAIKAL: [
        # What cancels over the classes, what depends on the label alone, labels of 0 and 1 only.
        "y_true/y_pred - log(y_pred) + 5*y_pred",
        "y_true/y_pred - log(y_pred) + y_true",
        "square(y_true)/y_pred - log(y_pred)",
        "y_true/y_pred - log(y_pred)*(1 + y_true - square(y_true))",
        "2*(y_true/y_pred - log(y_pred) - 3*y_pred + exp(y_true))",
    ],
    POLE: [
        "y_true/y_pred",
        FORMULAS["BaikalCMA"],
        "y_true/y_pred - 20*log(y_pred)",
        "y_true/y_pred + log(y_pred)",
        "y_true/y_pred - y_true*log(y_pred)",
        "y_true/sin(y_pred)",
        # The root of 0 is 1e-4, which matters to the other classes.
        "sqrt(y_true)/y_pred - log(y_pred)",
        "square(y_true/sqrt(y_pred))",
        # In float32 log(1) is 0, of which a quotient makes 1/ε.
        "-(1e-9*y_true*log(y_pred)/y_pred/(log(y_true)*log(2*y_pred*y_true)))",
        # A logarithm does not matter beside the pole.
        "-(y_true*log(y_pred))/y_pred",
        "(1 - y_true*log(y_pred))*y_true/y_pred",
        "(y_true + y_pred)/(y_pred + square(y_pred))",
        "1/(y_pred - y_true*y_pred*0.5)",
        "square(y_true - y_pred)/y_pred",
    ],
    CROSS_ENTROPY: [
        "-(y_true*log(y_pred))",
        "-10*(y_true*log(y_pred))",
        "7 - 0.01*(y_true*log(y_pred))",
        "-(y_true*log(y_pred)) + 4*y_pred",
        "-(y_true*log(y_pred)) + cos(y_true)",
        "-(square(y_true)*log(sqrt(y_pred)))",
        "-(sqrt(y_true)*log(y_pred))",
        "y_true*log(1/y_pred)",
        # log(0) is log(ε), which is a constant.
        "-log(y_true*y_pred)",
    ],
    OTHER: [
        FORMULAS["NGL"],
        "square(y_true - y_pred)",
        "-(y_true*y_pred)",
        # Of the wrong sign they teach the contrary.
        "log(y_pred) - y_true/y_pred",
        "-(y_true/y_pred)",
        "y_true*log(y_pred)",
        # Focal and smoothed cross entropy are no cross entropy.
        "-(square(1 - y_pred)*y_true*log(y_pred))",
        "-((0.9*y_true + 0.01)*log(y_pred))",
        "-(sqrt(sqrt(y_true))*log(y_pred))",
        "-log(y_pred)",
        # Other poles, and poles of all classes alike.
        "y_true/sqrt(y_pred)",
        "y_true/square(y_pred)",
        "y_true/(y_pred*sqrt(y_pred))",
        "y_true/sqrt(sqrt(y_pred))/sqrt(y_pred)",
        "1/y_pred - y_true*y_pred",
        "(y_true - 1)/y_pred",
        # Less than cross entropy beside it, as far as any p goes.
        "1e-7*y_true/y_pred - y_true*sqrt(y_pred)",
        "y_true/(y_pred + 0.1)",
        "y_true",
        "y_pred",
        "3",
        "exp(exp(exp(exp(y_true/y_pred))))",
    ],
}


@pytest.mark.parametrize(
    ("formula", "kind"), [(formula, kind) for kind, many in CASES.items() for formula in many]
)
def test_kinds(formula, kind):
    assert kind_of(Expression.parse(formula)) == kind


def test_every_kind_has_a_case():
    assert CASES.keys() == KINDS.keys()


def test_both_of_baikals_kinds_have_its_pole():
    for kind in (BAIKAL, LIKE_BAIKAL):
        assert all(has_pole(Expression.parse(formula)) for formula in CASES[kind])


def test_what_differs_between_two_labels_only_is_another_formula():
    loss, other = map(Expression.parse, ("y_true/y_pred", "square(y_true)/y_pred"))
    assert trains_like(loss, other)
    assert not is_affine_in(loss, other)


def test_a_formula_is_checked_before():
    with pytest.raises(UserError, match="unknown name 'x'"):
        kind_of(Expression.parse("x/y_pred"))

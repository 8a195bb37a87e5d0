"""Losses in fewer nodes and digits."""

import json

import numpy as np
import pytest
from search_tools import TINY, by_hash

from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import GeneticProgramming, Variation, search, simplification
from nglkeras.search.simplification import MAX_SIZE, is_same_loss, simplified
from nglkeras.startup.extras import MissingPackageError


@pytest.mark.parametrize(
    ("formula", "simple"),
    [
        (FORMULAS["NGL"], "exp(2.41 - y_pred*(1 + y_true)) - cos(cos(sin(y_pred)))"),
        (FORMULAS["Baikal"], "y_true/y_pred - log(y_pred)"),
        # Constants: computed, merged, rounded, and dropped where they do nothing.
        ("sqrt(0.3023)*exp(y_true) - (y_pred + 7)", "0.55*exp(y_true) - y_pred - 7"),
        ("-(y_true*log(y_pred*1.0001))*0.9998 + 0.0000002*y_pred", "-(y_true*log(y_pred))"),
        # What SymPy cannot see: the root is that of the absolute value, and log undoes exp.
        ("cos(sqrt(-y_pred)) + y_true", "cos(sqrt(y_pred)) + y_true"),
        ("y_true*log(exp(y_pred))", "y_true*y_pred"),
        # A constant outside changes no gradient, and is kept.
        ("3.00002 - y_true*y_pred", "3 - y_true*y_pred"),
        # Laws for labels of 0 and 1 alone, and laws that protected operators break near p = 0.
        ("square(y_true)*y_pred", "square(y_true)*y_pred"),
        ("log(y_pred*y_pred) - y_true", "log(square(y_pred)) - y_true"),
        ("y_pred/y_pred + y_true", "y_pred/y_pred + y_true"),
    ],
)  # fmt: skip
def test_writes_the_same_loss_shorter(formula, simple):
    assert str(simplified(Expression.parse(formula))) == simple


def test_random_losses_keep_their_values_and_gradients():
    random, variation, smaller = np.random.RandomState(3), Variation(), 0
    t, p = np.random.default_rng(5).uniform(size=(2, 500))
    for _ in range(12):
        tree = variation.random_tree(random)
        simple = simplified(tree)
        assert simple.size <= tree.size
        smaller += simple.size < tree.size
        for found, wanted in zip(
            simple.value_and_slope(t, p), tree.value_and_slope(t, p), strict=True
        ):
            size = np.nan_to_num(np.abs(wanted))
            same = np.abs(found - wanted) <= 2e-3 * np.maximum(size, np.median(size))
            assert (same | np.isnan(wanted)).mean() > 0.99
    assert smaller >= 8


@pytest.mark.parametrize(
    ("formula", "other", "same"),
    [
        ("y_true/y_pred", "1.0005*y_true/y_pred", True),
        ("y_true/y_pred", "1.002*y_true/y_pred", False),
        # The same gradient, but another value.
        ("y_true/y_pred", "y_true/y_pred + 3", False),
        # The same value within the tolerance, but another gradient.
        ("1000 + y_true*y_pred", "1000 + y_true", False),
        # The same slope within the tolerance, but another gradient by the logits.
        ("2000*y_pred + y_true*y_pred", "2000*y_pred + y_true*sin(y_pred)", False),
        # They differ at p = 0 alone, and for a label that is neither 0 nor 1.
        ("y_pred/y_pred + y_true*y_pred", "1 + y_true*y_pred", False),
        ("square(y_true)/y_pred", "y_true/y_pred", False),
        # Not finite in the same places; nowhere.
        ("exp(exp(8*y_pred))", "exp(exp(8*y_pred))*1", True),
        ("exp(exp(8*y_pred))", "8*y_pred", False),
        ("exp(exp(1e4*y_pred + 9))", "exp(exp(1e4*y_pred + 9))*1", False),
    ],
)
def test_what_counts_as_the_same_loss(formula, other, same):
    assert is_same_loss(Expression.parse(formula), Expression.parse(other)) == same


def test_what_is_another_loss_is_not_shown(monkeypatch):
    wrong = Expression.parse("2*log(y_pred) - y_true")
    monkeypatch.setattr(simplification, "_by_algebra", lambda expression: wrong)
    expression = Expression.parse("log(y_pred*y_pred) - y_true + 0*y_pred")
    assert simplified(expression) == expression


@pytest.mark.parametrize("pole", ["square(square(1/y_pred))", "exp(1/sqrt(y_pred))"])
@pytest.mark.parametrize("rest", ["1000*y_true*y_pred", "y_true*log(y_pred)"])
def test_a_pole_does_not_hide_the_rest(pole, rest):
    """At p near 0 it is 1e32, whose rounding errors are not those of other points."""
    loss = Expression.parse(f"{pole} - {rest}")
    assert not is_same_loss(loss, Expression.parse(pole))
    assert "y_true" in simplified(loss).nodes


def test_without_sympy_constants_are_rounded_all_the_same(monkeypatch):
    def missing(self):
        raise MissingPackageError("sympy")

    monkeypatch.setattr(Expression, "simplify", missing)
    expression = Expression.parse("3.00002*y_true/y_pred - sin(cos(0*y_pred))")
    assert str(simplified(expression)) == "3*y_true/y_pred - 0.84"


@pytest.mark.parametrize(
    "formula",
    [
        "exp(exp(exp(exp(100))))*y_true + y_pred",
        "square(" * 40 + "3*y_pred" + ")" * 40 + "*y_true",
        "y_true/0/0/0/0/(y_pred - y_pred)*exp(exp(1000*y_pred))",
        "+".join(["sin(3.12345*y_pred/y_true)"] * (MAX_SIZE // 2)),
        "1",
    ],
    ids=["exp", "power", "poles", "size", "constant"],
)
def test_no_loss_is_an_error(formula):
    expression = Expression.parse(formula)
    assert simplified(expression) == expression


def test_a_limit_on_comparisons(monkeypatch):
    monkeypatch.setattr(simplification, "MAX_TRIALS", 0)
    expression = Expression.parse("3.0001*y_true/(y_pred + y_pred*0)")
    assert simplified.__wrapped__(expression) == expression.simplify()


def test_the_file_of_the_best_loss_has_it(tmp_path):
    result = search(GeneticProgramming(0, **TINY), by_hash, out=tmp_path, quiet=True)
    content = json.loads((tmp_path / "best.json").read_text())
    assert content["simplified"] == str(result.best_losses(1)[0].simplified)
    assert content["simplified"] == str(simplified(result.best))
    assert content["formula"] == str(result.best)

"""The checks that spare trainings."""

from dataclasses import replace

import numpy as np
import pytest
from search_tools import NGL

from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import PAPER, Screening
from nglkeras.search.known import cross_entropy
from nglkeras.search.screening import CHECKS, Screen, _alike, logits_gradient, with_checks

# For Adam.
SCALED = Screening(gradients="scaled")


class TestScreening:
    def test_the_papers_losses_pass(self):
        screen = Screen(SCALED)
        for name, formula in FORMULAS.items():
            assert screen.judge(Expression.parse(formula)).status == "new", name
            screen.remember(name, Expression.parse(formula))

    @pytest.mark.parametrize(
        ("formula", "status", "message"),
        [
            (FORMULAS["NGL"], "twin", "duplicate"),
            ("exp(2.4092 - (y_true + 1)*y_pred) - cos(cos(sin(y_pred)))", "twin", "equal"),
            # Twice the loss, and 3p, whose sum over the classes is constant.
            (f"2*({FORMULAS['NGL']}) + 3*y_pred", "twin", "gradient"),
            (f"1.5*({FORMULAS['NGL']}) - y_pred**2*0.01", "new", ""),
            ("y_true*y_pred", "discarded", "values below 1e-05"),
            ("y_true*y_pred*1e7 + 1", "discarded", "values beyond 100000"),
            ("exp(y_pred/y_true)", "discarded", "values beyond 100000"),
            ("y_pred**2 + y_true*0.1", "rejected", "its gradient does not favour the true class"),
            ("y_true*y_pred + 1", "rejected", "its gradient does not favour the true class"),
            ("2 - y_true*y_pred", "new", ""),
        ],
    )
    def test_verdicts(self, formula, status, message):
        screen = Screen(SCALED)
        screen.remember("ngl", NGL)
        verdict = screen.judge(Expression.parse(formula))
        assert (verdict.status, verdict.message) == (status, message)
        assert verdict.twin == ("ngl" if status == "twin" else "")

    @pytest.mark.parametrize(
        ("changes", "formula"),
        [
            ({"duplicates": False, "equals": False, "gradients": "off"}, FORMULAS["NGL"]),
            (
                {"equals": False, "gradients": "off"},
                "exp(2.4092 - (y_true + 1)*y_pred) - cos(cos(sin(y_pred)))",
            ),
            ({"gradients": "exact"}, f"2*({FORMULAS['NGL']})"),
            ({"rejection": False}, "y_true*y_pred + 1"),
            ({"bounds": None}, "y_true*(-y_pred)"),
        ],
    )
    def test_each_can_be_switched_off(self, changes, formula):
        screen = Screen(replace(SCALED, **changes))
        screen.remember("ngl", NGL)
        assert screen.judge(Expression.parse(formula)).status == "new"

    def test_exact_gradients_for_sgd(self):
        screen = Screen(Screening(gradients="exact"))
        screen.remember("ngl", NGL)
        verdict = screen.judge(Expression.parse(f"{FORMULAS['NGL']} + 3*y_pred"))
        assert (verdict.status, verdict.message) == ("twin", "gradient")

    @pytest.mark.parametrize("gradients", ["exact", "scaled"])
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("square(1/y_pred) - y_true*log(y_pred)", "square(1/y_pred) + y_true*log(y_pred)"),
            ("sin(square(1/y_pred)) - y_true*log(y_pred)", "sin(square(1/y_pred)) - 2*y_true"),
        ],
    )
    def test_a_pole_does_not_make_twins(self, gradients, one, other):
        screen = Screen(Screening(bounds=None, gradients=gradients, rejection=False))
        screen.remember("first", Expression.parse(one))
        assert screen.judge(Expression.parse(other)).status == "new"
        assert screen.judge(Expression.parse(f"{one} + 0")).twin == "first"

    def test_gradients_of_other_scales_are_no_twins(self):
        """Adam's ε tells them apart."""
        screen = Screen(SCALED)
        screen.remember("ce", cross_entropy(10))
        tiny = "-0.001*(y_true*log(y_pred))"
        assert screen.judge(Expression.parse(tiny)).status == "new"
        assert screen.judge(Expression.parse(f"1000*({tiny})")).message == "gradient"

    def test_beside_epsilon_scales_matter(self):
        screen = Screen(SCALED)
        screen.remember("small", Expression.parse("1 - 1e-3*(y_true*log(y_pred))"))
        assert screen.judge(Expression.parse("1 - 1e-6*(y_true*log(y_pred))")).status == "new"
        equal = screen.judge(Expression.parse("2 - 1e-3*(y_true*log(y_pred))"))
        assert (equal.twin, equal.message) == ("small", "gradient")

    @pytest.mark.parametrize("gradients", ["exact", "scaled"])
    def test_losses_without_gradient_are_twins_of_each_other_only(self, gradients):
        screen = Screen(Screening(gradients=gradients, rejection=False))
        screen.remember("ce", cross_entropy(10))
        flat = Expression.parse("y_true + (y_pred - y_pred)")
        assert screen.judge(flat).status == "new"
        screen.remember("flat", flat)
        other = screen.judge(Expression.parse("2*y_true + (y_pred - y_pred)"))
        assert (other.twin, other.message) == ("flat", "gradient")
        assert screen.judge(NGL).status == "new"

    def test_the_papers_search_screens_nothing_but_the_bounds(self):
        screen = Screen(PAPER)
        screen.remember("ngl", NGL)
        assert screen.judge(NGL).status == "new"
        assert screen.judge(Expression.parse("y_true*y_pred")).status == "discarded"

    def test_values_of_the_fresh_model_count(self):
        screen = Screen(values=lambda expression: np.array([1e9]))
        assert screen.judge(NGL).status == "discarded"

    def test_gradient_by_the_logits(self):
        z, t, h = np.random.default_rng(0).normal(size=(3, 4)), np.eye(4)[[0, 1, 3]], 1e-6

        def loss(z):
            p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
            return NGL(t, p).mean(-1)

        p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        for i in range(4):
            step = h * np.eye(4)[i]
            numeric = (loss(z + step) - loss(z - step)) / (2 * h)
            np.testing.assert_allclose(logits_gradient(NGL, t, p)[:, i], numeric, rtol=1e-6)

    @pytest.mark.parametrize("bounds", [(1.0,), (2, 1), (-1, 1), (1, np.nan), (0, np.inf), 3, "ab"])
    def test_bad_bounds(self, bounds):
        with pytest.raises(UserError, match="are not two finite numbers LOW and HIGH"):
            Screening(bounds=bounds)

    @pytest.mark.parametrize("name", ["duplicates", "equals", "rejection"])
    def test_a_switch_is_no_word(self, name):
        with pytest.raises(UserError, match=f"{name}='off' is neither True nor False"):
            Screening(**{name: "off"})

    @pytest.mark.parametrize("soft", [False, True])
    def test_powers_of_soft_labels_are_others(self, soft):
        screen = Screen(SCALED, soft_labels=soft)
        screen.remember("ce", cross_entropy(10))
        fourth = Expression.parse("-(y_true*y_true*y_true*y_true*log(y_pred))")
        assert screen.judge(fourth).status == ("new" if soft else "twin")

    def test_by_the_names_of_checks(self):
        assert with_checks(CHECKS) == Screening(gradients="exact")
        assert with_checks(["equals"]) == Screening(
            duplicates=False, gradients="off", rejection=False
        )
        with pytest.raises(UserError, match="unknown check 'all'; choose from: duplicates"):
            with_checks(["all"])

    def test_bad_gradients(self):
        with pytest.raises(UserError, match="unknown gradients 'some'; choose from: scaled"):
            Screening(gradients="some")


def test_values_are_alike_at_all_points_or_are_others():
    new = np.ones((2, 3))
    known = [np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]]), new, 2 * new]
    assert _alike(known, new) == [1]
    assert _alike(known, new, scales=np.array([1.0, 1.0, 2.0])) == [1, 2]

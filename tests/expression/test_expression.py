"""Losses as trees: parsing, printing, measuring, evaluating, simplifying, as Keras losses."""

import json
import time

import keras
import numpy as np
import pytest
from conftest import ROOT, to_numpy
from formulas import BEYOND, CHARACTERS, INVALID, VALID, hostile_texts
from matplotlib.figure import Figure

import nglkeras
from nglkeras import UserError, losses
from nglkeras.expression import MAX_SIZE, OPERATORS, Expression, algebra
from nglkeras.losses import FORMULAS

ORACLES = json.loads((ROOT / "tests/data/oracles.json").read_text())
NGL = Expression.parse(FORMULAS["NGL"])
T = np.eye(4)[[0, 2, 3]]
# None near 0, where the losses protect themselves in their own ways.
P = 0.025 + 0.9 * np.random.default_rng(0).dirichlet(np.ones(4), 3)


class TestFormulas:
    def test_the_issue_s_example_round_trips(self):
        text = "exp(2.4092 - y_pred*(1 + y_true)) - cos(cos(sin(y_pred)))"
        assert str(Expression.parse(text)) == text

    @pytest.mark.parametrize(("formula", "text"), VALID)
    def test_parses_and_prints(self, formula, text):
        expression = Expression.parse(formula)
        assert str(expression) == text
        assert Expression.parse(text) == expression

    @pytest.mark.parametrize(("formula", "message"), [*INVALID, *BEYOND])
    def test_mistakes_are_one_line(self, formula, message):
        with pytest.raises(UserError) as error:
            Expression.parse(formula)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 300

    def test_thousands_of_hostile_texts_neither_run_nor_hang_nor_overflow(self):
        """Random mixtures of Python's own pieces: a tree within the limits, or a UserError."""
        parsed = 0
        started = time.perf_counter()
        for text in hostile_texts(5000):
            try:
                expression = Expression.parse(text)
            except UserError:
                continue
            parsed += 1
            assert expression.size <= MAX_SIZE
            assert Expression.parse(str(expression)) == expression
        assert parsed > 10
        assert time.perf_counter() - started < 60

    @pytest.mark.parametrize("name", FORMULAS)
    def test_latex_can_be_drawn(self, name):
        latex = Expression.parse(FORMULAS[name]).to_latex()
        figure = Figure()
        figure.text(0, 0, f"${latex}$")
        figure.canvas.draw()

    def test_latex(self):
        latex = Expression.parse("log(y_pred - (-1))/2**2 - (y_true - 1e-7)*-y_pred").to_latex()
        assert latex == (r"\frac{\log(p - (-1))}{(2)^2} - (t - 1 \cdot 10^{-7}) \cdot (-p)")


class TestTrees:
    def test_measures(self):
        assert NGL.size == len(NGL) == 13
        assert NGL.height == 5
        assert NGL.has_both_terminals
        assert not Expression.parse("sin(y_pred)").has_both_terminals
        assert Expression.parse("y_pred").height == 0

    def test_is_a_value(self):
        again = Expression(NGL.nodes)
        assert again == NGL
        assert hash(again) == hash(NGL)
        with pytest.raises(AttributeError):
            NGL.nodes = ()

    def test_subtrees(self):
        assert str(NGL.subtree(1)) == "exp(2.4092 - y_pred*(1 + y_true))"
        assert NGL.subtree(0) == NGL
        with pytest.raises(UserError, match="no node 13"):
            NGL.subtree(13)

    @pytest.mark.parametrize(
        ("nodes", "message"),
        [
            ((), "not one whole tree"),
            (("add", "y_pred"), "not one whole tree"),
            (("y_pred", "y_true"), "not one whole tree"),
            (("tan", "y_pred"), "unknown operator or terminal 'tan'"),
            ((float("nan"),), "not within"),
            (("sin",) * 101 + ("y_pred",), "of height 101; at most 100"),
            (("sin",) * 1000 + ("y_pred",), "of 1001 nodes; at most 1000"),
        ],
    )
    def test_what_is_no_tree(self, nodes, message):
        with pytest.raises(UserError, match=message):
            Expression(nodes)

    def test_the_deepest_and_the_largest_have_formulas(self):
        deepest = Expression(("neg",) * 100 + (-1.5,))
        assert Expression.parse(str(deepest)) == deepest
        leaves = [(-0.1234567890123456,)] * 500
        while len(leaves) > 1:
            pairs = zip(leaves[::2], leaves[1::2], strict=False)
            rest = leaves[-1:] if len(leaves) % 2 else []
            leaves = [("add", *a, *b) for a, b in pairs] + rest
        largest = Expression(leaves[0])
        assert largest.size == 999
        assert Expression.parse(str(largest)) == largest

    def test_minus_zero_is_zero(self):
        assert str(Expression((-0.0,))) == "0"


class TestValues:
    @pytest.mark.parametrize("name", FORMULAS)
    def test_the_papers_losses_agree_with_ours(self, name):
        terms = Expression.parse(FORMULAS[name])(T, P)
        loss = losses.get(name, class_reduction="mean", dtype="float64")
        np.testing.assert_allclose(terms.mean(-1), to_numpy(loss.call(T, P)), rtol=3e-6)

    @pytest.mark.parametrize("operator", OPERATORS)
    def test_slopes_are_the_derivatives(self, operator):
        arguments = ", ".join(["y_pred**2 - 0.3", "y_pred + 1"][: OPERATORS[operator].arity])
        expression = Expression.parse(f"{operator}({arguments})")
        p, h = np.array([0.1, 0.4, 0.8]), 1e-6
        _, slope = expression.value_and_slope(np.zeros(3), p)
        numeric = (expression(np.zeros(3), p + h) - expression(np.zeros(3), p - h)) / (2 * h)
        np.testing.assert_allclose(slope, numeric, rtol=1e-6)

    def test_protected_at_the_ends(self):
        for formula in ("y_true/y_pred", "log(y_pred)", "sqrt(y_pred)", "y_pred/y_pred"):
            value, slope = Expression.parse(formula).value_and_slope(
                np.array([0.0, 1.0]), np.array([0.0, 1.0])
            )
            assert np.isfinite(value).all()
            assert np.isfinite(slope).all()

    def test_a_sample_with_infinities_of_both_signs_is_nan_without_a_warning(self):
        expression = Expression.parse("exp(1000*y_pred) - exp(1000*(1 - y_pred))")
        losses = expression.of_samples(np.eye(2), np.array([[1.0, 0.0], [0.5, 0.5]]))
        np.testing.assert_array_equal(losses, [np.nan, 0.0])

    def test_a_constant_has_the_shape_of_the_predictions(self):
        assert Expression.parse("1.5")(T, P).shape == P.shape


class TestSimplify:
    @pytest.mark.parametrize(
        ("formula", "simple"),
        [
            ("--y_pred - -y_true", "y_pred + y_true"),
            ("sin(y_pred)**2 + cos(y_pred)**2 + y_true", "y_true + 1"),
            ("sqrt(1.5 + 1.5)*y_pred*0", "0"),
            # Protected: p/p is 0 at p = 0, and log(exp(p)) is log(|exp(p)| + ε).
            ("y_pred/y_pred", "y_pred/y_pred"),
            ("log(exp(y_pred))", "log(exp(y_pred))"),
        ],
    )
    def test_simplifies(self, formula, simple):
        assert str(Expression.parse(formula).simplify()) == simple

    def test_means_the_same_and_is_no_larger(self):
        from nglkeras.search import Variation

        random_state = np.random.RandomState(0)
        variation = Variation(depths=(2, 3), max_size=14)
        smaller = 0
        for _ in range(15):
            expression = variation.random_tree(random_state)
            simple = expression.simplify()
            assert simple.size <= expression.size
            smaller += simple.size < expression.size
            # ε moves a little when terms do.
            np.testing.assert_allclose(simple(T, P), expression(T, P), rtol=1e-5, atol=1e-6)
        assert smaller >= 3

    def test_it_stops_after_too_many_calls(self, monkeypatch):
        expression = Expression.parse("+".join(["sin(y_pred)"] * 40))
        assert str(expression.simplify()) == "40*sin(y_pred)"
        monkeypatch.setattr(algebra, "MAX_CALLS", 1000)
        assert expression.simplify() is expression

    @pytest.mark.parametrize(
        "formula",
        [
            # A power of 3 with a billion digits, a number with more digits than there are atoms.
            "square(" * 40 + "3*y_pred" + ")" * 40,
            "exp(exp(exp(exp(100))))*y_true + y_pred",
            "square(" * 5 + "99999999*y_pred" + ")" * 5,
            # A fraction whose denominator has 300 digits.
            "y_true + square(square(cos(y_pred)*(1e-300 + y_true)))",
        ],
        ids=["power", "exp", "overflow", "fraction"],
    )
    def test_what_would_take_for_ever_is_left_alone(self, formula):
        expression = Expression.parse(formula)
        assert expression.simplify() is expression


class TestKerasLosses:
    def test_saves_and_loads_in_a_model(self, tmp_path):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "softmax")])
        model.compile(loss=NGL.to_loss(class_reduction="sum"))
        model.optimizer.build(model.trainable_variables)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert loaded.loss.formula == FORMULAS["NGL"]
        assert loaded.loss.class_reduction == "sum"
        x = np.ones((3, 3), "float32")
        assert loaded.evaluate(x, T, verbose=0) == model.evaluate(x, T, verbose=0)

    def test_is_the_same_loss_as_ngl(self):
        expected = to_numpy(losses.NGL(reduction=None)(T, P))
        np.testing.assert_allclose(to_numpy(NGL.to_loss(reduction=None)(T, P)), expected, rtol=1e-6)

    def test_config_is_complete(self):
        loss = NGL.to_loss(from_logits=True, label_smoothing=0.1, name="mine")
        again = losses.FormulaLoss.from_config(loss.get_config())
        assert again.get_config() == loss.get_config()
        assert loss.get_config()["formula"] == FORMULAS["NGL"]

    def test_bad_formula(self):
        with pytest.raises(UserError, match="unknown name 'q'"):
            losses.FormulaLoss("q + 1")


class TestFiles:
    def test_there_and_back(self, tmp_path):
        path = tmp_path / "best.json"
        losses.save_loss(path, FORMULAS["NGL"], class_reduction="sum", fitness=[0.9])
        loss = nglkeras.load_loss(path, from_logits=True)
        assert loss.formula == FORMULAS["NGL"]
        assert (loss.class_reduction, loss.from_logits) == ("sum", True)
        assert json.loads(path.read_text())["fitness"] == [0.9]
        assert [path] == list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "cannot read the loss file"),
            ("{", "is no loss file: wanted is JSON with formula"),
            ("[1]", "is no loss file"),
            ('{"formula": "y_pred"}', "is no loss file"),
            ('{"formula": "os.x", "class_reduction": "mean"}', "is not part of a formula"),
        ],
    )
    def test_mistakes(self, tmp_path, content, message):
        path = tmp_path / "best.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=message):
            nglkeras.load_loss(path)

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(UserError, match="cannot write to"):
            losses.save_loss(tmp_path / "no" / "best.json", "y_pred")


class TestCharacters:
    @pytest.mark.parametrize(("formula", "character", "position", "advice"), CHARACTERS)
    def test_is_named_with_its_place_and_what_to_write(self, formula, character, position, advice):
        with pytest.raises(UserError) as error:
            Expression.parse(formula)
        assert f"cannot have {character}, as at position {position}: {advice}" in str(error.value)
        assert str(error.value).isprintable()

    def test_a_byte_order_mark_at_the_start_counts_for_nothing(self):
        assert str(Expression.parse("\ufeff1 - y_pred")) == "1 - y_pred"
        with pytest.raises(UserError, match="leave it out"):
            Expression.parse("1 - \ufeffy_pred")

"""The loss that runs any expression: the same numbers as the expression itself, traced once."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import to_numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.losses.curves import value_and_gradient
from nglkeras.losses.interpreted import MAX_INSTRUCTIONS, InterpretedLoss, assemble
from nglkeras.search import Variation

CLASSES = 5
RANDOM = np.random.default_rng(0)
P = np.concatenate([RANDOM.dirichlet(np.ones(CLASSES), 30), np.eye(CLASSES)[[0, 1]]])
T = np.eye(CLASSES)[RANDOM.integers(0, CLASSES, len(P))]
P, T = P.astype("float32"), T.astype("float32")
INSIDE = P[:30]
# NumPy in single precision: as sensitive to rounding as the losses are.
SINGLE = SimpleNamespace(**vars(np))


@pytest.fixture(scope="module")
def interpreted():
    return InterpretedLoss()


def both(loss, p=P, t=T):
    """Loss per sample and its gradient by the predictions."""
    value, gradient = value_and_gradient(lambda x: loss.call(t, x), p)
    return to_numpy(value), to_numpy(gradient)


class TestPrograms:
    @pytest.mark.parametrize("name", FORMULAS)
    def test_the_papers_losses(self, interpreted, name):
        expression = Expression.parse(FORMULAS[name])
        interpreted.memory.store(expression)
        # Where |x| has a kink, at p = 0, every backend has its own slope for it.
        value, gradient = both(interpreted, INSIDE, T[:30])
        expected, slope = both(expression.to_loss(), INSIDE, T[:30])
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert np.abs(gradient - slope).max() <= 1e-5 * np.abs(slope).max()

    @pytest.mark.parametrize("formula", ["y_pred", "y_true", "2.5"])
    def test_a_single_leaf(self, interpreted, formula):
        expression = Expression.parse(formula)
        interpreted.memory.store(expression)
        value, _ = both(interpreted)
        np.testing.assert_allclose(value, expression(T, P).mean(-1), rtol=1e-6)

    def test_the_largest_trees_of_the_paper_fit(self):
        balanced = ["1.5"] * 32
        while len(balanced) > 1:
            balanced = [f"({a}*{b})" for a, b in zip(balanced[::2], balanced[1::2], strict=True)]
        assert assemble(Expression.parse(balanced[0])).length == 63

    def test_one_that_is_too_large(self):
        expression = Expression(("sin",) * 80 + ("y_pred",))
        assert assemble(expression).length == 80 < MAX_INSTRUCTIONS
        wide = Expression.parse("+".join(["sin(y_pred)"] * 80))
        with pytest.raises(UserError, match=f"the interpreter takes {MAX_INSTRUCTIONS}"):
            assemble(wide)

    def test_bad_reduction(self):
        with pytest.raises(UserError, match="unknown class_reduction 'max'"):
            InterpretedLoss("max")

    def test_sum_over_classes(self):
        values = []
        for reduction in ("mean", "sum"):
            loss = InterpretedLoss(reduction)
            loss.memory.store(Expression.parse(FORMULAS["NGL"]))
            values.append(to_numpy(loss.call(T, P)))
        np.testing.assert_allclose(values[1], CLASSES * values[0], rtol=1e-5)

    @pytest.mark.parametrize(
        "options",
        [
            {"from_logits": True},
            {"class_weights": (1.0, 2.0, 3.0, 4.0, 5.0), "ignore_class": 2},
            {"head": "sigmoid"},
            {"head": "sigmoid", "from_logits": True, "class_weights": (1.0, 3.0)},
            {"head": "sigmoid", "ignore_class": 0},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("name", ["NGL", "Baikal"])
    def test_heads_and_options_are_those_of_all_losses(self, name, options):
        loss, expression = InterpretedLoss(**options), Expression.parse(FORMULAS[name])
        loss.memory.store(expression)
        value, gradient = both(loss, INSIDE, T[:30])
        expected, slope = both(expression.to_loss(**options), INSIDE, T[:30])
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert np.abs(gradient - slope).max() <= 1e-5 * np.abs(slope).max()

    def test_sample_weights_and_dense_labels(self, interpreted):
        interpreted.memory.store(Expression.parse(FORMULAS["NGL"]))
        t, p = T[:30].reshape(5, 3, 2, CLASSES), P[:30].reshape(5, 3, 2, CLASSES)
        per_pixel = to_numpy(interpreted.call(t, p))
        assert per_pixel.shape == (5, 3, 2)
        weights = np.zeros((5, 3, 2), "float32")
        weights[0, 0, 0] = 30
        value = float(interpreted(t, p, sample_weight=weights))
        assert value == pytest.approx(per_pixel[0, 0, 0], rel=1e-5)


class TestInFit:
    def test_traced_once_for_all_losses(self):
        loss = InterpretedLoss()
        memory = loss.memory
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(inputs))
        model.memory = memory
        model.compile("adam", loss)
        x = RANDOM.normal(size=(len(T), 4)).astype("float32")
        values, traces = [], []
        for name in ("NGL", "Baikal", "f4", "NGL"):
            memory.store(Expression.parse(FORMULAS[name]))
            values.append(model.evaluate(x, T, verbose=0))
            traces.append(loss.traces)
            direct = Expression.parse(FORMULAS[name]).to_loss()(T, model.predict(x, verbose=0))
            assert values[-1] == pytest.approx(float(direct), rel=1e-5)
        if keras.backend.backend() != "torch":  # which runs its steps eagerly
            assert len(set(traces)) == 1
        assert values[0] == values[3]


def tree_of(seed):
    """A tree that variation makes: a random one after some crossovers and mutations."""
    random = np.random.RandomState(seed)
    variation = Variation()
    tree = variation.random_tree(random)
    for _ in range(random.randint(4)):
        change = random.randint(3)
        if change == 0:
            tree = variation.crossover(tree, variation.random_tree(random), random)
        else:
            mutate = (variation.subtree_mutation, variation.node_mutation)[change - 1]
            tree = mutate(tree, random)
    return tree


@settings(
    # JAX compiles each of a tree's operations: minutes for as many trees.
    max_examples=150 if keras.backend.backend() == "tensorflow" else 30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**31))
def test_every_tree_is_valid_and_means_the_same_everywhere(interpreted, seed):
    tree = tree_of(seed)
    assert Variation().is_valid(tree)
    assert Expression.parse(str(tree)) == tree

    interpreted.memory.store(tree)
    value, gradient = both(interpreted)
    direct, direct_gradient = both(tree.to_loss())
    exact, slope = tree.value_and_slope(T, P)
    single, single_slope = tree.value_and_slope(T, P, SINGLE)
    samples = _settled(single, exact)
    # Relative to the terms: their mean over the classes may cancel.
    scale = np.abs(exact[samples]).mean(-1) + 1e-3
    for values in (value, direct):
        assert (np.abs(values[samples] - exact[samples].mean(-1)) <= 1e-3 * scale).all()
    samples &= _settled(single_slope, slope) & (P > 0).all(axis=-1)
    scale = np.abs(slope).max(-1, keepdims=True)[samples] / CLASSES + 1e-3
    # Reverse mode rounds at more places than a pair of value and slope does.
    for gradients, tolerance in ((gradient, 1e-3), (direct_gradient, 3e-3)):
        difference = gradients[samples] - slope[samples] / CLASSES
        assert (np.abs(difference) <= tolerance * scale).all()


def _settled(single, exact):
    """Samples in which rounding to single precision has left every class as it is."""
    with np.errstate(all="ignore"):
        near = np.abs(single - exact) <= 1e-4 * np.abs(exact) + 1e-7
    return (near & np.isfinite(exact) & (np.abs(exact) < 1e6)).all(axis=-1)


def test_most_random_trees_are_settled():
    """The property above is not empty: single precision decides few samples."""
    with np.errstate(all="ignore"):
        shares = [
            _settled(
                tree_of(seed).value_and_slope(T, P, SINGLE)[1],
                tree_of(seed).value_and_slope(T, P)[1],
            ).mean()
            for seed in range(60)
        ]
    assert np.mean(shares) > 0.6

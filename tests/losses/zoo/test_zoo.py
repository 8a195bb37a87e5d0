"""Published losses of others: values from their sources, identities, extremes, gradients."""

import doctest
import importlib
import pkgutil
import re

import keras
import numpy as np
import pytest
from conftest import ROOT, needs_tensorflow, to_numpy

from nglkeras import UserError, losses
from nglkeras.losses import zoo
from nglkeras.losses.curves import gradient_at_uniform, value_and_gradient

T, P = np.float32([[1, 0, 0]]), np.float32([[0.7, 0.2, 0.1]])
SETS = list(losses.TAYLOR_GLO)
CLASSES = {
    "CE": losses.Crossentropy,
    "Focal": losses.Focal,
    "Poly-1": losses.Poly1,
    "GCE": losses.GeneralizedCrossentropy,
    "MAE": losses.MeanAbsoluteError,
    "ASL (single-label)": losses.AsymmetricSingleLabel,
    "ASL (multi-label)": losses.AsymmetricMultiLabel,
    "CSE-Autoloss-B": losses.CSEAutolossB,
    "SparseLSR": losses.SparseLSR,
    "TaylorGLO": losses.TaylorGLO,
}
SIGMOID = ("ASL (multi-label)", "CSE-Autoloss-B")
SOFTMAX = [name for name in CLASSES if name not in SIGMOID]
random = np.random.default_rng(0)
LOGITS = random.normal(scale=2, size=(6, 5)).astype("float32")
LABELS = random.integers(0, 5, 6)
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)


def one_hot(labels, classes=5):
    return np.eye(classes, dtype="float32")[labels]


def value(loss, t=T, p=P, **arguments):
    return to_numpy(loss(t, p, **arguments))[0]


class TestValues:
    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            (losses.crossentropy, 0.356675),
            (losses.poly1, 0.956675),
            (losses.generalized_crossentropy, 0.315634),
            (losses.mean_absolute_error, 0.6),
            (losses.asymmetric_single_label, 0.332990),
            (losses.sparse_lsr, 0.459371),
        ],
    )
    def test_of_a_softmax(self, function, expected):
        for argument in ({}, {"from_logits": True}):
            found = value(function, p=np.log(P) if argument else P, **argument)
            assert found == pytest.approx(expected, abs=6e-7)

    @pytest.mark.parametrize(
        ("cls", "constant", "bad", "good"),
        [
            (losses.GeneralizedCrossentropy, "q", (0, -1, 2, np.nan), (0.1, 1)),
            (losses.SparseLSR, "smoothing", (-0.1, 1), (0, 0.5)),
            (losses.Focal, "gamma", (-1, np.nan), (0, 5)),
            (losses.AsymmetricMultiLabel, "margin", (-0.1, 1), (0, 0.2)),
        ],
    )
    def test_a_constant_beyond_its_interval_is_refused(self, cls, constant, bad, good):
        for number in bad:
            with pytest.raises(UserError, match=rf"{constant}={number}.* is not (in|finite|a )"):
                cls(**{constant: number})
        for number in good:
            cls(**{constant: number})

    @pytest.mark.parametrize(
        ("function", "arguments", "expected"),
        [
            (losses.asymmetric_multi_label, {}, 0.521966),
            (losses.cse_autoloss_b, {}, 0.410572),
            # Without the weights of labels 0 and 1.
            (losses.cse_autoloss_b, {"alpha": 0.5}, 1.629844 / 2),
        ],
    )
    def test_of_sigmoids(self, function, arguments, expected):
        z = np.log(P)
        assert value(function, p=z, from_logits=True, **arguments) == pytest.approx(
            expected, abs=6e-7
        )
        assert value(function, p=1 / (1 + np.exp(-z)), **arguments) == pytest.approx(
            expected, abs=1e-6
        )

    def test_poly1_with_soft_labels(self):
        logits = np.float32([[4, 2, 1], [0, 5, 1]])
        labels = np.float32([[1, 0, 0], [0, 0.8, 0.2]])
        found = to_numpy(losses.poly1(labels, logits, from_logits=True))
        assert found == pytest.approx([0.4823, 1.2567], abs=6e-5)

    def test_crossentropy_is_that_of_keras(self):
        t = one_hot(LABELS)
        keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
        ours = losses.Crossentropy(from_logits=True, label_smoothing=0.1)
        assert to_numpy(ours(t, LOGITS)) == pytest.approx(to_numpy(keras_loss(t, LOGITS)), rel=1e-6)
        keras_loss = keras.losses.BinaryCrossentropy(from_logits=True)
        ours = losses.Crossentropy(head="sigmoid", from_logits=True)
        assert to_numpy(ours(t, LOGITS)) == pytest.approx(to_numpy(keras_loss(t, LOGITS)), rel=1e-6)


class TestIdentities:
    @pytest.mark.parametrize("from_logits", [False, True])
    @pytest.mark.parametrize(
        ("function", "arguments", "factor"),
        [
            (losses.poly1, {"epsilon": 0}, 1),
            (losses.focal, {"alpha": 1, "gamma": 0}, 1),
            (losses.generalized_crossentropy, {"q": 1e-5}, 1),
            (losses.asymmetric_single_label, {"smoothing": 0}, 1),
            (losses.sparse_lsr, {"smoothing": 0}, 1),
        ],
    )
    def test_special_cases_are_the_crossentropy(self, function, arguments, factor, from_logits):
        t, x = one_hot(LABELS), LOGITS if from_logits else PROBABILITIES
        found = to_numpy(function(t, x, from_logits=from_logits, **arguments))
        expected = to_numpy(losses.crossentropy(t, x, from_logits=from_logits))
        np.testing.assert_allclose(found, factor * expected, rtol=1e-4)

    def test_generalized_crossentropy_ends_in_half_the_absolute_error(self):
        found = losses.generalized_crossentropy(one_hot(LABELS), PROBABILITIES, q=1)
        expected = np.abs(one_hot(LABELS) - PROBABILITIES).sum(-1)
        np.testing.assert_allclose(to_numpy(found), expected / 2, rtol=1e-5)
        found = losses.mean_absolute_error(one_hot(LABELS), PROBABILITIES)
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5)

    def test_sparse_label_smoothing_of_two_classes_is_label_smoothing(self):
        t, p = one_hot([0, 1], 2), np.float32([[0.7, 0.3], [0.9, 0.1]])
        expected = losses.crossentropy(t, p, label_smoothing=0.3)
        found = losses.sparse_lsr(t, p, smoothing=0.3)
        np.testing.assert_allclose(to_numpy(found), to_numpy(expected), rtol=1e-6)

    def test_the_asymmetric_loss_without_asymmetry_is_the_binary_crossentropy(self):
        t = np.float32([[1, 0, 1, 1, 0]])
        found = value(
            losses.asymmetric_multi_label,
            t,
            LOGITS[:1],
            from_logits=True,
            gamma_positive=0,
            gamma_negative=0,
            margin=0,
        )
        binary = losses.crossentropy(t, LOGITS[:1], head="sigmoid", from_logits=True)
        assert found == pytest.approx(5 * to_numpy(binary)[0], rel=1e-5)

    def test_below_the_margin_a_label_0_costs_nothing(self):
        found = value(losses.asymmetric_multi_label, np.float32([[0, 0]]), np.float32([[0.04, 0]]))
        assert found == 0


def printed(h, t, p, ops=keras.ops):
    """TaylorGLO as its authors print it."""
    a, b = t - h[0], p - h[1]
    terms = h[2] * b + h[3] * b**2 + h[4] * b**3
    terms += h[5] * a * b + h[6] * a * b**2 + h[7] * a**2 * b
    return -ops.sum(terms, axis=-1)


class TestTaylorGLO:
    @pytest.mark.parametrize(("name", "expected"), [*zip(SETS, [26905.80, 14.89186], strict=True)])
    def test_the_printed_form_has_the_printed_value(self, name, expected):
        h = losses.TAYLOR_GLO[name]
        found = printed(h, T.astype("float64"), P.astype("float64"), np)
        assert found[0] == pytest.approx(expected, rel=3e-7)

    @needs_tensorflow  # JAX and PyTorch through Keras keep to float32
    @pytest.mark.parametrize("parameters", [*SETS, (0.5, 0.2, -1, 3, 0.7, 2, -0.3, 0.9)])
    def test_differs_from_the_printed_form_by_a_constant(self, parameters):
        h = losses.TAYLOR_GLO.get(parameters, parameters)
        t, p = np.eye(3)[[0, 0, 2]], np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0, 1, 0]])
        form, of_form = value_and_gradient(lambda p: printed(h, t, p), p)
        found, gradient = value_and_gradient(
            lambda p: losses.taylor_glo(t, p, parameters=parameters), p
        )
        np.testing.assert_allclose(gradient, of_form, rtol=1e-9, atol=1e-9)
        # What is left of the printed form at p = 0.
        constant = printed(h, t, 0 * t, np)
        np.testing.assert_allclose(found + constant, form, rtol=1e-12)

    @pytest.mark.parametrize("name", SETS)
    def test_float32_has_the_digits_that_the_printed_form_loses(self, name):
        h, t = losses.TAYLOR_GLO[name], one_hot(LABELS)
        wide = printed(h, t, PROBABILITIES.astype("float64"), np) - printed(h, t, 0.0 * t, np)
        found = to_numpy(losses.taylor_glo(t, PROBABILITIES, parameters=name))
        np.testing.assert_allclose(found, wide, rtol=1e-6)

    def test_parameters_of_a_search_may_be_an_array(self):
        loss = losses.TaylorGLO(np.arange(8, dtype="float32"))
        assert loss.get_config()["parameters"] == [*map(float, range(8))]

    @pytest.mark.parametrize(
        "parameters", ["MNIST", (1, 2, 3), [*range(7), "8"], np.eye(8), np.array(1.0), None]
    )
    def test_bad_parameters(self, parameters):
        with pytest.raises(UserError, match="eight numbers h0 to h7 nor one of: LossFromMNIST"):
            losses.TaylorGLO(parameters)


class TestExtremes:
    @pytest.mark.parametrize("exponents", [(0.5, 0.5), (0, 0), (3, 2)])
    @pytest.mark.parametrize("name", ["ASL (single-label)", "ASL (multi-label)"])
    def test_other_exponents_are_finite_too(self, name, exponents):
        x = np.float32([[1, 0, 0], [0, 1, 0]])
        loss = CLASSES[name](*exponents)
        _, gradient = value_and_gradient(lambda x: loss.call(one_hot([0, 0], 3), x), x)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", SIGMOID)
def test_losses_of_sigmoids_take_no_other_head_and_no_class_indices(name):
    with pytest.raises(UserError, match="unknown head 'softmax'; choose from: sigmoid"):
        CLASSES[name](head="softmax")
    with pytest.raises(UserError, match="sparse=True is of a softmax"):
        CLASSES[name](sparse=True)


@needs_tensorflow
@pytest.mark.parametrize("module", [info.name for info in pkgutil.iter_modules(zoo.__path__)])
def test_docstring_examples(module):
    assert doctest.testmod(importlib.import_module(f"nglkeras.losses.zoo.{module}")).failed == 0


# A row of docs/zoo.md with a name and, in its last cells, numbers for 10 and 100 classes.
DOCUMENTED = re.findall(
    r"^\| (.+?)(?: \(`(\w+)`\))? \|(?:.*\|)? ([\d.]+) \| ([\d.]+) \|$",
    (ROOT / "docs/zoo.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


class TestDocument:
    def test_has_every_loss(self):
        names = {name: kind for name, kind, *_ in DOCUMENTED}
        assert names.keys() >= CLASSES.keys()
        for name, loss in CLASSES.items():
            assert names[name] == loss.__name__

    @pytest.mark.parametrize(("name", "kind", "of_10", "of_100"), DOCUMENTED)
    def test_factors_on_the_learning_rate_are_those_of_the_code(self, name, kind, of_10, of_100):
        # The rows CE and Focal are Keras' losses.
        keras_row = name in ("CE", "Focal")
        loss = CLASSES[name]() if keras_row else losses.get(name, class_reduction="sum")
        assert kind in ("", type(loss).__name__)
        for classes, factor in ((10, of_10), (100, of_100)):
            reference = gradient_at_uniform(losses.Crossentropy(), classes)[0]
            found = gradient_at_uniform(loss, classes)[0] / reference
            assert found == pytest.approx(float(factor), rel=5e-3)

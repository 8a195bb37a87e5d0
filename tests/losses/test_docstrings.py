"""What the losses' docstrings say about their scale is what they compute."""

import inspect
import re
from decimal import Decimal

import keras
import numpy as np
import pytest
from conftest import needs_tensorflow, to_numpy
from keras import ops

from nglkeras import losses
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.curves import value_and_gradient

SCALE = re.compile(
    r"With 10 classes the value is (?P<uniform>\S+) for a uniform prediction, (?P<wrong>\S+) for "
    r"a certain and wrong one, (?:and least for a certain and right one: (?P<best>\S+)\.|"
    r"(?P<right>\S+) for a certain and right one, and least at p = (?P<p10>\S+): "
    r"(?P<least10>\S+)\. With 2 classes it is least at p = (?P<p2>\S+): (?P<least2>\S+)\.) "
    r"The gradient of a uniform prediction is (?P<g2>\S+), (?P<g10>\S+) and (?P<g100>\S+) times "
    r"cross entropy's with 2, 10 and 100 classes"
    r"(?:; with `class_reduction=\"sum\"` it is (?P<s2>\S+), (?P<s10>\S+) and (?P<s100>\S+) "
    r"times)?\. Plain SGD needs"
)
OF_OUTPUTS = re.compile(
    r"At p = 0\.5 the value of an output is (?P<half1>\S+) for label 1 and (?P<half0>\S+) for "
    r"label 0; if certain it is 0 where right, and (?P<wrong1>\S+) and (?P<wrong0>\S+) where "
    r"wrong\. The gradient at p = 0\.5 is (?P<g1>\S+) and (?P<g0>\S+) times binary cross "
    r"entropy's\. Plain SGD needs"
)
PUBLIC = [getattr(losses, name) for name in losses.__all__]
CLASSES = [c for c in PUBLIC if isinstance(c, type) and issubclass(c, FunctionLoss)]
CLASSES.remove(losses.FormulaLoss)
# Its docstring refers to Dice.
CLASSES.remove(losses.SparseDice)
CROSS_ENTROPY = losses.Crossentropy()


def is_of_outputs(cls):
    return getattr(cls(), "head", "softmax") == "sigmoid" and cls is not losses.BinaryNGL


def named(classes):
    return {"argvalues": classes, "ids": [cls.__name__ for cls in classes]}


def numbers_of(pattern, text):
    found = pattern.search(" ".join(text.split()))
    assert found, f"no scale in: {text[:100]}"
    return {name: number for name, number in found.groupdict().items() if number is not None}


def assert_agree(printed, measured):
    """Each printed number is the measured one, rounded."""
    assert printed.keys() == measured.keys()
    for name, text in printed.items():
        value = measured[name]
        last_digit = Decimal(10) ** Decimal(text).as_tuple().exponent
        assert abs(Decimal(text) - Decimal(float(value))) <= last_digit * Decimal("0.501"), name
        assert float(text) == pytest.approx(value, rel=0.06, abs=1e-4), name


def pixels(p, classes):
    """An image with one pixel of each class, whose true class has the probability p."""
    p = np.reshape(p, (-1, 1, 1))
    eye = np.eye(classes)
    return p * eye + (1.0 - p) * (1.0 - eye) / (classes - 1)


def labels_for(loss, classes):
    # The losses for class indices have no such option.
    is_sparse = loss.get_config().get("sparse", True)
    return (np.arange(classes) if is_sparse else np.eye(classes))[None]


def on_images(loss, p):
    """Value of each image of `pixels`."""
    classes = p.shape[-1]
    values = to_numpy(loss.call(np.repeat(labels_for(loss, classes), len(p), 0), p))
    return values if values.ndim == 1 else values.mean(1)


def factors(loss, names):
    """Size of the gradient of a uniform prediction, relative to cross entropy's."""
    found = []
    for classes in (2, 10, 100):
        gradients = [
            value_and_gradient(
                lambda z, f=f, labels=labels: ops.mean(f.call(labels, ops.softmax(z))),
                np.zeros((1, classes, classes)),
            )[1]
            for f, labels in (
                (loss, labels_for(loss, classes)),
                (CROSS_ENTROPY, np.eye(classes)[None]),
            )
        ]
        found.append(np.linalg.norm(gradients[0]) / np.linalg.norm(gradients[1]))
    return dict(zip(names, found, strict=True))


def least(loss, classes):
    p = np.linspace(0.0, 1.0, 10001)
    values = on_images(loss, pixels(p, classes))
    return p[values.argmin()], values.min()


def scale(loss):
    """The numbers of `SCALE`."""
    certain = np.stack([np.eye(10), np.roll(np.eye(10), 1, axis=0)])
    right, wrong = on_images(loss, certain)
    (p10, least10), (p2, least2) = least(loss, 10), least(loss, 2)
    found = {"uniform": on_images(loss, pixels(0.1, 10))[0], "wrong": wrong}
    found |= factors(loss, ("g2", "g10", "g100"))
    if p10 == p2 == 1.0:
        found["best"] = right
    else:
        found |= {"right": right, "p10": p10, "least10": least10, "p2": p2, "least2": least2}
    if getattr(loss, "class_reduction", "sum") == "mean":
        loss = type(loss)(class_reduction="sum")
        found |= factors(loss, ("s2", "s10", "s100"))
    return found


def scale_of_outputs(loss):
    """The numbers of `OF_OUTPUTS`."""
    y = np.array([[1.0], [0.0]])
    half, right, wrong = (to_numpy(loss.call(y, p)) for p in (np.full((2, 1), 0.5), y, 1.0 - y))
    np.testing.assert_allclose(right, 0.0, atol=1e-6)
    own, binary = (
        value_and_gradient(lambda z, f=f: f.call(y, ops.sigmoid(z)), np.zeros((2, 1)))[1]
        for f in (loss, losses.Crossentropy(head="sigmoid"))
    )
    names = ("half1", "half0", "wrong1", "wrong0", "g1", "g0")
    return dict(zip(names, (*half, *wrong, *(own / binary).ravel()), strict=True))


# Float64 resolves flat minima; JAX and PyTorch through Keras keep to float32.
@needs_tensorflow
class TestScale:
    @pytest.mark.parametrize("cls", **named([c for c in CLASSES if not is_of_outputs(c)]))
    def test_of_a_softmax(self, cls):
        printed = numbers_of(SCALE, cls.__doc__)
        assert printed == numbers_of(SCALE, cls.function.__doc__)
        measured = scale(losses.NGL() if cls is losses.BinaryNGL else cls())
        assert_agree(printed, measured)

    @pytest.mark.parametrize("cls", **named([c for c in CLASSES if is_of_outputs(c)]))
    def test_of_independent_outputs(self, cls):
        assert_agree(numbers_of(OF_OUTPUTS, cls.__doc__), scale_of_outputs(cls()))


FUNCTIONS = [f for f in PUBLIC if callable(f) and getattr(f, "text", None)]


@pytest.mark.parametrize("function", **named(FUNCTIONS))
def test_returns_what_it_says(function):
    options = {"formula": "y_pred - y_true"} if function is losses.formula_loss else {}
    indices = np.arange(24).reshape(2, 3, 4) % 2
    # The losses for class indices have no such option.
    is_sparse = "sparse" not in inspect.signature(function).parameters
    is_sparse &= function is not losses.binary_ngl
    labels = indices if is_sparse else np.eye(2)[indices]
    values = function(labels, np.full((2, 3, 4, 2), 0.5, "float32"), **options)
    of_images = values.shape == (2,)
    assert of_images or values.shape == (2, 3, 4)
    says = function.__doc__.partition("\nReturns:\n")[2]
    assert says.startswith(f"    One value per {'image' if of_images else 'sample'}")
    assert keras.backend.standardize_dtype(values.dtype) == "float32"

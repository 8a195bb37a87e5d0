"""The shape of a formula, computed without Keras, is that of the loss."""

import numpy as np
import pytest
from conftest import to_numpy

from nglkeras import UserError, losses
from nglkeras.experiments.verification.shapes import shape
from nglkeras.losses.curves import size_at_uniform


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("name", losses.FORMULAS)
def test_the_gradient_is_that_of_the_loss(name, classes, reduction):
    loss = losses.get(name, class_reduction=reduction)
    ratio = size_at_uniform(loss, classes) / size_at_uniform(losses.Crossentropy(), classes)
    assert shape(name).gradient(classes, reduction) == pytest.approx(ratio, rel=1e-4)


def test_values_and_minimum_are_those_of_the_loss():
    ngl, p = shape("NGL"), np.array([0.1, 0.4, 0.9])
    rest = np.repeat((1 - p)[:, None] / 9, 9, axis=1)
    labels = np.eye(10)[[0, 0, 0]]
    values = losses.NGL(dtype="float64").call(labels, np.column_stack([p, rest]))
    np.testing.assert_allclose(ngl.value(p, 10), to_numpy(values), rtol=1e-6)
    assert ngl.uniform(10) == pytest.approx(ngl.value(p, 10)[0])
    # Paper A, figure 1.
    assert ngl.minimum(2) == (pytest.approx(0.566, abs=1e-3), pytest.approx(4.7652, abs=1e-4))


def test_a_name_without_a_formula_is_refused():
    with pytest.raises(UserError, match="Dice"):
        shape("Dice")

"""The accuracy of outputs, of one class among several or of one unit."""

import numpy as np
import pytest

from nglkeras.training.measuring import accuracy


@pytest.mark.parametrize(
    ("labels", "outputs", "share"),
    [
        ([[1, 0], [0, 1], [0, 1]], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], 2 / 3),
        ([[1], [0], [0], [1]], [[0.9], [0.8], [0.1], [0.2]], 0.5),
    ],
    ids=["classes", "one unit"],
)
def test_accuracy(labels, outputs, share):
    batches = [(np.array(labels, float), np.array(outputs))]
    assert accuracy(batches) == pytest.approx(share)
    assert accuracy(batches * 2) == pytest.approx(share)

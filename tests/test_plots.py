"""Figures: gradients that are gradients, files that can be made again."""

import numpy as np
import pytest

from nglkeras import losses, plots
from nglkeras.plots import value_and_gradient


def test_gradient_is_the_slope():
    p = np.linspace(0.05, 0.95, 50, dtype="float32")
    for name in plots.CURVES:
        function = plots.binary(losses.get(name))
        _, gradient = value_and_gradient(function, p)
        h = 1e-3
        slope = (
            value_and_gradient(function, p + h)[0] - value_and_gradient(function, p - h)[0]
        ) / (2 * h)
        np.testing.assert_allclose(gradient, slope, atol=0.02 * max(1, np.abs(slope).max()))


def test_figure1_is_the_term_of_the_true_class():
    p = np.linspace(0, 1, 11, dtype="float32")
    value, gradient = value_and_gradient(plots.true_class_term(losses.NGL()), p)
    np.testing.assert_allclose(value, np.exp(2.4092 - 2 * p) - np.cos(np.cos(np.sin(p))), rtol=1e-5)
    expected = -2 * np.exp(2.4092 - 2 * p) - np.sin(np.cos(np.sin(p))) * np.sin(np.sin(p)) * np.cos(
        p
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [plots.figure1, plots.figure_b2])
def test_files_are_the_same_every_time(make, tmp_path):
    first = [path.read_bytes() for path in plots.save(make(), tmp_path / "a", "figure")]
    again = [path.read_bytes() for path in plots.save(make(), tmp_path / "b", "figure")]
    assert first == again
    assert first[0].startswith(b"\x89PNG")
    assert b"<svg" in first[1]


def test_reconstructions_are_daggered():
    titles = [axis.get_title() for axis in plots.figure_b2().axes if axis.get_title()]
    assert titles == ["CE", "f1†", "f2†", "f3†", "f4", "f5 (NGL)"]

"""Draw losses and their gradients over one prediction of a binary problem."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np

from nglkeras.losses.curves import binary, value_and_gradient
from nglkeras.report.figures import without_poles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_side_by_side(
    figure: "Figure",
    functions: Mapping[str, Callable],
    x: np.ndarray,
    colors: Mapping[str, str] = {},
) -> tuple["Axes", "Axes", dict[str, np.ndarray]]:
    """Draw functions on the left half of a figure and their gradients on the right half.

    Args:
        figure: An empty figure.
        functions: Each maps predictions to losses of the same shape, by name.
        x: Predictions, shape `[points]`.
        colors: Color by name; Matplotlib chooses the others.

    Returns:
        The left axes, the right axes, and the losses by name, each of shape `[points]`.
    """
    left, right = figure.subplots(1, 2)
    values = {}
    for name, function in functions.items():
        values[name], gradient = value_and_gradient(function, x)
        left.plot(x, values[name], label=name, color=colors.get(name))
        right.plot(x, gradient, label=name, color=colors.get(name))
    return left, right, values


def draw_binary(axis: "Axes", loss: keras.losses.Loss, title: str) -> None:
    """Draw a loss and its gradient for predictions (p, 1 - p) and label (1, 0) on one axis.

    The minimum is marked unless it lies at p = 1.
    """
    p = np.linspace(0.005, 0.995, 400, dtype="float32")
    value, gradient = value_and_gradient(binary(loss), p)
    (line,) = axis.plot(p, value, label="loss")
    axis.set(title=title, xlabel="p")
    axis.set_ylim(*without_poles(value))
    axis.set_ylabel("loss", color=line.get_color())
    slope = axis.twinx()
    slope.grid(visible=False)
    slope.plot(p, gradient, color="tab:red", linestyle="--")
    slope.set_ylabel("gradient", color="tab:red")
    slope.set_ylim(*without_poles(gradient))
    if value[-1] > value[-2]:
        mark_minimum(axis, p, value)


def mark_minimum(axis: "Axes", x: np.ndarray, values: np.ndarray) -> None:
    """Mark the smallest value with a vertical line and its position, e.g. "min 0.57"."""
    at = np.nanargmin(values)
    axis.axvline(x[at], color="gray", linewidth=0.8)
    axis.annotate(f"min {x[at]:.2f}", (x[at], values[at]), (4, 8), textcoords="offset points")

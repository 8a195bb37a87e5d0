"""Paper B's figures, drawn from rows and from the losses themselves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.experiments.glo.tables import GLOCell
from nglkeras.losses.curves import binary, minus_log
from nglkeras.report.figures import styled
from nglkeras.report.loss_curves import draw_side_by_side
from nglkeras.report.plots import colors_of, curve_plot, dot_of, dot_plot


def figure1(table: Sequence[GLOCell], title: str) -> Figure:
    """Draw the mean accuracy of each loss with its 95 % interval, and the paper's."""
    panels = {}
    for cell in table:
        label = f"{losses.label(cell.loss)}, {cell.runs} runs"
        dots = panels.setdefault(f"{cell.measure} accuracy", [])
        dots.append(dot_of(cell, label, ".4f"))
    return dot_plot(panels, title, xlabel="accuracy")


@styled
def figure2() -> Figure:
    """Figure 2: the losses of a binary task for a sample of class 0 (x0 = 1), over y0.

    All three carry the 1/n of the printed formulas: they are means over the n = 2 classes.
    """
    y0 = np.linspace(0.01, 0.99, 400)
    # Keras' cross entropy is the sum over the classes.
    functions = {"CE": lambda y0: minus_log(y0) / 2}
    for name in ("Baikal", "BaikalCMA"):
        loss = losses.get(name, class_reduction="mean", dtype="float64")
        functions[name] = binary(loss)
    colors = {name: losses.color(name) for name in functions}
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right, values = draw_side_by_side(figure, functions, y0, colors)
    for name, value in values.items():
        if value.argmin() < len(y0) - 1:
            least = y0[value.argmin()]
            left.plot(least, value.min(), "v", color=colors[name])
            left.annotate(
                f"min {least:.2f}", (least, value.min()), (-12, 8), textcoords="offset points"
            )
    left.set(xlabel="prediction y0", ylabel="loss", ylim=(-0.5, 10))
    right.set(xlabel="prediction y0", ylabel="gradient", ylim=(-30, 12))
    left.legend()
    figure.suptitle("Losses of paper B with their 1/n, for two classes, x0 = 1 and y1 = 1 − y0")
    return figure


def figure3(found: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str) -> Figure:
    """Test accuracy over the steps: the mean of each loss, its runs around it; whole and zoomed."""
    steps, _ = next(iter(found.values()))
    axes = {"xlabel": "steps", "ylabel": "test accuracy"}
    return curve_plot(found, title, zoom_from=steps[len(steps) // 4], **axes)


@styled
def over(
    found: Mapping[float, Sequence[GLOCell]], xlabel: str, title: str, log: bool = False
) -> Figure:
    """Draw the mean test accuracy of each loss over a quantity, with 95 % intervals."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axis = figure.subplots()
    points = [
        (x, cell) for x, cells in sorted(found.items()) for cell in cells if cell.mean is not None
    ]
    for loss, color in colors_of(cell.loss for _, cell in points).items():
        of_loss = [(x, cell) for x, cell in points if cell.loss == loss]
        bars = [
            [0 if cell.low is None else cell.mean - cell.low for _, cell in of_loss],
            [0 if cell.high is None else cell.high - cell.mean for _, cell in of_loss],
        ]
        look = {"fmt": "o-", "color": color, "label": losses.label(loss)}
        found_means = [cell.mean for _, cell in of_loss]
        axis.errorbar([x for x, _ in of_loss], found_means, yerr=bars, capsize=3, **look)
    means = [cell.mean for _, cell in points]
    # Intervals of two or three networks may leave the picture; the means do not.
    margin = 0.15 * np.ptp(means) + 0.002
    axis.set_ylim(min(means) - margin, min(max(means) + margin, 1.005))
    if log:
        axis.set_xscale("log")
    axis.set(xlabel=xlabel, ylabel="test accuracy", title=title)
    axis.legend(loc="lower right")
    return figure

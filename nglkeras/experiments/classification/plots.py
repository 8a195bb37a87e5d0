"""Figures of paper A, drawn from loss objects and from measured tables."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.data import catalog
from nglkeras.experiments.classification.tables import AccuracyCell
from nglkeras.losses.curves import binary, minus_log
from nglkeras.report.figures import styled
from nglkeras.report.loss_curves import draw_binary, draw_side_by_side, mark_minimum
from nglkeras.report.plots import Dot, dot_plot, epoch_plot

CURVES = ("CE", "f1", "f2", "f3", "f4", "NGL")


@styled
def figure1() -> Figure:
    """Figure 1 of paper A: NGL (equation 2) and CE of the binary problem, and their gradients.

    The label is (1, 0), the predictions are (p, 1 - p), and NGL is the mean over both classes.
    """
    p = np.linspace(0, 1, 502)[1:-1]
    functions = {"NGL": binary(losses.NGL(dtype="float64")), "CE": minus_log}
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right, values = draw_side_by_side(figure, functions, p)
    mark_minimum(left, p, values["NGL"])
    xlabel = "predicted probability p"
    left.set(xlabel=xlabel, ylabel="loss", ylim=(0, 7.5))
    right.set(xlabel=xlabel, ylabel="gradient", ylim=(-25, 5))
    left.legend(loc="center right")
    right.legend(loc="lower right")
    figure.suptitle("NGL and cross entropy of two classes, for y_real = 1")
    return figure


@styled
def figure_b2() -> Figure:
    """Figure B.2 of paper A: every function and its gradient in the binary case."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for axis, name in zip(axes, CURVES, strict=True):
        draw_binary(axis, losses.get(name), losses.label(name))
    figure.suptitle(
        "Losses (solid) and gradients (dashed) for predictions (p, 1 − p) and label (1, 0)\n"
        f"{losses.DAGGER} reconstructed from an illegible equation"
    )
    return figure


# What the values of a table's plot are, by what a change is.
_AXES = {
    "relative": "change of test accuracy against CE, %",
    "points": "test accuracy less CE's, percentage points",
}


def accuracy_table(table: Sequence[AccuracyCell], title: str) -> Figure:
    """Draw a panel per data set: change against CE with its 95 % interval, and the paper's."""
    panels = {}
    for dataset in dict.fromkeys(cell.dataset for cell in table):
        column = [cell for cell in table if cell.dataset == dataset]
        heading = catalog.get_info(dataset).title
        reference = next((cell.mean for cell in column if cell.loss == "CE"), None)
        if reference is not None:
            heading += f" (CE {reference:.1f} %)"
        panels[heading] = [_dot(cell) for cell in column]
    return dot_plot(panels, title, xlabel=_AXES[table[0].reading], reference=0)


# Losses further behind, in percentage points, would leave no room in a zoomed panel.
_NEAR = 10.0


def accuracy_curves(panels: Mapping[str, Mapping[str, Sequence]], title: str) -> Figure:
    """Validation accuracy over the epochs, from `tables.curves`."""
    return epoch_plot(panels, title, ylabel="validation accuracy, %", within=_NEAR)


def _dot(cell):
    label = losses.label(cell.loss)
    if cell.loss != "CE":
        return Dot(label, cell.value, cell.low, cell.high, cell.paper)
    # Cross entropy is the zero of its panel.
    scale = 100 / cell.mean if cell.reading == "relative" and cell.mean else 1.0
    ends = [None if end is None else scale * (end - cell.mean) for end in cell.interval]
    return Dot(label, None if cell.mean is None else 0.0, *ends, None)

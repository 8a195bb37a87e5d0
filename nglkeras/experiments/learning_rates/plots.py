"""The figure of a learning-rate study: accuracy against the rate, and at the best ones."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.experiments.learning_rates.protocol import RateCurve
from nglkeras.experiments.learning_rates.tables import BestRateCell
from nglkeras.report.figures import styled


@styled
def study(curves: Mapping[str, RateCurve], table: Sequence[BestRateCell], title: str) -> Figure:
    """Three panels: validation accuracy over the rate, over the rate as CE sees it, and tests.

    If a loss differed from cross entropy by its size alone, the curves of the middle panel, which
    shows the ten points below the best, would lie on each other. A ring marks a loss's best rate, a
    cross one at which a network diverged.
    """
    figure = Figure(figsize=(15, 4.8), layout="constrained")
    whole, scaled, tested = figure.subplots(1, 3, width_ratios=(4, 4, 3))
    for cell in table:
        curve = curves[cell.loss]
        color = losses.color(cell.loss)
        for axis, factor in ((whole, 1.0), (scaled, cell.factor)):
            points = {rate: 100 * value for rate, value in curve.accuracies.items()}
            x = [rate * factor for rate in points]
            label = losses.label(cell.loss)
            (line,) = axis.plot(x, points.values(), "o-", color=color, markersize=3, label=label)
            color = line.get_color()
            ring = {"markersize": 9, "markerfacecolor": "none", "color": color}
            if curve.best is not None:
                axis.plot(curve.best * factor, points[curve.best], "o", **ring)
            for rate in curve.diverged:
                axis.plot(rate * factor, points[rate], "x", color=color, markersize=7)
        _draw_test(tested, cell, color)
    whole.set(xlabel="learning rate", ylabel="validation accuracy, %")
    scaled.set(xlabel="learning rate x the loss's gradient at uniform predictions, to CE's")
    for axis in (whole, scaled):
        axis.set_xscale("log")
    best = max(100 * max(curve.accuracies.values(), default=0) for curve in curves.values())
    scaled.set_ylim(best - 10, best + 1)
    whole.legend(fontsize="small")
    tested.set(xlabel="test accuracy at its best rate, new seeds, %")
    tested.invert_yaxis()
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw_test(axis, cell, color):
    if cell.mean is None:
        return
    label = losses.label(cell.loss)
    axis.plot(cell.values, [label] * cell.runs, "|", color=color, markersize=9)
    low, high = cell.interval
    bars = None if low is None else [[cell.mean - low], [high - cell.mean]]
    axis.errorbar(cell.mean, label, xerr=bars, fmt="o", color=color, capsize=3)

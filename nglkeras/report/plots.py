"""The plots of measured tables: dots with intervals, and curves of trainings."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import TABLEAU_COLORS
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.report.best_rates import BestRateCell
from nglkeras.report.figures import styled
from nglkeras.report.rates import RateCurve
from nglkeras.report.tables import Cell, number

# Matplotlib's own: losses without a colour of their own take those that no other one has.
_COLORS = frozenset(TABLEAU_COLORS)


class Dot(NamedTuple):
    """A mean in a figure.

    Attributes:
        label: Name of the loss, in print.
        mean: The mean; `None` leaves the dot out.
        low: Lower end of the interval; `None` leaves it out.
        high: Upper end.
        paper: The printed value; `None` without one.
        text: What stands beside the dot.
    """

    label: str
    mean: float | None
    low: float | None
    high: float | None
    paper: float | None
    text: str = ""


def colors_of(names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each loss in a figure: its own, or one that no other of them has."""
    own = {name: losses.color(name) for name in names}
    others = itertools.cycle(sorted(_COLORS - set(own.values())) or sorted(_COLORS))
    return {name: color or next(others) for name, color in own.items()}


def dot_of(cell: Cell, label: str, form: str) -> Dot:
    """Return the dot of a cell; the interval of two runs, often huge, is left to the table."""
    low, high = cell.interval if cell.runs > 2 else (None, None)
    return Dot(label, cell.mean, low, high, cell.paper, number(cell.mean, form))


@styled
def dot_plot(
    panels: Mapping[str, Sequence[Dot]],
    title: str,
    *,
    xlabel: str,
    reference: float | None = None,
    printed: str = "paper",
) -> Figure:
    """Panels side by side, with a line for each loss: its mean, 95 % interval and printed value.

    Args:
        panels: Dots by the title of their panel.
        title: Title of the figure.
        xlabel: What the values are; a panel's title can say it instead.
        reference: Where to draw a vertical line.
        printed: Name of the printed values in the legend.
    """
    all_dots = [dot for dots in panels.values() for dot in dots]
    names = list(dict.fromkeys(dot.label for dot in all_dots))
    # Wide enough for the title.
    width = max(4.2 * len(panels) + 1.2, 0.105 * len(title))
    size = (width, 0.42 * len(names) + 1.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (heading, dots) in zip(axes, panels.items(), strict=True):
        for dot in dots:
            _draw(axis, names.index(dot.label), dot)
        if reference is not None:
            axis.axvline(reference, color="gray", linewidth=0.8)
        axis.set(title=heading, xlabel=xlabel)
        axis.margins(x=0.12)
        axis.set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    figure.suptitle(title)
    what = "measured" + ", 95 % interval" * any(dot.low is not None for dot in all_dots)
    handles = axes[0].plot([], [], "o", color="tab:blue", label=what)
    if any(dot.paper is not None for dot in all_dots):
        handles += axes[0].plot([], [], "D", color="tab:orange", mfc="none", label=printed)
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw(axis, y, dot):
    if dot.mean is not None:
        bars = None if dot.low is None else [[dot.mean - dot.low], [dot.high - dot.mean]]
        axis.errorbar(dot.mean, y, xerr=bars, fmt="o", color="tab:blue", capsize=3)
        axis.annotate(dot.text, (dot.mean, y), (0, 6), textcoords="offset points", ha="center")
    if dot.paper is not None:
        axis.plot(dot.paper, y + 0.25, "D", color="tab:orange", mfc="none")


@styled
def best_rates(
    curves: Mapping[str, RateCurve],
    table: Sequence[BestRateCell],
    title: str,
    measure: str = "accuracy",
    unit: str = ", %",
) -> Figure:
    """Panels: validation over the rate, over the rate as CE sees it, and tests at the best rates.

    If a loss differed from cross entropy by its size alone, the curves of the second panel, which
    shows the ten points below the best, would lie on each other; it is left out where no cell has a
    `factor`. A ring marks a loss's best rate, a cross one at which a network diverged.

    Args:
        curves: The curve of each loss.
        table: The cell of each loss.
        title: Title of the figure.
        measure: Name of the measure, whose values are shown times 100.
        unit: What stands behind it.
    """
    scales = any(cell.factor is not None for cell in table)
    widths = (4, 4, 3) if scales else (4, 3)
    size = (15 if scales else 10.5, max(5.1, 0.3 * len(table) + 2.1))
    figure = Figure(figsize=size, layout="constrained")
    whole, *scaled, tested = figure.subplots(1, len(widths), width_ratios=widths)
    colors = colors_of(cell.loss for cell in table)
    for cell in table:
        curve, color = curves[cell.loss], colors[cell.loss]
        factors = [(whole, 1.0), *((axis, cell.factor) for axis in scaled)]
        for axis, factor in factors:
            points = {rate: 100 * value for rate, value in curve.accuracies.items()}
            x = [rate * factor for rate in points]
            label = losses.label(cell.loss)
            axis.plot(x, points.values(), "o-", color=color, markersize=3, label=label)
            ring = {"markersize": 9, "markerfacecolor": "none", "color": color}
            if curve.best is not None:
                axis.plot(curve.best * factor, points[curve.best], "o", **ring)
            for rate in curve.diverged & points.keys():
                axis.plot(rate * factor, points[rate], "x", color=color, markersize=7)
        _draw_tests(tested, cell, color)
    whole.set(xlabel="learning rate", ylabel=f"validation {measure}{unit}")
    best = max(100 * max(curve.accuracies.values(), default=0) for curve in curves.values())
    for axis in scaled:
        axis.set(xlabel="learning rate x the loss's gradient at uniform predictions, to CE's")
        axis.set_ylim(best - 10, best + 1)
    for axis in (whole, *scaled):
        axis.set_xscale("log")
    # Among the curves of many losses there is no room for it.
    handles = whole.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=8, fontsize="small")
    tested.set(xlabel=f"test {measure} at its best rate, new seeds{unit}")
    tested.invert_yaxis()
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw_tests(axis, cell, color):
    if cell.mean is None:
        return
    label = losses.label(cell.loss)
    axis.plot(cell.values, [label] * cell.runs, "|", color=color, markersize=9)
    low, high = cell.interval
    bars = None if low is None else [[cell.mean - low], [high - cell.mean]]
    axis.errorbar(cell.mean, label, xerr=bars, fmt="o", color=color, capsize=3)


@styled
def curve_plot(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    title: str,
    *,
    xlabel: str,
    ylabel: str,
    zoom_from: float,
) -> Figure:
    """Draw the course of trainings with each loss, whole and zoomed: mean and range of the runs.

    Args:
        curves: By the name of the loss: positions `[n]`, and values `[runs, n]`.
        title: Title of the figure.
        xlabel: What the positions are.
        ylabel: What the values are.
        zoom_from: First position of the zoomed panel.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    colors = colors_of(curves)
    for name, (x, runs) in curves.items():
        for axis in axes:
            _draw_curve(axis, name, colors[name], x, runs)
    _zoom(axes[1], curves.values(), xlabel, zoom_from)
    for axis in axes:
        axis.set(xlabel=xlabel, ylabel=ylabel)
    axes[0].legend(loc="lower right")
    figure.suptitle(title, fontsize="medium")
    return figure


@styled
def epoch_plot(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    title: str,
    *,
    ylabel: str,
    within: float,
) -> Figure:
    """Draw the course of trainings that differ in length, a row of two panels for each title.

    A network that has ended stays in mean and range with its last value; a dot marks its end if
    others of its row train longer. The line of a loss is dotted from where its last network has
    ended. The zoomed panel begins after a third of the longest training.

    Args:
        panels: By the title of the row and the name of the loss: values of each run, an epoch each.
        title: Title of the figure.
        ylabel: What the values are.
        within: The zoomed panel shows the losses whose last mean is at most this far from the best.
    """
    figure = Figure(figsize=(12, 3.9 * len(panels) + 0.5), layout="constrained")
    rows = figure.subplots(len(panels), 2, squeeze=False)
    colors = colors_of(name for curves in panels.values() for name in curves)
    for axes, (heading, curves) in zip(rows, panels.items(), strict=True):
        last = max(len(run) for runs in curves.values() for run in runs)
        x = np.arange(1, last + 1)
        held = {name: _held(runs, last) for name, runs in curves.items()}
        for name, values in held.items():
            ends = [len(run) for run in curves[name]]
            for axis in axes:
                _draw_curve(axis, name, colors[name], x[: max(ends)], values[:, : max(ends)])
                _draw_ends(axis, x, values, ends, colors[name])
        best = max(values[:, -1].mean() for values in held.values())
        near = [(x, v) for v in held.values() if best - v[:, -1].mean() <= within]
        _zoom(axes[1], near, "epoch", max(last // 3, 1))
        for axis in axes:
            axis.set(xlabel="epoch", ylabel=ylabel)
        axes[0].set_title(heading)
        axes[0].legend(loc="lower right", fontsize="x-small", ncols=2)
    figure.suptitle(title, fontsize="medium")
    return figure


def _held(runs, length):
    """Return values `[runs, length]`, in which a shorter run goes on with its last value."""
    return np.array([[*run, *[run[-1]] * (length - len(run))] for run in runs], float)


def _draw_curve(axis, name, color, x, runs):
    """Draw mean and range of the runs `[runs, n]` of a loss."""
    count = f"{losses.label(name)}, {len(runs)} run{'s' * (len(runs) > 1)}"
    axis.plot(x, runs.mean(0), color=color, label=count)
    if len(runs) > 1:
        axis.fill_between(x, runs.min(0), runs.max(0), color=color, alpha=0.2, linewidth=0)


def _draw_ends(axis, x, values, ends, color):
    """Draw a dot where a run ended before the longest one, and the mean after the last end."""
    early = [(x[end - 1], run[-1]) for run, end in zip(values, ends, strict=True) if end < len(x)]
    if early:
        axis.plot(*zip(*early, strict=True), "o", color=color, markersize=3)
    if max(ends) < len(x):
        axis.plot(x[max(ends) - 1 :], values.mean(0)[max(ends) - 1 :], ":", color=color)


def _zoom(axis, curves, xlabel, start):
    """Limit an axis to what curves, pairs of positions and runs, show from a position on."""
    last = max(x[-1] for x, _ in curves)
    shown = np.concatenate([runs[:, x >= start].ravel() for x, runs in curves])
    # Of equal values, zeros too, something around them.
    margin = 0.05 * float(np.ptp(shown)) + 1e-3 * (abs(float(shown.max())) or 1.0)
    axis.set(
        xlim=(start, max(last, start + 1)),
        ylim=(shown.min() - margin, shown.max() + margin),
        title=f"{xlabel} {start:g} to {last:g}",
    )

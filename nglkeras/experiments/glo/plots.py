"""Paper B's figures, drawn from rows and from the losses themselves."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.experiments.glo.tables import Summary
from nglkeras.losses.curves import binary, minus_log
from nglkeras.report.figures import styled
from nglkeras.report.loss_curves import draw_side_by_side

_COLORS = {"CE": "tab:gray", "Baikal": "tab:blue", "BaikalCMA": "tab:orange"}


@styled
def figure1(found: Sequence[Summary], title: str) -> Figure:
    """Mean accuracy of each loss with its 95 % interval, and the paper's."""
    parts = list(dict.fromkeys(one.part for one in found))
    figure = Figure(figsize=(5.2 * len(parts), 4.2), layout="constrained")
    for axis, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        of_part = [one for one in found if one.part == part and one.mean is not None]
        for x, one in enumerate(of_part):
            bars = None
            if one.low is not None:
                bars = [[one.mean - one.low], [one.high - one.mean]]
            axis.errorbar(x, one.mean, yerr=bars, fmt="o", capsize=5, color=color(one.loss))
            axis.annotate(f"{one.mean:.4f}", (x, one.mean), (8, -3), textcoords="offset points")
            if one.paper is not None:
                axis.plot(x - 0.12, one.paper, "D", color="black", mfc="none")
        axis.set_xticks(
            range(len(of_part)), [f"{losses.label(one.loss)}\n{one.runs} runs" for one in of_part]
        )
        axis.set(ylabel=f"{part} accuracy", xlim=(-0.5, len(of_part) - 0.2))
    axis.plot([], [], "o", color="black", label="measured, 95 % interval")
    axis.plot([], [], "D", color="black", mfc="none", label="paper")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(title)
    return figure


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
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right, values = draw_side_by_side(figure, functions, y0, _COLORS)
    for name, value in values.items():
        if value.argmin() < len(y0) - 1:
            least = y0[value.argmin()]
            left.plot(least, value.min(), "v", color=color(name))
            left.annotate(
                f"min {least:.2f}", (least, value.min()), (-12, 8), textcoords="offset points"
            )
    left.set(xlabel="prediction y0", ylabel="loss", ylim=(-0.5, 10))
    right.set(xlabel="prediction y0", ylabel="gradient", ylim=(-30, 12))
    left.legend()
    figure.suptitle("Losses of paper B with their 1/n, for two classes, x0 = 1 and y1 = 1 − y0")
    return figure


@styled
def figure3(curves: dict[str, tuple[np.ndarray, np.ndarray]], title: str) -> Figure:
    """Test accuracy over the steps: the mean of each loss, its runs around it; whole and zoomed."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for loss, (steps, values) in curves.items():
        for axis in axes:
            axis.plot(
                steps,
                values.mean(0),
                color=color(loss),
                label=f"{losses.label(loss)} ({len(values)})",
            )
            if len(values) > 1:
                axis.fill_between(
                    steps, values.min(0), values.max(0), color=color(loss), alpha=0.2, linewidth=0
                )
    last = [values[:, -1].mean() for _, values in curves.values()]
    low = min(values[:, len(values[0]) // 4 :].min() for _, values in curves.values())
    margin = 0.1 * (max(last) - low) + 1e-4
    axes[1].set(ylim=(low - margin, max(last) + 2 * margin), title="zoomed")
    for axis in axes:
        axis.set(xlabel="steps", ylabel="test accuracy")
    axes[0].legend(loc="lower right")
    figure.suptitle(title)
    return figure


@styled
def over(found: dict[float, list[Summary]], xlabel: str, title: str, log: bool = False) -> Figure:
    """Mean test accuracy of each loss over a quantity, with 95 % intervals."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axis = figure.subplots()
    for loss in dict.fromkeys(one.loss for ones in found.values() for one in ones):
        points = [
            (x, one)
            for x, ones in found.items()
            for one in ones
            if one.loss == loss and one.mean is not None
        ]
        xs, means = [x for x, _ in points], [one.mean for _, one in points]
        bars = [
            [one.mean - (one.mean if one.low is None else one.low) for _, one in points],
            [(one.mean if one.high is None else one.high) - one.mean for _, one in points],
        ]
        axis.errorbar(
            xs, means, yerr=bars, fmt="o-", capsize=3, color=color(loss), label=losses.label(loss)
        )
    means = [one.mean for ones in found.values() for one in ones if one.mean is not None]
    # Intervals of two or three networks may leave the picture; the means do not.
    margin = 0.15 * np.ptp(means) + 0.002
    axis.set_ylim(min(means) - margin, min(max(means) + margin, 1.005))
    if log:
        axis.set_xscale("log")
    axis.set(xlabel=xlabel, ylabel="test accuracy", title=title)
    axis.legend(loc="lower right")
    return figure


def color(loss: str) -> str | None:
    """The color of a loss in all figures; `None` leaves it to matplotlib."""
    return _COLORS.get(loss)

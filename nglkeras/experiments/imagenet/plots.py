"""Table 3 and figure 2, drawn from rows."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.experiments.imagenet.protocol import ZOOM_FROM
from nglkeras.experiments.imagenet.tables import Cell
from nglkeras.report.figures import styled


@styled
def table3(table: Sequence[Cell], title: str) -> Figure:
    """A panel for each model: its accuracy with each loss, and the paper's."""
    models = list(dict.fromkeys(cell.model for cell in table))
    figure = Figure(figsize=(max(3.2 * len(models), 6), 4), layout="constrained")
    for axis, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        of_model = [cell for cell in table if cell.model == model]
        for x, cell in enumerate(of_model):
            _draw(axis, x, cell)
        axis.set_xticks(range(len(of_model)), [losses.label(cell.loss) for cell in of_model])
        axis.set(title=model, ylabel="top-1 accuracy, %", xlim=(-0.5, len(of_model) - 0.5))
        axis.tick_params(axis="x", labelsize="small")
    measured = axis.plot([], [], "o", color="black", label="measured, 95 % interval")
    printed = axis.plot([], [], "D", color="black", mfc="none", label="paper")
    figure.legend(handles=[*measured, *printed], loc="outside lower center", ncols=2)
    figure.suptitle(title, fontsize="medium")
    return figure


def _draw(axis, x, cell):
    if cell.accuracy is not None:
        bars = None
        if cell.low is not None:
            bars = [[cell.accuracy - cell.low], [cell.high - cell.accuracy]]
        axis.errorbar(
            x, cell.accuracy, yerr=bars, fmt="o", capsize=4, color=losses.color(cell.loss)
        )
    if cell.paper is not None:
        axis.plot(x + 0.15, cell.paper, "D", color="black", mfc="none")


@styled
def figure2(curves: dict[str, np.ndarray], title: str) -> Figure:
    """Accuracy by epoch with each loss, whole and zoomed: the mean of the runs, and their range.

    Args:
        curves: As `tables.curves` gives them; at least one.
        title: Of the figure.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = max(runs.shape[1] for runs in curves.values())
    first = zoomed_from(epochs)
    for loss, runs in curves.items():
        x = np.arange(1, runs.shape[1] + 1)
        for axis in axes:
            axis.plot(x, runs.mean(0), color=losses.color(loss), label=_label(loss, len(runs)))
            if len(runs) > 1:
                axis.fill_between(
                    x, runs.min(0), runs.max(0), color=losses.color(loss), alpha=0.2, linewidth=0
                )
    shown = np.concatenate([runs[:, first - 1 :].ravel() for runs in curves.values()])
    margin = 0.05 * float(np.ptp(shown)) + 0.1
    axes[1].set(
        xlim=(first, max(epochs, first + 1)),
        ylim=(shown.min() - margin, shown.max() + margin),
        title=f"epochs {first} to {epochs}",
    )
    for axis in axes:
        axis.set(xlabel="epoch", ylabel="mean validation accuracy, %")
    axes[0].legend(loc="lower right")
    figure.suptitle(title, fontsize="medium")
    return figure


def zoomed_from(epochs: int) -> int:
    """The first epoch of the zoomed panel: 100 of the paper's 180."""
    return max(round(epochs * ZOOM_FROM), 1)


def _label(loss, runs):
    return f"{losses.label(loss)}, {runs} run{'s' * (runs > 1)}"

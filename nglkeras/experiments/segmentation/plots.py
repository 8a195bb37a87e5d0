"""Figures of tables 4 and 5: means with intervals, and what networks make of some images."""

from collections.abc import Sequence

import matplotlib.patches as patches
import numpy as np
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.experiments.segmentation import VOID
from nglkeras.experiments.segmentation.architectures import get_architecture
from nglkeras.experiments.segmentation.tables import TITLES, Cell
from nglkeras.report.figures import styled

_WHITE = (255, 255, 255)
# CamVid's own colours, and ours for the bundled scenes.
_PALETTES = {
    "camvid": (
        *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222)),
        *((128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0)),
        (0, 128, 192),
    ),
    "scenes": ((38, 50, 56), (255, 179, 0), (38, 166, 154), (216, 67, 115)),
}
# Beyond, a legend would be larger than the figure.
MAX_LEGEND = 25


def palette(dataset: str, classes: int) -> np.ndarray:
    """A colour for each label, `[256, 3]`, uint8; void is white.

    Args:
        dataset: Its own colours where it has some, else VOC's.
        classes: Number of classes.
    """
    colours = np.array(_PALETTES.get(dataset) or [_voc_colour(i) for i in range(classes)])
    table = np.full((256, 3), _WHITE, "uint8")
    table[: len(colours)] = colours
    return table


def _voc_colour(label):
    """VOC's: the label's bits, three at a time, become the highest bits of red, green, blue."""
    colour = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            colour[channel] |= (label >> channel & 1) << (7 - bit)
        label >>= 3
    return colour


@styled
def scores(table: Sequence[Cell], title: str) -> Figure:
    """A panel for each model and measure: the mean of each loss, its interval, the paper's."""
    panels = list(dict.fromkeys((cell.model, cell.measure) for cell in table))
    figure = Figure(figsize=(max(3.6 * len(panels), 6), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (model, measure) in zip(axes, panels, strict=True):
        found = [cell for cell in table if (cell.model, cell.measure) == (model, measure)]
        for x, cell in enumerate(found):
            _draw(axis, x, cell)
        axis.set_xticks(range(len(found)), [losses.label(cell.loss) for cell in found])
        axis.set(ylabel=f"{TITLES[measure]}, %", title=get_architecture(model).title)
        axis.set(xlim=(-0.4, len(found) - 0.3), ylim=_limits(found))
    measured = axes[0].plot([], [], "o", color="tab:blue", label="measured, 95 % interval")
    printed = axes[0].plot(
        [], [], "D", color="tab:orange", mfc="none", label="paper, on its own data"
    )
    figure.legend(handles=[*measured, *printed], loc="outside lower center", ncols=2)
    figure.suptitle(title)
    return figure


def _limits(found):
    """Means and printed values; intervals, which of two runs are huge, may leave the picture."""
    values = [v for cell in found for v in (cell.mean, cell.paper) if v is not None]
    ends = [v for cell in found if cell.runs > 2 for v in (cell.low, cell.high) if v is not None]
    low, high = min(values + ends, default=0), max(values + ends, default=100)
    margin = 0.15 * (high - low) + 1
    return low - margin, high + margin


def _draw(axis, x, cell):
    if cell.mean is not None:
        bars = None
        if cell.low is not None:
            bars = [[cell.mean - cell.low], [cell.high - cell.mean]]
        axis.errorbar(x, cell.mean, yerr=bars, fmt="o", color="tab:blue", capsize=4)
        axis.annotate(f"{cell.mean:.1f}", (x, cell.mean), (7, -3), textcoords="offset points")
    if cell.paper is not None:
        axis.plot(x, cell.paper, "D", color="tab:orange", mfc="none")


@styled
def qualitative(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: dict[str, Sequence[np.ndarray]],
    classes: Sequence[str],
    colours: np.ndarray,
    title: str,
) -> Figure:
    """Image, truth, and what each loss's network makes of it; a row an image.

    Args:
        images: uint8, `[height, width, 3]`.
        truths: Labels, void as 255.
        predictions: Labels of each image, by loss. They are shown on void pixels too.
        classes: Names.
        colours: As `palette` gives them.
        title: Of the figure.
    """
    headings = ["image", "truth", *map(losses.label, predictions)]
    shown = [[image, colours[truth]] for image, truth in zip(images, truths, strict=True)]
    for i, row in enumerate(shown):
        row.extend(colours[maps[i]] for maps in predictions.values())
    height, width = np.mean([truth.shape for truth in truths], axis=0)
    side = 1.9
    legend = len(classes) <= MAX_LEGEND
    figure = Figure(
        figsize=(side * len(headings), side * height / width * len(images) + 0.5 + 0.6 * legend),
        layout="constrained",
    )
    axes = figure.subplots(len(images), len(headings), squeeze=False)
    for axis_row, row in zip(axes, shown, strict=True):
        for axis, picture in zip(axis_row, row, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            for spine in axis.spines.values():
                spine.set(color="lightgray", linewidth=0.5)
    for axis, heading in zip(axes[0], headings, strict=True):
        axis.set_title(heading, fontsize="medium")
    if legend:
        names = dict(enumerate(classes)) | {VOID: "void"}
        handles = [
            patches.Patch(facecolor=colours[label] / 255, edgecolor="gray", lw=0.5, label=name)
            for label, name in names.items()
        ]
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=min(len(handles), 2 * len(headings)),
            fontsize="small",
            handlelength=1.2,
            columnspacing=1.2,
        )
    figure.suptitle(title, fontsize="medium")
    return figure

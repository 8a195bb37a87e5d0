"""Draw the predictions of networks on some images."""

from collections.abc import Sequence

import matplotlib.patches as patches
import numpy as np
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.experiments.segmentation import VOID
from nglkeras.report.figures import styled

# CamVid's own colours, and ours for the generated scenes.
_PALETTES = {
    "camvid": (
        *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222)),
        *((128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0)),
        (0, 128, 192),
    ),
    "scenes": ((38, 50, 56), (255, 179, 0), (38, 166, 154), (216, 67, 115)),
}
# With more classes the legend would be larger than the figure.
MAX_LEGEND = 25


def palette(dataset: str, classes: int) -> np.ndarray:
    """Return a colour for each label, `[256, 3]`, uint8: the data set's own, else VOC's."""
    colours = np.array(_PALETTES.get(dataset) or [_voc_colour(i) for i in range(classes)])
    # Void is white.
    table = np.full((256, 3), 255, "uint8")
    table[: len(colours)] = colours
    return table


def _voc_colour(label):
    """Return VOC's colour: a label's bits, three at a time, are the highest of red, green, blue."""
    colour = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            colour[channel] |= (label >> channel & 1) << (7 - bit)
        label >>= 3
    return colour


@styled
def qualitative(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: dict[str, Sequence[np.ndarray]],
    classes: Sequence[str],
    colours: np.ndarray,
    title: str,
) -> Figure:
    """Draw images, a row each, with their masks and the predictions of each loss's network.

    Args:
        images: uint8, `[height, width, 3]`.
        truths: Labels, void as 255.
        predictions: Labels of each image, by loss. They are shown on void pixels too.
        classes: Names of the classes.
        colours: As `palette` returns them.
        title: Title of the figure.
    """
    headings = ["image", "truth", *map(losses.label, predictions)]
    maps = [truths, *predictions.values()]
    columns = [images, *([colours[labels] for labels in column] for column in maps)]
    height, width = np.mean([truth.shape for truth in truths], axis=0)
    side = 1.9
    legend = len(classes) <= MAX_LEGEND
    size = (side * len(headings), side * height / width * len(images) + 0.5 + 0.6 * legend)
    figure = Figure(size, layout="constrained")
    axes = figure.subplots(len(images), len(headings), squeeze=False)
    for column, heading, pictures in zip(axes.T, headings, columns, strict=True):
        column[0].set_title(heading, fontsize="medium")
        for axis, picture in zip(column, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            axis.spines[:].set(color="lightgray", linewidth=0.5)
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

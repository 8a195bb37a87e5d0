"""One way to draw and to save every figure; no setting of Matplotlib is changed outside of it."""

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nglkeras import paths
from nglkeras.errors import UserError, unknown
from nglkeras.startup.extras import needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
_DRAWING = {"axes.grid": True, "grid.alpha": 0.3, "legend.frameon": False}
# The same figure is the same file: identifiers in an SVG come from a fixed salt. Publishers
# refuse the Type 3 fonts that Matplotlib puts into a PDF by default.
_SAVING = {"savefig.dpi": 150, "svg.hashsalt": "nglkeras", "pdf.fonttype": 42}
# Without the date, which would make every file another one.
_METADATA = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
MAX_WIDTH = 100.0
MAX_FONT_SIZE = 100.0


@needed()
def _settings(settings):
    """Settings of Matplotlib that hold within a block. What imports this may draw nothing."""
    import matplotlib as mpl

    return mpl.rc_context(settings)


def styled(draw: Callable[..., "Figure"]) -> Callable[..., "Figure"]:
    """Decorate a function that draws a figure, so that it draws in the style of this project."""

    @functools.wraps(draw)
    def drawn(*arguments, **options):
        with _settings(_DRAWING):
            figure = draw(*arguments, **options)
        for axes in figure.axes:
            # Ticks are made when a figure is saved, which may be elsewhere.
            axes.tick_params(grid_alpha=_DRAWING["grid.alpha"])
        return figure

    return drawn


def save(
    figure: "Figure | Callable[[], Figure]",
    folder: str | Path,
    name: str,
    formats: str | Sequence[str] = ("png", "svg"),
    width: float | None = None,
    font_size: float | None = None,
) -> list[Path]:
    """Draw a figure and write it to files; the same figure gives the same files.

    Args:
        figure: A function that draws the figure, or a finished one.
        folder: Folder of the files; it is made if it is missing.
        name: Name of the files without the ending.
        formats: One or more of `FORMATS`.
        width: Width in inches; the height changes in proportion. `None` keeps the figure's own.
        font_size: Size of normal text in points, to which all other text is relative. Needs a
            function that draws.

    Returns:
        The files.

    Raises:
        UserError: If a format is unknown or the figure does not fit into the width.
    """
    formats = [formats] if isinstance(formats, str) else formats
    check(formats, width, font_size)
    folder = paths.expand(folder)
    style = _DRAWING | _SAVING
    if font_size is not None:
        if not callable(figure):
            raise UserError("a finished figure keeps its font size: give a function that draws it")
        style |= {"font.size": font_size}
    with _settings(style):
        drawn = figure() if callable(figure) else figure
        if width is not None:
            drawn.set_size_inches(drawn.get_size_inches() * width / drawn.get_size_inches()[0])
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{name}.{kind}" for kind in dict.fromkeys(formats)]
        for file in files:
            _write(drawn, file)
    return files


def _write(figure, path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "constrained_layout not applied")
        try:
            figure.savefig(path, metadata=_METADATA[path.suffix[1:]])
        except UserWarning:
            raise UserError(
                f"{path.stem} does not fit into {figure.get_size_inches()[0]:g} inches: give it a "
                "greater width or a smaller font size"
            ) from None


def check(formats: Sequence[str], width: float | None, font_size: float | None) -> None:
    """Raise a `UserError` where `save` cannot write such figures."""
    if not formats:
        raise UserError(f"no format of figures; choose from: {', '.join(FORMATS)}")
    for kind in formats:
        if kind not in FORMATS:
            raise unknown("format", kind, FORMATS)
    sizes = {"width": (width, MAX_WIDTH), "font size": (font_size, MAX_FONT_SIZE)}
    for what, (value, limit) in sizes.items():
        if value is not None and not 0 < value <= limit:
            raise UserError(f"a {what} of {value:g} is not between 0 and {limit:g}")


def without_poles(values: np.ndarray) -> tuple[float, float] | tuple[()]:
    """Return limits of an axis that cut off poles at the ends of a curve; of no numbers nothing."""
    values = values[np.isfinite(values)]
    if not values.size:
        return ()
    low, high = np.quantile(values, [0.03, 0.97])
    margin = 0.15 * (high - low)
    low, high = max(values.min(), low - margin), min(values.max(), high + margin)
    return float(low) - 0.02, float(high) + 0.02

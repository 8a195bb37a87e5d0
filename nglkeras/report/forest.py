"""A forest plot: each loss less cross entropy, in every comparison that there is of it."""

from collections.abc import Collection, Mapping

from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.report.figures import styled
from nglkeras.report.statistics import Difference
from nglkeras.report.tables import SAME, in_order

_MARKERS = "osD^vPX*"
# The axis shows differences up to this size, in points.
_WITHIN = 3.0


@styled
def forest_plot(
    studies: Mapping[str, Mapping[str, Difference]],
    title: str,
    *,
    hollow: Collection[str] = (),
) -> Figure:
    """Draw a block for each loss, in it a line for each study that has it: a dot and its interval.

    The band is paper A's ±0.5 points, which count as the same. An arrow stands for a mean outside
    of the axis.

    Args:
        studies: By the title of the study and the name of the loss.
        title: Title of the figure.
        hollow: Titles of the studies whose dots are hollow.
    """
    names = in_order({name for study in studies.values() for name in study})
    lines, middles, ends = {}, [], [0]
    for name in names:
        of_name = [heading for heading, study in studies.items() if name in study]
        lines |= {(heading, name): ends[-1] + k for k, heading in enumerate(of_name, start=1)}
        middles.append(ends[-1] + (len(of_name) + 1) / 2)
        ends.append(ends[-1] + len(of_name) + 1)
    size = (8.5, 0.5 + 0.16 * ends[-1] + 0.25 * len(studies) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    axis.axvspan(-SAME, SAME, color="gray", alpha=0.15, linewidth=0)
    axis.axvline(0, color="gray", linewidth=0.8)
    for i, (heading, study) in enumerate(studies.items()):
        style = {"color": f"C{i}", "marker": _MARKERS[i % len(_MARKERS)], "markersize": 5}
        if heading in hollow:
            style["markerfacecolor"] = "white"
        axis.plot([], [], linestyle="none", label=heading, **style)
        for name, one in study.items():
            _draw(axis, lines[heading, name], one, style)
    for end in ends[1:-1]:
        axis.axhline(end, color="gray", linewidth=0.4, alpha=0.5)
    axis.grid(visible=False, axis="y")
    axis.set(xlim=(-_WITHIN, _WITHIN), ylim=(max(ends[-1], 1), 0))
    axis.set(xlabel="test accuracy less cross entropy's, points (95 % interval)")
    axis.set_yticks(middles, [losses.label(name) for name in names])
    figure.suptitle(title)
    if studies:
        figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return figure


def _draw(axis, y, one, style):
    if abs(one.mean) > _WITHIN:
        side = _WITHIN if one.mean > 0 else -_WITHIN
        beyond = style | {"marker": ">" if side > 0 else "<"}
        axis.plot(0.985 * side, y, **beyond)
        place = {"ha": "right" if side > 0 else "left", "va": "center", "fontsize": "x-small"}
        axis.annotate(f"{one.mean:+.1f}", (0.95 * side, y), **place)
        return
    bars = None if one.low is None else [[one.mean - one.low], [one.high - one.mean]]
    axis.errorbar(one.mean, y, xerr=bars, capsize=2, linewidth=1.2, **style)

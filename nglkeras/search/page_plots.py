"""The figures of a search's page, drawn by Bokeh."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache

import numpy as np
from bokeh.document import Document
from bokeh.embed import components
from bokeh.models import BasicTicker, ColumnDataSource, HoverTool, Range1d
from bokeh.plotting import figure
from bokeh.resources import Resources

from nglkeras.expression import Expression
from nglkeras.expression.papers import CROSS_ENTROPY, FORMULAS
from nglkeras.report.figures import without_poles
from nglkeras.search.ancestry import MAKERS, first_parents, maker
from nglkeras.search.presentation import SPARED, origin, shortened, shown
from nglkeras.search.records import Record
from nglkeras.search.result import Result

HEIGHT = 320
# Losses that are drawn as points, and characters of their formulas, at most: the page stays small.
MAX_POINTS = 3_000
MAX_FORMULA = 300
# Predictions at which losses are drawn.
_POINTS = 120
# Colors that differ for the colour-blind too (Okabe and Ito).
BLUE, ORANGE, GREEN, RED, SKY, PINK = (
    *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7"),
)
GRAY, LIGHT = "#8a8f98", "#c9cdd3"
_MAKERS = dict(zip(MAKERS, (GRAY, "#111111", BLUE, ORANGE, GREEN, SKY), strict=True))
# What became of a loss, and its color.
KINDS = {
    "trained": BLUE,
    "stopped early": ORANGE,
    "failed": RED,
    **dict(zip(SPARED.values(), (GREEN, "#66c2a5", "#a6dbc8", PINK), strict=True)),
    "discarded": LIGHT,
}
_TIP = (
    '<div style="max-width: 300px; white-space: normal; overflow-wrap: anywhere; font-size: 13px">'
    "<b>@id</b>, fitness @fitness, @size nodes<br>@made_by<br><code>@formula</code></div>"
)


@cache
def library() -> str:
    """Return Bokeh's script, which the page holds."""
    return Resources(mode="inline", components=["bokeh"], log_level="error").render()


def embed(figures: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """Return the script that draws the figures, and the element of each by name."""
    document = Document()
    # One search through all models instead of one for each figure: half of the time.
    with document.models.freeze():
        for one in figures.values():
            document.add_root(one)
    return components(dict(figures)) if figures else ("", {})


def kind_of(record: Record) -> str:
    """Return what became of a loss, one of `KINDS`."""
    status = record.evaluation.status
    if record.saved:
        return SPARED[record.saved]
    if status in ("discarded", "stopped"):
        return "stopped early" if status == "stopped" else status
    return "trained" if status == "ok" else "failed"


def points(records: Iterable[Record]) -> ColumnDataSource:
    """Return the losses with a fitness as points."""
    rated = [record for record in records if record.evaluation.rank]
    return _source(rated[:: math.ceil(len(rated) / MAX_POINTS) or 1])


def convergence(result: Result, evaluated: ColumnDataSource):
    """Draw the best and the mean fitness of the survivors, and every loss as a point."""
    plot = _figure("generation", "fitness")
    dots = plot.scatter("generation", "height", source=evaluated, size=4, color=LIGHT)
    _tips(plot, dots)
    numbers = [generation.number for generation in result.generations]
    best, mean = (
        [getattr(one, name)[-1] if getattr(one, name) else math.nan for one in result.generations]
        for name in ("best", "mean")
    )
    plot.line(numbers, best, color=BLUE, line_width=2.5, legend_label="best")
    plot.line(numbers, mean, color=ORANGE, line_width=2, line_dash="dashed", legend_label="mean")
    _focus(plot, [*best, *mean])
    plot.legend.location = "bottom_right"
    return _finished(plot)


def evaluations(result: Result):
    """Draw for each generation what became of its losses."""
    plot = _figure("generation", "losses")
    last = max((one.individual.generation for one in result.records.values()), default=0)
    counts = {kind: [0] * (last + 1) for kind in KINDS}
    for record in result.records.values():
        counts[kind_of(record)][record.individual.generation] += 1
    counts = {kind: numbers for kind, numbers in counts.items() if any(numbers)}
    names = list(counts)
    source = ColumnDataSource({"generation": list(range(last + 1)), **counts})
    bars = plot.vbar_stack(
        names,
        x="generation",
        width=0.9,
        color=[KINDS[name] for name in names],
        source=source,
        legend_label=names,
    )
    if bars:
        tips = [("generation", "@generation"), *((name, f"@{{{name}}}") for name in names)]
        plot.add_tools(HoverTool(renderers=bars, tooltips=tips))
        _legend_below(plot, 3)
    plot.y_range.start = 0
    return _finished(plot)


def front(result: Result, evaluated: ColumnDataSource):
    """Draw fitness against size, and the best fitness at each size."""
    plot = _figure("nodes of the formula", "fitness")
    dots = plot.scatter("size", "height", source=evaluated, size=4, color=LIGHT)
    best = _source([result.records[loss.id] for loss in result.front])
    plot.step("size", "height", source=best, mode="after", color=RED, line_width=2)
    marks = plot.scatter("size", "height", source=best, size=9, color=RED, legend_label="front")
    _tips(plot, dots, marks)
    _focus(plot, best.data["height"])
    plot.legend.location = "bottom_right"
    return _finished(plot)


def genealogy(result: Result):
    """Draw the best loss and its ancestors by generation; the line of first parents is red."""
    winner = result.best_losses(1)[0].id
    records = result.ancestors(winner)
    line = first_parents(records, winner)
    rated = [one.evaluation.rank[-1] for one in records.values() if one.evaluation.rank]
    floor = min(rated) - 0.15 * (max(rated) - min(rated) or abs(max(rated)) or 1.0)
    family = _source(records.values(), floor)
    place = dict(
        zip(
            records, zip(family.data["generation"], family.data["height"], strict=True), strict=True
        )
    )
    plot = _figure("generation", "fitness")
    strong = set(line)
    for is_strong, color, width in ((False, LIGHT, 1), (True, RED, 2.5)):
        pairs = [
            (place[parent], place[name])
            for name, record in records.items()
            for parent in record.individual.parents
            if (name in strong and parent in strong) == is_strong
        ]
        edges = {
            f"{axis}{end}": [pair[end][i] for pair in pairs]
            for i, axis in enumerate("xy")
            for end in (0, 1)
        }
        plot.segment(
            "x0", "y0", "x1", "y1", source=ColumnDataSource(edges), color=color, line_width=width
        )
    dots = plot.scatter(
        "generation",
        "height",
        source=family,
        size=9,
        color="color",
        line_color="white",
        legend_group="maker",
    )
    _tips(plot, dots)
    _legend_below(plot, 3)
    return _finished(plot)


# Each new version of the page has mostly the best losses of the version before it.
@lru_cache(maxsize=64)
def curves(expression: Expression, class_reduction: str) -> tuple[str, dict[str, str]]:
    """Return script and elements, "value" and "gradient", with the curves of a loss.

    Beside it are cross entropy and NGL, all with two classes: see `binary`.
    """
    p = np.linspace(0.005, 0.995, _POINTS)
    drawn = {
        "this loss": (expression, class_reduction, BLUE, "solid"),
        "CE": (Expression.parse(CROSS_ENTROPY), "sum", GRAY, "dashed"),
        "NGL": (Expression.parse(FORMULAS["NGL"]), class_reduction, ORANGE, "dotdash"),
    }
    plots = {
        "value": _figure("p", "loss", height=240),
        "gradient": _figure("p", "gradient", height=240),
    }
    limits = {name: [] for name in plots}
    for label, (loss, reduction, color, dash) in drawn.items():
        for (name, plot), values in zip(plots.items(), binary(loss, p, reduction), strict=True):
            limits[name] += without_poles(values)
            style = {"color": color, "line_dash": dash, "line_width": 2, "legend_label": label}
            plot.line(p, values, **style)
    for name, plot in plots.items():
        plot.y_range = Range1d(min(limits[name]), max(limits[name]))
        plot.legend.location = "bottom_left" if name == "value" else "bottom_right"
        plot.legend.label_text_font_size = "11px"
        _finished(plot)
    return embed(plots)


def binary(
    expression: Expression, p: np.ndarray, class_reduction: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and gradients of a loss of predictions (p, 1 - p) for the label (1, 0).

    Scale and height of a loss are not its shape: the mean size of the gradient is brought to that
    of cross entropy, and the loss to 0 at p = 1/2.
    """
    middle = np.append(p, 0.5)
    (value, slope), (other, falling) = (
        expression.value_and_slope(np.full_like(middle, label), at)
        for label, at in ((1.0, middle), (0.0, 1 - middle))
    )
    value, slope = value + other, slope - falling
    if class_reduction == "mean":
        value, slope = value / 2, slope / 2
    inner = (p > 0.05) & (p < 0.95)
    size = np.abs(slope[:-1][inner]).mean()
    scale = (1 / p[inner]).mean() / size if np.isfinite(size) and size > 0 else 1.0
    return scale * (value[:-1] - value[-1]), scale * slope[:-1]


def rates(measured: Mapping[str, Mapping[float, float]], told: str):
    """Draw what validation has reached at each learning rate, by loss; `told` is the measure."""
    plot = _figure("learning rate", f"validation {told}", x_axis_type="log")
    colors = (BLUE, GRAY, ORANGE, GREEN, RED, SKY, PINK, "#111111")
    for i, (name, found) in enumerate(measured.items()):
        color = colors[i % len(colors)]
        xs = sorted(found)
        ys = [found[x] for x in xs]
        plot.line(xs, ys, color=color, line_width=2, legend_label=name)
        plot.scatter(xs, ys, color=color, size=7, legend_label=name)
    if measured:
        _legend_below(plot, 4)
    return _finished(plot)


def differences(losses: Sequence[dict], told: str):
    """Draw the difference of each loss to cross entropy with its interval, in points of a share."""
    found = [one for one in reversed(losses) if one.get("difference") is not None]
    names = [one["loss"] for one in found]
    label = "less CE, percentage points" if told.endswith("%") else f"less CE, {told}"
    plot = _figure(label, "", y_range=names, height=100 + 36 * len(names))
    plot.line([0, 0], [names[0], names[-1]] if names else [], color=GRAY, line_dash="dashed")
    for one in found:
        low, high = one.get("difference_low"), one.get("difference_high")
        color = {"better": GREEN, "worse": RED}.get(one.get("verdict"), GRAY)
        if low is not None and high is not None:
            plot.line([low, high], [one["loss"]] * 2, color=color, line_width=3)
        plot.scatter([one["difference"]], [one["loss"]], color=color, size=10)
    return _finished(plot)


def _source(records, floor=math.nan):
    """Return records as columns; those without a fitness are drawn at the floor."""
    columns = {
        **dict.fromkeys(("id", "generation", "size", "height", "fitness", "made_by", "formula")),
        **dict.fromkeys(("maker", "color")),
    }
    rows = [
        (
            record.individual.id,
            record.individual.generation,
            record.individual.expression.size,
            record.evaluation.rank[-1] if record.evaluation.rank else floor,
            shown(record.evaluation.rank),
            origin(record.individual),
            shortened(str(record.individual.expression), MAX_FORMULA),
            maker(record),
            _MAKERS[maker(record)],
        )
        for record in records
    ]
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    # Bokeh takes arrays without a look at every entry.
    return ColumnDataSource(
        {name: np.array(found) for name, found in zip(columns, values, strict=True)}
    )


def _figure(x_label, y_label, height=HEIGHT, **options):
    return figure(
        height=height,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag=None,  # a page must scroll where a finger or a wheel passes over a figure
        active_scroll=None,
        toolbar_location="above",
        x_axis_label=x_label,
        y_axis_label=y_label,
        **options,
    )


def _finished(plot):
    if plot.xaxis.axis_label == "generation":
        # There is no half a generation.
        plot.xaxis.ticker = BasicTicker(mantissas=[1, 2, 5], min_interval=1)
    plot.toolbar.logo, plot.toolbar.autohide = None, True
    plot.outline_line_color = None
    plot.xgrid.grid_line_color = plot.ygrid.grid_line_color = "#eceef1"
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_line_color = axis.major_tick_line_color = GRAY
        axis.minor_tick_line_color = None
    for legend in plot.legend:
        legend.border_line_color, legend.background_fill_alpha = None, 0.8
        legend.padding, legend.spacing, legend.margin = 4, 6, 4
    return plot


def _legend_below(plot, columns):
    plot.add_layout(plot.legend[0], "below")
    plot.legend.location, plot.legend.orientation = "left", "horizontal"
    plot.legend.ncols = columns


def _tips(plot, *renderers):
    plot.add_tools(HoverTool(renderers=list(renderers), tooltips=_TIP))


def _focus(plot, values):
    """Show the range of these values, not that of the outliers below them."""
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        margin = 0.12 * (max(finite) - min(finite)) or 0.05 * abs(finite[0]) or 0.05
        plot.y_range = Range1d(min(finite) - margin, max(finite) + margin)

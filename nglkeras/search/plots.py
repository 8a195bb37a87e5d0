"""Figures of a search: trees, the course of the fitness, curves of losses, the winner's family."""

import itertools
from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.expression import OPERATORS, Expression
from nglkeras.expression.papers import FORMULAS
from nglkeras.report.figures import styled
from nglkeras.report.loss_curves import draw_binary
from nglkeras.search.ancestry import first_parents, maker
from nglkeras.search.presentation import shortened
from nglkeras.search.records import Generation
from nglkeras.search.result import Result
from nglkeras.search.variation import Variation

_SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "neg": "×(−1)", "sqrt": "√"}
_SIGNS |= {"square": "x²", "y_true": "t", "y_pred": "p"}
# The example in figure A of the paper ends in "- 1.05 * cos(z)"; here z is the prediction.
EXAMPLE = Expression.parse("exp(y_true)/y_pred - 1.05*cos(y_pred)")


@styled
def tree(expression: Expression, title: str = "") -> Figure:
    """Draw the tree of a loss, with t for y_true and p for y_pred."""
    figure = Figure(figsize=_tree_size(expression), layout="constrained")
    draw_tree(figure.subplots(), expression, title=title or str(expression))
    return figure


def draw_tree(
    axis, expression: Expression, *, marked: Collection[int] = (), title: str = ""
) -> None:
    """Draw a tree, with the nodes at the marked positions in another color."""
    places, edges = _places(expression)
    for parent, child in edges:
        both = parent in marked and child in marked
        xs, ys = zip(places[parent], places[child], strict=True)
        axis.plot(xs, ys, color="tab:orange" if both else "gray", linewidth=1, zorder=1)
    for position, (x, y) in enumerate(places):
        node = expression.nodes[position]
        text = _SIGNS.get(node, node) if isinstance(node, str) else f"{node:g}"
        color = "tab:orange" if position in marked else "tab:blue"
        axis.annotate(
            text,
            (x, y),
            ha="center",
            va="center",
            fontsize="small",
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": color},
            zorder=2,
        )
    axis.set(xlim=(-0.7, max(x for x, _ in places) + 0.7), ylim=(-expression.height - 0.5, 0.5))
    axis.set_axis_off()
    axis.set_title(title, fontsize="medium")


def _tree_size(expression):
    leaves = sum(node not in OPERATORS for node in expression.nodes)
    return max(4.0, 0.75 * leaves + 1), max(2.5, 0.65 * expression.height + 1)


def _places(expression):
    """Lay out a tree: leaves side by side, each operator above the middle of its arguments.

    Returns:
        The (x, y) of each node in prefix order, and the edges as pairs of positions.
    """
    places, edges, columns = [(0.0, 0.0)] * expression.size, [], itertools.count()
    positions = itertools.count()

    def place(depth):
        position = next(positions)
        operator = OPERATORS.get(expression.nodes[position])
        children = [place(depth + 1) for _ in range(operator.arity if operator else 0)]
        x = np.mean([places[child][0] for child in children]) if children else next(columns)
        places[position] = (float(x), -float(depth))
        edges.extend((position, child) for child in children)
        return position

    place(0)
    return places, sorted(edges, key=lambda edge: edge[1])


@styled
def figure_a() -> Figure:
    """Draw figure A of paper A: two example trees, and the exchange of subtrees in a crossover."""
    variation = Variation(depths=(2, 3), max_size=16)
    random = np.random.RandomState(1)
    tree_, partner = variation.random_tree(random), variation.random_tree(random)
    exchange = variation.exchange(tree_, partner, random)
    removed, donated = (
        range(first, last + 1) for first, last in (exchange.removed, exchange.donated)
    )
    start = exchange.removed[0]
    panels = {
        "example": (EXAMPLE, (), "an example that ends in − 1.05 × cos, as the paper's does"),
        "NGL": (Expression.parse(FORMULAS["NGL"]), (), "another example: NGL"),
        "parent": (tree_, removed, "parent, and the subtree that it loses"),
        "partner": (partner, donated, "partner, and the subtree that it gives"),
        "child": (exchange.child, range(start, start + len(donated)), "child"),
    }
    figure = Figure(figsize=(14, 8), layout="constrained")
    axes = figure.subplot_mosaic(
        [["example"] * 3 + ["NGL"] * 3, ["parent"] * 2 + ["partner"] * 2 + ["child"] * 2]
    )
    for name, (expression, marked, title) in panels.items():
        draw_tree(axes[name], expression, marked=marked, title=f"{title}\n{expression}")
    figure.suptitle("Losses as trees, and a crossover (p prediction, t label)")
    return figure


@styled
def convergence(generations: Sequence[Generation], name: str) -> Figure:
    """Draw the fitness of the survivors, and how many evaluations each check has saved."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = [generation.number for generation in generations]
    for label, style in (("best", "-"), ("mean", "--")):
        # Of several numbers the last one is drawn: the mean improvement of experiment 5.
        values = [getattr(generation, label) for generation in generations]
        left.plot(numbers, [v[-1] if v else np.nan for v in values], style, label=label)
    left.set(xlabel="generation", ylabel=name, title="fitness of the survivors")
    left.legend()
    last = generations[-1]
    rows = {"trained": [generation.trained for generation in generations]}
    rows |= {kind: [g.saved[kind] for g in generations] for kind in last.saved}
    names = {"duplicate": "duplicates", "equal": "equal", "gradient": "same gradient"}
    labels = [f"{names.get(kind, kind)}: {counts[-1]}" for kind, counts in rows.items()]
    right.stackplot(numbers, *rows.values(), labels=labels, alpha=0.8)
    right.set(xlabel="generation", title=f"{last.asked} evaluations asked for")
    right.legend(loc="upper left")
    return figure


@styled
def curves(candidates: dict[str, Expression], class_reduction: str = "mean") -> Figure:
    """Draw losses and their gradients in the binary case, beside CE and NGL."""
    panels = [
        (
            f"{name}\n{shortened(str(expression), 40)}",
            expression.to_loss(class_reduction=class_reduction),
        )
        for name, expression in candidates.items()
    ]
    panels += [
        ("CE", losses.get("CE")),
        ("NGL", losses.get("NGL", class_reduction=class_reduction)),
    ]
    columns = 3
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(13, 3.8 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, loss) in zip(axes, panels, strict=False):
        draw_binary(axis, loss, name)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(
        "Losses (solid) and gradients (dashed) for predictions (p, 1 − p) and label (1, 0)"
    )
    return figure


@styled
def family(result: Result) -> Figure:
    """Draw the winner and its ancestors by generation; the line of first parents is red."""
    winner = result.population[0].individual.id
    records = result.ancestors(winner)
    line = first_parents(records, winner)
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axis = figure.subplots()
    fits = [record.evaluation.rank[-1] for record in records.values() if record.evaluation.rank]
    # Ancestors without a fitness, such as rejected ones, are drawn on a line below the others.
    floor = min(fits) - 0.15 * (max(fits) - min(fits) or 1.0)
    heights = {
        name: record.evaluation.rank[-1] if record.evaluation.rank else floor
        for name, record in records.items()
    }
    if floor in heights.values():
        axis.axhline(floor, color="gray", linestyle=":", linewidth=0.8)
        axis.annotate(
            "without a fitness", (0, floor), (4, 4), textcoords="offset points", fontsize="small"
        )
    for name, record in records.items():
        for parent in record.individual.parents:
            strong = name in line and parent in line
            axis.plot(
                [records[parent].individual.generation, record.individual.generation],
                [heights[parent], heights[name]],
                color="tab:red" if strong else "lightgray",
                linewidth=1.6 if strong else 0.7,
                zorder=2 if strong else 1,
            )
    for makers, color in _MAKERS.items():
        members = [name for name, r in records.items() if maker(r) == makers]
        if members:
            xs = [records[name].individual.generation for name in members]
            ys = [heights[name] for name in members]
            axis.scatter(xs, ys, s=18, color=color, label=makers, zorder=3)
    for name in line:
        if name == winner or not records[name].individual.parents:
            text = shortened(str(records[name].individual.expression), 60)
            at = (records[name].individual.generation, heights[name])
            right = name == winner and len(line) > 1
            axis.annotate(
                text,
                at,
                (-4, 8) if right else (4, -14),
                textcoords="offset points",
                fontsize="small",
                ha="right" if right else "left",
                zorder=4,
            )
    axis.set(xlabel="generation", ylabel="fitness")
    axis.margins(y=0.12)
    axis.set_title(f"{winner} and its {len(records) - 1} ancestors; first parents in red")
    axis.legend(loc="lower right")
    return figure


@styled
def front(result: Result, name: str) -> Figure:
    """Draw the fitness of everything that was evaluated against its size, and the Pareto front.

    Of a fitness of several numbers, the last one is drawn.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axis = figure.subplots()
    rated = [record for record in result.records.values() if record.evaluation.rank]
    axis.scatter(*_sizes_and_fits(rated), s=12, color="lightgray", label="evaluated")
    sizes, fits = _sizes_and_fits(result.front)
    axis.step(sizes, fits, where="post", color="tab:red")
    axis.scatter(sizes, fits, s=28, color="tab:red", zorder=3, label="front")
    for member, x, y in zip(result.front, sizes, fits, strict=True):
        axis.annotate(
            member.individual.id, (x, y), (0, 6), textcoords="offset points", fontsize="small"
        )
    axis.set(xlabel="nodes of the formula", ylabel=name)
    axis.set_title("The best fitness at each size")
    axis.legend(loc="lower right")
    return figure


def _sizes_and_fits(evaluated):
    sizes = [one.individual.expression.size for one in evaluated]
    return sizes, [one.evaluation.rank[-1] for one in evaluated]


_MAKERS = {
    "random": "gray",
    "known loss": "black",
    "crossover": "tab:blue",
    "mutation": "tab:orange",
    "both": "tab:green",
    "copy": "lightblue",
}

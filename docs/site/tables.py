"""A page for each table, figure and study: its command, cost and standing, and the printed numbers.

`experiments.csv` beside this file says what there is.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd

from nglkeras.report.printed import read_numbers

# The file of printed numbers, and figures, from the project's folder.
_SHOWN = {
    "table 1": ("table1", ()),
    "table 2": (
        "table2",
        ("results/table2/small_fashion_mnist/table2_curves.png",),
    ),
    "table 3": ("table3", ()),
    "table 4": ("table4", ("results/table4/small_camvid/table4.png",)),
    "table 5": ("table5", ()),
    "table B.2.1": ("table_b21", ()),
    "table B.2.2": ("table_b22", ()),
    "the search": (None, ("results/search/small_cnn_mnist_raced/confirmation.png",)),
    "figure 1": (None, ("figures/figure1.png",)),
    "figure A": (None, ("figures/figure_a.png",)),
    "figure B.2": (None, ("figures/figure_b2.png",)),
    "B: figure 1": ("glo", ("results/glo/mnist/figure1_20000_mixed_bfloat16.png",)),
    "B: figure 2": (None, ("figures/glo_figure2.png",)),
    "B: figure 3": (None, ("results/glo/mnist/figure3_20000_mixed_bfloat16.png",)),
    "B: data portions": (None, ("results/glo/mnist/data_2000_mixed_bfloat16.png",)),
    "B: transfer": (None, ("results/glo/mnist/transfer_mixed_bfloat16.png",)),
    "B: found again?": (None, ("results/rediscovery/full/rediscovery.png",)),
    "learning rates": (None, ("results/learning_rates/mnist/mnist_glo_mnist_SGD_2000.png",)),
    "speed": (None, ("results/benchmark/loss.png",)),
    "racing": (None, ("results/benchmark/racing.png",)),
    "a GPU": (None, ("results/gpu/h200/gpu_jax.png",)),
}


def navigation() -> list[dict[str, str]]:
    """Return the places of the pages by their titles."""
    return [{_title(what): f"tables/{_page(what)}.md"} for what in _experiments()]


@cache
def _experiments():
    """The lines of each experiment by its name."""
    frame = pd.read_csv(Path(__file__).with_name("experiments.csv"))
    return dict(iter(frame.groupby("what", sort=False)))


def files(project: Path, render) -> Iterator[tuple[str, str | bytes]]:
    """Yield the name of each file with its content.

    Args:
        project: The project's folder.
        render: Maps the name of a template, and variables, to a page.
    """
    groups = _experiments()
    pages = {what: _page(what) for what in groups}
    yield "tables/index.md", render("tables.md.j2", groups=groups, pages=pages)
    for what, group in groups.items():
        printed, figures = _SHOWN.get(what, (None, ()))
        yield (
            f"tables/{pages[what]}.md",
            render(
                "table.md.j2",
                title=_title(what),
                what=what,
                group=group,
                figures=[Path(figure).name for figure in figures],
                printed=printed and as_markdown(read_numbers(printed)),
            ),
        )
        for figure in figures:
            yield f"tables/{Path(figure).name}", (project / figure).read_bytes()


def _title(what):
    return what[0].upper() + what[1:]


def _page(what):
    return re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")


def as_markdown(frame: pd.DataFrame) -> str:
    """Return a table of printed numbers; what the paper does not print is a dash."""
    lines = [["", *frame.columns], ["---"] * (len(frame.columns) + 1)]
    lines += [
        [str(name), *map(_cell, row)] for name, row in zip(frame.index, frame.values, strict=True)
    ]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _cell(value):
    if pd.isna(value):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""The page of a result: text of 80 columns, HTML for notebooks, and a table of all losses."""

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from nglkeras.errors import in_a_line
from nglkeras.runs.live_status import duration
from nglkeras.search.strategy import SEED, Evaluation, Individual

if TYPE_CHECKING:
    import pandas as pd

    from nglkeras.search.found import FoundLoss
    from nglkeras.search.records import Record
    from nglkeras.search.result import Result

WIDTH = 80
# Losses in the ranking of a page.
RANKED = 5
# Why trainings were spared, in words.
SPARED = {
    "duplicate": "duplicate",
    "equal": "equal values",
    "gradient": "same gradient",
    "rejected": "rejected",
}
_COLUMNS = ("rank", "fitness", "size", "id", "made by")
# Left edge of the formulas, which stand below the other columns.
_INDENT = 6
_FRONT = "Smaller losses, each better than all others of its size or less (result.front):"
_USAGE = "As a Keras loss: result.best_losses()[0].loss()"
# Length of an example of what went wrong.
_MESSAGE = 200


def as_text(result: "Result") -> str:
    """Return a page of text, which shows each loss in its simplified form."""
    lines = [row for text in _heading(result) for row in textwrap.wrap(text, WIDTH)]
    parts = _parts(result)
    rows = [row for _, rows in parts for row in rows]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=False)]
    for title, rows in parts:
        lines += ["", *([title] if title else [_line(_COLUMNS, widths)])]
        for row in rows:
            lines += [_line(row, widths), " " * _INDENT + shortened(row[-1], WIDTH - _INDENT)]
    if parts:
        best = parts[0][1][0][-1]
        if len(best) > WIDTH - _INDENT:
            best = textwrap.wrap(f"The best in full: {best}", WIDTH, break_on_hyphens=False)
            lines += ["", *best]
        lines += ["", _USAGE]
    return "\n".join(lines)


def _line(row, widths):
    """Align a row's cells: numbers at the right, the fitness and what is last at the left."""
    cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
    cells[1], cells[-1] = row[1].ljust(widths[1]), row[len(widths) - 1]
    return shortened("  ".join(cells), WIDTH)


def as_html(result: "Result") -> str:
    """Return the page as HTML."""
    html = [f"<p>{escape(line)}</p>" for line in _heading(result)]
    columns = "".join(f"<th>{name}</th>" for name in (*_COLUMNS, "formula"))
    for title, rows in _parts(result):
        html += [f"<p>{title}</p>"] if title else []
        html.append(f"<table><thead><tr>{columns}</tr></thead><tbody>")
        for *cells, formula in rows:
            code = f"<code>{escape(shortened(formula, WIDTH))}</code>"
            html += ["<tr>", *(f"<td>{escape(cell)}</td>" for cell in cells)]
            html.append(f'<td style="text-align: left" title="{escape(formula)}">{code}</td></tr>')
        html.append("</tbody></table>")
    html += [f"<p><code>{escape(_USAGE)}</code></p>"] if result.best_losses(1) else []
    return f"<div>{''.join(html)}</div>"


def as_frame(records: Iterable["Record"]) -> "pd.DataFrame":
    """Return one row for each record, in their order."""
    # Only here, since it takes half a second to import.
    import pandas as pd

    records = list(records)
    length = max((len(one.evaluation.fitness) for one in records), default=0)
    names = [f"fitness_{i}" for i in range(1, length + 1)] if length > 1 else ["fitness"]
    rows = []
    for record in records:
        individual, evaluation = record.individual, record.evaluation
        fitness = [*evaluation.fitness, *[math.nan] * len(names)][: len(names)]
        rows.append(
            {
                "id": individual.id,
                "generation": individual.generation,
                **dict(zip(names, fitness, strict=True)),
                "spread": spread(evaluation),
                "size": individual.expression.size,
                "height": individual.expression.height,
                "formula": str(individual.expression),
                "status": evaluation.status,
                "made_by": ", ".join(individual.made_by) or "copy",
                "parents": ", ".join(individual.parents),
                "seconds": evaluation.seconds,
                "twin": record.twin,
                "why": record.saved,
                "message": evaluation.message,
            }
        )
    return pd.DataFrame(rows)


def origin(individual: Individual) -> str:
    """Return in words how an individual was made, e.g. "crossover of 3-1 and 2-4"."""
    first, *others = [name.replace("_", " ") for name in individual.made_by] or ["copy"]
    first = {"random": "random tree", "seed": "known loss"}.get(first, first)
    parents = f" of {' and '.join(individual.parents)}" if individual.parents else ""
    return in_a_line(", ".join([first + parents, *others]))


def spread(evaluation: Evaluation) -> float | None:
    """Return the standard deviation of the accuracies whose mean is the fitness.

    `None` if the fitness is something else, or there are fewer than two accuracies.
    """
    found = evaluation.details.get("accuracies")
    # By data set the fitness of a run is the mean over the data sets.
    found = list(found.values()) if found and isinstance(found, dict) else [found]
    try:
        runs = np.mean(np.array(found, float), axis=0)
    except (TypeError, ValueError):
        return None
    if runs.ndim != 1 or len(runs) < 2 or len(evaluation.fitness) != 1:
        return None
    is_mean = math.isclose(runs.mean(), evaluation.fitness[0], rel_tol=1e-6)
    return float(runs.std(ddof=1)) if is_mean else None


def shown(fitness: Sequence[float]) -> str:
    """Return a fitness as text."""
    return "/".join(f"{value:.4f}" for value in fitness) or "none"


def shortened(text: str, length: int) -> str:
    """Return the text in at most this number of characters."""
    return text if len(text) <= length else text[: length - 3] + "..."


def failures(evaluations: Iterable[Evaluation]) -> str:
    """Return how many evaluations without a fitness have each status, with an example of each."""
    # What racing has stopped has not failed.
    failed = [one for one in evaluations if not one.rank and one.status != "stopped"]
    counts = Counter(evaluation.status for evaluation in failed)
    # Messages may come from a file, and from libraries that write many lines.
    example = {one.status: shortened(in_a_line(one.message), _MESSAGE) for one in reversed(failed)}
    return "; ".join(
        f"{count} {status}" + (f", such as: {example[status]}" if example[status] else "")
        for status, count in counts.most_common()
    )


def _parts(result: "Result") -> list[tuple[str, list[list[str]]]]:
    """Return the ranking and the rest of the front, each with a title and rows.

    A row has the cells of `_COLUMNS` and the formula.
    """
    best = result.best_losses(RANKED)
    ids = {loss.id for loss in best}
    smaller = [loss for loss in reversed(result.front) if loss.id not in ids][:RANKED]
    parts = [
        ("", [_row(str(rank), loss) for rank, loss in enumerate(best, start=1)]),
        (_FRONT, [_row("", loss) for loss in smaller]),
    ]
    return [(title, rows) for title, rows in parts if rows]


def _row(rank, loss):
    # A known loss is known by its own formula.
    simple = loss.expression if loss.made_by == SEED else loss.simplified
    smaller = f" -> {simple.size}" if simple.size < loss.size else ""
    formula = min(loss.formula, str(simple), key=len)
    made_by = origin(loss.individual)
    return [rank, _fitness(loss), f"{loss.size}{smaller}", loss.id, made_by, formula]


def _fitness(loss: "FoundLoss") -> str:
    deviation = spread(loss.evaluation)
    return shown(loss.fitness) + ("" if deviation is None else f" ± {deviation:.4f}")


def _heading(result: "Result") -> list[str]:
    """Return what was searched, what was evaluated, and how it ended."""
    records = result.records.values()
    counts = Counter(name for record in records for name in record.counts)
    strategy = result.settings.get("strategy")
    what = f"{strategy}, seed {result.settings.get('seed')}: " if strategy else ""
    number = result.last_generation
    reached = "generation 0" if number <= 0 else f"generations 0 to {number}"
    lines = [
        f"{what}{reached}; {duration(result.seconds)} of training",
        f"{counts['asked']} losses asked for: {counted(counts)}",
    ]
    if result.epochs[1]:
        lines.append(raced(*result.epochs))
    if counts["failed"]:
        failed = failures(one.evaluation for one in records if "failed" in one.counts)
        lines.append(f"Trainings that failed: {failed}")
    if result.ending:
        lines.append(result.ending[0].upper() + result.ending[1:])
    if not result.best_losses(1):
        lines.append(f"No loss has a fitness: {result.failures or 'none was evaluated'}")
    return [in_a_line(line) for line in lines]


def raced(trained: int, whole: int) -> str:
    """Return in words how many epochs racing has spared."""
    saved = 100 * (1 - trained / whole) if whole else 0.0
    return f"Racing: {trained:,} of {whole:,} epochs trained, {saved:.0f} % saved"


def counted(counts: Mapping[str, int]) -> str:
    """Return in words how many evaluations were trained, spared and discarded.

    Args:
        counts: The numbers of a `Generation` by name.
    """
    spared = {name: counts[name] for name in SPARED if counts.get(name)}
    kinds = ", ".join(f"{count} {SPARED[name]}" for name, count in spared.items())
    early = {"stopped": "stopped early", "failed": "failed"}
    ended = ", ".join(f"{counts[name]} {text}" for name, text in early.items() if counts.get(name))
    parts = [f"{counts.get('trained', 0)} trained" + (f" ({ended})" if ended else "")]
    parts += [f"{sum(spared.values())} spared ({kinds})"] if spared else []
    parts += [f"{counts['discarded']} discarded"] if counts.get("discarded") else []
    return ", ".join(parts)

"""The report of a search: the best losses, whether the winner is better, files and plots."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from nglkeras import paths
from nglkeras.data import catalog
from nglkeras.experiments.classification.tables import AccuracyCell, comparisons
from nglkeras.experiments.discovery.fitness import Comparison, TrialFitness
from nglkeras.expression import Expression
from nglkeras.expression.papers import FORMULAS
from nglkeras.report import comparison, output
from nglkeras.report.latex import table as as_latex
from nglkeras.report.tables import as_markdown, as_text, interval_text, with_references
from nglkeras.runs.live_status import duration
from nglkeras.search import plots
from nglkeras.search.confirmation import confirm
from nglkeras.search.presentation import raced, shown
from nglkeras.search.result import Result
from nglkeras.search.simplification import simplified

# Number of losses in the report.
BEST = 4


def write(
    result: Result,
    fitness: TrialFitness,
    out: Path,
    heading: str,
    *,
    save: Callable[..., list[Path]],
    compare_runs: int = 0,
    confirmation: Mapping[str, object] | None = None,
    contenders: dict[str, Expression | None] | None = None,
    in_print: Callable[[Expression], Expression] | None = None,
) -> None:
    """Print the result of a search, confirm the winner, write files and figures.

    The files are best.md and best.tex (the best losses), generations.csv, those of a confirmation
    or comparison (confirmation.csv and its figure, comparison.csv), and the figures convergence,
    losses, winner, front and family.

    Args:
        result: Result of the search.
        fitness: Fitness of the search.
        out: Folder of the files.
        heading: Description of the search, for best.md.
        save: Saves a figure as `figures.save` does.
        compare_runs: Networks for each loss and data set of a comparison on the test set at the
            search's own learning rate; 0 for none.
        confirmation: Arguments of `search.confirm`, by name; `None` for no confirmation.
        contenders: Losses that the winner is compared with, as `TrialFitness.compare` takes them;
            by default CE, NGL and Baikal.
        in_print: Returns the form of a loss for lists and figures; by default losses are shown
            as they are, and the winner in a simplified form too.

    Raises:
        UserError: If no loss has a fitness.
    """
    out = paths.expand(out)
    winner, best = result.best, result.best_losses(BEST)
    form = in_print or (lambda expression: expression)
    forms = {member.individual.id: form(member.expression) for member in best}
    rows = [
        [
            member.individual.id,
            shown(member.evaluation.rank),
            str(member.individual.expression.size),
            " + ".join(member.individual.made_by) or "copy",
        ]
        for member in best
    ]
    last = result.generations[-1]
    spared = last.asked - last.trained
    stopped = f" ({last.stopped} stopped early)" if last.stopped else ""
    summary = (
        f"{last.asked} evaluations asked, {last.trained} trained{stopped}, {spared} saved "
        f"({100 * spared / last.asked:.0f} %), {last.failed} failed, {last.discarded} discarded; "
        f"{duration(result.seconds)} of training"
    )
    if last.stopped:
        summary += f". {raced(*result.epochs)}"
    shorter = in_print or simplified
    simple = shorter(winner)
    lines = [
        "The best losses: id, fitness, nodes, made by, formula",
        *("  ".join(row) + f"\n    {forms[row[0]]}" for row in rows),
        summary,
        f"The winner: {winner}",
        *([f"simplified: {simple}"] if simple != winner else []),
        f"LaTeX: {simple.to_latex()}",
        *fitness.notes,
    ]
    output.say("", "\n\n".join(lines))

    judged = []
    if compare_runs:
        output.say(f"\nComparing on the test set, {compare_runs} networks a loss ...")
        if contenders is None:
            contenders = {"CE": None, **paper_losses("NGL", "Baikal")}
        compared = fitness.compare({"winner": winner, **contenders}, compare_runs)
        _comparison_frame(compared).to_csv(out / "comparison.csv", index=False)
        cells = cells_of(compared)
        lines, tables = list(map(judge, cells)), comparisons(cells)
        said = comparison.notes(cells)
        output.say("\n\n".join(["\n".join(lines), *map(as_text, tables), *said]))
        judged = ["\n".join(f"- {line}" for line in lines), *map(as_markdown, tables), *said]

    columns = ["id", "fitness", "nodes", "made by", "formula"]
    front = [
        [str(loss.size), shown(loss.fitness), loss.id, f"`{shorter(loss.expression)}`"]
        for loss in result.front
    ]
    latex = {name: f"${expression.to_latex()}$" for name, expression in forms.items()}
    markdown = [
        "# The best losses of a search",
        heading,
        as_markdown([columns, *([*row, f"`{forms[row[0]]}`"] for row in rows)]),
        as_markdown([["id", "p prediction, t label"], *map(list, latex.items())]),
        "The front of fitness and size over the whole search, with simplified formulas:",
        as_markdown([["nodes", "fitness", "id", "formula"], *front]),
        f"{summary}.",
        *fitness.notes,
        f"Winner, simplified: `{simple}`",
        *judged,
    ]
    (out / "best.md").write_text("\n\n".join(markdown) + "\n", encoding="utf-8")
    body = [columns, *([*row, latex[row[0]]] for row in rows)]
    notes = [heading, "p is the prediction, t the label."]
    (out / "best.tex").write_text(as_latex(body, "The best losses", notes), encoding="utf-8")
    generations = pd.json_normalize([_flat(one, last.stopped) for one in result.generations])
    generations.to_csv(out / "generations.csv", index=False)
    drawn = {
        "convergence": partial(plots.convergence, result.generations, fitness.fitness_name),
        "losses": partial(plots.curves, forms, fitness.class_reduction),
        "winner": partial(plots.tree, form(winner)),
        "front": partial(plots.front, result, fitness.fitness_name),
        "family": partial(plots.family, result),
    }
    files = ["best.md", "best.tex", "generations.csv", *(["comparison.csv"] if judged else [])]
    files += [path.name for name, figure in drawn.items() for path in save(figure, out, name)]
    output.say(f"\nwritten: {out}/best.json (for nglkeras.load_loss), {', '.join(files)}")
    if confirmation is not None:
        _confirm(result, fitness, out, confirmation, save)


def _confirm(result, fitness, out, settings, save):
    """Confirm the winner; best.md gets a section, and networks and figure get files."""
    made = confirm(result, fitness, out=out, **settings)
    if made.cells:
        made.networks().to_csv(out / "confirmation.csv", index=False)
        files = [
            "confirmation.csv",
            *(path.name for path in save(made.figure, out, "confirmation")),
        ]
        output.say(f"\nwritten: best.json and best.md, {', '.join(files)}")


def paper_losses(*names: str) -> dict[str, Expression]:
    """Return losses of the papers by name."""
    return {name: Expression.parse(FORMULAS[name]) for name in names}


def _comparison_frame(comparisons):
    return pd.DataFrame(
        [
            {"dataset": dataset, "loss": one.name, "formula": one.formula, "accuracy": accuracy}
            for dataset, found in comparisons.items()
            for one in found
            for accuracy in one.accuracies
        ]
    )


def cells_of(compared: Mapping[str, Sequence[Comparison]]) -> list[AccuracyCell]:
    """Return a cell for each data set and loss of a comparison; values are accuracies in %."""
    return with_references(
        AccuracyCell(
            dataset=dataset,
            loss=one.name,
            values=[100 * accuracy for accuracy in one.accuracies],
            run_numbers=one.runs,
        )
        for dataset, found in compared.items()
        for one in found
    )


def judge(cell: AccuracyCell) -> str:
    """Return a line about a cell: accuracy, change against CE, its interval and Welch's p."""
    text = f"{catalog.get_info(cell.dataset).title}, {cell.loss}: "
    if cell.mean is None:
        return text + "every training failed"
    text += f"{cell.mean:.2f} % over {cell.runs} runs"
    if cell.change is not None:
        text += f", {cell.change:+.2f} % against CE"
    if cell.low is not None:
        text += f", 95 % interval {interval_text(cell)}"
    if cell.p is not None:
        text += f", Welch's p {cell.p:.2g}"
    return text


def _flat(generation, races):
    row = vars(generation) | {"best": shown(generation.best), "mean": shown(generation.mean)}
    if not races:
        del row["stopped"]
    saved = row.pop("saved")
    return row | {f"saved_{kind}": count for kind, count in saved.items()}

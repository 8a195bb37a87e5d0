"""From rows to tables 4 and 5: means in %, intervals, Welch's tests against cross entropy."""

from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter

# Losses, which need Keras, are reached through it: see `startup.lazy`.
import nglkeras
from nglkeras.experiments.segmentation.architectures import get_architecture
from nglkeras.experiments.segmentation.protocol import SegmentationTrial
from nglkeras.report import comparison, statistics, tables
from nglkeras.report.printed import read_numbers
from nglkeras.report.tables import Cell, number
from nglkeras.runs.trial import TrialResult

# Headings of table 5.
TITLES = {
    "pixel_accuracy": "Pixel accuracy",
    "mean_iou": "Mean IoU",
    "mean_accuracy": "Mean accuracy",
}
# Columns of the CSV file, and of the table with the details.
COLUMNS = (
    *("model", "loss", "measure", "mean", "low", "high", "p", "runs", "failed", "paper"),
    *("divided", "difference", *comparison.COLUMNS),
)
DETAILS = {
    "model": attrgetter("model"),
    "loss": lambda cell: nglkeras.losses.label(cell.loss),
    "measure": lambda cell: TITLES[cell.measure],
    "runs": attrgetter("runs"),
    "mean %": lambda cell: number(cell.mean, ".2f"),
    "95 % interval": tables.interval_text,
    "Welch's p": lambda cell: number(cell.p, ".2g"),
    "paper": lambda cell: number(cell.paper, ".1f"),
    "difference": lambda cell: number(cell.difference, "+.2f"),
    "not ok": attrgetter("failed"),
}


def read_printed(name: str) -> dict[tuple[str, str, str], float]:
    """Return the printed values of "table4" or "table5" by title, loss and measure."""
    values = read_numbers(name).stack().astype(float).to_dict()
    if name == "table4":
        return {(*place, "mean_iou"): value for place, value in values.items()}
    return {("DeepLabv2", *place): value for place, value in values.items()}


def cells(
    trials: Sequence[SegmentationTrial],
    results: Mapping[str, TrialResult],
    measures: Sequence[str],
    printed: Mapping[tuple[str, str, str], float],
) -> list[Cell]:
    """Return a cell for each model, loss and measure, in the order of the trials."""
    return tables.with_references(
        Cell(
            model=model,
            loss=loss,
            measure=measure,
            **tables.sample(of_place, results, partial(_value, measure=measure)),
            # The paper has one row for an architecture, whatever its variants here.
            paper=printed.get((get_architecture(model).title.split(",")[0], loss, measure)),
        )
        for (model, loss), of_place in _places(trials).items()
        for measure in measures
    )


def comparisons(table: Sequence[Cell]) -> list[list[list[str]]]:
    """Return the losses against cross entropy in pairs, as `comparison.parts` has them."""
    return comparison.parts(table, {name: DETAILS[name] for name in ("model", "loss", "measure")})


def _places(trials):
    """Return the trials of each model and loss."""
    places = {}
    for trial in trials:
        places.setdefault((trial.model, trial.loss), []).append(trial)
    return places


def _value(row, measure):
    """Return a measure of a network in %; `None` where a row from elsewhere lacks it."""
    value = row.metrics.get(measure)
    return None if value is None else 100 * value


def layout4(table: Sequence[Cell], bold=("*", "")) -> list[list[str]]:
    """Return table 4: a row a model, a column a loss, mean IoU in %, `measured (paper)`."""
    cells = {(cell.model, cell.loss): cell for cell in table if cell.measure == "mean_iou"}
    names = list(dict.fromkeys(loss for _, loss in cells))
    rows = [["", *map(nglkeras.losses.label, names)]]
    for model in dict.fromkeys(model for model, _ in cells):
        texts = _texts([cells[model, loss] for loss in names], bold)
        rows.append([get_architecture(model).title, *texts])
    return rows


def layout5(table: Sequence[Cell], bold=("*", "")) -> list[list[str]]:
    """Return table 5: a row a loss, a column a measure, in %; a part for each model."""
    models = list(dict.fromkeys(cell.model for cell in table))
    rows = [["", *TITLES.values()]]
    for model in models:
        of_model = [cell for cell in table if cell.model == model]
        columns = [
            _texts([cell for cell in of_model if cell.measure == measure], bold)
            for measure in TITLES
        ]
        names = dict.fromkeys(cell.loss for cell in of_model)
        title = "" if len(models) == 1 else f"{get_architecture(model).title}, "
        for name, *texts in zip(names, *columns, strict=True):
            rows.append([title + nglkeras.losses.label(name), *texts])
    return rows


def _texts(row, bold):
    """Return the texts of cells that are compared with each other, the best of them marked."""
    texts = []
    for cell in row:
        text = number(cell.mean, ".1f")
        # The interval of two runs is often wider than the scale; the details have it.
        if cell.half is not None and cell.runs > 2:
            text += f" ± {cell.half:.1f}"
        texts.append(text)
    marked = tables.mark_best(texts, [cell.mean for cell in row], bold)
    return [f"{t} ({number(cell.paper, '.1f')})" for t, cell in zip(marked, row, strict=True)]


def classes_layout(
    trials: Sequence[SegmentationTrial], results: Mapping[str, TrialResult]
) -> list[list[str]]:
    """Return the mean IoU of each class of the trials' data set in %, a line for each class."""
    columns = {}
    for trial in trials:
        row = results.get(trial.key)
        if row is not None and row.status == "ok":
            columns.setdefault((trial.model, trial.loss), []).append(row)
    one_model = len({model for model, _ in columns}) == 1
    heading = [nglkeras.losses.label(loss) if one_model else f"{m} {loss}" for m, loss in columns]
    rows = [["IoU %", *heading]]
    for name in next(iter(columns.values()))[0].metrics:
        if name.startswith("iou/"):
            found = [[_value(row, name) for row in of_place] for of_place in columns.values()]
            means = [statistics.mean([v for v in values if v is not None]) for values in found]
            rows.append([name.removeprefix("iou/"), *(number(mean, ".1f") for mean in means)])
    return rows

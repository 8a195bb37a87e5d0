"""Racing: what it saves, and what it costs in quality at equal candidates and at equal time.

Two searches of each seed propose losses by Algorithm 1 of paper A, the same random trees to begin
with. One trains every candidate to its end. The other races: it is read once after as many
candidates as the first, and once when it has taken as many seconds of training, validations
included. The winners are trained again on new runs, which no search has seen, and validated. Every
search has its journal, so the same command goes on with what is missing.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmark import measure as harness
from nglkeras import paths
from nglkeras.data import datasets
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.report import statistics
from nglkeras.report.figures import styled
from nglkeras.report.tables import as_text
from nglkeras.search import GeneticProgramming, Racing, Result, TrainingFitness, search
from nglkeras.search.racing import NEIGHBOURS, epochs_of

# The racing search ends after this many times the generations of the other, at the latest.
MOST = 12
# First of the new runs, far from those of the searches.
NEW = 1_000
# Settings that are columns too.
_SHARED = ("runs", "epochs", "population", "generations", "neighbours", "new_runs")


@dataclass(frozen=True)
class Setting:
    """A search.

    Attributes:
        datasets: Names of the data sets, whose images are made small; none needs a download where
            TFDS has them.
        images: Training images.
        held: Validation images.
        runs: Networks for each candidate.
        epochs: Epochs of each network.
        population: Number of survivors.
        generations: Number of the last generation.
        neighbours: Networks that a candidate is compared with.
        new_runs: New networks for each winner.
    """

    datasets: tuple[str, ...] = ("digits", "mnist", "fashion_mnist")
    images: int = 1_000
    held: int = 500
    runs: int = 2
    epochs: int = 8
    population: int = 10
    generations: int = 30
    neighbours: int = NEIGHBOURS
    new_runs: int = 6


SETTING = Setting()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A pair of searches.

    Attributes:
        dataset: Name of the data set.
        seed: Seed of both.
        images: Training images.
        held: Validation images, of which fitness and new runs are shares.
        runs: Networks for each candidate.
        epochs: Epochs of each network.
        population: Number of survivors.
        generations: Last generation of the search without racing.
        neighbours: Networks that a candidate is compared with.
        asked: Candidates that were asked for without racing.
        trained: Candidates that were trained without racing.
        plain_epochs: Epochs of these.
        plain_seconds: Seconds of training of these.
        plain_best: Greatest fitness without racing.
        raced_trained: Candidates that were trained, wholly or not, in the race's same generations.
        raced_stopped: Those of them that were stopped.
        raced_epochs: Epochs of these.
        raced_whole: Epochs that they would have without stopping.
        raced_seconds: Seconds of training of these.
        raced_best: Greatest fitness of these.
        equal_trained: Candidates that were trained, wholly or not, in the seconds of the other.
        equal_best: Greatest fitness of these.
        new_runs: New networks for each winner.
        plain_new: Mean validation accuracy of the winner without racing on new runs.
        raced_new: The same with racing, after as many generations.
        equal_new: The same with racing, after as many seconds.
    """

    dataset: str
    seed: int
    images: int
    held: int
    runs: int
    epochs: int
    population: int
    generations: int
    neighbours: int
    asked: int
    trained: int
    plain_epochs: int
    plain_seconds: float
    plain_best: float
    raced_trained: int
    raced_stopped: int
    raced_epochs: int
    raced_whole: int
    raced_seconds: float
    raced_best: float
    equal_trained: int
    equal_best: float
    new_runs: int
    plain_new: float
    raced_new: float
    equal_new: float


class _EnoughError(Exception):
    """The race has taken as long as the search without it."""


def measure(rounds: int, path: Path) -> list[Row]:
    """Return a row for each data set and seed; those in the CSV file are not measured again.

    Args:
        rounds: Number of seeds.
        path: Folder and name of the CSV file, without an ending; the journals are beside it.
    """
    setting, file = SETTING, path.with_suffix(".csv")
    lines = pd.read_csv(file).to_dict("records") if file.exists() else []
    rows = _of_setting(lines, setting)
    known = {(row.dataset, row.seed) for row in rows}
    wanted = [(name, seed) for seed in range(rounds) for name in setting.datasets]
    task = cache(partial(_Task, setting=setting))
    for name, seed in tqdm([one for one in wanted if one not in known], desc="racing"):
        rows.append(task(name).row(seed, path.with_name("racing_searches") / name / str(seed)))
        lines.append(asdict(rows[-1]) | harness.circumstances())
        with paths.replacing(file) as out:
            pd.DataFrame(lines).to_csv(out, index=False)
    return sorted(rows, key=lambda row: (setting.datasets.index(row.dataset), row.seed))


class _Task:
    """The searches on a data set, whose network is compiled once for each way."""

    def __init__(self, name, setting):
        self.name, self.setting = name, setting
        parts = datasets.load_arrays(
            name,
            train_images=setting.images,
            evaluation_images=setting.held,
            validation_images=setting.held,
        )
        pairs = parts.train, parts.validation
        data = [(_small(images), labels) for images, labels in pairs]
        self.sizes = tuple(len(labels) for _, labels in data)
        build = partial(_network, data[0][0].shape[1:], parts.classes)
        make = partial(
            TrainingFitness, build, *data, epochs=setting.epochs, runs=setting.runs, batch_size=50
        )
        self.plain, self.raced = make(), make(racing=Racing(setting.neighbours))
        for one in (self.plain, self.raced, self.plain):
            # Compiling counts for neither; the second loss still compiles something, and what one
            # compiles makes TensorFlow forget what it had prepared for the other.
            one(Expression.parse(FORMULAS["NGL"]))
            one(Expression.parse(FORMULAS["Baikal"]))

    def row(self, seed, folder):
        setting = self.setting
        last = setting.generations
        plain = self.search(self.plain, seed, folder / "plain", last)
        raced = self.search(self.raced, seed, folder / "raced", MOST * last, plain.seconds)
        records = list(raced.records.values())
        whole = [one for one in records if one.individual.generation <= last]
        own = [one for one in whole if not one.twin]
        spent = np.cumsum([0.0 if one.twin else one.evaluation.seconds for one in records])
        equal = records[: np.searchsorted(spent, plain.seconds, side="right")]
        found = {"plain": plain.records.values(), "raced": whole, "equal": equal}
        # The first of equals.
        best = {way: max(many, key=lambda one: one.evaluation.level) for way, many in found.items()}
        on_new_runs = cache(self.on_new_runs)
        epochs, whole_epochs = epochs_of(one.evaluation for one in own)
        return Row(
            dataset=self.name,
            seed=seed,
            images=self.sizes[0],
            held=self.sizes[1],
            **{name: getattr(setting, name) for name in _SHARED},
            asked=plain.generations[last].asked,
            trained=plain.generations[last].trained,
            plain_epochs=plain.generations[last].trained * setting.runs * setting.epochs,
            plain_seconds=plain.seconds,
            raced_trained=raced.generations[last].trained,
            raced_stopped=raced.generations[last].stopped,
            raced_epochs=epochs,
            raced_whole=whole_epochs,
            raced_seconds=sum(one.evaluation.seconds for one in own),
            equal_trained=sum("trained" in one.counts for one in equal),
            **{f"{way}_best": one.evaluation.fitness[0] for way, one in best.items()},
            **{f"{way}_new": on_new_runs(one.individual.expression) for way, one in best.items()},
        )

    def on_new_runs(self, loss):
        """Return the mean validation accuracy of new networks with this loss."""
        runs = range(NEW, NEW + self.setting.new_runs)
        trained = [self.plain.compiled.train(loss, run) for run in runs]
        # A network that diverged has learnt nothing.
        return float(np.mean([one.validation_accuracy or 0.0 for one in trained]))

    def search(self, fitness, seed, folder, generations, seconds=None):
        """Search; end after `seconds` of training, but not before the setting's generations."""

        def look(generation):
            is_whole = generation.number >= self.setting.generations
            if seconds is not None and is_whole and Result.load(folder).seconds > seconds:
                raise _EnoughError

        size = self.setting.population
        strategy = GeneticProgramming(seed, population_size=size, generations=generations)
        with contextlib.suppress(_EnoughError):
            search(strategy, fitness, out=folder, on_generation=look, quiet=True)
        return Result.load(folder)


def _small(images):
    """Return images of at most 14 x 14 pixels, with values from 0 to 1."""
    step = -(-images.shape[1] // 14)
    return images[:, ::step, ::step] / np.float32(255)


def _network(shape, classes):
    layers = [
        keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
    ]
    return keras.Sequential(
        [keras.Input(shape), *layers, keras.layers.Dense(classes, activation="softmax")]
    )


def _of_setting(lines, setting):
    """Return the rows among the lines of a file that were measured with this setting."""
    # A line that was cut or edited is none.
    whole = [line for line in lines if all(pd.notna(line.get(one.name)) for one in fields(Row))]
    rows = [Row(**{one.name: one.type(line[one.name]) for one in fields(Row)}) for line in whole]
    return [
        row
        for row in rows
        if row.dataset in setting.datasets
        and all(getattr(row, name) == getattr(setting, name) for name in _SHARED)
    ]


def _change(before, after, rows):
    """Return the mean paired difference in points, with its interval."""
    samples = ([100 * getattr(row, name) for row in rows] for name in (after, before))
    return statistics.paired_difference(*samples)


def report(rows: Sequence[Row], title: str, path: Path, save) -> None:
    """Print a summary by data set and over all, and draw the rows, which `measure` has written."""
    groups = {}
    for row in rows:
        groups.setdefault(row.dataset, []).append(row)
    if len(groups) > 1:
        groups["all"] = rows
    lines = [
        [
            *("data set", "seeds", "epochs saved", "seconds saved", "best, equal candidates"),
            *("best, equal seconds", "winner on new runs, equal candidates", "equal seconds"),
        ]
    ]
    for name, many in groups.items():
        epochs, whole, raced, plain = (
            sum(getattr(row, field) for row in many)
            for field in ("raced_epochs", "raced_whole", "raced_seconds", "plain_seconds")
        )
        pairs = ("raced_best", "equal_best", "raced_new", "equal_new")
        changes = [_change(f"plain_{pair.split('_')[1]}", pair, many) for pair in pairs]
        saved = f"{100 * (1 - epochs / whole):.0f} %", f"{100 * (1 - raced / plain):.0f} %"
        lines.append([name, str(len(many)), *saved, *map(_shown, changes)])
    print("", "Changes in points of accuracy, with 95 % intervals over the seeds", "", sep="\n")
    print(as_text(lines))
    columns = {
        "data set": lambda row: row.dataset,
        "seed": lambda row: str(row.seed),
        "trained": lambda row: f"{row.trained}, {row.raced_trained}, {row.equal_trained}",
        "epochs": lambda row: f"{row.raced_epochs} of {row.raced_whole}",
        "seconds": lambda row: f"{row.plain_seconds:.1f}, {row.raced_seconds:.1f}",
        "best": lambda row: _three(row, "best"),
        "on new runs": lambda row: _three(row, "new"),
    }
    harness.show(rows, title, columns)
    figures = save(partial(draw, pd.DataFrame(rows), title), path.parent, path.name)
    print("written:", path.with_suffix(".csv"), *figures)


def _shown(change):
    text = f"{change.mean:+.2f}"
    return text if change.low is None else f"{text} [{change.low:+.2f}, {change.high:+.2f}]"


def _three(row, what):
    return ", ".join(f"{getattr(row, f'{way}_{what}'):.4f}" for way in ("plain", "raced", "equal"))


@styled
def draw(found: pd.DataFrame, title: str) -> Figure:
    """Draw both searches of each seed against each other: fitness, and winners on new runs."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    panels = zip(figure.subplots(1, 2), ("best", "new"), ("fitness", "on new runs"), strict=True)
    for axis, column, label in panels:
        for name, rows in found.groupby("dataset", sort=False):
            axis.plot(rows[f"plain_{column}"], rows[f"equal_{column}"], "o", label=name)
        low, high = axis.get_xlim()
        axis.plot([low, high], [low, high], color="black", linewidth=0.8)
        axis.set_xlabel(f"without racing, {label}")
        axis.set_ylabel("with racing, in as many seconds")
        axis.legend()
    figure.suptitle(title)
    return figure

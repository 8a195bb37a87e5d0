"""The fitness of a loss as the mean accuracy of trials, each of which is a row of a journal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from nglkeras.data import sources
from nglkeras.data.catalog import get_info
from nglkeras.errors import UserError
from nglkeras.executors import Executor, Local
from nglkeras.experiments import discovery, draws, earlier
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.discovery.candidates import Candidates, class_reduction_of
from nglkeras.experiments.discovery.raced import RacedTrial
from nglkeras.expression import Expression
from nglkeras.runs import runner
from nglkeras.runs.journal import Journal
from nglkeras.runs.live_status import StatusWriter, seconds_left
from nglkeras.runs.trial import TrialResult
from nglkeras.search import racing as races
from nglkeras.search.fitness import Fitness, ask
from nglkeras.search.given_losses import Loss
from nglkeras.search.known import cross_entropy
from nglkeras.search.optimizers import ignores_scale
from nglkeras.search.racing import CURVES, Bars, Racing
from nglkeras.search.scale import LossScale, scaled
from nglkeras.search.strategy import Evaluation, Member
from nglkeras.search.trainer import Trainer


@dataclass(frozen=True)
class Comparison:
    """What a loss reaches on data that the search has not seen, at the search's learning rate.

    Attributes:
        name: Name of the loss.
        formula: Formula of the loss.
        accuracies: Accuracy of each network, in [0, 1].
        runs: The run of each network; losses share initial weights in runs of the same number.
    """

    name: str
    formula: str
    accuracies: tuple[float, ...]
    runs: tuple[int, ...]


class TrialFitness(Fitness):
    """Mean validation accuracy of the trials of a loss.

    Each trained network is a row of the journal, on the disk before the next one starts. Only
    `compare` and `trainer` read the test sets.

    Args:
        trials: Returns the trials of a formula; those of two formulas differ in the formula alone.
            `draws.planned` may mark them as fresh draws.
        journal: Holds the rows and takes the new ones.
        bound: Mean loss beyond which a training ends as "exploded".
        data_dir: Folder of TFDS.
        timeout: Seconds after which the training of a network stops.
        executor: Trains the networks; by default this process.
        scale_free: Whether each loss is brought to cross entropy's size first (see
            `nglkeras.search.scale`), with one factor for all trials: that of the first.
        racing: Whether candidates that fall behind the survivors are stopped: `True`, or a
            `Racing` with its settings; `None` for yes where it is possible, but not in a folder
            that was begun without it. All candidates have their first run before one has its
            second. With several data sets they are compared after each run, by the fitness of the
            runs so far, and not within it: a loss may be low on one of them alone.

    Attributes:
        begun: Settings of an earlier version that the folder's search goes on with.
        fitness_name: Name of the fitness in plots.
    """

    fitness_name = "validation accuracy"

    def __init__(
        self,
        trials: Callable[[str], list[Trial]],
        journal: Journal,
        *,
        bound: float = np.inf,
        data_dir: str | Path | None = None,
        timeout: float | None = None,
        executor: Executor | None = None,
        scale_free: bool = False,
        racing: bool | Racing | None = False,
    ):
        self._planned = trials
        self.begun = earlier.Earlier()
        self.journal = journal
        self.data_dir = data_dir
        self.executor = executor or Local()
        # Trials of any formula: their keys identify the search.
        self.blanks = self.trials("y_pred")
        self.class_reduction = class_reduction_of(self.blanks[0])
        divides = all(ignores_scale(blank.schedule.optimizer) for blank in self.blanks)
        self.gradients = "scaled" if scale_free or divides else "exact"
        self.scale_free = scale_free
        self._scales: dict[Expression, LossScale] = {}
        if scale_free:
            self.refuse = self._problem
        self.rows = journal.results()
        self.searched_runs = 1 + max(blank.run % draws.FIRST for blank in self.blanks)
        self._chooses_racing = racing is None
        if self._chooses_racing:
            racing = races.is_possible(**race_of(self.blanks))
        self.racing = races.as_racing(racing, **race_of(self.blanks))
        self._bars = Bars()
        self.train = Candidates(self.searched_runs, bound=bound, data_dir=data_dir, timeout=timeout)
        self.train.measure_epochs = self.racing is not None

    def trials(self, formula: str) -> list[Trial]:
        """Return the trials of a formula with the settings of the folder's search."""
        return [self.begun(trial) for trial in self._planned(formula)]

    @property
    def settings(self) -> dict:
        """Everything that decides the fitness, as JSON data."""
        settings = {
            "fitness": type(self).__name__,
            "trials": [blank.key for blank in self.blanks],
            "datasets": self.datasets,
            "model": self.blanks[0].model,
        }
        settings |= {"scale_free": True} if self.scale_free else {}
        return settings | (self.racing.settings if self.racing else {})

    def as_begun(self, settings: dict) -> None:
        """Adopt the settings of the search in the folder, if an earlier version began it."""
        keys = settings.get("trials")
        keys = {key for key in keys if isinstance(key, str)} if isinstance(keys, list) else set()
        self.begun = earlier.settings_of(self._planned("y_pred"), keys)
        self.blanks = self.trials("y_pred")
        if self._chooses_racing:
            self.racing = races.of_settings(settings)
            self.train.measure_epochs = self.racing is not None

    @property
    def notes(self) -> list[str]:
        """Sentences for the reader of the results of a folder that an earlier version began."""
        return self.begun.notes

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets of the trials."""
        return list(dict.fromkeys(blank.dataset for blank in self.blanks))

    @property
    def classes(self) -> int:
        """Number of classes of the first data set, which the screening assumes."""
        return get_info(self.blanks[0].dataset).classes

    def prepare(self) -> None:
        """Find or download the data.

        Raises:
            UserError: If data can neither be found nor downloaded.
        """
        for dataset in self.datasets:
            sources.prepare(dataset, self.data_dir)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Return a context in which no other process writes the journal."""
        with self.journal.writing():
            # The process that held the lock until now may have added rows.
            self.rows = self.journal.results()
            yield

    def values(self, expression: Expression) -> np.ndarray:
        """Return the loss of each sample of the first batch under the untrained network.

        Raises:
            UserError: If no worker could build the network.
        """
        return self._ask("values", expression)

    def _ask(self, method, expression):
        trial = replace(self.blanks[0], formula=str(expression))
        return ask(self.train, self.executor, method, trial)

    def _scale(self, expression):
        if not self.scale_free:
            return LossScale()
        if expression not in self._scales:
            self._scales[expression] = self._ask("scale", expression)
        return self._scales[expression]

    def _problem(self, expression):
        return self._scale(expression).problem

    def cross_entropy(self, dataset: str) -> Expression:
        """Return the cross entropy of a data set's classes as an expression."""
        return cross_entropy(get_info(dataset).classes, self.class_reduction)

    def combine(self, accuracies: dict[str, float]) -> tuple[float, ...]:
        """Return the fitness for the mean validation accuracy of each data set."""
        return (float(np.mean(list(accuracies.values()))),)

    def begin_generation(self, rivals: Sequence[Member], trained: Sequence[Member]) -> None:
        """Set the bars of racing for the generation that begins."""
        if self.racing is not None:
            self._bars = races.bars(self.racing, rivals, trained, self._curves_and_measures)

    def _curves_and_measures(self, details):
        """Return the curves of a rival by run, and its fitness after each run but the last."""
        (curves, *others), accuracies = details[CURVES].values(), details["accuracies"]
        counts = range(1, self.searched_runs)
        measures = [self._fitness(accuracies, count)[0] for count in counts]
        return [] if others else curves, measures

    def _fitness(self, accuracies, runs=None):
        """Return the fitness of the first runs."""
        return self.combine(
            {dataset: float(np.mean(values[:runs])) for dataset, values in accuracies.items()}
        )

    def __call__(self, expression: Expression, name: str = "") -> Evaluation:
        """Train all trials of a loss."""
        ((_, evaluation),) = self.each([expression], [name])
        return evaluation

    def each(
        self,
        expressions: Sequence[Expression],
        names: Sequence[str],
        executor: Executor | None = None,
    ) -> Iterator[tuple[int, Evaluation]]:
        """Yield the index and the evaluation of each loss, as its last training ends.

        All trials of a loss are trained even if one fails, so that the rows do not depend on the
        order of the trainings. Under racing, this holds for each run.
        """
        scales = list(map(self._scale, expressions))
        groups = {}
        for index, (expression, name) in enumerate(zip(expressions, names, strict=True)):
            if scales[index].problem:
                yield index, Evaluation("non_finite", message=scales[index].problem)
                continue
            formula = str(scaled(expression, scales[index].factor))
            groups[index] = [draws.drawn(trial, name) for trial in self.trials(formula)]
        for index, evaluation in (self._race if self.racing else self._all)(groups):
            if self.scale_free:
                details = evaluation.details | scales[index].details
                evaluation = replace(evaluation, details=details)
            yield index, evaluation

    def _all(self, groups):
        for index, rows in self.finished(groups, self.train):
            yield index, self._evaluation(groups[index], rows)

    def _race(self, groups):
        """Train run by run: workers need not wait for one candidate's end."""
        done = {index: ([], []) for index in groups}
        for run in range(self.searched_runs):
            limits = self._bars.in_run(run)
            stage = {
                index: [
                    RacedTrial.of(trial, limits)
                    for trial, blank in zip(groups[index], self.blanks, strict=True)
                    if blank.run % draws.FIRST == run
                ]
                for index in done
            }
            for index, rows in self.finished(stage, self.train):
                done[index][0].extend(stage[index])
                done[index][1].extend(rows)
                evaluation = self._bars.judged(self._evaluation(*done[index]), run)
                if evaluation.status != "ok" or run == self.searched_runs - 1:
                    del done[index]
                    whole = sum(trial.schedule.epochs for trial in groups[index])
                    yield index, races.with_epochs(evaluation, whole)

    def finished(
        self, groups: Mapping[int, Sequence[Trial]], work: Callable[[Trial], TrialResult]
    ) -> Iterator[tuple[int, list[TrialResult]]]:
        """Yield the name and the rows of each group of trials, as its last training ends.

        Args:
            groups: Trials by the name of their group.
            work: Trains those that the journal lacks.
        """
        unfinished = dict(groups)
        missing = runner.pending(list(chain(*groups.values())), self.rows)
        keys = {trial.key for trial in missing}
        for key in chain([None], self._train(missing, work)):
            keys.discard(key)
            for index, trials in list(unfinished.items()):
                if keys.isdisjoint(trial.key for trial in trials):
                    del unfinished[index]
                    yield index, [self.rows[trial.key] for trial in trials]

    def _train(self, trials, work):
        """Yield the key of each trial when its row is in the journal."""
        for trial, row in runner.rows(trials, self.journal, work, self.executor, _ignored):
            self.rows[trial.key] = row
            yield trial.key

    def _evaluation(self, trials, rows):
        accuracies, curves = {}, {}
        for trial, row in zip(trials, rows, strict=True):
            if self.racing:
                curves.setdefault(trial.dataset, []).append(races.curve_of(row.history))
            if row.status == "ok":
                accuracies.setdefault(trial.dataset, []).append(row.validation_accuracy)
        details = {"accuracies": accuracies} | ({CURVES: curves} if self.racing else {})
        parts = max(row.accumulation for row in rows)
        if parts > 1:
            # It costs accuracy: a reader must see which candidates it concerns.
            details["accumulation"] = parts
        return races.evaluation_of(rows, details, lambda: self._fitness(accuracies))

    def rows_of(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Return the rows of trials; train those that the journal lacks."""
        list(self._train(runner.pending(trials, self.rows), self.train))
        return [self.rows[trial.key] for trial in trials]

    def trainer(self, losses: Mapping[str, Loss], test: object = None) -> Trainer:
        """Return what trains the networks of a confirmation; it reads the trials' own test sets.

        Raises:
            UserError: If test data are given, or a loss is neither a row nor a formula.
        """
        if test is not None:
            raise UserError(
                "the trials of this fitness have test sets of their own: give no others"
            )
        return discovery.contenders.TrialTrainer(self, losses)

    def compare(
        self, losses: dict[str, Expression | None], runs: int
    ) -> dict[str, list[Comparison]]:
        """Measure the test accuracy of losses at the search's rate, in runs that it has not used.

        Call it after the search only: it reads the test sets.

        Args:
            losses: Losses by name; `None` stands for the cross entropy.
            runs: Networks for each loss and data set.

        Returns:
            A `Comparison` for each loss, by data set.
        """
        runs = range(self.searched_runs, self.searched_runs + runs)
        trials = {}
        for dataset in self.datasets:
            for name, expression in losses.items():
                formula = str(expression or self.cross_entropy(dataset))
                blank = next(t for t in self.trials(formula) if t.dataset == dataset)
                trials[dataset, name] = [replace(blank, run=run, test=True) for run in runs]
        wanted = list(chain(*trials.values()))

        def summary():
            rest = runner.pending(wanted, self.rows)
            left = seconds_left(rest, self.rows, self.executor)
            return {"total": len(wanted), "done": len(wanted) - len(rest), "seconds_left": left}

        with self.writing(), StatusWriter(self.journal.path, self.executor, summary):
            self.rows_of(wanted)
        results = {dataset: [] for dataset in self.datasets}
        for (dataset, name), many in trials.items():
            rows = {trial.run: self.rows[trial.key] for trial in many}
            found = {run: row.accuracy for run, row in rows.items() if row.status == "ok"}
            one = Comparison(name, many[0].formula, (*found.values(),), (*found,))
            results[dataset].append(one)
        return results


def race_of(trials: Sequence[Trial]) -> dict[str, int]:
    """Return the runs, epochs and data sets of a candidate's trials, by name."""
    return {
        "runs": 1 + max(trial.run % draws.FIRST for trial in trials),
        "epochs": max(trial.schedule.epochs for trial in trials),
        "datasets": len({trial.dataset for trial in trials}),
    }


def _ignored(*progress):
    """Take progress, which the executor keeps for the live status."""

"""Fitness by trials: each network of a candidate is a row of a journal."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from nglkeras.data import sources
from nglkeras.data.catalog import get_info
from nglkeras.errors import UserError
from nglkeras.executors import Executor, Local
from nglkeras.experiments import earlier
from nglkeras.experiments.classification.shared_networks import compiled_network, row_of
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.discovery import draws
from nglkeras.expression import Expression
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.runs import runner
from nglkeras.runs.journal import Journal
from nglkeras.runs.live_status import StatusWriter, seconds_left
from nglkeras.runs.trial import TrialResult
from nglkeras.search.evolution import Evaluation
from nglkeras.search.fitness import SCALE_FREE, Comparison, cross_entropy, fresh_values
from nglkeras.training import accumulation
from nglkeras.training.compiled import CompiledNetwork


class Candidates:
    """Turns trials of formulas into rows, on networks that are compiled once for each data set.

    It may be sent to a worker before its first trial.

    Args:
        searched_runs: Runs from this number on may look at the test set, but for draws of an
            individual's own.
        bound: A mean loss beyond it ends a training as "exploded".
        data_dir: Where TFDS keeps its data.
        timeout: Seconds after which the training of a network stops.
    """

    def __init__(
        self,
        searched_runs: int,
        *,
        bound: float = np.inf,
        data_dir: str | Path | None = None,
        timeout: float | None = None,
    ):
        self.searched_runs = searched_runs
        self.bound = bound
        self.data_dir = data_dir
        self.timeout = timeout
        self.networks: dict[str, CompiledNetwork] = {}
        self._drawn: dict[str, int] = {}

    def __call__(
        self, trial: Trial, *, on_epoch: Callable[[int, dict], None] | None = None
    ) -> TrialResult:
        """The row of a trial.

        Args:
            trial: One with a formula.
            on_epoch: Called after each epoch with its number, from 1, and its row of the history.
        """
        training = self._network(trial).train(
            Expression.parse(trial.formula), trial.run, timeout=self.timeout, on_epoch=on_epoch
        )
        return row_of(trial, training)

    def values(self, trial: Trial) -> np.ndarray:
        """Loss of each sample of the first batch under the untrained network of a trial."""
        return fresh_values(self._network(trial), Expression.parse(trial.formula))

    def _network(self, trial):
        if trial.dataset not in self.networks:
            self.networks[trial.dataset] = compiled_network(
                [trial],
                partial(InterpretedLoss, _class_reduction(trial)),
                bound=self.bound,
                tested=lambda run: self.searched_runs <= run < draws.FIRST,
                data_dir=self.data_dir,
            )
        network = self.networks[trial.dataset]
        if draws.is_fresh(trial) and self._drawn.get(trial.dataset) != trial.run:
            # Nobody comes back to a draw of its own. Its network and its data are large.
            network.forget_others(trial.run)
            accumulation.release()
            self._drawn[trial.dataset] = trial.run
        return network


class TrialFitness:
    """Mean validation accuracy of the networks that a loss is to be tried on.

    Each trained network is a row of the journal, on the disk before the next one starts. The test
    sets are read by `compare` alone.

    Args:
        trials: The networks of a formula; those of two formulas differ in nothing else. They are
            compiled once for each data set. `draws.planned` may mark them: then every evaluation
            has a split and initial weights of its own.
        journal: Where the rows go.
        chosen: Names of `draws.SEARCH_CHANGES` that stay as they are today, whatever the folder.
        bound: A mean loss beyond it ends a training as "exploded".
        data_dir: Where TFDS keeps its data.
        timeout: Seconds after which the training of a network stops.
        executor: Where networks are trained; in this process by default.

    Attributes:
        begun: What an earlier version of the folder's search did in another way.
        class_reduction: `"mean"` or `"sum"` of a loss over the classes.
        fitness_name: What the fitness is, for plots.
    """

    fitness_name = "validation accuracy"

    def __init__(
        self,
        trials: Callable[[str], list[Trial]],
        journal: Journal,
        *,
        bound: float = np.inf,
        chosen: Collection[str] = (),
        data_dir: str | Path | None = None,
        timeout: float | None = None,
        executor: Executor | None = None,
    ):
        self._planned = trials
        self._chosen = chosen
        self.begun = earlier.Earlier()
        self.journal = journal
        self.data_dir = data_dir
        self.executor = executor or Local()
        # Trials of no formula in particular: what they share identifies the search.
        self.blanks = self.trials("y_pred")
        self.class_reduction = _class_reduction(self.blanks[0])
        optimizers = {blank.schedule.optimizer.lower() for blank in self.blanks}
        self.gradients = "scaled" if optimizers <= set(SCALE_FREE) else "exact"
        self.rows = journal.results()
        # Shared or not, these are not compared with.
        self.searched_runs = 1 + max(blank.run % draws.FIRST for blank in self.blanks)
        self.train = Candidates(self.searched_runs, bound=bound, data_dir=data_dir, timeout=timeout)

    def trials(self, formula: str) -> list[Trial]:
        """The networks of a formula, as the folder's search has them."""
        return [self.begun(trial) for trial in self._planned(formula)]

    @property
    def settings(self) -> dict:
        """What decides the fitness, as JSON has it."""
        return {
            "fitness": type(self).__name__,
            "trials": [blank.key for blank in self.blanks],
            "datasets": self.datasets,
            "model": self.blanks[0].model,
        }

    def as_begun(self, settings: dict) -> None:
        """Go on as the search with these settings, if an earlier version began it."""
        keys = settings.get("trials")
        keys = {key for key in keys if isinstance(key, str)} if isinstance(keys, list) else set()
        self.begun = earlier.settings_of(
            self._planned("y_pred"), keys, chosen=self._chosen, changes=draws.SEARCH_CHANGES
        )
        self.blanks = self.trials("y_pred")

    @property
    def notes(self) -> list[str]:
        """What must stand under the results of a folder that an earlier version began."""
        return self.begun.notes

    @property
    def datasets(self) -> list[str]:
        """The data sets that a loss is tried on."""
        return list(dict.fromkeys(blank.dataset for blank in self.blanks))

    @property
    def classes(self) -> int:
        """Number of classes of the first data set, which the screening's checks assume."""
        return get_info(self.blanks[0].dataset).classes

    def prepare(self) -> None:
        """Have the data before the search.

        Raises:
            UserError: If data can neither be found nor downloaded.
        """
        for dataset in self.datasets:
            sources.prepare(dataset, self.data_dir)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While it lasts, no other process may write the journal."""
        with self.journal.writing():
            # Whoever held it until now may have added to it.
            self.rows = self.journal.results()
            yield

    def values(self, expression: Expression) -> np.ndarray:
        """Loss of each sample of a batch of the freshly initialised model.

        Raises:
            UserError: If no worker could tell.
        """
        trial = replace(self.blanks[0], formula=str(expression))
        (outcome,) = self.executor.run(self.train, [trial], method="values")
        if outcome.failure is not None:
            raise UserError(f"no worker could build the network: {outcome.failure.message}")
        return outcome.result

    def cross_entropy(self, dataset: str) -> Expression:
        """The cross entropy as an expression."""
        return cross_entropy(get_info(dataset).classes, self.class_reduction)

    def combine(self, accuracies: dict[str, float]) -> tuple[float, ...]:
        """The fitness of mean validation accuracies by data set."""
        return (float(np.mean(list(accuracies.values()))),)

    def __call__(self, expression: Expression, name: str = "") -> Evaluation:
        """Train with this loss on every data set, as often as the trials say.

        Args:
            expression: The loss.
            name: Of the individual; where every evaluation has draws of its own, it decides them.
        """
        ((_, evaluation),) = self.each([expression], [name])
        return evaluation

    def each(
        self, expressions: Sequence[Expression], names: Sequence[str]
    ) -> Iterator[tuple[int, Evaluation]]:
        """Place and evaluation of each of some losses, as their trainings end.

        All networks of a loss are trained, though one should fail: which ones then are does not
        depend on which comes first.

        Args:
            expressions: The losses.
            names: Of their individuals, as in a call.
        """
        wanted = [
            [draws.of(trial, name) for trial in self.trials(str(expression))]
            for expression, name in zip(expressions, names, strict=True)
        ]
        open_ones = dict(enumerate(wanted))
        missing = runner.pending([trial for trials in wanted for trial in trials], self.rows)
        keys = {trial.key for trial in missing}
        for key in chain([None], self._trained(missing)):
            keys.discard(key)
            for index, trials in list(open_ones.items()):
                if not any(trial.key in keys for trial in trials):
                    del open_ones[index]
                    yield index, self._evaluation(trials)

    def _trained(self, trials):
        """Keys of trials, each when its row is there."""
        for trial, row in runner.rows(trials, self.journal, self.train, self.executor, _ignored):
            self.rows[trial.key] = row
            yield trial.key

    def _evaluation(self, trials):
        rows = [self.rows[trial.key] for trial in trials]
        seconds = sum(row.seconds for row in rows)
        failed = next((row for row in rows if row.status != "ok"), None)
        if failed is not None:
            return Evaluation(failed.status, message=failed.message, seconds=seconds)
        accuracies = {}
        for trial, row in zip(trials, rows, strict=True):
            accuracies.setdefault(trial.dataset, []).append(row.validation_accuracy)
        means = {dataset: float(np.mean(values)) for dataset, values in accuracies.items()}
        details = {"accuracies": accuracies}
        parts = max(row.accumulation for row in rows)
        if parts > 1:
            # It costs accuracy, so a reader must see which candidates had to bear it.
            details["accumulation"] = parts
        return Evaluation("ok", self.combine(means), details=details, seconds=seconds)

    def rows_of(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """The journal's rows of trials; those that it does not have are trained."""
        for _ in self._trained(runner.pending(trials, self.rows)):
            pass
        return [self.rows[trial.key] for trial in trials]

    def compare(
        self, losses: dict[str, Expression | None], runs: int
    ) -> dict[str, list[Comparison]]:
        """Test accuracy of some losses, by data set, over runs that the search has not had.

        Only to be called when the search is over: this reads the test sets.

        Args:
            losses: By name; `None` stands for the cross entropy.
            runs: Networks for each loss and data set.
        """
        runs = range(self.searched_runs, self.searched_runs + runs)
        trials = {}
        for dataset in self.datasets:
            for name, expression in losses.items():
                formula = str(expression or self.cross_entropy(dataset))
                blank = next(t for t in self.trials(formula) if t.dataset == dataset)
                trials[dataset, name] = [replace(blank, run=run, test=True) for run in runs]
        wanted = [trial for many in trials.values() for trial in many]

        def summary():
            rest = runner.pending(wanted, self.rows)
            left = seconds_left(rest, self.rows, self.executor)
            return {"total": len(wanted), "done": len(wanted) - len(rest), "seconds_left": left}

        with self.writing(), StatusWriter(self.journal.path, self.executor, summary):
            self.rows_of(wanted)
        results = {dataset: [] for dataset in self.datasets}
        for (dataset, name), many in trials.items():
            rows = [self.rows[trial.key] for trial in many]
            accuracies = tuple(row.accuracy for row in rows if row.status == "ok")
            results[dataset].append(Comparison(name, many[0].formula, accuracies))
        return results


def _ignored(*progress):
    """Progress that the executor keeps for those who look on."""


def _class_reduction(trial):
    return dict(trial.loss_settings).get("class_reduction", "mean")

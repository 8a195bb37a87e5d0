"""Fitness by trials: each candidate's networks are rows of a journal, trained on workbenches."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from nglkeras import sources
from nglkeras.benches import make_workbench, row_of
from nglkeras.catalog import get_info
from nglkeras.expression import Expression
from nglkeras.interpreter import InterpretedLoss
from nglkeras.journal import Journal
from nglkeras.search.evolution import Evaluation
from nglkeras.search.fitness import SCALE_FREE, Comparison, cross_entropy, fresh_values
from nglkeras.trial import FINAL_STATUSES, Trial, TrialResult


class TrialFitness:
    """Mean validation accuracy of the networks that a loss is to be tried on.

    Each trained network is a row of the journal, on the disk before the next one starts. The test
    sets are read by `compare` alone.

    Args:
        trials: The networks of a formula; those of two formulas differ in nothing else. They are
            compiled once for each data set.
        journal: Where the rows go.
        bound: A mean loss beyond it ends a training as "exploded".
        data_dir: Where TFDS keeps its data.
        timeout: Seconds after which the training of a network stops.

    Attributes:
        settings: What decides the fitness, as JSON has it.
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
        data_dir: str | Path | None = None,
        timeout: float | None = None,
    ):
        self.trials = trials
        self.journal = journal
        self.data_dir = data_dir
        self.timeout = timeout
        # Trials of no formula in particular: what they share identifies the search.
        self.blanks = trials("y_pred")
        self.settings = {
            "fitness": type(self).__name__,
            "trials": [blank.key for blank in self.blanks],
            "datasets": list(dict.fromkeys(blank.dataset for blank in self.blanks)),
            "model": self.blanks[0].model,
        }
        self.class_reduction = _class_reduction(self.blanks[0])
        optimizers = {blank.schedule.optimizer.lower() for blank in self.blanks}
        self.gradients = "scaled" if optimizers <= set(SCALE_FREE) else "exact"
        self.rows = journal.results()
        self.benches = {}
        make_loss = partial(InterpretedLoss, self.class_reduction)
        self.searched_runs = 1 + max(blank.run for blank in self.blanks)
        for blank in self.blanks:
            if blank.dataset not in self.benches:
                self.benches[blank.dataset] = make_workbench(
                    [blank],
                    make_loss,
                    bound=bound,
                    tested=lambda run: run >= self.searched_runs,
                    data_dir=data_dir,
                )

    @property
    def classes(self) -> int:
        """Of the first data set; what the screening's checks assume."""
        return get_info(self.blanks[0].dataset).classes

    def prepare(self) -> None:
        """Have the data before the search.

        Raises:
            UserError: If data can neither be found nor downloaded.
        """
        for dataset in self.benches:
            sources.prepare(dataset, self.data_dir)

    def values(self, expression: Expression) -> np.ndarray:
        """Loss of each sample of a batch of the freshly initialised model."""
        return fresh_values(self.benches[self.blanks[0].dataset], expression)

    def cross_entropy(self, dataset: str) -> Expression:
        """The cross entropy as an expression."""
        return cross_entropy(get_info(dataset).classes, self.class_reduction)

    def combine(self, accuracies: dict[str, float]) -> tuple[float, ...]:
        """The fitness of mean validation accuracies by data set."""
        return (float(np.mean(list(accuracies.values()))),)

    def __call__(self, expression: Expression) -> Evaluation:
        """Train with this loss on every data set, as often as the trials say."""
        accuracies, seconds = {}, 0.0
        for trial in self.trials(str(expression)):
            row = self.row(trial)
            seconds += row.seconds
            if row.status != "ok":
                return Evaluation(row.status, message=row.message, seconds=seconds)
            accuracies.setdefault(trial.dataset, []).append(row.validation_accuracy)
        means = {dataset: float(np.mean(values)) for dataset, values in accuracies.items()}
        details = {"accuracies": accuracies}
        return Evaluation("ok", self.combine(means), details=details, seconds=seconds)

    def row(self, trial: Trial) -> TrialResult:
        """The journal's row of a trial; it is trained if there is none."""
        row = self.rows.get(trial.key)
        if row is None or row.status not in FINAL_STATUSES:
            row = self._train(trial)
            self.journal.append(row)
            self.rows[trial.key] = row
        return row

    def _train(self, trial):
        bench = self.benches[trial.dataset]
        expression = Expression.parse(trial.formula)
        return row_of(trial, bench.train(expression, trial.run, timeout=self.timeout))

    def compare(
        self, losses: dict[str, Expression | None], runs: int
    ) -> dict[str, list[Comparison]]:
        """Test accuracy of some losses, by data set, over runs that the search has not had.

        Only to be called when the search is over: this reads the test sets.

        Args:
            losses: By name; `None` stands for the cross entropy.
            runs: Networks for each loss and data set.
        """
        results = {}
        for dataset in self.benches:
            results[dataset] = []
            for name, expression in losses.items():
                formula = str(expression or self.cross_entropy(dataset))
                blank = next(t for t in self.trials(formula) if t.dataset == dataset)
                rows = [
                    self.row(replace(blank, run=run, test=True))
                    for run in range(self.searched_runs, self.searched_runs + runs)
                ]
                accuracies = tuple(row.accuracy for row in rows if row.status == "ok")
                results[dataset].append(Comparison(name, formula, accuracies))
        return results


def _class_reduction(trial):
    return dict(trial.loss_settings).get("class_reduction", "mean")

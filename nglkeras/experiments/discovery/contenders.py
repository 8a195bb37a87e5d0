"""New runs of trials: the networks of a confirmation, each of which is a row of the journal."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import keras
import numpy as np

from nglkeras.data.catalog import get_info
from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.experiments.classification.shared_networks import name_of_loss, switched
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.discovery.candidates import Candidates
from nglkeras.experiments.discovery.fitness import TrialFitness
from nglkeras.expression import Expression
from nglkeras.losses.registry import ROWS, Row
from nglkeras.report.rates import FIRST_NEW
from nglkeras.runs.trial import TrialResult
from nglkeras.search.given_losses import Loss
from nglkeras.search.trainer import PARTS, Measured, Network, Trainer

# Begins the names of the accuracies on parts of the test data.
_PART = "accuracy_part_"


class Contenders(Candidates):
    """Trains the trials of several losses at any rate; compiles one network for each data set.

    Args:
        trials: One of each loss.
        **settings: As in `Candidates`.
    """

    def __init__(self, trials: Sequence[Trial], **settings):
        super().__init__(FIRST_NEW, **settings)
        self.losses = {name_of_loss(trial): trial for trial in trials}

    def __call__(
        self, trial: Trial, *, on_epoch: Callable[[int, dict], None] | None = None
    ) -> TrialResult:
        """Train a trial and return its row, with the accuracy on parts of the test data."""
        row = super().__call__(trial, on_epoch=on_epoch)
        if row.accuracy is None:
            return row
        parts = self.networks[trial.dataset].tested_in_parts(trial.run, PARTS)
        return replace(row, metrics={f"{_PART}{i}": value for i, value in enumerate(parts)})

    def loss(self, trial: Trial) -> keras.losses.Loss:
        """Return a loss that can become each of the losses."""
        return switched(self.losses)

    def name(self, trial: Trial) -> object:
        """Return what names the loss of a trial."""
        return name_of_loss(trial)

    def is_large(self, trial: Trial) -> bool:
        """Return whether no later trial needs network and data of an earlier run."""
        return True


class TrialTrainer(Trainer):
    """Trains the trials of a `TrialFitness` with new seeds and splits.

    Where a candidate is trained on several data sets, a network stands for one on each, and a
    measure is their mean.

    Args:
        fitness: The fitness; its executor trains, its journal takes the rows.
        losses: Losses by name.
    """

    def __init__(self, fitness: TrialFitness, losses: Mapping[str, Loss]):
        for name, loss in losses.items():
            if not isinstance(loss, Expression) and loss not in ROWS.values():
                raise UserError(f"{name} is a Keras loss; trials take rows by name, and formulas")
            if isinstance(loss, Row) and loss.activation != "softmax":
                raise UserError(f"{name} is a loss of sigmoids, and trials end in a softmax")
        self.fitness = fitness
        self.executor = fitness.executor
        self.blanks = list({blank.dataset: blank for blank in fitness.blanks[::-1]}.values())[::-1]
        self.rate = self.blanks[0].schedule.learning_rate
        self.chance = float(np.mean([1 / get_info(name).classes for name in fitness.datasets]))
        self.searched_runs = fitness.searched_runs
        self.class_reduction = fitness.class_reduction
        if len(self.blanks) > 1:
            self.notes = (f"Measures are means over {', '.join(fitness.datasets)}.",)
        blank = self.blanks[0]
        trials = [replace(blank, **_said(blank, loss)) for loss in losses.values()]
        shared = {name: getattr(fitness.train, name) for name in ("bound", "data_dir", "timeout")}
        self.work = Contenders(trials, **shared)

    def trials(self, network: Network) -> list[Trial]:
        """Return the trials that a network stands for."""
        rate, run = network.learning_rate, network.run
        return [
            replace(
                blank,
                **_said(blank, network.loss),
                schedule=replace(blank.schedule, learning_rate=rate),
                run=run,
                test=run >= FIRST_NEW,
            )
            for blank in self.blanks
        ]

    def key(self, network: Network) -> str:
        """Return the key of the trial; of several a hash of their keys."""
        keys = [trial.key for trial in self.trials(network)]
        return keys[0] if len(keys) == 1 else hashlib.sha256(str(keys).encode()).hexdigest()[:16]

    def __call__(self, name: str, loss: Loss, *, learning_rate: float, run: int) -> Measured:
        """Train a network."""
        ((_, measured),) = self.each([Network(name, loss, learning_rate, run)])
        return measured

    def each(
        self, networks: Sequence[Network], executor: Executor | None = None
    ) -> Iterator[tuple[int, Measured]]:
        """Yield the index of each network with what it has reached, as they finish."""
        self.fitness.prepare()
        groups = {index: self.trials(network) for index, network in enumerate(networks)}
        for index, rows in self.fitness.finished(groups, self.work):
            yield index, _measured(rows)


def _said(blank, loss):
    """Return what a trial says of its loss."""
    if isinstance(loss, Expression):
        return {"loss": blank.loss, "formula": str(loss), "loss_settings": blank.loss_settings}
    return {"loss": loss.name, "formula": loss.formula, "loss_settings": loss.summed}


def _measured(rows: Sequence[TrialResult]) -> Measured:
    seconds = sum(row.seconds for row in rows)
    failed = next((row for row in rows if row.status != "ok"), None)
    if failed is not None:
        return Measured(failed.status, seconds=seconds, message=failed.message)
    tests = [row.accuracy for row in rows]
    test = None if None in tests else float(np.mean(tests))
    validation = float(np.mean([row.validation_accuracy for row in rows]))
    parts = [[v for name, v in row.metrics.items() if name.startswith(_PART)] for row in rows]
    same = len({len(values) for values in parts}) == 1
    means = tuple(np.mean(parts, axis=0).tolist()) if same else ()
    return Measured("ok", validation, test, seconds, parts=means)

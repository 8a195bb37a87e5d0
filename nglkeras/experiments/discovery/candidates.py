"""The trainings of a search's candidates, which share a compiled network for each data set."""

from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

import keras
import numpy as np

from nglkeras.experiments import draws
from nglkeras.experiments.classification.shared_networks import compiled_network
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.discovery.raced import RacedTrial
from nglkeras.expression import Expression
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.runs.attempt import make_row
from nglkeras.runs.trial import TrialResult
from nglkeras.search.scale import LossScale, measure
from nglkeras.training import accumulation
from nglkeras.training.compiled import CompiledNetwork


class Candidates:
    """Trains the trials of formulas; compiles one network for each data set.

    It can be pickled until its first trial.

    Args:
        searched_runs: Number of runs that the search uses. Only runs from this number on measure
            the accuracy on the test set, and no fresh draws.
        bound: Mean loss beyond which a training ends as "exploded".
        data_dir: Folder of TFDS.
        timeout: Seconds after which the training of a network stops.

    Attributes:
        measure_epochs: Whether to measure the accuracy after every epoch.
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
        self.measure_epochs = False
        self.networks: dict[str, CompiledNetwork] = {}
        self._drawn: dict[str, int] = {}

    def __call__(
        self, trial: Trial, *, on_epoch: Callable[[int, dict], None] | None = None
    ) -> TrialResult:
        """Train a trial and return its row."""
        training = self._network(trial).train(
            self.name(trial),
            trial.run,
            learning_rate=trial.schedule.learning_rate,
            timeout=self.timeout,
            on_epoch=on_epoch,
            bars=trial.bars if isinstance(trial, RacedTrial) else (),
        )
        trial = trial.trial if isinstance(trial, RacedTrial) else trial
        return make_row(trial, **vars(training))

    def scale(self, trial: Trial) -> LossScale:
        """Return the factor that brings the loss of a trial to cross entropy's size."""
        expression, batch = Expression.parse(trial.formula), self._network(trial).fresh_batch()
        return measure(expression, *batch, class_reduction_of(trial))

    def loss(self, trial: Trial) -> keras.losses.Loss:
        """Return a loss that can become the loss of each trial on a data set."""
        return InterpretedLoss(class_reduction_of(trial))

    def name(self, trial: Trial) -> Hashable:
        """Return what such a loss calls the loss of a trial."""
        return Expression.parse(trial.formula)

    def is_large(self, trial: Trial) -> bool:
        """Return whether no later trial needs network and data of an earlier run."""
        return draws.is_fresh(trial)

    def values(self, trial: Trial) -> np.ndarray:
        """Return the loss of each sample of a trial's first batch under the untrained network."""
        y_true, y_pred = self._network(trial).fresh_batch()
        return Expression.parse(trial.formula).of_samples(y_true, y_pred)

    def _network(self, trial):
        if trial.dataset not in self.networks:
            self.networks[trial.dataset] = compiled_network(
                [trial],
                partial(self.loss, trial),
                bound=self.bound,
                measure_epochs=self.measure_epochs,
                tested=lambda run: self.searched_runs <= run < draws.FIRST,
                data_dir=self.data_dir,
            )
        network = self.networks[trial.dataset]
        if self.is_large(trial) and self._drawn.get(trial.dataset) != trial.run:
            # Network and data of the run before this are large.
            network.forget_others(trial.run)
            accumulation.release()
            self._drawn[trial.dataset] = trial.run
        return network


def class_reduction_of(trial: Trial) -> str:
    """Return the reduction over the classes, "mean" or "sum", of a trial's loss."""
    return dict(trial.loss_settings).get("class_reduction", "mean")

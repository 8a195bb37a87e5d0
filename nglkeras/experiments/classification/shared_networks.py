"""Trials that share compiled networks: what differs only in loss, rate and run is compiled once.

Compiling a small network takes longer than training it. The data are in memory, in a fixed order.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.experiments.classification import training
from nglkeras.experiments.classification.trial import Trial
from nglkeras.losses.switched import SwitchedLoss
from nglkeras.runs import attempt
from nglkeras.runs.trial import TrialResult
from nglkeras.seeds import derive_seed
from nglkeras.startup import extras
from nglkeras.training import accumulation
from nglkeras.training.compiled import CompiledNetwork
from nglkeras.training.streams import Streams

# Compiled networks that are kept: each holds a graph, and weights on the device.
MAX_NETWORKS = 4


class SharedNetworks:
    """Turns trials into rows, and compiles each kind of network once where trials allow it.

    It may be sent to a worker before its first trial.

    Args:
        trials: All that are to come; those of a run begin with the same weights.
        data_dir: Where TFDS keeps its data.
        log_dir: Where to write TensorBoard logs, in a folder per trial; none by default.
        timeout: Seconds after which the training of a network stops, all tries together.
    """

    def __init__(
        self,
        trials: Iterable[Trial],
        *,
        data_dir: str | Path | None = None,
        log_dir: str | Path | None = None,
        timeout: float | None = None,
    ):
        self.trials: dict[Trial, list[Trial]] = {}
        starts = {}
        for trial in trials:
            self.trials.setdefault(trial.kind, []).append(trial)
            start = starts.setdefault((trial.kind, trial.run), trial.weights)
            if start != trial.weights:
                raise ValueError(f"run {trial.run} begins with {start} and with {trial.weights}")
            if trial.compile_once and trial.monitored != "validation":
                raise UserError(f"networks that are compiled once monitor no {trial.monitored} set")
        if log_dir is not None:
            extras.require("tensorboard")
        self.data_dir, self.log_dir = data_dir, log_dir
        self.timeout = timeout
        self._networks: OrderedDict[Trial, CompiledNetwork] = OrderedDict()
        self._runs: dict[Trial, int] = {}

    def __call__(
        self,
        trial: Trial,
        *,
        on_epoch: Callable[[int, dict], None] | None = None,
        on_model: Callable[[keras.Model], None] | None = None,
    ) -> TrialResult:
        """Return the row of one of the trials; arguments and errors are those of `run_trial`."""
        log_dir = None if self.log_dir is None else paths.expand(self.log_dir) / trial.key
        if not trial.compile_once:
            return attempt.run_attempts(
                trial,
                partial(training.train_once, data_dir=self.data_dir, log_dir=log_dir),
                timeout=self.timeout,
                on_epoch=on_epoch,
                on_model=on_model,
            )
        network = self._network(trial)
        with accumulation.freeing_graphs():
            outcome = network.train(
                name_of_loss(trial),
                trial.run,
                learning_rate=trial.schedule.learning_rate,
                timeout=self.timeout,
                on_epoch=on_epoch,
                callbacks=[keras.callbacks.TensorBoard(log_dir)] if log_dir else [],
            )
        if outcome.status == "ok" and on_model is not None:
            on_model(network.model.network)
        attempt.remember(trial, outcome.status, outcome.accumulation)
        if outcome.status in ("crashed", "out_of_memory"):
            # It may be the compilation that failed, and on account of another loss: from here on
            # each of these compiles by itself.
            del self._networks[trial.kind]
            self.trials[trial.kind] = []
        return attempt.make_row(trial, **vars(outcome))

    def _network(self, trial):
        kind = trial.kind
        network = self._networks.pop(kind, None)
        trials = self.trials.get(kind, [])
        if network is None or trial not in trials:
            network = self._make(trials if trial in trials else [trial])
        self._networks[kind] = network
        while len(self._networks) > MAX_NETWORKS:
            self._networks.popitem(last=False)
        if self._runs.get(kind) != trial.run:
            # Weights and data of a run are large, and runs come one after the other. A new one
            # builds a network, and every model that was ever built would stay in memory.
            network.forget_others(trial.run)
            keras.utils.clear_session()
        self._runs[kind] = trial.run
        return network

    def _make(self, trials):
        choices = {name_of_loss(trial): trial for trial in trials}
        make_loss = partial(switched, choices)
        trials = map(attempt.remembered, trials)
        return compiled_network(trials, make_loss, validate=True, data_dir=self.data_dir)


def name_of_loss(trial: Trial) -> tuple:
    """Return what names a loss."""
    return trial.loss, trial.formula, trial.loss_settings


def switched(trials: Mapping[object, Trial]) -> SwitchedLoss:
    """Return the loss that can become the loss of each of these trials."""
    return SwitchedLoss({name: training.loss_of(trial) for name, trial in trials.items()})


def compiled_network(
    trials: Iterable[Trial],
    make_loss: Callable[[], keras.losses.Loss],
    *,
    tested: Callable[[int], bool] | None = None,
    data_dir: str | Path | None = None,
    **settings,
) -> CompiledNetwork:
    """Return the compiled network for trials that differ only in loss, run and initial weights.

    A run without a trial starts like the first. `tested` says whether a run may look at the test
    set, by default as its trial does; the rest is as in `CompiledNetwork`.
    """
    by_run = {trial.run: trial for trial in trials}
    any_trial = next(iter(by_run.values()))

    def of_run(run):
        return by_run.get(run, replace(any_trial, run=run))

    def build(run):
        return training.build_network(of_run(run), data_dir)

    def make_streams(run):
        trial = of_run(run)
        trial = replace(trial, test=tested(run)) if tested else trial
        return load_streams(trial, data_dir)

    settings["replicas"] = any_trial.replicas
    return CompiledNetwork(build, make_streams, any_trial.schedule, make_loss, **settings)


def load_streams(trial: Trial, data_dir: str | Path | None = None) -> Streams:
    """Return the data of a trial that shares its network."""
    # The same test set for all runs: no image of it has been validated with in any of them.
    return training.streams_of(trial, data_dir, test_seed=derive_seed(trial.seed, "test"))


def run_trial(
    trial: Trial,
    *,
    on_epoch: Callable[[int, dict], None] | None = None,
    on_model: Callable[[keras.Model], None] | None = None,
    **settings,
) -> TrialResult:
    """Train and evaluate the network of a trial.

    It never fails on account of the network: what goes wrong there becomes the status of the row.

    Args:
        trial: The trial.
        on_epoch: Called after each epoch with its number, from 1, and its row of the history.
        on_model: Called with the model if its training ended well, e.g. to save it.
        **settings: `data_dir`, `log_dir` and `timeout` of `SharedNetworks`.

    Returns:
        The row. Its status is "ok" if the last epoch was reached with finite losses.

    Raises:
        UserError: If the trial names something that does not exist or cannot be had.
    """
    return SharedNetworks([trial], **settings)(trial, on_epoch=on_epoch, on_model=on_model)

"""Train the network of a trial, again with divided batches when memory runs out."""

import datetime
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import keras

from nglkeras.errors import UserError
from nglkeras.runs.environment import environment
from nglkeras.runs.trial import Trial, TrialResult
from nglkeras.training import accumulation
from nglkeras.training.devices import distribution
from nglkeras.training.monitor import Monitor
from nglkeras.training.outcome import FINAL_STATUSES, FIT


def run_attempts(
    trial: Trial,
    train: Callable[[Trial, Monitor], tuple[dict, keras.Model]],
    *,
    timeout: float | None = None,
    on_epoch: Callable[[int, dict], None] | None = None,
    on_model: Callable[[keras.Model], None] | None = None,
    least: int = accumulation.MIN_IMAGES,
) -> TrialResult:
    """Train the network of a trial and return its row, whatever happens during the training.

    Args:
        trial: The trial.
        train: Trains one attempt. It gets the trial, whose schedule may divide batches into parts,
            and the callback that keeps history and status. It returns further fields of the row,
            and the network.
        timeout: Seconds for all attempts together; then the status is "timeout". No limit by
            default.
        on_epoch: Called after each epoch with its number, from 1, and its row of the history.
        on_model: Called with the network if the training ended well, e.g. to save it.
        least: Lower limit on the images of a part, on each device.

    Raises:
        UserError: If the trial names something that does not exist or cannot be had.
    """
    deadline = math.inf if timeout is None else time.perf_counter() + timeout

    def attempt(schedule):
        started = time.perf_counter()
        monitor = Monitor(deadline, on_epoch, part=trial.monitored)
        outcome = {}
        try:
            scope = distribution(trial.replicas, schedule)
            # Without this, every model that was ever built stays in memory.
            keras.utils.clear_session()
            with accumulation.freeing_graphs():
                with scope:
                    outcome, model = train(replace(trial, schedule=schedule), monitor)
                if on_model is not None and monitor.status == "ok":
                    on_model(model)
        except UserError:
            raise
        # An error of one training must not end the trials after it.
        except Exception as error:
            monitor.fail(error)
        # A training that continues from a checkpoint has taken longer than this process knows.
        trained = sum(epoch.get("seconds", 0.0) for epoch in monitor.history)
        return make_row(
            trial,
            status=monitor.status,
            message=monitor.message,
            history=monitor.history,
            seconds=round(max(time.perf_counter() - started, trained), 3),
            accumulation=schedule.accumulation,
            **outcome,
        )

    row = accumulation.with_room(attempt, remembered(trial).schedule, trial.replicas, least)
    remember(trial, row.status, row.accumulation)
    return row


def make_row(trial: Trial, *, here: bool = True, path: str = FIT, **outcome) -> TrialResult:
    """Build the result row of a finished trial, with time and environment.

    Args:
        trial: The trial.
        here: Whether this process trained it; otherwise the environment is unknown and empty.
        path: What trained it; the environment has it under "path" unless that is Keras' `fit`.
        **outcome: The other fields of `TrialResult`, e.g. those of a `training.outcome.Training`.
    """
    where = {"replicas": trial.replicas} | ({} if path == FIT else {"path": path})
    return TrialResult(
        key=trial.key,
        trial=asdict(trial),
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        environment=environment() | where if here else {},
        **outcome,
    )


# How many parts the batches of each kind of trial needed in this process.
_needed: dict[Trial, int] = {}


def remember(trial: Trial, status: str, accumulation: int) -> None:
    """Note with how many parts a batch a trial ended, for later trials of its kind."""
    if status in FINAL_STATUSES:
        _needed[trial.kind] = accumulation


def remembered(trial: Trial) -> Trial:
    """Return the trial with its batches divided as its kind needed it in this process."""
    parts = _needed.get(trial.kind, trial.schedule.accumulation)
    return replace(trial, schedule=replace(trial.schedule, accumulation=parts))

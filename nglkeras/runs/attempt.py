"""One attempt at a trial, and the row it leaves."""

import datetime
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import keras

from nglkeras.errors import UserError
from nglkeras.runs.environment import environment
from nglkeras.runs.trial import Trial, TrialResult
from nglkeras.training import accumulation
from nglkeras.training.accumulation import MIN_IMAGES, with_room
from nglkeras.training.devices import distribution
from nglkeras.training.monitor import Monitor
from nglkeras.training.outcome import FINAL_STATUSES
from nglkeras.training.schedule import Schedule


def row_of(
    trial: Trial,
    schedule: Schedule,
    train: Callable[[Trial], tuple[dict, keras.Model]],
    monitor: "Monitor",
    on_model: Callable[[keras.Model], None] | None = None,
) -> TrialResult:
    """The row of a trial that is trained by this schedule, whatever comes of it.

    Args:
        trial: What is done; of any kind.
        schedule: The trial's, or the same with its batches in parts.
        train: Trains the trial with that schedule, and gives further fields of the row and the
            network.
        monitor: Of the training.
        on_model: Called with the network when its training ended well.

    Raises:
        UserError: If the trial names something that does not exist or cannot be had.
    """
    started = time.perf_counter()
    outcome = {}
    try:
        scope = distribution(trial.replicas, schedule)
        # Without this, every model that was ever built stays in memory.
        keras.utils.clear_session()
        with accumulation.freeing_graphs():
            with scope:
                outcome, model = train(replace(trial, schedule=schedule))
            if on_model is not None and monitor.status == "ok":
                on_model(model)
    except UserError:
        raise
    # Whatever a loss does to a network, the next trial must have its turn.
    except Exception as error:
        monitor.fail(error)
    # What was trained before an interruption counts too.
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


def make_row(trial: Trial, *, here: bool = True, **outcome) -> TrialResult:
    """The row of a trial with its outcome, and with where and when it came about.

    Args:
        trial: What was done.
        here: Whether by this process; if not, where is not known.
        **outcome: The other fields of `TrialResult`.
    """
    return TrialResult(
        key=trial.key,
        trial=asdict(trial),
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        environment=environment() | {"replicas": trial.replicas} if here else {},
        **outcome,
    )


# What kinds of trials have needed in this process.
_needed: dict[Trial, int] = {}


def row_with_room(
    attempt: Callable[[Schedule], TrialResult], trial: Trial, least: int = MIN_IMAGES
) -> TrialResult:
    """The row of a trial, its batches in the parts that it or its kind needs in this process.

    Args:
        attempt: As `with_room` takes it.
        trial: What is tried.
        least: As `with_room` takes it.
    """
    row = with_room(attempt, remembered(trial).schedule, trial.replicas, least)
    remember(trial, row.status, row.accumulation)
    return row


def remember(trial: Trial, status: str, accumulation: int) -> None:
    """Note the parts with which a trial ended in this status, for others of its kind."""
    if status in FINAL_STATUSES:
        _needed[trial.kind] = accumulation


def remembered(trial: Trial) -> Trial:
    """The trial with its batches in the parts that its kind has needed in this process."""
    parts = _needed.get(trial.kind, trial.schedule.accumulation)
    return replace(trial, schedule=replace(trial.schedule, accumulation=parts))

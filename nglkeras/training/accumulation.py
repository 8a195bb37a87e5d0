"""Batches in parts: what is done about a training that a device has no memory for.

Gradients are averaged over the parts before each update, so that updates see the same images.
What is computed for each part by itself differs: BatchNormalization's statistics, dropout's draws.
Here is also what frees the memory of networks that nobody needs any more.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import keras

from nglkeras.training.schedule import Schedule

# Parts into which a batch is divided at most, and images that a part must have on each device:
# BatchNormalization learns little from fewer (README: 94 % with 16, 85 % with 8, 75 % with 4).
MAX_ACCUMULATION = 16
MIN_IMAGES = 8


Outcome = TypeVar("Outcome")


def with_room(
    attempt: Callable[[Schedule], Outcome],
    schedule: Schedule,
    replicas: int = 1,
    least: int = MIN_IMAGES,
) -> Outcome:
    """The outcome of the first attempt that memory has room for, or else of the last.

    Args:
        attempt: Trains by a schedule, and first frees what an attempt before it has left. Its
            outcome is a dataclass with status and seconds.
        schedule: Of the first attempt; each later one divides a batch into twice as many parts,
            as long as they are whole and not too small.
        replicas: Devices that share a batch.
        least: Images that a part must have on each device.

    Returns:
        The outcome; its seconds are those of all attempts.
    """
    started = time.perf_counter()
    while True:
        outcome = attempt(schedule)
        finer = _finer(schedule, replicas, least)
        if outcome.status != "out_of_memory" or finer is None:
            # A training that went on from a checkpoint has taken longer than this.
            seconds = max(outcome.seconds, round(time.perf_counter() - started, 3))
            return replace(outcome, seconds=seconds)
        schedule = finer


def _finer(schedule, replicas, least):
    parts = 2 * schedule.accumulation
    images, rest = divmod(schedule.batch_size, parts * replicas)
    if parts > MAX_ACCUMULATION or rest or images < least:
        return None
    return replace(schedule, accumulation=parts)


def release() -> None:
    """Free the networks that are out of reach."""
    policy = keras.config.dtype_policy()
    # It collects garbage too, and forgets the dtype policy, which may be the user's.
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def freeing_graphs() -> Iterator[None]:
    """What is traced meanwhile can be freed afterwards, as soon as nobody uses it.

    TensorFlow registers each custom gradient of a graph, of which Keras' training step has one,
    and through it keeps the graph with the network's variables for good (its issue 97697). Once a
    step is traced, its gradients are in the graph, and the registered function is of no more use.
    """
    registry = _registered_gradients()
    before = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - before:
            if name.startswith("CustomGradient-"):
                del registry[name]


def _registered_gradients():
    if keras.backend.backend() != "tensorflow":
        return {}
    # Not public. Without it memory grows, and that is all.
    from tensorflow.python.framework import ops

    return getattr(getattr(ops, "gradient_registry", None), "_registry", {})

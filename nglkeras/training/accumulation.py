"""Divide batches into parts when a training does not fit into a device's memory, and free memory.

Gradients are averaged over the parts before each update, so that updates see the same images.
BatchNormalization's statistics and dropout's draws differ: each part has its own.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import keras

from nglkeras.training.schedule import Schedule

# Largest number of parts of a batch, and least number of images that a part has on each device:
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
    """Return the outcome of the first attempt that fits into memory, or else of the last.

    An attempt frees what an earlier one has left, then trains by a schedule. Each divides a batch
    into twice as many parts as the one before, as long as they are whole and have at least `least`
    images on each device. The outcome's seconds are those of all attempts.
    """
    started = time.perf_counter()
    while True:
        outcome = attempt(schedule)
        finer = _finer(schedule, replicas, least)
        if outcome.status != "out_of_memory" or finer is None:
            # A training that continued from a checkpoint has taken longer than this.
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
    """Free the networks that nothing refers to."""
    policy = keras.config.dtype_policy()
    # This collects garbage too, and forgets the dtype policy, which may be the user's.
    keras.utils.clear_session()
    keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def freeing_graphs() -> Iterator[None]:
    """Let graphs that are traced in this context be freed once nothing uses them.

    TensorFlow registers each custom gradient of a graph (Keras' training step has one), and thus
    keeps the graph and the network's variables for good (its issue 97697). Once a step is traced,
    its gradients are in the graph, and the registered function is no longer needed.
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
    # Not public. If it is missing, memory grows and nothing else happens.
    from tensorflow.python.framework import ops

    return getattr(getattr(ops, "gradient_registry", None), "_registry", {})

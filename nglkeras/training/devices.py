"""Devices that share a batch: under `tf.distribute` on TensorFlow, `DataParallel` on JAX."""

import contextlib
from functools import cache
from typing import TYPE_CHECKING

from nglkeras.errors import UserError, unknown
from nglkeras.training.schedule import Schedule

if TYPE_CHECKING:
    pass

STRATEGIES = ("auto", "none", "mirrored")
BACKENDS = ("tensorflow", "jax")


def backend() -> str:
    """Return the name of Keras' backend."""
    import keras

    return keras.backend.backend()


def count_replicas(strategy: str, batch_size: int, devices: int | None = None) -> int:
    """The number of devices that share a batch under a strategy.

    Args:
        strategy: "mirrored" takes all GPUs or TPUs (all CPUs of the backend where there is none),
            "none" one device, "auto" as many GPUs or TPUs as divide the batch evenly.
        batch_size: Images a batch, over all devices together.
        devices: So many, instead of asking the backend: a driver whose workers train must not
            touch a GPU.

    Raises:
        UserError: If there is no such strategy on this backend.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    ours = backend()
    if strategy == "mirrored" and ours not in BACKENDS:
        raise UserError(
            f"the {ours} backend has no strategy mirrored; with it choose from: auto, none"
        )
    if strategy == "none" or ours not in BACKENDS:
        return 1
    if strategy == "mirrored":
        return len(_devices()) if devices is None else devices
    if devices is None:
        devices = sum("cpu" not in name.lower() for name in _devices())
    return max(n for n in range(1, max(devices, 1) + 1) if batch_size % n == 0)


def _devices():
    """The names of all accelerators, or of all CPUs where there is none."""
    if backend() == "jax":
        import keras

        return keras.distribution.list_devices()
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def distribution(replicas: int, schedule: Schedule) -> contextlib.AbstractContextManager:
    """The context to build, train and evaluate a model in.

    TensorFlow's models remember where they were built; JAX's must be told again. Nothing of it is
    left when the context ends. `keras.utils.clear_session` belongs before it: inside it crashes
    TensorFlow, and ends the sharing on JAX.

    Args:
        replicas: Devices that share each batch.
        schedule: Says how large a batch is, over all devices together.

    Raises:
        UserError: If there are not so many devices, or the batch does not divide by them.
    """
    if schedule.part_size % replicas:
        parts = f" in {schedule.accumulation} parts" if schedule.accumulation > 1 else ""
        raise UserError(
            f"a batch of {schedule.batch_size}{parts} does not divide by {replicas} devices; "
            "strategy auto takes as many as divide it"
        )
    if replicas == 1:
        return contextlib.nullcontext()
    if backend() not in BACKENDS:
        raise UserError(f"the {backend()} backend trains on one device")
    return mirrored_strategy(replicas).scope()


@cache
def mirrored_strategy(replicas: int):
    """What shares batches over so many GPUs or TPUs, or CPUs where there is none.

    A `tf.distribute.MirroredStrategy`, or a `keras.distribution.DataParallel` on JAX. One for all
    trials of a process: a second of TensorFlow's would share its collective operations' keys.
    """
    devices = _devices()
    if len(devices) < replicas:
        raise UserError(f"{replicas} devices are wanted and there are {len(devices)}")
    if backend() == "jax":
        import keras

        return keras.distribution.DataParallel(devices=devices[:replicas])
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices[:replicas])

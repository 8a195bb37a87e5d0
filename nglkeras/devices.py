"""Devices that share a batch, under `tf.distribute`."""

import contextlib
from functools import cache

import keras

from nglkeras.errors import UserError, unknown

STRATEGIES = ("auto", "none", "mirrored")


def count_replicas(strategy: str, batch_size: int) -> int:
    """The number of devices that share a batch under a strategy.

    Args:
        strategy: "mirrored" takes all GPUs (all logical CPUs where there is no GPU), "none" one
            device, "auto" as many GPUs as divide the batch evenly.
        batch_size: Images a batch, over all devices together.

    Raises:
        UserError: If there is no such strategy on this backend.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    if keras.backend.backend() != "tensorflow":
        if strategy == "mirrored":
            raise UserError(
                f"strategy mirrored is tf.distribute's; with the {keras.backend.backend()} "
                "backend choose from: auto, none"
            )
        return 1
    if strategy == "none":
        return 1
    import tensorflow as tf

    if strategy == "mirrored":
        return len(_devices())
    gpus = max(len(tf.config.list_logical_devices("GPU")), 1)
    return max(n for n in range(1, gpus + 1) if batch_size % n == 0)


def _devices():
    import tensorflow as tf

    return tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")


def distribution(replicas, batch_size):
    """The context to build a model in."""
    if replicas == 1:
        return contextlib.nullcontext()
    if batch_size % replicas:
        raise UserError(
            f"a batch of {batch_size} does not divide by {replicas} devices; strategy auto takes "
            "as many as divide it"
        )
    return mirrored_strategy(replicas).scope()


@cache
def mirrored_strategy(replicas: int):
    """The `tf.distribute.MirroredStrategy` over so many GPUs, or logical CPUs without a GPU.

    One for all trials of a process: a second would share its collective operations' keys.
    """
    import tensorflow as tf

    devices = [device.name for device in _devices()]
    if len(devices) < replicas:
        raise UserError(f"{replicas} devices are wanted and there are {len(devices)}")
    return tf.distribute.MirroredStrategy(devices[:replicas])

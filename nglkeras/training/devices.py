"""Share batches among devices: `tf.distribute` on TensorFlow, `DataParallel` on JAX."""

import contextlib
from functools import cache

from nglkeras.errors import UserError, unknown
from nglkeras.training.schedule import Schedule

STRATEGIES = ("auto", "none", "mirrored")
BACKENDS = ("tensorflow", "jax")


def backend() -> str:
    """Return the name of Keras' backend."""
    import keras

    return keras.backend.backend()


def count_replicas(strategy: str, batch_size: int, devices: int | None = None) -> int:
    """Return the number of devices that share a batch under a strategy.

    Args:
        strategy: "mirrored" for all GPUs or TPUs (all CPUs of the backend where there is none),
            "none" for one device, "auto" for as many GPUs or TPUs as divide the batch evenly.
        batch_size: Images per batch, over all devices together.
        devices: Number of devices that there are; by default the backend is asked. A driver whose
            workers train must not touch a GPU.
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
    """Return the names of all accelerators, or of all CPUs where there is none."""
    if backend() == "jax":
        import keras

        return keras.distribution.list_devices()
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def distribution(replicas: int, schedule: Schedule) -> contextlib.AbstractContextManager:
    """Return the context in which to build, train and evaluate a model.

    TensorFlow's models remember where they were built; JAX's must be told again. Nothing remains
    when the context ends. Call `keras.utils.clear_session` before it: inside, it crashes TensorFlow
    and ends the sharing on JAX.
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
    """Return what shares batches among GPUs or TPUs, or CPUs where there is none.

    A second strategy of TensorFlow's in a process would share its collective operations' keys.
    """
    devices = _devices()
    if len(devices) < replicas:
        raise UserError(f"{replicas} devices are wanted and there are {len(devices)}")
    if backend() == "jax":
        import keras

        return keras.distribution.DataParallel(devices=devices[:replicas])
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices[:replicas])

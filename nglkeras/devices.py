"""Devices that share a batch, under `tf.distribute`."""

import contextlib
import os
import subprocess
from functools import cache
from itertools import takewhile

import keras

from nglkeras.errors import UserError, unknown
from nglkeras.protocol import Schedule

STRATEGIES = ("auto", "none", "mirrored")


def count_replicas(strategy: str, batch_size: int, devices: int | None = None) -> int:
    """The number of devices that share a batch under a strategy.

    Args:
        strategy: "mirrored" takes all GPUs (all logical CPUs where there is no GPU), "none" one
            device, "auto" as many GPUs as divide the batch evenly.
        batch_size: Images a batch, over all devices together.
        devices: There are so many, instead of asking the backend.

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
    if devices is not None:
        if strategy == "mirrored":
            return devices
        return max(n for n in range(1, devices + 1) if batch_size % n == 0)
    import tensorflow as tf

    if strategy == "mirrored":
        return len(_devices())
    gpus = max(len(tf.config.list_logical_devices("GPU")), 1)
    return max(n for n in range(1, gpus + 1) if batch_size % n == 0)


def _devices():
    import tensorflow as tf

    return tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that a process may use, as CUDA_VISIBLE_DEVICES names them.

    No backend is asked, which would take memory on each of them.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # CUDA stops reading at the first that is none.
        return list(takewhile(lambda gpu: gpu not in ("", "-1"), map(str.strip, named.split(","))))
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]


def distribution(replicas: int, schedule: Schedule):
    """The context to build a model in."""
    if schedule.part_size % replicas:
        parts = f" in {schedule.accumulation} parts" if schedule.accumulation > 1 else ""
        raise UserError(
            f"a batch of {schedule.batch_size}{parts} does not divide by {replicas} devices; "
            "strategy auto takes as many as divide it"
        )
    return contextlib.nullcontext() if replicas == 1 else mirrored_strategy(replicas).scope()


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


def accumulating(optimizer: keras.optimizers.Optimizer, parts: int) -> keras.optimizers.Optimizer:
    """The optimizer, updating once for so many gradients, by their mean, on several devices.

    Keras' own accumulation exchanges the gradients of the devices inside a branch, which
    TensorFlow refuses. Here they are exchanged each time, and each device then has its branch.
    """
    import tensorflow as tf

    class Accumulating(type(optimizer)):
        @property
        def iterations(self):
            return keras.ops.floor_divide(self._iterations, parts)

        def build(self, variables):
            if not self.built:
                super().build(variables)
                self._sums = self.add_optimizer_variables(variables, "sum")

        def _apply_weight_decay(self, variables):
            """Left to the updates."""

        def update_step(self, gradient, variable, learning_rate):
            held = self._sums[self._get_variable_index(variable)]
            total = held + tf.cast(gradient, held.dtype)
            step = super().update_step

            def update():
                if self.weight_decay is not None and self._use_weight_decay(variable):
                    rate = tf.cast(learning_rate * self.weight_decay, variable.dtype)
                    self.assign_sub(variable, variable * rate)
                step(total / parts, variable, learning_rate)
                self.assign(held, tf.zeros_like(total))

            is_last = (self._iterations + 1) % parts == 0
            tf.cond(is_last, update, lambda: self.assign(held, total))

    return Accumulating.from_config(optimizer.get_config())

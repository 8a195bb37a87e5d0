"""The hardware and versions that a result comes from."""

import contextlib
import importlib
import os
import platform
from functools import cache
from pathlib import Path

import keras
import numpy as np

import nglkeras


@cache
def environment():
    """Return hardware and versions, for the `environment` of a row."""
    backend = keras.backend.backend()
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "gpus": _gpu_names(backend),
        "platform": platform.system(),
        "python": platform.python_version(),
        "backend": backend,
        backend: importlib.import_module(backend).__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "nglkeras": nglkeras.__version__,
    }


def _cpu_name():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_names(backend):
    if backend == "tensorflow":
        import tensorflow as tf

        details = map(
            tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU")
        )
        return [detail.get("device_name", "GPU") for detail in details]
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]

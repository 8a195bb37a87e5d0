"""The GPUs of this machine, how workers share them, and the environment of workers."""

import math
import os
import subprocess
import sys
from itertools import takewhile
from numbers import Real
from pathlib import Path

from nglkeras.errors import UserError
from nglkeras.training.devices import backend

# Whether JAX takes most of a GPU at once: by default workers do, and their driver does not.
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
# Variables that are there for this process alone.
_of_driver: set[str] = set()


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    It does not ask the backend, which would take memory on each GPU.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # CUDA ignores everything after the first invalid name.
        return list(takewhile(lambda gpu: gpu not in ("", "-1"), map(str.strip, named.split(","))))
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]


def worker_share(wanted: float | None, gpus: int) -> float:
    """Return the GPUs of each worker; by default one, or none on a machine without GPUs.

    Args:
        wanted: A whole number, a share between 0 and 1, or `None` for the default.
        gpus: Number of GPUs.

    Raises:
        UserError: If it is neither a whole number nor a share.
    """
    if wanted is None:
        return 1.0 if gpus else 0.0
    is_number = isinstance(wanted, Real) and 0 <= wanted < math.inf
    if not is_number or (wanted > 1 and wanted != int(wanted)):
        raise UserError(
            f"{wanted!r} GPUs per worker: wanted is a whole number, or a share between 0 and 1"
        )
    return float(wanted)


def capacity(share: float, gpus: int) -> int | None:
    """Return how many workers the GPUs have room for; `None` if workers need no GPU."""
    if share == 0:
        return None
    return gpus // int(share) if share >= 1 else gpus * int(1 / share)


def gpus_of_worker(number: int, share: float, gpus: list[str]) -> list[str]:
    """Return the GPUs of a worker; workers that share GPUs fill one after the other."""
    if share == 0:
        return []
    if share < 1:
        return [gpus[number // int(1 / share)]]
    size = int(share)
    return gpus[number * size : (number + 1) * size]


def leave_memory_to_workers() -> None:
    """Let this process, their driver, take memory of GPUs only as it needs it.

    It trains nothing, but a confirmation checks the network in it, and a user may build one.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if PREALLOCATE not in os.environ:
        os.environ[PREALLOCATE] = "false"
        _of_driver.add(PREALLOCATE)


def worker_environment(share: float) -> dict[str, str]:
    """Return environment variables of a worker.

    Args:
        share: GPUs of the worker.
    """
    environment = {
        # Workers can import what this process can, such as the user's own modules. On a cluster
        # these must be in a shared folder.
        "PYTHONPATH": os.pathsep.join(str(path or Path.cwd()) for path in sys.path),
        "KERAS_BACKEND": backend(),
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        PREALLOCATE: "true" if PREALLOCATE in _of_driver else os.environ.get(PREALLOCATE, "true"),
        # Each worker would report the devices and libraries that it has found.
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1"),
    }
    if 0 < share < 1:
        # By default JAX reserves three quarters of a GPU.
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * share:.2f}"
    return environment

"""Where trainings run: in this process, in worker processes or on a Ray cluster.

All three give the same results. The task of a worker that dies or hangs starts again on another
worker. The driver of workers trains nothing and leaves them the GPUs' memory.
"""

import nglkeras
from nglkeras.errors import UserError, unknown
from nglkeras.executors.base import Executor, Failure, Local, Outcome
from nglkeras.executors.pool import ATTEMPTS, Pool
from nglkeras.executors.processes import Processes
from nglkeras.startup import lazy

NAMES = ("local", "processes", "ray")

__all__ = [
    "ATTEMPTS",
    "NAMES",
    "Executor",
    "Failure",
    "Local",
    "Outcome",
    "Pool",
    "Processes",
    "Ray",
    "make",
]
# `cluster` imports Ray, which takes a second or is not installed: see `startup.lazy`.
__getattr__, _ = lazy.attributes(__name__, {f"{__name__}.cluster": ("Ray",)})


def make(
    name: str = "local",
    *,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
    timeout: float | None = None,
    tasks_per_worker: int | None = None,
) -> Executor:
    """Return the executor with this name.

    Args:
        name: One of `NAMES`.
        workers: Number of workers; by default as many as there are GPUs, or CPUs of a cluster.
        gpus_per_worker: GPUs of each worker, or a share of one; by default one if there are any.
        address: Address of a Ray cluster; by default RAY_ADDRESS, else a new one on this machine.
        timeout: Seconds after which a task should end; see `Pool`. "local" does not end tasks.
        tasks_per_worker: Number of tasks after which a worker is replaced; "local" has none.

    Raises:
        UserError: If there is no such executor, or it does not take one of the arguments.
    """
    if name not in NAMES:
        raise unknown("executor", name, NAMES)
    given = {"--workers": workers, "--gpus-per-worker": gpus_per_worker, "--ray-address": address}
    refused = {"local": tuple(given), "processes": ("--ray-address",), "ray": ()}[name]
    for option in refused:
        if given[option] is not None:
            raise UserError(f"{option} is not for executor {name}")
    if name == "local":
        return Local()
    settings = {
        "workers": workers,
        "gpus_per_worker": gpus_per_worker,
        "timeout": timeout,
        "tasks_per_worker": tasks_per_worker,
    }
    if name == "processes":
        return Processes(**settings)
    return nglkeras.executors.Ray(address=address, **settings)

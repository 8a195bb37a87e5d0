"""Where trainings run: in this process, in worker processes, on a Ray cluster.

All three give the same outcomes. A worker that dies or hangs costs its running task a new attempt
on another, and the driver itself trains nothing and touches no GPU.
"""

from nglkeras.errors import UserError, unknown
from nglkeras.executors.base import Executor, Failure, Local, Outcome
from nglkeras.executors.pool import ATTEMPTS, Pool
from nglkeras.executors.processes import Processes

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


def make(
    name: str = "local",
    *,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
    timeout: float | None = None,
    tasks_per_worker: int | None = None,
) -> Executor:
    """An executor by its name.

    Args:
        name: One of `NAMES`.
        workers: How many; by default as many as there are GPUs for, or CPUs of a cluster.
        gpus_per_worker: GPUs of each, or the share of one; by default one where there are any.
        address: Of a Ray cluster; by default that of the environment, else one on this machine.
        timeout: Seconds after which a task ends its worker.
        tasks_per_worker: After so many a worker is replaced.

    Raises:
        UserError: If there is no such executor, or it does not take one of these.
    """
    if name not in NAMES:
        raise unknown("executor", name, NAMES)
    given = {"--workers": workers, "--gpus-per-worker": gpus_per_worker, "--ray-address": address}
    foreign = {"local": tuple(given), "processes": ("--ray-address",), "ray": ()}[name]
    for option in foreign:
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
    from nglkeras.executors.cluster import Ray

    return Ray(address=address, **settings)


def __getattr__(name):
    # Ray is imported by those who use it.
    if name == "Ray":
        from nglkeras.executors.cluster import Ray

        return Ray
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

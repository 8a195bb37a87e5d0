"""A Ray cluster: each worker is an actor, on whichever node has room for it.

Ray is only asked to place actors and to say when one is gone; its own retries are off, so that a
lost training is begun again, counted and recorded as it is with worker processes.
"""

import contextlib
import logging
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from nglkeras.errors import UserError
from nglkeras.executors.pool import LOST, Pool, Worker
from nglkeras.executors.processes import capacity, import_path, share_of_gpus, worker_environment
from nglkeras.executors.worker import PROGRESS, READY, Desk, error_message
from nglkeras.startup.extras import MissingPackageError

try:
    import ray
except ImportError:  # an extra: whoever wants the executor is told
    ray = None

# Seconds between two looks at the progress of tasks, and two complaints about a full cluster.
LOOK = 2.0
COMPLAINT = 60.0
# Looks a second, at all workers together: each costs the driver a round trip.
LOOKS = 50
# What of the driver's environment its workers have too.
PASSED_ON = ("TFDS_DATA_DIR",)
# Cores that Ray reserves for a worker.
CPUS = 1
# The threads of an actor that answer while its task runs.
LOOKING = "look"


class _Actor:
    """A worker on the cluster."""

    def __init__(self):
        self.desk = Desk()
        self.progress = None

    def ready(self) -> tuple:
        """Answer that the worker can work."""
        return (READY,)

    def do(self, content: bytes | None, method: str, task: Any, with_progress: bool) -> tuple:
        """The answer to a task, and to a new work with it."""
        self.progress = None
        try:
            if content is not None:
                self.desk.take(content)
        # Most likely a class that this node cannot import.
        except Exception as error:
            return error_message(error)
        return self.desk.do(method, task, self._note if with_progress else None)

    def look(self) -> tuple | None:
        """What the running task has reported last, answered while it runs."""
        return self.progress

    def _note(self, *progress):
        self.progress = progress


@dataclass(eq=False)
class _Remote(Worker):
    actor: Any = None
    content: Any = None
    answer: Any = None
    look: Any = None
    looked: float = 0.0


class Ray(Pool):
    """Workers on a Ray cluster.

    Args:
        workers: How many; by default as many as the cluster's GPUs are for, or its CPUs. Those that
            it has no room for begin when it has.
        gpus_per_worker: GPUs of each, or the share of one; by default one, or none where there are
            none.
        address: Of the cluster, such as "auto" or "ray://host:10001"; by default RAY_ADDRESS, else
            a cluster on this machine alone, which ends with this process.
        **settings: See `Pool`.

    Raises:
        UserError: If Ray is not installed, or the cluster does not answer.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        gpus_per_worker: float | None = None,
        address: str | None = None,
        **settings,
    ):
        if ray is None:
            raise MissingPackageError("ray")
        self._connected = not ray.is_initialized()
        if self._connected:
            _connect(address)
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self.gpus_per_worker = share_of_gpus(gpus_per_worker, gpus)
        if workers is None:
            room = capacity(self.gpus_per_worker, gpus)
            # A cluster that grows may have none yet.
            workers = max(int(resources.get("CPU", 1)) // CPUS if room is None else room, 1)
        super().__init__(workers, **settings)
        self._actor = ray.remote(concurrency_groups={LOOKING: 1})(_Actor)
        self._contents: tuple[bytes, Any] = (b"", None)
        self._complained = time.monotonic()

    def close(self):
        """End the workers, and leave the cluster if this executor has entered it."""
        super().close()
        if self._connected and ray.is_initialized():
            ray.shutdown()

    def _start(self, number):
        actor = self._actor.options(
            num_cpus=CPUS,
            num_gpus=self.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": _environment(self.gpus_per_worker)},
        ).remote()
        return _Remote(number, actor=actor, answer=actor.ready.remote())

    def _give_work(self, worker, content):
        if self._contents[0] is not content:
            self._contents = (content, ray.put(content))
        worker.content = self._contents[1]

    def _give_task(self, worker, method, task, with_progress):
        worker.answer = worker.actor.do.remote(worker.content, method, task, with_progress)
        worker.content = None
        # Only those who want progress are asked for it.
        worker.looked = time.monotonic() if with_progress else float("inf")

    def _messages(self, seconds):
        answers = {w.answer: w for w in self._pool.values() if w.answer is not None}
        ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=0)
        if not ready and answers:
            ready, _ = ray.wait(list(answers), num_returns=1, timeout=seconds)
        for answer in ready:
            worker = answers[answer]
            worker.answer = worker.look = None
            yield worker, _get(answer)
        yield from self._progress()
        self._complain()

    def _progress(self):
        now, pause = time.monotonic(), max(LOOK, self.workers / LOOKS)
        looking = {}
        for worker in list(self._busy.values()):
            if worker.look is None and now - worker.looked > pause:
                look = worker.actor.look.options(concurrency_group=LOOKING)
                worker.look, worker.looked = look.remote(), now
            if worker.look is not None:
                looking[worker.look] = worker
        if not looking:
            return
        for look in ray.wait(list(looking), num_returns=len(looking), timeout=0)[0]:
            looking[look].look = None
            progress = _get(look)
            if progress is not None and progress[0] != LOST:
                yield looking[look], (PROGRESS, *progress)

    def _complain(self):
        """Say now and then that the cluster has no room for a single worker."""
        if not self._pool or any(worker.is_ready for worker in self._pool.values()):
            self._complained = time.monotonic()
        elif time.monotonic() - self._complained > COMPLAINT:
            self._complained = time.monotonic()
            free = {name: ray.available_resources().get(name, 0) for name in ("CPU", "GPU")}
            self.report(
                f"waiting for the cluster: a worker takes {CPUS} CPU and {self.gpus_per_worker:g} "
                f"GPUs, free are {free['CPU']:g} and {free['GPU']:g}"
            )

    def _end(self, worker):
        # It may be gone already, or sit on a node that does not answer any more.
        with contextlib.suppress(Exception):
            ray.kill(worker.actor, no_restart=True)


def _connect(address):
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        _knock(address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.WARNING,
            **({"include_dashboard": False} if address == "local" else {}),
        )
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"no Ray cluster answers at {address} ({reason[:200]})") from error


def _knock(address):
    """Raise at once what Ray would take minutes to find out: that nobody is there."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _environment(share):
    environment = worker_environment(share)
    environment |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # What the driver can import from a shared folder, a worker can.
    environment["PYTHONPATH"] = os.pathsep.join(import_path())
    if share == 0:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return environment


def _get(answer):
    """A worker's answer, or the message that it is lost."""
    try:
        return ray.get(answer)
    except ray.exceptions.OutOfMemoryError as error:
        return LOST, "out_of_memory", _first_line(error)
    except ray.exceptions.RayError as error:
        return LOST, "crashed", _first_line(error)


def _first_line(error):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0]}"[:200]

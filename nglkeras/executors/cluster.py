"""Workers on a Ray cluster: each is an actor on any node that has room for it.

Ray only places actors and reports those that are lost. Its own retries are off, so that a lost
training is started again, counted and recorded as with worker processes.
"""

import contextlib
import logging
import os
import socket
import time
from dataclasses import dataclass
from typing import Any

from nglkeras.errors import UserError
from nglkeras.executors.gpus import capacity, worker_environment, worker_share
from nglkeras.executors.pool import LOST, Pool, Worker
from nglkeras.executors.worker import PROGRESS, READY, TaskRunner, error_message
from nglkeras.startup.extras import MissingPackageError

try:
    import ray
except ImportError:  # an extra; the executor says so when it is created
    ray = None

# Seconds between two requests for the progress of a task, and two warnings about a full cluster.
PROGRESS_INTERVAL = 2.0
WARNING_INTERVAL = 60.0
# Upper limit on such requests a second, to all workers: each costs the driver a round trip.
REQUESTS_PER_SECOND = 50
# Environment variables of the driver that its workers get, too.
PASSED_ON = ("TFDS_DATA_DIR",)
# Cores that Ray reserves for a worker.
CPUS = 1
# Concurrency group of an actor whose thread answers while a task runs.
PROGRESS_GROUP = "progress"


class _Actor:
    """A worker on the cluster."""

    def __init__(self):
        self.runner = TaskRunner()
        self.last_progress = None

    def ready(self) -> tuple:
        """Return the message that the worker is ready."""
        return (READY,)

    def do(self, content: bytes | None, method: str, task: Any, with_progress: bool) -> tuple:
        """Return the answer to a task; first load the work if it is new."""
        self.last_progress = None
        try:
            if content is not None:
                self.runner.set_work(content)
        # Most likely a class that this node cannot import.
        except Exception as error:
            return error_message(error)
        return self.runner.run(method, task, self._note if with_progress else None)

    def progress(self) -> tuple | None:
        """Return the last report of the running task."""
        return self.last_progress

    def _note(self, *progress):
        self.last_progress = progress


@dataclass(eq=False)
class _Remote(Worker):
    actor: Any = None
    content: Any = None
    answer: Any = None
    request: Any = None
    requested: float = 0.0


class Ray(Pool):
    """Workers on a Ray cluster.

    Args:
        workers: Number of workers; by default as many as the cluster's GPUs have room for, or as
            it has CPUs. Workers without room start when there is some.
        gpus_per_worker: Number of GPUs of each worker, or a share of one; by default one, or none
            on a cluster without GPUs.
        address: Address of the cluster, such as "auto" or "ray://host:10001"; by default
            RAY_ADDRESS, else a new cluster on this machine, which ends with this process.
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
        self.gpus_per_worker = worker_share(gpus_per_worker, gpus)
        if workers is None:
            room = capacity(self.gpus_per_worker, gpus)
            # A cluster that grows may have no node yet.
            workers = max(int(resources.get("CPU", 1)) // CPUS if room is None else room, 1)
        super().__init__(workers, **settings)
        self._actor = ray.remote(concurrency_groups={PROGRESS_GROUP: 1})(_Actor)
        self._contents: tuple[bytes, Any] = (b"", None)
        self._warned = time.monotonic()

    def close(self):
        """End the workers, and disconnect from the cluster if this executor has connected to it."""
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

    def _send_work(self, worker, content):
        if self._contents[0] is not content:
            self._contents = (content, ray.put(content))
        worker.content = self._contents[1]

    def _send_task(self, worker, method, task, with_progress):
        worker.answer = worker.actor.do.remote(worker.content, method, task, with_progress)
        worker.content = None
        worker.requested = time.monotonic() if with_progress else float("inf")

    def _messages(self, seconds):
        answers = {w.answer: w for w in self._pool.values() if w.answer is not None}
        ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=0)
        if not ready and answers:
            ready, _ = ray.wait(list(answers), num_returns=1, timeout=seconds)
        for answer in ready:
            worker = answers[answer]
            worker.answer = worker.request = None
            yield worker, _get(answer)
        yield from self._progress()
        self._warn_if_full()

    def _progress(self):
        now = time.monotonic()
        interval = max(PROGRESS_INTERVAL, self.workers / REQUESTS_PER_SECOND)
        requests = {}
        for worker in self._busy():
            if worker.request is None and now - worker.requested > interval:
                ask = worker.actor.progress.options(concurrency_group=PROGRESS_GROUP)
                worker.request, worker.requested = ask.remote(), now
            if worker.request is not None:
                requests[worker.request] = worker
        if not requests:
            return
        for request in ray.wait(list(requests), num_returns=len(requests), timeout=0)[0]:
            requests[request].request = None
            progress = _get(request)
            if progress is not None and progress[0] != LOST:
                yield requests[request], (PROGRESS, *progress)

    def _warn_if_full(self):
        """Report regularly that the cluster has no room for a single worker."""
        if not self._pool or any(worker.is_ready for worker in self._pool.values()):
            self._warned = time.monotonic()
        elif time.monotonic() - self._warned > WARNING_INTERVAL:
            self._warned = time.monotonic()
            free = {name: ray.available_resources().get(name, 0) for name in ("CPU", "GPU")}
            self.report(
                f"waiting for the cluster: a worker takes {CPUS} CPU and {self.gpus_per_worker:g} "
                f"GPUs, free are {free['CPU']:g} and {free['GPU']:g}"
            )

    def _kill(self, worker):
        # It may be gone already, or its node may not answer any more.
        with contextlib.suppress(Exception):
            ray.kill(worker.actor, no_restart=True)


def _connect(address):
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        _check_port(address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.WARNING,
            **({"include_dashboard": False} if address == "local" else {}),
        )
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"no Ray cluster answers at {address} ({reason[:200]})") from error


def _check_port(address):
    """Raise `OSError` if nobody answers at the address; Ray would take minutes to find out."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _environment(share):
    environment = worker_environment(share)
    environment |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if share == 0:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return environment


def _get(answer):
    """Return a worker's answer, or the message that it is lost."""
    try:
        return ray.get(answer)
    except ray.exceptions.OutOfMemoryError as error:
        return LOST, "out_of_memory", _first_line(error)
    except ray.exceptions.RayError as error:
        return LOST, "crashed", _first_line(error)


def _first_line(error):
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0]}"[:200]

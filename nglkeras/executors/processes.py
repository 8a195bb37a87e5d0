"""Worker processes on this machine, each with its own GPUs, each talking over its own socket.

They are programs of their own rather than forks, in which TensorFlow hangs, and rather than
`multiprocessing`'s, which would run the user's script again. No two share a queue: a worker that
is killed while it holds a shared queue's lock would stop all others.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import cloudpickle

from nglkeras.errors import UserError
from nglkeras.executors.gpus import visible_gpus
from nglkeras.executors.pool import LOST, Pool, Worker
from nglkeras.training.devices import backend

PROGRAM = "from nglkeras.executors.worker import main; main()"
# Seconds in which a worker whose socket was closed ends by itself.
PATIENCE = 5


@dataclass(eq=False)
class _Process(Worker):
    process: subprocess.Popen | None = None
    connection: Connection | None = None


class Processes(Pool):
    """Worker processes on this machine.

    Args:
        workers: How many; by default as many as the GPUs are for, or one for every two cores.
        gpus_per_worker: GPUs of each, or the share of one; by default one, or none where there are
            none. Several are shared out over a batch where a trial says so.
        **settings: See `Pool`.

    Raises:
        UserError: If there are not as many GPUs.
    """

    def __init__(
        self, workers: int | None = None, *, gpus_per_worker: float | None = None, **settings
    ):
        gpus = visible_gpus()
        self.gpus_per_worker = share_of_gpus(gpus_per_worker, len(gpus))
        room = capacity(self.gpus_per_worker, len(gpus))
        if room == 0:
            share = f"{self.gpus_per_worker:g}"
            raise UserError(f"a worker takes {share} GPUs, and there are {len(gpus)}")
        if workers is None:
            workers = max(_cores() // 2, 1) if room is None else room
        if room is not None and workers > room:
            raise UserError(
                f"{workers} workers with {self.gpus_per_worker:g} GPUs each are wanted, and there "
                f"are {len(gpus)} GPUs"
            )
        super().__init__(workers, **settings)
        self._gpus = gpus

    def _start(self, number):
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=self._environment(number),
                stdin=subprocess.DEVNULL,
                # Ctrl-C is for the driver, which then ends its workers.
                start_new_session=True,
            )
        return _Process(number, process=process, connection=Connection(ours.detach()))

    def _environment(self, number):
        gpus = gpus_of_worker(number, self.gpus_per_worker, self._gpus)
        return os.environ | {
            "CUDA_VISIBLE_DEVICES": ",".join(gpus) or "-1",
            # What this process can import, as the user's own modules, its workers can.
            "PYTHONPATH": os.pathsep.join(import_path()),
            **worker_environment(self.gpus_per_worker),
        }

    def _give_work(self, worker, content):
        self._send(worker, ("work", content))

    def _give_task(self, worker, method, task, with_progress):
        self._send(worker, ("task", method, task, with_progress))

    def _send(self, worker, message):
        # Whoever is gone by now is found to be so by the next look at its socket.
        with contextlib.suppress(OSError):
            worker.connection.send_bytes(cloudpickle.dumps(message))

    def _messages(self, seconds):
        open_ones = {worker.connection: worker for worker in self._pool.values()}
        for connection in wait(list(open_ones), seconds):
            if connection.closed:
                continue
            worker = open_ones[connection]
            try:
                message = cloudpickle.loads(connection.recv_bytes())
            except (EOFError, OSError):
                message = (LOST, "crashed", _ending(worker.process))
            yield worker, message

    def _end(self, worker):
        worker.connection.close()
        # With what it has started: it leads a session of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(PATIENCE)


def _ending(process):
    """How a process has ended, in words."""
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return "it fell silent"
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    memory = ", as of a machine without memory" if name == "SIGKILL" else ""
    return f"killed by {name}{memory}"


def import_path() -> list[str]:
    """Where this process finds modules, wherever another one begins."""
    return [str(path or Path.cwd()) for path in sys.path]


def _cores():
    """Cores that this process may use; a job on a cluster has its share of a node's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_of_gpus(wanted: float | None, there: int) -> float:
    """GPUs of each worker: what is wanted, else one, or none where there are none.

    Raises:
        UserError: If it is no share.
    """
    if wanted is None:
        return 1.0 if there else 0.0
    if wanted < 0 or (wanted > 1 and wanted != int(wanted)):
        raise UserError(
            f"{wanted:g} GPUs per worker: wanted is a whole number, or a share between 0 and 1"
        )
    return float(wanted)


def capacity(share: float, there: int) -> int | None:
    """How many workers the GPUs are for; `None` if they need none."""
    if share == 0:
        return None
    return there // int(share) if share >= 1 else there * int(1 / share)


def gpus_of_worker(number: int, share: float, gpus: list[str]) -> list[str]:
    """The GPUs of a worker; those with a share of one fill one after the other."""
    if share == 0:
        return []
    if share < 1:
        return [gpus[number // int(1 / share)]]
    size = int(share)
    return gpus[number * size : (number + 1) * size]


def worker_environment(share: float) -> dict[str, str]:
    """What makes a worker use the driver's backend, of a GPU only what it needs, and be silent."""
    memory = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    # Each worker would say which device and libraries it has found.
    log = {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1")}
    if 0 < share < 1:
        # JAX takes three quarters of a GPU at its start.
        memory["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * share:.2f}"
    return {"KERAS_BACKEND": backend(), **memory, **log}

"""Worker processes on this machine, each with its own GPUs and its own socket to the driver.

Each is a new program: TensorFlow hangs in forks, and `multiprocessing` would run the user's script
again. They share no queue: a worker that is killed while it holds a queue's lock would block all
others.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import cloudpickle

from nglkeras.errors import UserError
from nglkeras.executors.gpus import (
    capacity,
    gpus_of_worker,
    visible_gpus,
    worker_environment,
    worker_share,
)
from nglkeras.executors.pool import LOST, Pool, Worker

PROGRAM = "from nglkeras.executors.worker import main; main()"
# Seconds to wait for the end of a worker that was killed or has closed its socket.
EXIT_TIMEOUT = 5


@dataclass(eq=False)
class _Process(Worker):
    process: subprocess.Popen | None = None
    connection: Connection | None = None


class Processes(Pool):
    """Worker processes on this machine.

    Args:
        workers: Number of workers; by default as many as the GPUs have room for, or one for every
            two cores.
        gpus_per_worker: Number of GPUs of each worker, or a share of one; by default one, or none
            on a machine without GPUs.
        **settings: See `Pool`.

    Raises:
        UserError: If there are not enough GPUs.
    """

    def __init__(
        self, workers: int | None = None, *, gpus_per_worker: float | None = None, **settings
    ):
        gpus = visible_gpus()
        self.gpus_per_worker = worker_share(gpus_per_worker, len(gpus))
        room = capacity(self.gpus_per_worker, len(gpus))
        if room == 0:
            share = f"{self.gpus_per_worker:g}"
            raise UserError(f"a worker takes {share} GPUs, and there are {len(gpus)}")
        if workers is None:
            workers = max(_cores() // 2, 1) if room is None else room
        super().__init__(workers, **settings)
        if room is not None and workers > room:
            raise UserError(
                f"{workers} workers with {self.gpus_per_worker:g} GPUs each are wanted, and there "
                f"are {len(gpus)} GPUs"
            )
        self._gpus = gpus

    def _start(self, number):
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=self._environment(number),
                stdin=subprocess.DEVNULL,
                # Ctrl-C goes to the driver only, which then ends its workers.
                start_new_session=True,
            )
        return _Process(number, process=process, connection=Connection(ours.detach()))

    def _environment(self, number):
        gpus = gpus_of_worker(number, self.gpus_per_worker, self._gpus)
        return os.environ | {
            "CUDA_VISIBLE_DEVICES": ",".join(gpus) or "-1",
            **worker_environment(self.gpus_per_worker),
        }

    def _send_work(self, worker, content):
        self._send(worker, ("work", content))

    def _send_task(self, worker, method, task, with_progress):
        self._send(worker, ("task", method, task, with_progress))

    def _send(self, worker, message):
        # If the worker is gone, `_messages` will find that its socket is closed.
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

    def _kill(self, worker):
        worker.connection.close()
        # With all processes that it has started: they are in its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(EXIT_TIMEOUT)


def _ending(process):
    """Describe how a process has ended."""
    try:
        code = process.wait(EXIT_TIMEOUT)
    except subprocess.TimeoutExpired:
        return "it fell silent"
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    memory = ", as of a machine without memory" if name == "SIGKILL" else ""
    return f"killed by {name}{memory}"


def _cores():
    """Return the number of cores that this process may use; a cluster job has only some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""What runs in a worker: it keeps the work it was given and answers one task after the other.

A worker process talks over a socket that the driver has opened, and ends when the driver closes
it, or dies. Only these two write to it: that is why pickles may travel there.
"""

import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from nglkeras.errors import UserError

# Seconds between two reports of a task's progress.
PAUSE = 1.0
# Kinds of messages from a worker.
READY, PROGRESS, RESULT, ERROR = "ready", "progress", "result", "error"


class Desk:
    """Where a worker keeps its work, and does it."""

    def __init__(self):
        self.work = None

    def take(self, content: bytes) -> None:
        """Have this be the work, as `cloudpickle` wrote it."""
        # Without it nobody must do: a work that cannot be read leaves none.
        self.work = None
        self.work = cloudpickle.loads(content)

    def do(self, method: str, task: Any, report: Callable | None = None) -> tuple:
        """The answer to a task: (`RESULT`, pickle) or (`ERROR`, kind, message, traceback).

        Args:
            method: Of the work.
            task: Its argument.
            report: Takes the progress of the task; `None` if nobody asks for it.
        """
        try:
            reporting = {} if report is None else {"on_epoch": _seldom(report)}
            result = getattr(self.work, method)(task, **reporting)
            return RESULT, cloudpickle.dumps(result)
        # It is the driver that must hear of it.
        except Exception as error:
            return error_message(error)


def error_message(error: Exception) -> tuple:
    """The message for an error that ends the run."""
    kind = "user" if isinstance(error, UserError) else type(error).__name__
    return ERROR, kind, str(error), "".join(traceback.format_exception(error))


def _seldom(report):
    """Reports, but not more often than anybody can read them."""
    last = -PAUSE

    def throttled(*progress):
        nonlocal last
        if time.monotonic() - last >= PAUSE:
            last = time.monotonic()
            report(*progress)

    return throttled


def serve(connection: Connection) -> None:
    """Answer the driver's messages until it is gone."""
    inbox = queue.SimpleQueue()
    # It notices that the driver is gone even while a network is being trained.
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    desk = Desk()
    with contextlib.suppress(OSError):
        connection.send((READY,))
        while True:
            answer = _answer(desk, inbox.get(), connection)
            if answer is not None:
                connection.send_bytes(cloudpickle.dumps(answer))


def _answer(desk, message, connection):
    try:
        kind, *content = cloudpickle.loads(message)
        if kind == "work":
            return desk.take(*content)
        method, task, with_progress = content
    # Most likely a class that this process cannot import.
    except Exception as error:
        return error_message(error)

    def report(*progress):
        connection.send_bytes(cloudpickle.dumps((PROGRESS, *progress)))

    return desk.do(method, task, report if with_progress else None)


def _listen(connection, inbox):
    try:
        while True:
            inbox.put(connection.recv_bytes())
    except (EOFError, OSError):
        # Nobody is left to hand a result to, and another driver may want the device.
        os._exit(0)


def main() -> None:
    """Be a worker process; the number of the socket is the argument."""
    descriptor = int(sys.argv[1])
    # A compiler that a training starts must not hold the socket of a worker that has died.
    os.set_inheritable(descriptor, False)
    serve(Connection(descriptor))

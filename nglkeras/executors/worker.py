"""The code that runs in a worker: it keeps its work and answers one task after the other.

A worker process talks over a socket that the driver has opened, and ends when the driver closes it
or dies. Only these two can write to the socket, so pickles are safe there.
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
REPORT_INTERVAL = 1.0
# Kinds of messages from a worker.
READY, PROGRESS, RESULT, ERROR = "ready", "progress", "result", "error"
# Keras' global settings, in the order in which they are set.
_USUAL = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "dtype_policy": "float32",
}


def keras_settings() -> dict[str, object]:
    """Return Keras' global settings of this process where they are not those of `_USUAL`."""
    keras = sys.modules.get("keras")
    if keras is None:
        return {}
    found = {name: getattr(keras.config, name)() for name in _USUAL}
    found["dtype_policy"] = found["dtype_policy"].name
    return {name: value for name, value in found.items() if value != _USUAL[name]}


class TaskRunner:
    """Keeps the work of a worker and applies it to tasks."""

    def __init__(self):
        self.work = None

    def set_work(self, content: bytes) -> None:
        """Load the work from its pickle; after an error there is none, not the one before.

        Args:
            content: Pickle of the driver's `keras_settings` and of the pickle of the work.
        """
        self.work = None
        settings, work = cloudpickle.loads(content)
        # Keras takes seconds to import, and not all work needs it.
        if settings or "keras" in sys.modules:
            import keras

            for name, value in (_USUAL | settings).items():
                getattr(keras.config, f"set_{name}")(value)
        # Only now: it may build networks.
        self.work = cloudpickle.loads(work)

    def run(self, method: str, task: Any, report: Callable | None = None) -> tuple:
        """Return the message with the result: (`RESULT`, pickle), or that of `error_message`.

        Args:
            method: Method of the work.
            task: Its argument.
            report: Called with the progress of the task; `None` if nobody wants it.
        """
        try:
            reporting = {} if report is None else {"on_epoch": _throttled(report)}
            result = getattr(self.work, method)(task, **reporting)
            return RESULT, cloudpickle.dumps(result)
        # The driver raises it.
        except Exception as error:
            return error_message(error)


def error_message(error: Exception) -> tuple:
    """Return the message for an error that ends the run: (`ERROR`, kind, message, traceback)."""
    kind = "user" if isinstance(error, UserError) else type(error).__name__
    return ERROR, kind, str(error), "".join(traceback.format_exception(error))


def _throttled(report):
    last = -REPORT_INTERVAL

    def throttled(*progress):
        nonlocal last
        if time.monotonic() - last >= REPORT_INTERVAL:
            last = time.monotonic()
            report(*progress)

    return throttled


def serve(connection: Connection) -> None:
    """Answer the driver's messages until the driver is gone."""
    inbox = queue.SimpleQueue()
    # A thread, to notice that the driver is gone even during a training.
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    runner = TaskRunner()
    with contextlib.suppress(OSError):
        connection.send((READY,))
        while True:
            answer = _answer(runner, inbox.get(), connection)
            if answer is not None:
                connection.send_bytes(cloudpickle.dumps(answer))


def _answer(runner, message, connection):
    try:
        kind, *content = cloudpickle.loads(message)
        if kind == "work":
            return runner.set_work(*content)
        method, task, with_progress = content
    # Most likely a class that this process cannot import.
    except Exception as error:
        return error_message(error)

    def report(*progress):
        connection.send_bytes(cloudpickle.dumps((PROGRESS, *progress)))

    return runner.run(method, task, report if with_progress else None)


def _listen(connection, inbox):
    try:
        while True:
            inbox.put(connection.recv_bytes())
    except (EOFError, OSError):
        # Nobody waits for the result, and another driver may need the device.
        os._exit(0)


def main() -> None:
    """Run a worker process; its argument is the number of its socket."""
    descriptor = int(sys.argv[1])
    # A compiler that a training starts must not keep the socket open after the worker's death.
    os.set_inheritable(descriptor, False)
    serve(Connection(descriptor))

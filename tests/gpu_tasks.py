"""Tasks of `benchmark.py gpu` that measure nothing: they end well, hang, die or fail."""

import os
import signal
import time
from functools import partial

from benchmark.gpu_limits import Task
from benchmark.gpu_rows import Row


def task(part, ending, seconds=60):
    """Return a task that writes a row and comes to such an end."""
    return Task(part, ending, partial(work, part=part, ending=ending), seconds)


def work(context, *, part, ending):
    for name in ("first", "second"):
        if (ending, name) not in context.measured:
            yield Row(part=part, case=ending, name=name, seconds=1.5)
        if name == "first":
            ENDINGS[ending]()


def well():
    pass


def hangs():
    time.sleep(3600)


def dies():
    os.kill(os.getpid(), signal.SIGSEGV)


def is_full():
    raise MemoryError("no room for a batch")


def has_no_time():
    raise TimeoutError("two losses are left")


ENDINGS = {one.__name__: one for one in (well, hangs, dies, is_full, has_no_time)}

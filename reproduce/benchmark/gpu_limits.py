"""Tasks that run in processes of their own, each with a limit of time, within a budget."""

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from threading import Thread

from benchmark.gpu_rows import DONE, MEASURED, Row, Rows, failure
from nglkeras.training.monitor import Monitor

# A task is not begun with fewer seconds: backend and libraries need them to be imported.
LEAST = 10.0
# Seconds in which a task that watches the clock ends before it would be killed.
GRACE = 4.0


@dataclass(frozen=True)
class Context:
    """What a task is told.

    Attributes:
        measured: The cases and names that need not be measured again.
        until: Time, as `time.monotonic` has it, at which the task should have ended.
        rows: Where its rows go; for files beside them.
    """

    measured: frozenset[tuple[str, str]]
    until: float
    rows: Rows

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()


@dataclass(frozen=True)
class Task:
    """Some measurements that share a process.

    Attributes:
        part: Part of the benchmark that it belongs to.
        name: Its name, of which there is one in a part.
        work: Yields rows; it must be possible to pickle it.
        seconds: Limit on its time.
    """

    part: str
    name: str
    work: Callable[[Context], Iterator[Row]]
    seconds: float


def run(
    tasks: Sequence[Task], rows: Rows, seconds: float, shares: dict[str, float], say=print
) -> None:
    """Run the tasks that the rows have not seen to their end.

    A part gets its share of the time that is left when it begins; what it does not use remains for
    the others. Tasks for which their part had no time come again at the end, and so do tasks that
    failed in an earlier command: what was never tried comes first.

    Args:
        tasks: All tasks, part by part.
        rows: The file of rows.
        seconds: Limit on the time of all tasks together.
        shares: Relative time of each part.
        say: Called with a line of progress.
    """
    end = time.monotonic() + seconds
    ends = {(row.part, row.case): row.status for row, _ in rows.read() if not row.name}
    missing = [task for task in tasks if ends.get((task.part, task.name)) != DONE]
    fresh = [task for task in missing if (task.part, task.name) not in ends]
    later = [task for task in missing if task not in fresh]
    parts = list(dict.fromkeys(task.part for task in fresh))
    for i, part in enumerate(parts):
        now = time.monotonic()
        share = shares[part] / sum(shares[name] for name in parts[i:])
        limit = now + (end - now) * share
        for task in (task for task in fresh if task.part == part):
            if not run_one(task, rows, min(limit - time.monotonic(), task.seconds), say):
                later.append(task)
    for task in later:
        if not run_one(task, rows, min(end - time.monotonic(), task.seconds), say):
            say(f"{task.part}, {task.name}: no time is left; the same command goes on")


def run_one(task: Task, rows: Rows, seconds: float, say=print) -> bool:
    """Run a task for at most so long; return whether there was time to begin it."""
    if seconds < LEAST:
        return False
    say(f"{task.part}, {task.name}: at most {seconds:.0f} s")
    started = time.monotonic()
    # CUDA does not survive a fork.
    arguments = task, rows, started + seconds - GRACE
    process = get_context("spawn").Process(target=_in_process, args=arguments)
    process.start()
    try:
        process.join(seconds)
        status, message = "timeout", f"stopped after {seconds:.0f} s"
        if process.exitcode is not None:
            status, message = "crashed", f"the process ended with code {process.exitcode}"
            if process.exitcode < 0:
                message = f"the process was killed by signal {-process.exitcode}"
    finally:
        _kill(process)
    if process.exitcode != 0:
        row = failure(task.part, task.name, status, message, time.monotonic() - started)
        rows.append(row)
        say(f"{task.part}, {task.name}: {row.status}, {row.message}")
    return True


def _kill(process):
    """Kill a process with what it has started, such as compilers."""
    # Until it has its own session, it has started nothing.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getsid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _in_process(task, rows, until):
    """Do the work of a task until a time of `time.monotonic`; write its rows and its end."""
    os.setsid()
    Thread(target=_end_with_parent, daemon=True).start()
    started = time.monotonic()
    from nglkeras.runs.environment import environment

    where = environment() | versions()
    done = (row for row, _ in rows.read() if row.part == task.part and row.status == MEASURED)
    measured = frozenset((row.case, row.name) for row in done)
    try:
        for row in task.work(Context(measured, until, rows)):
            rows.append(row, where)
    # Whatever goes wrong in a task, the next task runs all the same.
    except Exception as error:
        status, message = _status_of(error)
        taken = time.monotonic() - started
        row = failure(task.part, task.name, status, message, taken)
        rows.append(row, where)
        print(f"{task.part}, {task.name}: {row.status}, {row.message}", flush=True)
        return
    taken = round(time.monotonic() - started, 3)
    rows.append(Row(part=task.part, case=task.name, status=DONE, seconds=taken), where)


def _end_with_parent():
    """End the task when its command has ended: it must not measure beside the next one."""
    parent_process().join()
    os.killpg(0, signal.SIGKILL)


def _status_of(error):
    if isinstance(error, TimeoutError):
        return "timeout", str(error)
    monitor = Monitor()
    monitor.fail(error)
    return monitor.status, monitor.message


def versions() -> dict[str, str | None]:
    """Return the versions of CUDA and of XLA's library, as the backend knows them."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        client = jax.local_devices()[0].client
        jaxlib = importlib.import_module("jaxlib").__version__
        return {"platform_version": client.platform_version, "jaxlib": jaxlib}
    if backend == "torch":
        import torch

        cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
        return {"cuda": torch.version.cuda, "cudnn": cudnn}
    return {}

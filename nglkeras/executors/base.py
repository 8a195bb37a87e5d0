"""The base class of executors, and the executor that runs tasks in this process."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Failure:
    """Why a task has no result.

    Attributes:
        status: "crashed", "timeout" or "out_of_memory".
        message: What happened.
    """

    status: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """The result of a task, or why there is none.

    Attributes:
        index: Position of the task among the tasks.
        task: The task.
        result: Return value of the work.
        failure: Why there is no result; `None` if there is one.
        attempts: How often the task was started.
    """

    index: int
    task: Any
    result: Any = None
    failure: Failure | None = None
    attempts: int = 1

    def or_else(self, failed: Callable) -> Any:
        """Return the result, or what `failed` makes of the status and the message of a failure."""
        failure = self.failure
        return self.result if failure is None else failed(failure.status, message=failure.message)


@dataclass(frozen=True)
class Running:
    """A running task.

    Attributes:
        task: The task.
        worker: Number of its worker.
        since: When it was started, by `time.time`.
        attempt: Number of the attempt, from 1.
        progress: Its last report; empty before the first.
    """

    task: Any
    worker: int
    since: float
    attempt: int = 1
    progress: tuple = ()


class Executor(ABC):
    """Applies a function to tasks, on each worker one at a time.

    Attributes:
        workers: Number of tasks that run at the same time.
        gpus_per_worker: GPUs of each task; `None` if it may use all of this machine.
        report: Called with one line for each worker that was lost; prints it by default.
        running: The running tasks.
    """

    workers: int = 1
    gpus_per_worker: float | None = None
    running: list[Running]

    def __init__(self):
        self.report: Callable[[str], None] = print

    @abstractmethod
    def run(
        self,
        work: Callable,
        tasks: Iterable[Any],
        *,
        method: str = "__call__",
        on_progress: Callable | None = None,
        affinity: Callable[[Any], Hashable] | None = None,
    ) -> Iterator[Outcome]:
        """Yield the outcome of each task when it ends.

        Args:
            work: Called with a task. Each worker gets one copy and keeps it between calls of this
                method, so that later tasks can use what it has built.
            tasks: The tasks.
            method: Name of the method of `work` that is called.
            on_progress: Called in this process with a task and what the work reports about it. The
                work then gets the argument `on_epoch`, to which it reports.
            affinity: Returns a value for a task. Tasks with equal affinity are preferably sent to
                the same worker.

        Raises:
            UserError: If the work raises it, or workers cannot start.
            RuntimeError: If the work raises another error in a worker.
        """

    @contextlib.contextmanager
    def reporting_to(self, report: Callable[[str], None] | None) -> Iterator[None]:
        """Replace `report` within a context; `None` suppresses reports."""
        before, self.report = self.report, report or (lambda line: None)
        try:
            yield
        finally:
            self.report = before

    def close(self) -> None:  # noqa: B027 - some executors have nothing to close
        """End the workers."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class Local(Executor):
    """Runs one task after the other in this process."""

    def __init__(self):
        super().__init__()
        self.running = []

    def run(self, work, tasks, *, method="__call__", on_progress=None, affinity=None):
        """Yield the outcome of each task; errors of the work are raised unchanged."""
        for index, task in enumerate(tasks):
            self.running = [Running(task, 0, time.time())]
            reporting = {} if on_progress is None else {"on_epoch": self._reporter(on_progress)}
            result = getattr(work, method)(task, **reporting)
            self.running = []
            yield Outcome(index, task, result)

    def _reporter(self, on_progress):
        def report(*progress):
            self.running = [replace(self.running[0], progress=progress)]
            on_progress(self.running[0].task, *progress)

        return report

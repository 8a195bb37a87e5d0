"""What every executor is: it gives tasks to a function and hands back what comes of them."""

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
    """What came of a task.

    Attributes:
        index: Its place among the tasks.
        task: The task.
        result: What the function returned.
        failure: Why it did not; `None` if it did.
        attempts: How often the task was begun.
    """

    index: int
    task: Any
    result: Any = None
    failure: Failure | None = None
    attempts: int = 1


@dataclass(frozen=True)
class Running:
    """A task at work.

    Attributes:
        task: The task.
        worker: Number of its worker.
        since: When it began, by `time.time`.
        attempt: Which, from 1.
        progress: What it reported last.
    """

    task: Any
    worker: int
    since: float
    attempt: int = 1
    progress: tuple = ()


class Executor(ABC):
    """Gives tasks to a function, one at a time to each worker.

    Attributes:
        workers: How many tasks run at a time.
        gpus_per_worker: Devices that a task finds; `None` where it has all of the machine's.
        report: Called with a line for each worker that was lost.
        running: The tasks at work.
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
        """What comes of each task, as it comes.

        Args:
            work: Called with a task. Workers get a copy of it, once, and keep it between calls of
                this method: what it builds for one task serves the next.
            tasks: The tasks.
            method: The method of `work` that is called.
            on_progress: Called in this process with a task and what the work has reported of it;
                the work is then given `on_epoch`, which takes these reports.
            affinity: Tasks with the same value of it rather go to one worker.

        Raises:
            UserError: As the work raises it, or if workers cannot start.
            RuntimeError: If the work raises anything else.
        """

    def close(self) -> None:  # noqa: B027 - not every executor has something to end
        """End the workers."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class Local(Executor):
    """This process: one task after the other."""

    def __init__(self):
        super().__init__()
        self.running = []

    def run(self, work, tasks, *, method="__call__", on_progress=None, affinity=None):
        """What comes of each task; what the work raises goes through."""
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

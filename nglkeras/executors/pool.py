"""The part that worker processes and Ray share: scheduling tasks, and replacing lost workers.

Python's own process pools break as a whole when one worker dies. Here only the task of that worker
is started again, on another worker.
"""

import time
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import cloudpickle

from nglkeras.errors import UserError
from nglkeras.executors.base import Executor, Failure, Outcome, Running
from nglkeras.executors.gpus import leave_memory_to_workers
from nglkeras.executors.worker import ERROR, PROGRESS, READY, RESULT, keras_settings
from nglkeras.numbers import positive, whole_number

# How often a task is started before it counts as failed.
ATTEMPTS = 4
# How often in a row a worker may end before it is ready, until no other is started in its place.
MAX_FAILED_STARTS = 3
# Seconds after its time limit in which a task may still end by itself.
GRACE_PERIOD = 60.0
# Seconds between two checks of time limits.
POLL_INTERVAL = 1.0

# Kind of the message about a worker that is lost.
LOST = "lost"
# Group of a worker that has not had a task yet.
NO_GROUP = object()


@dataclass(eq=False)
class Worker:
    """The driver's view of a worker; subclasses add what is needed to talk to it.

    Attributes:
        number: Its place among the workers; the worker that replaces it gets the same number.
        job: Its current task, as an outcome without a result; `None` if it has none.
        group: Affinity of its last task.
        is_ready: Whether it has reported that it is ready.
        work: Number of the work that it was sent.
        tasks: Number of tasks that count towards `tasks_per_worker`.
        started: When it got its last task, by `time.monotonic`.
        running: Its current task as `Executor.running` shows it.
    """

    number: int
    job: Outcome | None = None
    group: Any = NO_GROUP
    is_ready: bool = False
    work: int | None = None
    tasks: int = 0
    started: float = 0.0
    running: Running | None = field(default=None, repr=False)


class Pool(Executor):
    """Workers that are replaced when they die, hang, or reach `tasks_per_worker`.

    Args:
        workers: Number of workers.
        timeout: Seconds after which a task should end by itself; `GRACE_PERIOD` later its worker
            is killed. No limit by default.
        tasks_per_worker: Number of tasks after which a worker is replaced, because some libraries
            never return all memory. By default workers are kept.
        attempts: How often a task is started before it counts as failed.

    Raises:
        UserError: If one of these is no such number.
    """

    def __init__(
        self,
        workers: int,
        *,
        timeout: float | None = None,
        tasks_per_worker: int | None = None,
        attempts: int = ATTEMPTS,
    ):
        super().__init__()
        leave_memory_to_workers()
        self.workers = whole_number("workers", workers)
        self.timeout = timeout if timeout is None else positive("timeout", timeout)
        if tasks_per_worker is not None:
            tasks_per_worker = whole_number("tasks_per_worker", tasks_per_worker)
        self.tasks_per_worker = tasks_per_worker
        self.attempts = whole_number("attempts", attempts)
        self._pool: dict[int, Worker] = {}
        self._failed_starts = Counter()
        self._work = None
        self._work_numbers = count()

    @abstractmethod
    def _start(self, number: int) -> Worker:
        """Start a worker, which will report that it is ready."""

    @abstractmethod
    def _send_work(self, worker: Worker, content: bytes) -> None:
        """Send a worker the pickled work."""

    @abstractmethod
    def _send_task(self, worker: Worker, method: str, task: Any, with_progress: bool) -> None:
        """Send a worker a task."""

    @abstractmethod
    def _messages(self, seconds: float) -> Iterable[tuple[Worker, tuple]]:
        """Wait at most this long, then yield what workers have sent.

        Messages are those of the module `worker`, and (`LOST`, status, reason).
        """

    @abstractmethod
    def _kill(self, worker: Worker) -> None:
        """End a worker at once."""

    def run(self, work, tasks, *, method="__call__", on_progress=None, affinity=None):
        """Yield the outcome of each task, in the order in which they end."""
        if self._busy():
            raise RuntimeError("an executor does one run at a time")
        self._set_work(work)
        self._failed_starts.clear()
        waiting = _Waiting(affinity)
        for index, task in enumerate(tasks):
            waiting.add(Outcome(index, task, attempts=0))
        try:
            while waiting or self._busy():
                self._start_workers(len(waiting) + len(self._busy()))
                self._hand_out(waiting, method, on_progress is not None)
                heard = set()
                for worker, message in self._messages(POLL_INTERVAL):
                    if self._pool.get(worker.number) is not worker:
                        continue
                    heard.add(worker)
                    if outcome := self._handle(worker, message, waiting, on_progress):
                        # Before the caller writes the result: no worker should wait for that.
                        self._hand_out(waiting, method, on_progress is not None)
                        yield outcome
                yield from self._overdue(heard)
        finally:
            # The caller may leave early; then these workers' answers belong to no task.
            for worker in self._busy():
                self._remove(worker)

    def close(self):
        """End the workers."""
        for worker in list(self._pool.values()):
            self._remove(worker)

    @property
    def running(self):
        """The running tasks; other threads may read it, too."""
        return [running for worker in self._busy() if (running := worker.running)]

    def _busy(self):
        return [worker for worker in list(self._pool.values()) if worker.job is not None]

    def _set_work(self, work):
        if work is not self._work:
            try:
                self._content = cloudpickle.dumps((keras_settings(), cloudpickle.dumps(work)))
            # Objects may refuse to be pickled with any exception.
            except Exception as error:
                raise UserError(f"{work} cannot be sent to workers: {error}") from error
            self._work = work
            self._work_number = next(self._work_numbers)

    def _start_workers(self, tasks):
        missing = max(min(tasks, self.workers) - len(self._pool), 0)
        for number in self._free_numbers()[:missing]:
            self._pool[number] = self._start(number)

    def _free_numbers(self):
        return [
            number
            for number in range(self.workers)
            if number not in self._pool and self._failed_starts[number] < MAX_FAILED_STARTS
        ]

    def _hand_out(self, waiting, method, with_progress):
        idle = [w for w in self._pool.values() if w.is_ready and w.job is None]
        # First those that can continue with their group.
        for worker in sorted(idle, key=lambda worker: worker.group not in waiting.groups):
            if not waiting:
                return
            taken = {other.group for other in self._pool.values() if other is not worker}
            job, worker.group = waiting.take(worker.group, taken)
            self._give(worker, job, method, with_progress)

    def _give(self, worker, job, method, with_progress):
        if worker.work != self._work_number:
            self._send_work(worker, self._content)
            worker.work = self._work_number
        job = worker.job = replace(job, attempts=job.attempts + 1)
        worker.started = time.monotonic()
        # Only trainings wear a worker out; other methods ask about untrained networks.
        worker.tasks += method == "__call__"
        worker.running = Running(job.task, worker.number, time.time(), job.attempts)
        self._send_task(worker, method, job.task, with_progress)

    def _handle(self, worker, message, waiting, on_progress):
        """Handle a message; return the outcome of a task that it ends, else `None`."""
        kind, *content = message
        job = worker.job
        if kind == READY:
            worker.is_ready = True
            self._failed_starts[worker.number] = 0
        elif kind == PROGRESS and job is not None:
            worker.running = replace(worker.running, progress=tuple(content))
            if on_progress is not None:
                on_progress(job.task, *content)
        elif kind == RESULT and job is not None:
            worker.job = worker.running = None
            if self.tasks_per_worker is not None and worker.tasks >= self.tasks_per_worker:
                self._remove(worker)
            return replace(job, result=cloudpickle.loads(content[0]))
        elif kind == ERROR:
            # It may still answer a task that it was sent.
            self._remove(worker)
            _raise(*content)
        elif kind == LOST:
            return self._handle_loss(worker, *content, waiting)
        return None

    def _handle_loss(self, worker, status, reason, waiting):
        """Start a lost worker's task again, or return its failure after too many attempts."""
        job = worker.job
        self._remove(worker)
        if not worker.is_ready:
            self._failed_starts[worker.number] += 1
            if not self._pool and not self._free_numbers():
                raise UserError(f"workers end before they can work ({reason})")
        if job is None:
            return None
        if job.attempts < self.attempts:
            self.report(
                f"worker {worker.number} was lost ({reason}); {job.task} begins again, attempt "
                f"{job.attempts + 1} of {self.attempts}"
            )
            waiting.add(job)
            return None
        reason = f"its worker was lost {job.attempts} times, at last: {reason}"
        return replace(job, failure=Failure(status, reason))

    def _overdue(self, heard):
        """Yield the outcomes of tasks past their time limit; another attempt would not end either.

        Args:
            heard: Workers that have just sent something. They may have more to say: perhaps it was
                this process that was suspended.
        """
        if self.timeout is None:
            return
        for worker in self._busy():
            late = time.monotonic() - worker.started > self.timeout + GRACE_PERIOD
            if late and worker not in heard:
                job = worker.job
                self._remove(worker)
                limits = f"{self.timeout:g} s and {GRACE_PERIOD:g} s of grace"
                failure = Failure("timeout", f"it did not end within {limits}")
                yield replace(job, failure=failure)

    def _remove(self, worker):
        worker.job = None
        self._pool.pop(worker.number, None)
        self._kill(worker)


class _Waiting:
    """The waiting tasks, grouped by affinity."""

    def __init__(self, affinity):
        self.affinity = affinity or (lambda task: None)
        self.groups = {}

    def __len__(self):
        return sum(map(len, self.groups.values()))

    def add(self, job):
        """Add a task behind all others, so that one that kills its worker comes last."""
        self.groups.setdefault(self.affinity(job.task), deque()).append(job)

    def take(self, own, taken):
        """Remove a task; return it with its group.

        A worker continues with its own group, else takes a group that no other worker has, else
        helps with the largest.
        """
        if own in self.groups:
            group = own
        else:
            largest = max(self.groups, key=lambda name: len(self.groups[name]))
            group = next((group for group in self.groups if group not in taken), largest)
        job = self.groups[group].popleft()
        if not self.groups[group]:
            del self.groups[group]
        return job, group


def _raise(kind, message, trace):
    """Raise an error that a worker has reported."""
    if kind == "user":
        raise UserError(message)
    raise RuntimeError(f"in a worker: {kind}: {message}\n{trace}")

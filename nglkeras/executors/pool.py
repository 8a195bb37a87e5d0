"""What worker processes and a cluster share: who does what next, and what if a worker is lost.

Python's own process pools give up as a whole when one worker dies; here only its task begins
again, on another worker.
"""

import time
from abc import abstractmethod
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import cloudpickle

from nglkeras.errors import UserError
from nglkeras.executors.base import Executor, Failure, Outcome, Running
from nglkeras.executors.worker import ERROR, PROGRESS, READY, RESULT

# How often a task is begun before its loss is written down.
ATTEMPTS = 4
# Workers in a row that may end before they are ready; then their place is given up.
MAX_STARTS = 3
# Seconds that a worker whose task has reached its time limit has left to say so itself.
GRACE = 60.0
# Seconds between two looks at time limits.
TICK = 1.0

LOST = "lost"
# Of a worker that has not worked yet.
NO_GROUP = object()


@dataclass(eq=False)
class Job:
    """A task on its way.

    Attributes:
        index: Its place among the tasks.
        task: The task.
        attempts: How often it was begun.
    """

    index: int
    task: Any
    attempts: int = 0


@dataclass(eq=False)
class Worker:
    """A worker as the driver sees it; subclasses know how to talk to theirs.

    Attributes:
        number: Its place among the workers, which its successor takes over.
        job: What it does; `None` while it waits.
        group: Of its last job.
        is_ready: Whether it has said that it can work.
        work: Number of the work that it has.
        tasks: How many it was given.
        begun: When it was given the last one, by `time.monotonic`.
        running: Its job, for those who look on.
    """

    number: int
    job: Job | None = None
    group: Any = NO_GROUP
    is_ready: bool = False
    work: int | None = None
    tasks: int = 0
    begun: float = 0.0
    running: Running | None = field(default=None, repr=False)


class Pool(Executor):
    """Workers that are replaced when they die, hang, or have worked long enough.

    Args:
        workers: How many.
        timeout: Seconds that a task is given to end by itself; `GRACE` later its worker is ended.
        tasks_per_worker: After so many a worker is replaced: some libraries never give all memory
            back. `None` keeps it.
        attempts: How often a task is begun before its loss is written down.
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
        if workers < 1:
            raise UserError(f"{workers} workers cannot do anything")
        self.workers = workers
        self.timeout = timeout
        self.tasks_per_worker = tasks_per_worker
        self.attempts = attempts
        self._pool: dict[int, Worker] = {}
        self._idle: list[Worker] = []
        self._busy: dict[int, Worker] = {}
        self._held: Counter = Counter()
        self._work: Callable | None = None
        self._works = count()
        self._failed: Counter = Counter()

    @abstractmethod
    def _start(self, number: int) -> Worker:
        """A new worker, which will say that it is ready."""

    @abstractmethod
    def _give_work(self, worker: Worker, content: bytes) -> None:
        """Hand a worker the work."""

    @abstractmethod
    def _give_task(self, worker: Worker, method: str, task: Any, with_progress: bool) -> None:
        """Hand a worker a task."""

    @abstractmethod
    def _messages(self, seconds: float) -> Iterable[tuple[Worker, tuple]]:
        """What workers have said, after waiting for it for so long at most.

        Messages are those of `worker`, and (`LOST`, status, reason).
        """

    @abstractmethod
    def _end(self, worker: Worker) -> None:
        """End a worker at once, whatever it does."""

    def run(self, work, tasks, *, method="__call__", on_progress=None, affinity=None):
        """What comes of each task, in the order in which they end."""
        if self._busy:
            raise RuntimeError("an executor does one run at a time")
        self._adopt(work)
        waiting = _Waiting(affinity)
        for index, task in enumerate(tasks):
            waiting.add(Job(index, task))
        self._failed.clear()
        try:
            while waiting or self._busy:
                heard = set()
                self._fill(len(waiting) + len(self._busy))
                self._hand_out(waiting, method, on_progress is not None)
                for worker, message in self._messages(TICK):
                    if self._pool.get(worker.number) is not worker:
                        continue
                    heard.add(worker)
                    if outcome := self._hear(worker, message, waiting, on_progress):
                        # Before anybody writes the result down: nobody need wait for that.
                        self._hand_out(waiting, method, on_progress is not None)
                        yield outcome
                yield from self._overdue(heard)
        finally:
            # Left early: what these workers would still say belongs to no task.
            for worker in list(self._busy.values()):
                self._remove(worker)

    def close(self):
        """End the workers."""
        for worker in list(self._pool.values()):
            self._remove(worker)

    @property
    def running(self):
        """The tasks at work; to be looked at from another thread, too."""
        return [running for worker in list(self._busy.values()) if (running := worker.running)]

    def _adopt(self, work):
        if work is not self._work:
            try:
                self._content = cloudpickle.dumps(work)
            # Whatever it holds may refuse in a way of its own.
            except Exception as error:
                raise UserError(f"{work} cannot be sent to workers: {error}") from error
            self._work = work
            self._work_number = next(self._works)

    def _fill(self, wanted):
        """Start workers for the tasks that there are."""
        if len(self._pool) >= min(wanted, self.workers):
            return
        for number in self._places()[: min(wanted, self.workers) - len(self._pool)]:
            self._pool[number] = self._start(number)

    def _places(self):
        """Numbers that a worker may take; those where none can start are given up."""
        numbers = (number for number in range(self.workers) if number not in self._pool)
        return [number for number in numbers if self._failed[number] < MAX_STARTS]

    def _hand_out(self, waiting, method, with_progress):
        while waiting and self._idle:
            worker = self._idle.pop()
            self._hold(worker, -1)
            job, worker.group = waiting.take(worker.group, self._held)
            self._hold(worker, 1)
            self._give(worker, job, method, with_progress)

    def _hold(self, worker, change):
        """Note that a worker has turned to its group, or away from it."""
        if worker.group is not NO_GROUP:
            self._held[worker.group] += change
            if not self._held[worker.group]:
                del self._held[worker.group]

    def _give(self, worker, job, method, with_progress):
        if worker.work != self._work_number:
            self._give_work(worker, self._content)
            worker.work = self._work_number
        job.attempts += 1
        worker.job, worker.begun = job, time.monotonic()
        # A question about an untrained network is not what wears a worker out.
        worker.tasks += method == "__call__"
        worker.running = Running(job.task, worker.number, time.time(), job.attempts)
        self._busy[worker.number] = worker
        self._give_task(worker, method, job.task, with_progress)

    def _hear(self, worker, message, waiting, on_progress):
        """The outcome that a message brings, if any."""
        kind, *content = message
        job = worker.job
        if kind == READY:
            worker.is_ready = True
            self._failed[worker.number] = 0
            self._idle.append(worker)
        elif kind == PROGRESS and job is not None:
            worker.running = replace(worker.running, progress=tuple(content))
            if on_progress is not None:
                on_progress(job.task, *content)
        elif kind == RESULT and job is not None:
            self._rest(worker)
            result = cloudpickle.loads(content[0])
            return Outcome(job.index, job.task, result, attempts=job.attempts)
        elif kind == ERROR:
            # It may still answer what it was given.
            self._remove(worker)
            _raise(*content)
        elif kind == LOST:
            return self._lose(worker, *content, waiting)
        return None

    def _rest(self, worker):
        worker.job = worker.running = None
        del self._busy[worker.number]
        if self.tasks_per_worker is not None and worker.tasks >= self.tasks_per_worker:
            self._remove(worker)
        else:
            self._idle.append(worker)

    def _lose(self, worker, status, reason, waiting):
        """Begin a lost worker's task again, or give it up."""
        job = worker.job
        was_ready = worker.is_ready
        self._remove(worker)
        if not was_ready:
            self._failed[worker.number] += 1
            if not self._pool and not self._places():
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
        return Outcome(job.index, job.task, failure=Failure(status, reason), attempts=job.attempts)

    def _overdue(self, heard):
        """Outcomes of tasks that have not ended in time: they would not in another attempt.

        Whoever was heard just now may have more to say: perhaps it was this process that stood
        still.
        """
        if self.timeout is None:
            return
        for worker in [worker for worker in self._busy.values() if worker not in heard]:
            if time.monotonic() - worker.begun > self.timeout + GRACE:
                job = worker.job
                self._remove(worker)
                message = f"it did not end within {self.timeout:g} s and {GRACE:g} s of grace"
                yield Outcome(
                    job.index, job.task, failure=Failure("timeout", message), attempts=job.attempts
                )

    def _remove(self, worker):
        worker.job = None
        if self._pool.pop(worker.number, None) is not None:
            self._hold(worker, -1)
        self._busy.pop(worker.number, None)
        if worker in self._idle:
            self._idle.remove(worker)
        self._end(worker)


class _Waiting:
    """Jobs that wait, by what they have in common."""

    def __init__(self, affinity):
        self.affinity = affinity or (lambda task: None)
        self.groups: OrderedDict[Any, deque[Job]] = OrderedDict()
        self.count = 0

    def __len__(self):
        return self.count

    def add(self, job):
        """Let a job wait, behind all others: one that takes its worker down comes last."""
        self.groups.setdefault(self.affinity(job.task), deque()).append(job)
        self.count += 1

    def take(self, own, held):
        """A job and its group: of the worker's own, of one that nobody holds, of the largest."""
        if own in self.groups:
            group = own
        else:
            largest = max(self.groups, key=lambda name: len(self.groups[name]))
            group = next((group for group in self.groups if group not in held), largest)
        jobs = self.groups[group]
        job = jobs.popleft()
        self.count -= 1
        if not jobs:
            del self.groups[group]
        return job, group


def _raise(kind, message, trace):
    """Raise what a worker has raised."""
    if kind == "user":
        raise UserError(message)
    raise RuntimeError(f"in a worker: {kind}: {message}\n{trace}")

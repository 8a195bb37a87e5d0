"""What a run is doing now, in a small file beside its journal.

The journal says what is done. The live status, rewritten every few seconds, says what is running
and how long the rest will take. The file is deleted when the run ends; `status` reads both.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from nglkeras.executors import Executor
from nglkeras.runs.columns import Count, Number
from nglkeras.runs.trial import Trial, TrialResult
from nglkeras.training.outcome import FINAL_STATUSES

# Seconds between two versions of the file.
INTERVAL = 2.0


@dataclass(frozen=True, kw_only=True)
class RunningTask:
    """A running task, as the file has it.

    Attributes:
        task: The task in words.
        worker: Number of its worker.
        seconds: Seconds since its start.
        attempt: Number of the attempt, from 1.
        progress: Its last report; empty before the first.
    """

    task: str
    worker: Count
    seconds: Number
    attempt: Count
    progress: str


@dataclass(frozen=True, kw_only=True)
class LiveStatus:
    """Content of the file. Fields that a run does not have are `None`.

    Attributes:
        executor: Kind of the executor, e.g. "processes".
        workers: Number of its workers.
        running: The running tasks.
        total: Number of trials, or of networks.
        done: How many of them have a row.
        generation: Number of a search's generation that is being evaluated.
        generations: Number of its last generation.
        seconds_left: Expected time to the end.
    """

    executor: str = ""
    workers: Count | None = None
    running: list[RunningTask] = field(default_factory=list)
    total: Count | None = None
    done: Count | None = None
    generation: Count | None = None
    generations: Number | None = None
    seconds_left: Number | None = None


def path_of(journal: Path) -> Path:
    """Return the file with the live status of a journal."""
    return journal.with_suffix(".status.json")


def read(journal: Path) -> LiveStatus | None:
    """Return the live status of a journal; `None` without a readable file."""
    try:
        return msgspec.convert(json.loads(path_of(journal).read_bytes()), LiveStatus)
    except (OSError, ValueError, RecursionError):
        return None


class StatusWriter:
    """Context manager that keeps the live status of a run up to date.

    Args:
        journal: The journal of the run.
        executor: Knows the running tasks.
        summary: Returns the other fields of `LiveStatus`.
    """

    def __init__(self, journal: Path, executor: Executor, summary: Callable[[], dict]):
        self.path = path_of(journal)
        self.executor = executor
        self.summary = summary
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join(INTERVAL)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _keep_writing(self):
        while True:
            # A full disk, for example, must not end the run.
            with contextlib.suppress(Exception):
                self._write()
            if self._stop.wait(INTERVAL):
                return

    def _write(self):
        status = LiveStatus(
            executor=type(self.executor).__name__.lower(),
            workers=self.executor.workers,
            running=[_describe(running) for running in self.executor.running],
            **self.summary(),
        )
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        temporary.write_text(json.dumps(asdict(status)), encoding="utf-8")
        temporary.replace(self.path)


def _describe(running):
    trial, progress = running.task, ""
    if running.progress:
        epoch, row = running.progress
        progress = trial.progress(epoch) if isinstance(trial, Trial) else f"epoch {epoch}"
        progress += f", loss {row.get('loss', float('nan')):.4g}"
    is_candidate = isinstance(trial, Trial) and trial.loss == "candidate"
    return RunningTask(
        task=str(trial.formula or trial) if is_candidate else str(trial),
        worker=running.worker,
        seconds=round(time.time() - running.since),
        attempt=running.attempt,
        progress=progress,
    )


def seconds_left(
    missing: Iterable[Trial], results: dict[str, TrialResult], executor: Executor
) -> float | None:
    """Estimate the seconds until all missing trials are done; `None` without any finished trial.

    A trial is expected to take as long as the finished ones of the same data set and model did.

    Args:
        missing: Trials without a row.
        results: Rows of this run and earlier ones.
        executor: Runs the trials.
    """
    taken = {}
    # A copy: the main thread adds rows meanwhile.
    for row in list(results.values()):
        if row.status in FINAL_STATUSES:
            kind = row.trial.get("dataset"), row.trial.get("model")
            taken.setdefault(kind, []).append(row.seconds)
    if not taken:
        return None
    means = {kind: sum(seconds) / len(seconds) for kind, seconds in taken.items()}
    overall = sum(means.values()) / len(means)
    rest = [means.get((trial.dataset, trial.model), overall) for trial in missing]
    return sum(rest) / min(executor.workers, max(len(rest), 1))


def duration(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

"""What a run is doing, for those who look on: a small file beside its journal.

The journal says what is done; the board, replaced every few seconds, says what is running and how
much is left. It goes when the run ends; `status` reads both.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from nglkeras.executors import Executor
from nglkeras.runs.trial import Trial, TrialResult
from nglkeras.training.outcome import FINAL_STATUSES

# Seconds between two versions of the board.
PAUSE = 2.0


def place(journal: Path) -> Path:
    """Where the board of a journal is."""
    return journal.with_suffix(".status.json")


class Board:
    """Writes what is running beside a journal as long as it is open.

    Args:
        journal: Beside which file.
        executor: Says what is running.
        summary: Gives what else belongs on the board, such as how many are done.
    """

    def __init__(self, journal: Path, executor: Executor, summary: Callable[[], dict]):
        self.path = place(journal)
        self.executor = executor
        self.summary = summary
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join(PAUSE)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _keep(self):
        while True:
            # A full disk, say, must not end what others look on at.
            with contextlib.suppress(Exception):
                self._write()
            if self._stop.wait(PAUSE):
                return

    def _write(self):
        content = {
            "executor": type(self.executor).__name__.lower(),
            "workers": self.executor.workers,
            "running": [_running(one) for one in self.executor.running],
            **self.summary(),
        }
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(self.path)


def _running(one):
    trial, progress = one.task, ""
    if one.progress:
        epoch, row = one.progress
        epochs = f"/{trial.schedule.epochs}" if isinstance(trial, Trial) else ""
        progress = f"epoch {epoch}{epochs}, loss {row.get('loss', float('nan')):.4g}"
    return {
        "task": str(trial.formula or trial) if _is_candidate(trial) else str(trial),
        "worker": one.worker,
        "seconds": round(time.time() - one.since),
        "attempt": one.attempt,
        "progress": progress,
    }


def _is_candidate(trial):
    return isinstance(trial, Trial) and trial.loss == "candidate"


def seconds_left(
    missing: Iterable[Trial], results: dict[str, TrialResult], executor: Executor
) -> float | None:
    """How long the rest will take, by what trials of the same data set and model have taken.

    Args:
        missing: The rest.
        results: Rows of this run and earlier ones.
        executor: Where they run.

    Returns:
        Seconds; `None` as long as nothing is known.
    """
    taken = {}
    # A copy: the driver adds to it meanwhile.
    for row in list(results.values()):
        if row.status in FINAL_STATUSES:
            taken.setdefault(_what(row.trial), []).append(row.seconds)
    if not taken:
        return None
    means = {what: sum(seconds) / len(seconds) for what, seconds in taken.items()}
    usual = sum(means.values()) / len(means)
    rest = [means.get((trial.dataset, trial.model), usual) for trial in missing]
    return sum(rest) / min(executor.workers, max(len(rest), 1))


def _what(trial):
    return trial.get("dataset"), trial.get("model")


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

"""What a run is doing, for those who look on: written beside its journal, read by anybody.

The journal says what is done; the board, one small file that is replaced every few seconds, says
what is running and how much is left. Reading takes no lock and disturbs no run.
"""

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nglkeras import lock
from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.journal import read_records, result_of
from nglkeras.trial import FINAL_STATUSES, Trial, TrialResult

NAME = "status.json"
# Seconds between two versions of the board.
PAUSE = 2.0
# Journals that a folder may hold.
JOURNALS = ("journal.jsonl", "trials.jsonl", "search.jsonl")


class Board:
    """Writes what is running into a folder as long as it is open.

    Args:
        folder: Where.
        executor: Says what is running.
        summary: Gives what else belongs on the board, such as how many are done.
    """

    def __init__(self, folder: Path, executor: Executor, summary: Callable[[], dict]):
        self.path = folder / NAME
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
            # A disk that is full must not end a training on account of this.
            with contextlib.suppress(OSError):
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
        temporary = self.path.with_name(f"{NAME}.tmp")
        temporary.write_text(json.dumps(content))
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
    for row in results.values():
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


@dataclass(frozen=True)
class Status:
    """What can be said of a journal from outside.

    Attributes:
        journal: The file.
        statuses: How many rows have each status.
        failed: Lines about the rows whose last status is not "ok".
        lost: Attempts that ended with a worker.
        seconds: Of all trainings.
        holder: Who writes it; `None` if nobody does.
        board: What its driver says.
        unreadable: Lines that cannot be read.
    """

    journal: Path
    statuses: Counter
    failed: list[str]
    lost: int
    seconds: float
    holder: lock.Holder | None
    board: dict
    unreadable: list[str]


def find(place: str | Path) -> list[Path]:
    """The journals at or below a place.

    Raises:
        UserError: If there is none.
    """
    place = Path(place)
    if place.is_file():
        return [place]
    found = sorted(path for name in JOURNALS for path in place.rglob(name))
    if not found:
        raise UserError(f"no {', '.join(JOURNALS[:-1])} or {JOURNALS[-1]} in {place}")
    return found


def read(journal: Path) -> Status:
    """The status of a journal, which may be written to at the same time.

    Raises:
        UserError: If it cannot be read.
    """
    unreadable, rows = [], {}
    if journal.name == JOURNALS[-1]:
        found = list(read_records(journal, _individual, unreadable.append))
        # The last line of an individual counts, as it does for the search.
        rows = {row[0]: row for row in found if row is not None}
    else:
        for row in read_records(journal, result_of, unreadable.append):
            rows[row.key] = (_name(row.trial), row.status, row.message, row.seconds, row.attempts)
    return Status(
        journal,
        Counter(row[1] for row in rows.values()),
        [f"{row[0]}: {row[1]} ({_line(row[2])})" for row in rows.values() if row[1] in _FAILED],
        sum(row[4] - 1 for row in rows.values()),
        sum(row[3] for row in rows.values()),
        lock.holder(journal),
        _board(journal.parent),
        unreadable,
    )


# What a reader must know of; rejected and discarded ones are a search's daily work.
_FAILED = ("non_finite", "exploded", "timeout", "out_of_memory", "crashed")


def _individual(row):
    if "settings" in row:
        return None
    return f"{row['id']} {row['expression']}", row["status"], row["message"], row["seconds"], 1


def _name(trial):
    run = trial.get("run")
    run = f"run {run + 1}" if isinstance(run, int) else ""
    parts = (trial.get("dataset"), trial.get("model"), trial.get("formula") or trial.get("loss"))
    return ", ".join(str(part) for part in (*parts, run) if part)


def _line(text):
    return next(iter(str(text).splitlines()), "")


def _board(folder):
    try:
        content = json.loads((folder / NAME).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def describe(status: Status, *, failures: int = 10) -> str:
    """A status in print.

    Args:
        status: Of a journal.
        failures: At most so many failed trials are named.
    """
    counts = ", ".join(f"{count} {name}" for name, count in status.statuses.most_common())
    lines = [f"{status.journal}: {counts or 'no rows yet'}; {duration(status.seconds)} of training"]
    if status.lost:
        lines.append(f"  {status.lost} times a worker was lost and a trial begun again")
    lines += [f"  {line}" for line in status.failed[-failures:]]
    if len(status.failed) > failures:
        lines.append(f"  ... and {len(status.failed) - failures} failed ones before")
    lines += [f"  {line}" for line in status.unreadable]
    if status.holder is None:
        rest = _rest(status.board)
        lines.append(f"  not running{'; ' + rest if rest else ''}")
        if status.board:
            lines.append("  it was stopped in the middle: the same command goes on")
        return "\n".join(lines)
    lines.append(f"  running: {status.holder}")
    lines.append(f"  {_rest(status.board)}")
    for one in status.board.get("running", ()):
        again = f", attempt {one['attempt']}" if one["attempt"] > 1 else ""
        progress = f", {one['progress']}" if one["progress"] else ""
        lines.append(
            f"  worker {one['worker']}: {one['task']}{progress}, {duration(one['seconds'])}{again}"
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _rest(board):
    """How much is done and left, as the board has it."""
    parts = []
    if "generation" in board:
        parts.append(f"generation {board['generation']} of {board.get('generations', '?')}")
    if "total" in board:
        parts.append(f"{board.get('done')} of {board['total']} done")
    if board.get("seconds_left") is not None:
        parts.append(f"about {duration(board['seconds_left'])} left")
    if "workers" in board:
        parts.append(f"{board['workers']} workers ({board.get('executor')})")
    return ", ".join(parts)

"""What is done, running and failed, read from the files of a run that may still be writing them."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import msgspec

from nglkeras import paths
from nglkeras.errors import UserError, in_a_line
from nglkeras.runs import live_status, lock
from nglkeras.runs.columns import Number
from nglkeras.runs.journal import latest, read_records
from nglkeras.runs.live_status import LiveStatus, duration
from nglkeras.runs.trial import TrialResult

# Names of journals; the last two are of a search and its confirmation, the others of trials.
JOURNALS = ("journal.jsonl", "trials.jsonl", "search.jsonl", "confirm.jsonl")
# Name of the page of a search, beside its journal.
PAGE = "search.html"
# Statuses that are listed one by one. Rejected and discarded candidates are normal in a search.
FAILED = ("non_finite", "exploded", "timeout", "out_of_memory", "crashed")


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """The columns of a search's journal that are read here."""

    id: str
    expression: str
    status: str
    message: str
    seconds: Number
    attempts: ClassVar[int] = 1

    @property
    def key(self):
        return self.id

    def __str__(self):
        return f"{self.id} {self.expression}"


@dataclass(frozen=True, kw_only=True)
class _Network:
    """The columns of a confirmation's journal that are read here."""

    key: str
    loss: str
    learning_rate: Number
    run: int
    status: str
    message: str
    seconds: Number
    attempts: ClassVar[int] = 1

    def __str__(self):
        return f"{self.loss} at {self.learning_rate:g}, run {self.run}"


@dataclass(frozen=True)
class Status:
    """The status of a journal.

    Attributes:
        journal: The file.
        statuses: How many rows have each status.
        failed: One line for each row that failed.
        lost: Number of attempts that ended because a worker was lost.
        seconds: Of all trainings.
        holder: The process that writes the journal; `None` if there is none.
        live: The live status; `None` without one.
        unreadable: One message for each line that cannot be read.
    """

    journal: Path
    statuses: Counter
    failed: list[str]
    lost: int
    seconds: float
    holder: lock.Holder | None
    live: LiveStatus | None
    unreadable: list[str]


def find(place: str | Path) -> list[Path]:
    """Return the journals in a folder and its subfolders, or the file itself.

    Raises:
        UserError: If there is none.
    """
    place = paths.expand(place)
    if place.is_file():
        return [place]
    found = sorted(path for name in JOURNALS for path in place.rglob(name))
    if not found:
        raise UserError(f"no {', '.join(JOURNALS[:-1])} or {JOURNALS[-1]} in {place}")
    return found


def read(journal: Path) -> Status:
    """Return the status of a journal, which may be written at the same time.

    Raises:
        UserError: If it cannot be read.
    """
    journal, unreadable = paths.expand(journal), []
    holder = lock.holder(journal)
    convert = _CONVERT.get(journal.name, TrialResult.from_json)
    found = read_records(journal, convert, unreadable.append)
    rows = latest(row for row in found if row is not None).values()
    if unreadable and holder is not None and not journal.read_bytes().endswith(b"\n"):
        # The last line is being written at this moment.
        unreadable.pop()
    return Status(
        journal,
        Counter(row.status for row in rows),
        [f"{_name(row)}: {row.status} ({row.message})" for row in rows if row.status in FAILED],
        sum(row.attempts - 1 for row in rows),
        sum(row.seconds for row in rows),
        holder,
        live_status.read(journal),
        unreadable,
    )


def _candidate(row):
    """Convert a line of a search's journal; `None` for the settings in its first line."""
    is_header = isinstance(row, dict) and "settings" in row
    return None if is_header else msgspec.convert(row, _Candidate)


_CONVERT = {
    "search.jsonl": _candidate,
    "confirm.jsonl": partial(msgspec.convert, type=_Network),
}


def _name(row):
    if isinstance(row, _Candidate | _Network):
        return str(row)
    trial, run, schedule = row.trial, row.trial.get("run"), row.trial.get("schedule")
    run = f"run {run + 1}" if isinstance(run, int) else ""
    loss = trial.get("formula") or trial.get("loss")
    rate = schedule.get("learning_rate") if isinstance(schedule, dict) else None
    if loss and isinstance(rate, int | float):
        loss = f"{loss} at {rate:g}"
    parts = (trial.get("dataset"), trial.get("model"), loss, run)
    return ", ".join(str(part) for part in parts if part)


def describe(status: Status, *, failures: int = 10) -> str:
    """Return a status as text."""
    counts = ", ".join(f"{count} {name}" for name, count in status.statuses.most_common())
    lines = [f"{status.journal}: {counts or 'no rows yet'}; {duration(status.seconds)} of training"]
    page = status.journal.with_name(PAGE)
    if status.journal.name == "search.jsonl" and page.exists():
        lines.append(f"  to watch in a browser: {page}")
    if status.lost:
        lines.append(f"  {status.lost} times a worker was lost and a trial begun again")
    lines += [f"  {line}" for line in status.failed[-failures:]]
    if len(status.failed) > failures:
        lines.append(f"  ... and {len(status.failed) - failures} failed ones before")
    lines += [f"  {line}" for line in status.unreadable]
    live, rest = status.live, _rest(status.live)
    if status.holder is None:
        lines.append(f"  not running{'; ' + rest if rest else ''}")
        if live is not None:
            lines.append("  it was stopped in the middle: the same command goes on")
        return "\n".join(map(in_a_line, lines))
    lines.append(f"  running: {status.holder}")
    if rest:
        lines.append(f"  {rest}")
    for task in live.running if live else ():
        again = f", attempt {task.attempt}" if task.attempt > 1 else ""
        progress = f", {task.progress}" if task.progress else ""
        lines.append(
            f"  worker {task.worker}: {task.task}{progress}, {duration(task.seconds)}{again}"
        )
    return "\n".join(map(in_a_line, lines))


def _rest(live):
    """Describe how much is done and left."""
    if live is None:
        return ""
    parts = []
    if live.generation is not None:
        last = "?" if live.generations is None else live.generations
        parts.append(f"generation {live.generation} of {last}")
    if live.total is not None:
        parts.append(f"{live.done} of {live.total} done")
    if live.seconds_left is not None:
        parts.append(f"about {duration(live.seconds_left)} left")
    if live.workers is not None:
        parts.append(f"{live.workers} workers ({live.executor})")
    return ", ".join(parts)

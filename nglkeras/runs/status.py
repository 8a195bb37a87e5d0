"""What is done, running and failed, read from outside while it is written.

Reading disturbs no run.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from nglkeras import paths
from nglkeras.errors import UserError, in_a_line
from nglkeras.runs import foreign, live_status, lock
from nglkeras.runs.journal import read_records
from nglkeras.runs.live_status import duration
from nglkeras.runs.trial import TrialResult
from nglkeras.search.records import Record

# Journals that a folder may hold.
JOURNALS = ("journal.jsonl", "trials.jsonl", "search.jsonl")
# What a reader must know of; rejected and discarded ones are a search's daily work.
FAILED = ("non_finite", "exploded", "timeout", "out_of_memory", "crashed")

_NUMBER = foreign.optional(foreign.is_number)
_BOARD = {
    "executor": foreign.is_text,
    "workers": foreign.is_count,
    "total": foreign.is_count,
    "done": foreign.is_count,
    "generation": foreign.is_count,
    "generations": _NUMBER,
    "seconds_left": _NUMBER,
    "running": foreign.list_of(foreign.is_object),
}
_RUNNING = {
    "task": foreign.is_text,
    "worker": foreign.is_count,
    "seconds": foreign.is_number,
    "attempt": foreign.is_count,
    "progress": foreign.is_text,
}


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
    place = paths.expand(place)
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
    journal, unreadable, rows = paths.expand(journal), [], {}
    holder = lock.holder(journal)
    if journal.name == JOURNALS[-1]:
        found = list(read_records(journal, _individual, unreadable.append))
        # The last line of an individual counts, as it does for the search.
        rows = {row[0]: row for row in found if row is not None}
    else:
        for row in read_records(journal, TrialResult.from_json, unreadable.append):
            rows[row.key] = (_name(row.trial), row.status, row.message, row.seconds, row.attempts)
    if unreadable and holder is not None and not journal.read_bytes().endswith(b"\n"):
        # It is being written at this moment.
        unreadable.pop()
    return Status(
        journal,
        Counter(row[1] for row in rows.values()),
        [f"{row[0]}: {row[1]} ({row[2]})" for row in rows.values() if row[1] in FAILED],
        sum(row[4] - 1 for row in rows.values()),
        sum(row[3] for row in rows.values()),
        holder,
        _board(journal),
        unreadable,
    )


def _individual(row):
    if "settings" in row:
        return None
    record = Record.from_json(row)
    evaluation = record.evaluation
    name = f"{record.individual.id} {record.individual.expression}"
    return name, evaluation.status, evaluation.message, evaluation.seconds, 1


def _name(trial):
    run = trial.get("run")
    run = f"run {run + 1}" if isinstance(run, int) else ""
    parts = (trial.get("dataset"), trial.get("model"), trial.get("formula") or trial.get("loss"))
    return ", ".join(str(part) for part in (*parts, run) if part)


def _board(journal):
    """What the driver says; nothing where a file from elsewhere is no board."""
    try:
        content = json.loads(live_status.place(journal).read_text("utf-8"))
        if not isinstance(content, dict):
            return {}
        foreign.check(content, _BOARD)
        for one in content.get("running", ()):
            foreign.check({name: one.get(name) for name in _RUNNING}, _RUNNING)
    except (OSError, ValueError, RecursionError):
        return {}
    return content


def describe(status: Status, *, failures: int = 10) -> str:
    """A status in print.

    Args:
        status: Of a journal.
        failures: Upper limit on the failed trials that are named.
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
        return "\n".join(map(in_a_line, lines))
    lines.append(f"  running: {status.holder}")
    lines += [f"  {rest}" for rest in [_rest(status.board)] if rest]
    for one in status.board.get("running", ()):
        again = f", attempt {one['attempt']}" if one["attempt"] > 1 else ""
        progress = f", {one['progress']}" if one["progress"] else ""
        lines.append(
            f"  worker {one['worker']}: {one['task']}{progress}, {duration(one['seconds'])}{again}"
        )
    return "\n".join(map(in_a_line, lines))


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

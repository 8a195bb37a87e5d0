"""The journal of a run: a file of JSON lines, one for each finished trial, only appended to.

A line that cannot be read, such as half a line after a power cut, is reported and skipped; it stays
in the file, and its trial runs again. Only one process at a time writes a journal.
"""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from nglkeras import paths
from nglkeras.errors import UserError, in_a_line
from nglkeras.runs import lock
from nglkeras.runs.trial import TrialResult
from nglkeras.training.outcome import FINAL_STATUSES

if TYPE_CHECKING:
    from nglkeras.training.checkpoint import Checkpoints

# Depth of nested lists and objects: rows need less, and Python's stack allows more.
MAX_DEPTH = 50


class Records:
    """A file of JSON objects, one a line, that is only appended to.

    Args:
        path: The file. It is created with its folders if it does not exist.
        report: Called once with a message for each line that cannot be read; prints it by default.

    Raises:
        UserError: If the file cannot be written.
    """

    def __init__(self, path: str | Path, report: Callable[[str], None] | None = None):
        self.path = paths.expand(path)
        self.report = report
        self._reported = set()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            _sync_folder(self.path.parent)
            if not os.access(self.path, os.W_OK):
                raise PermissionError(f"no permission to write {self.path}")
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"cannot write to {self.path.parent}: {reason}") from error

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Return a context manager that keeps other processes from writing; see `lock.writing`."""
        return lock.writing(self.path)

    def append(self, record: dict) -> None:
        """Add a record; it is on the disk when this method returns.

        Raises:
            UserError: If the file cannot be written, e.g. on a full disk, or another process
                writes it.
        """
        line = json.dumps(finite(record), allow_nan=False) + "\n"
        with self.writing():
            try:
                self._write(line.encode())
            except OSError as error:
                raise UserError(
                    f"cannot write to {self.path}: {error.strerror}; once it can be written to, "
                    f"the same command goes on{_rescue(line, self.path)}"
                ) from error

    def _write(self, line):
        # Without a buffer: closing one that could not be written would try again.
        with self.path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    # End the half line that an interrupted write left behind.
                    line = b"\n" + line
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                # A full disk may have taken half of the line, which nobody could read.
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise

    def read(self, convert: Callable[[dict], object] = dict) -> Iterator:
        """Yield `convert(record)` for each record; see `read_records`."""
        return read_records(self.path, convert, self._report_once)

    def _report_once(self, message):
        if message not in self._reported:
            self._reported.add(message)
            # Not the default itself: Ray replaces `print`, and pickle then refuses it.
            (self.report or print)(message)


class Journal(Records):
    """The results of trials on disk.

    Args:
        path: As in `Records`.
        report: As in `Records`.
        checkpoints: Checkpoints of the trainings; those of a trial are deleted once its final row
            is on the disk.

    Raises:
        UserError: If the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        report: Callable[[str], None] | None = None,
        checkpoints: "Checkpoints | None" = None,
    ):
        super().__init__(path, report)
        self.checkpoints = checkpoints

    def append(self, result: TrialResult) -> None:
        """Add a row; it is on the disk when this method returns.

        Raises:
            UserError: If it cannot be written, e.g. on a full disk.
        """
        super().append(asdict(result))
        self._discard_checkpoints(result)

    def results(self) -> dict[str, TrialResult]:
        """Return the row that counts of every trial by its key; see `latest`."""
        found = latest(self.read(TrialResult.from_json))
        for result in found.values():
            # A process that was killed after writing the row left its checkpoints behind.
            self._discard_checkpoints(result)
        return found

    def _discard_checkpoints(self, result):
        if self.checkpoints is not None and result.status in FINAL_STATUSES:
            self.checkpoints.discard(result.key)


def latest(
    rows: Iterable,
    key: Callable[[object], str] = attrgetter("key"),
    status: Callable[[object], str] = attrgetter("status"),
) -> dict:
    """Return the row that counts of each trial, network or loss, by its key.

    It is the last one, but a training that failed for a reason of its own, such as a timeout, does
    not replace a result: lines of two machines may stand together in any order.
    """
    found = {}
    for row in rows:
        first = found.get(key(row))
        if first is None or _weight(status(row)) >= _weight(status(first)):
            found[key(row)] = row
    return found


def _weight(status):
    return (status in FINAL_STATUSES) + (status == "ok")


def read_records(
    path: Path, convert: Callable[[dict], object], report: Callable[[str], None]
) -> Iterator:
    """Yield `convert(record)` for each record of a file that another process may be writing.

    Args:
        path: The file.
        convert: Converts a record; one for which it raises `ValueError` counts as unreadable.
        report: Called with a message for each line that cannot be read.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            _check_depth(record)
            yield convert(record)
        except (ValueError, TypeError, RecursionError) as error:
            report(f"{path}, line {number}: cannot be read, passed over ({in_a_line(error)})")


def _check_depth(value, left=MAX_DEPTH):
    """Raise `ValueError` if lists and objects are nested more deeply."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return
    if left == 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    for item in value:
        _check_depth(item, left - 1)


def _rescue(line, path):
    """Write a record that had no room in its file elsewhere; return a hint for the message."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"{path.stem}-", suffix=path.suffix, delete=False
        ) as file:
            file.write(line)
    except OSError:
        return ""
    return f" (the row that is not in it: cat {file.name} >> {path})"


def finite(value: object) -> object:
    """Replace NaN and infinity, which JSON does not have, by `None`."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sync_folder(path):
    """Make the name of a new file as durable as its content."""
    folder = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems cannot do it for folders.
        with contextlib.suppress(OSError):
            os.fsync(folder)
    finally:
        os.close(folder)

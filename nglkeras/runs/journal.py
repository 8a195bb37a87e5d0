"""The journal is the truth: a file of JSON lines, one for each finished trial, only appended to.

A line that cannot be read, such as the half of a line that a power cut leaves behind, is
reported and passed over; it stays in the file, and its trial runs again. One process writes at a
time.
"""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from nglkeras import paths
from nglkeras.errors import UserError, in_a_line
from nglkeras.runs import lock
from nglkeras.runs.trial import TrialResult

# Of lists and objects within each other: more than rows have, less than what ends Python's stack.
MAX_DEPTH = 50


class Records:
    """JSON objects on disk, one a line, only appended to.

    Args:
        path: The file; it and its folders are made when they do not exist.
        report: Called once with a message for each line that cannot be read.

    Raises:
        UserError: If the file cannot be written to.
    """

    def __init__(self, path: str | Path, report: Callable[[str], None] = print):
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
        """While it lasts, no other process may write; see `lock.writing`."""
        return lock.writing(self.path)

    def append(self, record: dict) -> None:
        """Add a record; when this returns, it is on the disk.

        Raises:
            UserError: If it cannot be written, e.g. on a full disk, or another process writes.
        """
        line = json.dumps(_finite(record), allow_nan=False) + "\n"
        with self.writing():
            try:
                self._write(line.encode())
            except OSError as error:
                raise UserError(
                    f"cannot write to {self.path}: {error.strerror}; once it can be written to, "
                    f"the same command goes on{_rescued(line, self.path)}"
                ) from error

    def _write(self, line):
        # Without a buffer: one that could not be written would try again when it is closed.
        with self.path.open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    # Close the half of a line that an interrupted write left behind.
                    line = b"\n" + line
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                # A full disk has room for half a line, which nobody could read.
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise

    def read(self, convert: Callable[[dict], object] = dict) -> Iterator:
        """What `convert` makes of each record; one that it cannot take counts as unreadable."""
        return read_records(self.path, convert, self._report_once)

    def _report_once(self, message):
        if message not in self._reported:
            self._reported.add(message)
            self.report(message)


def read_records(
    path: Path, convert: Callable[[dict], object], report: Callable[[str], None]
) -> Iterator:
    """What is made of each record of a file that somebody else may be writing.

    Args:
        path: The file.
        convert: Applied to each; one that it cannot take counts as unreadable.
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
            yield convert(_shallow(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            report(f"{path}, line {number}: cannot be read, passed over ({in_a_line(error)})")


class Journal:
    """Results of trials on disk.

    Args:
        path: As `Records` takes it.
        report: As `Records` takes it.

    Raises:
        UserError: If the file cannot be written to.
    """

    def __init__(self, path: str | Path, report: Callable[[str], None] = print):
        self._records = Records(path, report)

    @property
    def path(self) -> Path:
        """The file."""
        return self._records.path

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """While it lasts, no other process may write; see `lock.writing`."""
        return self._records.writing()

    def append(self, result: TrialResult) -> None:
        """Add a row; when this returns, the row is on the disk.

        Raises:
            UserError: If it cannot be written, e.g. on a full disk.
        """
        self._records.append(asdict(result))

    def results(self) -> dict[str, TrialResult]:
        """The last row of every trial, by its key."""
        return {result.key: result for result in self._records.read(TrialResult.from_json)}


def _shallow(value):
    """A JSON value, unless it is nested deeper than what comes after can follow."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for outer in level for item in _items(outer)]
        if not level:
            return value
    raise UserError(f"nested deeper than {MAX_DEPTH}")


def _items(value):
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _rescued(line, path):
    """Where a record lies that its own file had no room for, for a message."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"{path.stem}-", suffix=path.suffix, delete=False
        ) as file:
            file.write(line)
    except OSError:
        return ""
    return f" (the row that is not in it: cat {file.name} >> {path})"


def _finite(value):
    """JSON has no NaN and no infinity: both become null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sync_folder(path):
    """Make a new file's name as durable as its content."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

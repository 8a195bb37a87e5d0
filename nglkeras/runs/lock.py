"""One writer for a file, on any machine: a lock file beside it names the process that holds it.

The operating system releases its lock when the process ends, however it ends. On some cluster file
systems such a lock is valid on one node only, so the holder also touches the lock file regularly:
a file that another machine has touched recently is in use.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.runs.columns import Count

# Seconds between two touches of a lock file, and age from which another machine's is ignored.
HEARTBEAT = 20.0
STALE_AFTER = 90.0
# Attempts to lock, with seconds between them: a process that only reads the holder locks briefly.
RETRIES, RETRY_PAUSE = 20, 0.05
# Errors of file systems without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_held: dict[Path, "_Held"] = {}
_guard = threading.RLock()


@dataclass(frozen=True)
class Holder:
    """The process that writes a file; empty if it left no name.

    Attributes:
        host: Name of its machine.
        pid: Its number.
        command: Its command line.
        since: ISO date and time in UTC.
    """

    host: str = ""
    pid: Count = 0
    command: str = ""
    since: str = ""

    def __str__(self):
        if not self.host:
            return "another process"
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


@dataclass
class _Held:
    descriptor: int
    stop: threading.Event
    count: int = 1


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Keep other processes from writing a file; may be nested within a process.

    Args:
        path: The file. Its lock file is `path` followed by ".lock"; it stays, empty.

    Raises:
        UserError: If another process writes the file, or no lock file can be written there.
    """
    file = lock_file(paths.absolute(path))
    with _guard:
        if file in _held:
            _held[file].count += 1
        else:
            _held[file] = _acquire(file)
    try:
        yield
    finally:
        with _guard:
            held = _held[file]
            held.count -= 1
            if held.count == 0:
                _release(_held.pop(file))


def lock_file(path: Path) -> Path:
    """Return the lock file of a file."""
    return path.with_name(path.name + ".lock")


def holder(path: Path) -> Holder | None:
    """Return the process that writes a file now; `None` if there is none that can be seen."""
    file = lock_file(paths.absolute(path))
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return None
    try:
        return _other_holder(descriptor, file, _lock(descriptor, fcntl.LOCK_SH))
    finally:
        os.close(descriptor)


def _acquire(file):
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(descriptor, file)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise UserError(f"cannot write to {file.parent}: {error.strerror}") from error
    stop = threading.Event()
    threading.Thread(target=_keep_touching, args=(file, stop), daemon=True).start()
    return _Held(descriptor, stop)


def _take(descriptor, file):
    other = _other_holder(descriptor, file, _lock_with_retries(descriptor))
    if other is not None:
        raise UserError(
            f"{file.with_suffix('')} is being written by {other}; wait for it, or give another "
            "folder"
        )
    since = datetime.now(UTC).isoformat(timespec="seconds")
    own = Holder(socket.gethostname(), os.getpid(), " ".join(sys.argv)[:200], since)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(own)).encode(), 0)


def _release(held):
    held.stop.set()
    # An empty file names nobody. If it were deleted, two processes could lock two files of one
    # name.
    with contextlib.suppress(OSError):
        os.ftruncate(held.descriptor, 0)
    os.close(held.descriptor)


def _lock(descriptor, kind):
    """Return whether the file could be locked; `None` if its file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _lock_with_retries(descriptor):
    for _ in range(RETRIES):
        locked = _lock(descriptor, fcntl.LOCK_EX)
        if locked is not False:
            return locked
        time.sleep(RETRY_PAUSE)
    return False


def _other_holder(descriptor, file, locked):
    """Return the other process that holds a lock file; `None` if there is none."""
    try:
        found = msgspec.convert(json.loads(os.pread(descriptor, 10_000, 0)), Holder)
    except (OSError, ValueError, RecursionError):
        found = Holder()
    if locked is False:
        return found
    if not found.host:
        return None
    if found.host == socket.gethostname():
        # The lock decides on one machine; without locks, whether the process is alive.
        return found if locked is None and _is_alive(found.pid) else None
    age = _now(file.parent) - os.fstat(descriptor).st_mtime
    return found if age < STALE_AFTER else None


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _now(folder):
    """Return the time by the clock of the file system, which may be another machine's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def _keep_touching(file, stop):
    while not stop.wait(HEARTBEAT):
        # A disk that is full or unavailable for a while must not end a training.
        with contextlib.suppress(OSError):
            os.utime(file)

"""One writer for a file, on whichever machine: a lock file beside it names its holder.

The operating system's lock ends with its process, however that dies. Some cluster file systems
keep such locks on each node by itself, so the holder also touches the lock file now and then: one
that another machine has touched lately is in use.
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

from nglkeras import paths
from nglkeras.errors import UserError

# Seconds between two touches of a lock file, and after which its holder counts as gone.
BEAT = 20.0
SILENCE = 90.0
# Tries, and seconds between them, before a lock counts as somebody's.
GLANCES, GLANCE = 20, 0.05
# What file systems without locks answer.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_held: dict[Path, "_Held"] = {}
_guard = threading.RLock()


@dataclass(frozen=True)
class Holder:
    """Who writes.

    Attributes:
        host: Name of the machine.
        pid: Of the process.
        command: Its command line.
        since: ISO date and time in UTC.
    """

    host: str
    pid: int
    command: str
    since: str

    def __str__(self):
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


@dataclass
class _Held:
    descriptor: int
    stop: threading.Event
    count: int = 1


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Be the one process that writes to a file; within a process, as often as one likes.

    Args:
        path: The file. Its lock file is `path` with ".lock" after it, and stays, empty.

    Raises:
        UserError: If another process holds it, or no lock file can be written there.
    """
    place = lock_file(paths.absolute(path))
    with _guard:
        if place in _held:
            _held[place].count += 1
        else:
            _held[place] = _acquire(place)
    try:
        yield
    finally:
        with _guard:
            held = _held[place]
            held.count -= 1
            if held.count == 0:
                _release(_held.pop(place))


def lock_file(path: Path) -> Path:
    """The lock file of a file."""
    return path.with_name(path.name + ".lock")


def holder(path: Path) -> Holder | None:
    """Who writes to a file at the moment; `None` if nobody does, as far as can be seen."""
    place = lock_file(paths.absolute(path))
    try:
        descriptor = os.open(place, os.O_RDONLY)
    except OSError:
        return None
    try:
        locked = _lock(descriptor, fcntl.LOCK_SH)
        if locked is False:
            return _read(descriptor) or Holder("an unknown machine", 0, "", "")
        return _silent_holder(descriptor, place, locked)
    finally:
        os.close(descriptor)


def _acquire(place):
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"cannot write to {place.parent}: {error.strerror}") from error
    try:
        locked = _locked_soon(descriptor)
        other = _read(descriptor) if locked is False else _silent_holder(descriptor, place, locked)
        if locked is False or other is not None:
            raise UserError(
                f"{place.with_suffix('')} is being written by {other or 'another process'}; wait "
                "for it, or give another folder"
            )
        own = Holder(
            socket.gethostname(),
            os.getpid(),
            " ".join(sys.argv)[:200],
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(own)).encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise UserError(f"cannot write to {place}: {error.strerror}") from error
    except UserError:
        os.close(descriptor)
        raise
    stop = threading.Event()
    threading.Thread(target=_beat, args=(place, stop), daemon=True).start()
    return _Held(descriptor, stop)


def _release(held):
    held.stop.set()
    # An empty file names nobody. Removing it would let two others lock two files of one name.
    with contextlib.suppress(OSError):
        os.ftruncate(held.descriptor, 0)
    os.close(held.descriptor)


def _lock(descriptor, kind):
    """Whether the lock was had; `None` where the file system knows none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _locked_soon(descriptor):
    """As `_lock`, after waiting for those who only want to see who holds it."""
    for _ in range(GLANCES):
        locked = _lock(descriptor, fcntl.LOCK_EX)
        if locked is not False:
            return locked
        time.sleep(GLANCE)
    return False


def _silent_holder(descriptor, place, locked):
    """A holder whom the operating system's lock does not show, but a fresh touch does."""
    found = _read(descriptor)
    if found is None:
        return None
    if found.host == socket.gethostname():
        # On one machine the lock is enough; without locks, whether the process is there.
        return found if locked is None and _lives(found.pid) else None
    age = _now(place.parent) - os.fstat(descriptor).st_mtime
    return found if age < SILENCE else None


def _read(descriptor):
    try:
        content = json.loads(os.pread(descriptor, 10_000, 0))
        return Holder(
            str(content["host"]),
            int(content["pid"]),
            str(content["command"]),
            str(content["since"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _now(folder):
    """The time by the clock of the file system, which may be another machine's."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def _beat(place, stop):
    while not stop.wait(BEAT):
        # A disk that is full or away for a while must not end a training.
        with contextlib.suppress(OSError):
            os.utime(place)

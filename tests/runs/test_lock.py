"""One writer: who holds a file, who is refused, and what the dead leave behind."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from nglkeras import Journal, UserError
from nglkeras.runs import lock
from nglkeras.runs.trial import TrialResult

HOLD = (
    "import sys, time\n"
    "from nglkeras.runs import lock\n"
    "with lock.writing(sys.argv[1]):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(600)\n"
)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


def row(key="a"):
    return TrialResult(key=key, trial={}, status="ok", accuracy=0.5, validation_accuracy=0.5)


def holder(host="elsewhere", pid=7):
    return json.dumps({"host": host, "pid": pid, "command": "table2.py", "since": "then"})


class TestTwoProcesses:
    def test_the_second_is_told_who_the_first_is_until_that_dies(self, journal):
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, journal.path], stdout=subprocess.PIPE
        ) as first:
            first.stdout.readline()
            assert lock.holder(journal.path).pid == first.pid
            with pytest.raises(UserError) as caught:
                journal.append(row())
            message = str(caught.value)
            assert f"process {first.pid} on {socket.gethostname()} since 20" in message
            assert "journal.jsonl is being written by" in message
            assert journal.results() == {}
            first.send_signal(signal.SIGKILL)
        with journal.writing():
            # The dead one's name is in the file still, until ours is.
            assert lock.holder(journal.path).pid == os.getpid()
            journal.append(row())
        assert set(journal.results()) == {"a"}
        assert lock.holder(journal.path) is None

    def test_a_holder_whose_name_is_gone_is_another_process(self, journal):
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, journal.path], stdout=subprocess.PIPE
        ) as first:
            first.stdout.readline()
            lock.lock_file(journal.path).write_text("")
            with pytest.raises(UserError, match="is being written by another process; wait"):
                journal.append(row())
            assert str(lock.holder(journal.path)) == "another process"
            first.kill()

    def test_who_only_looks_refuses_nobody(self, journal):
        looking = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from nglkeras.runs import lock\n"
            "print('looking', flush=True)\n"
            "while True:\n"
            "    lock.holder(Path(sys.argv[1]))\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", looking, journal.path], stdout=subprocess.PIPE
        ) as other:
            other.stdout.readline()
            for i in range(200):
                journal.append(row(str(i)))
            other.kill()
        assert len(journal.results()) == 200


class TestOneProcess:
    def test_may_hold_it_twice(self, journal):
        again = Journal(journal.path)
        with journal.writing():
            with again.writing():
                again.append(row())
            assert lock.holder(journal.path).pid == os.getpid()
            journal.append(row("b"))
        assert lock.holder(journal.path) is None
        assert set(journal.results()) == {"a", "b"}

    def test_lets_go_when_something_goes_wrong(self, journal):
        with pytest.raises(ZeroDivisionError), journal.writing():
            raise ZeroDivisionError
        assert lock.holder(journal.path) is None

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        with (
            pytest.raises(UserError, match=r"cannot write to .*missing"),
            lock.writing(tmp_path / "missing" / "journal.jsonl"),
        ):
            pass


class TestOtherMachines:
    """A cluster file system whose locks end at the node: what counts is a fresh touch."""

    def test_one_that_has_touched_it_lately_holds_it(self, journal):
        lock.lock_file(journal.path).write_text(holder())
        with pytest.raises(UserError, match=r"process 7 on elsewhere since then \(table2.py\)"):
            journal.append(row())

    def test_one_that_has_fallen_silent_does_not(self, journal):
        path = lock.lock_file(journal.path)
        path.write_text(holder())
        past = time.time() - lock.STALE_AFTER - 1
        os.utime(path, (past, past))
        journal.append(row())
        assert set(journal.results()) == {"a"}

    def test_the_holder_touches_it_now_and_then(self, journal, monkeypatch):
        monkeypatch.setattr(lock, "HEARTBEAT", 0.05)
        path = lock.lock_file(journal.path)
        with journal.writing():
            os.utime(path, (0, 0))
            time.sleep(0.5)
            assert path.stat().st_mtime > 0

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', "\x00\xff", "[" * 9000])
    def test_a_lock_file_that_says_nothing(self, journal, content):
        lock.lock_file(journal.path).write_text(content)
        journal.append(row())
        assert set(journal.results()) == {"a"}


class TestWithoutLocks:
    """A file system that knows no locks at all."""

    @pytest.fixture(autouse=True)
    def no_locks(self, monkeypatch):
        def refuse(*_):
            raise OSError(errno.EOPNOTSUPP, "no locks here")

        monkeypatch.setattr(lock.fcntl, "flock", refuse)

    def test_a_living_process_of_this_machine_holds_it(self, journal):
        lock.lock_file(journal.path).write_text(holder(socket.gethostname(), os.getppid()))
        with pytest.raises(UserError, match=f"process {os.getppid()}"):
            journal.append(row())

    def test_a_dead_one_does_not(self, journal):
        with subprocess.Popen([sys.executable, "-c", ""]) as dead:
            pass
        lock.lock_file(journal.path).write_text(holder(socket.gethostname(), dead.pid))
        journal.append(row())
        assert set(journal.results()) == {"a"}

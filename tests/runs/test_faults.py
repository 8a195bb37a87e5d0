"""Workers, nodes and drivers that are killed, disks that are full: every row is there, once.

`make test-all` runs this in a small form; `make soak` in full, and writes what it has measured to
results/soak/soak.csv.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, command_of, finish, wait_for_rows
from laboratory import Saboteur, Watched

from nglkeras import Journal, executors, run_trials
from nglkeras.executors import Local, Processes
from nglkeras.experiments.discovery.candidates import Candidates
from nglkeras.experiments.discovery.experiments import trials
from nglkeras.experiments.discovery.protocol import EXPERIMENTS, SCALES
from nglkeras.search.screening import BOUNDS
from nglkeras.search.strategy import generator
from nglkeras.search.variation import Variation

# The smallest real trainings: a network without a backbone on 64 scans of digits.
SCALE = replace(SCALES["demo"], model="head", train_images=64, evaluation_images=32)


pytestmark = pytest.mark.slow

SMALL = ("--epochs", 2, "--train-images", 64, "--evaluation-images", 32)
PROCESSES = ("--executor", "processes", "--workers", 2)
TABLE = ("--losses", "CE", "NGL", "f4", "--runs", 2, *SMALL)


@dataclass(frozen=True)
class Size:
    """How much of it.

    Attributes:
        trials: That workers do while they are killed.
        epochs: Of each of them.
        kills: Of workers.
        drivers: Killed, with workers and without.
        on_nodes: Scripts that run on a cluster, with their options and journals.
    """

    trials: int
    epochs: int
    kills: int
    drivers: int
    on_nodes: tuple = ()


@pytest.fixture(scope="module")
def size(request):
    if request.config.getoption("--soak"):
        # The demonstrations themselves.
        both = ("table2", (), "journal.jsonl"), ("search", (), "search.jsonl")
        return Size(500, 6, 25, 40, both)
    return Size(12, 1, 2, 2, (("table2", TABLE, "journal.jsonl"),))


@pytest.fixture(scope="module")
def note(request):
    """Keeps a line of figures, in results/ where this is the full form."""
    lines = []

    def keep(what, **figures):
        lines.append({"what": what, **figures})
        print(what, figures)

    yield keep
    if request.config.getoption("--soak") and lines:
        import pandas as pd

        from nglkeras.runs.environment import environment

        folder = ROOT / "results" / "soak"
        folder.mkdir(exist_ok=True)
        machine = {name: environment()[name] for name in ("cpu", "cores", "tensorflow", "keras")}
        rows = [line | machine | {"date": time.strftime("%Y-%m-%d")} for line in lines]
        pd.DataFrame(rows).to_csv(folder / "soak.csv", index=False)


def plan(size):
    """As many trials of random formulas, three runs each; some explode, as in any search."""
    wanted, seed, scale = {}, 0, replace(SCALE, epochs=size.epochs)
    while len(wanted) < size.trials:
        tree = Variation().random_tree(generator("faults", seed))
        wanted |= {trial.key: trial for trial in trials(EXPERIMENTS[2], scale, str(tree))}
        seed += 1
    return list(wanted.values())[: size.trials]


def work():
    return Candidates(EXPERIMENTS[2].runs, bound=BOUNDS[1])


def values(rows):
    """What must not depend on where a row came from, or how often it was begun."""
    return {
        # As text: a loss that is no number is not equal to itself.
        key: (row.status, row.validation_accuracy, str([epoch["loss"] for epoch in row.history]))
        for key, row in rows.items()
    }


@pytest.fixture(scope="module")
def undisturbed(size, tmp_path_factory):
    """Rows of this process, where nothing goes wrong."""
    journal = Journal(tmp_path_factory.mktemp("undisturbed") / "journal.jsonl")
    rows = run_trials(plan(size), journal, work(), executor=Local(), quiet=True)
    assert {row.status for row in rows.values()} <= {"ok", "exploded", "non_finite"}
    return values(rows)


class Memory(threading.Thread):
    """Looks at the memory of this process and its children now and then."""

    def __init__(self):
        super().__init__(daemon=True)
        self.samples = {}
        self._stop_event = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self._stop_event.set()
        self.join()

    def run(self):
        driver = psutil.Process()
        while not self._stop_event.wait(1.0):
            for process in [driver, *driver.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    mib = process.memory_info().rss / 2**20
                    self.samples.setdefault(process.pid, []).append(mib)

    def growth(self, pid):
        """Mean of the last fifth less that of the middle one, in MiB.

        By the middle everything is compiled.
        """
        samples = self.samples[pid]
        fifth = max(len(samples) // 5, 1)
        middle, late = samples[2 * fifth : 3 * fifth + 1], samples[-fifth:]
        return sum(late) / len(late) - sum(middle) / len(middle)


def check(journal, rows, undisturbed):
    lines = [json.loads(line)["key"] for line in journal.path.read_text().splitlines()]
    assert len(lines) == len(set(lines)) == len(undisturbed)
    assert values(rows) == undisturbed
    assert set(journal.results()) == set(undisturbed)


class TestWorkersThatAreKilled:
    @pytest.mark.parametrize("name", ["processes", "ray"])
    def test_change_nothing(self, name, size, undisturbed, tmp_path, note):
        if name == "ray":
            pytest.importorskip("ray", reason="the ray extra is not installed")
        marks = tmp_path / "marks"
        marks.mkdir()
        journal = Journal(tmp_path / "journal.jsonl")
        started = time.time()
        # Seldom enough that a worker, which takes seconds to start, gets something done.
        saboteur = Saboteur(marks, size.kills, (1.0, 4.0) if size.kills > 5 else (0.5, 2.0))
        with executors.make(name, workers=2) as executor, saboteur, Memory() as memory:
            watched = Watched(work(), marks)
            rows = run_trials(plan(size), journal, watched, executor=executor, quiet=True)
        check(journal, rows, undisturbed)
        again = sum(row.attempts - 1 for row in rows.values())
        assert saboteur.kills == size.kills
        assert again > 0
        note(
            f"workers killed, {name}",
            trials=len(rows),
            kills=saboteur.kills,
            begun_again=again,
            seconds=round(time.time() - started),
            driver_growth_mib=round(memory.growth(os.getpid())),
        )

    def test_none_are_killed_and_memory_stays_flat(self, size, undisturbed, tmp_path, note):
        journal = Journal(tmp_path / "journal.jsonl")
        started = time.time()
        with Processes(2) as executor, Memory() as memory:
            rows = run_trials(plan(size), journal, work(), executor=executor, quiet=True)
            pids = [worker.process.pid for worker in executor._pool.values()]
        check(journal, rows, undisturbed)
        growth = [memory.growth(pid) for pid in pids if len(memory.samples.get(pid, ())) > 20]
        note(
            "nobody killed, processes",
            trials=len(rows),
            kills=0,
            seconds=round(time.time() - started),
            driver_growth_mib=round(memory.growth(os.getpid())),
            worker_growth_mib=round(max(growth)) if growth else None,
        )
        assert memory.growth(os.getpid()) < 20
        if size.trials >= 500:
            # After a dozen trials a worker has not yet met every kind of network.
            assert growth
            assert all(mib < 20 for mib in growth)


class TestNodesThatAreKilled:
    def test_a_table_and_a_search_are_those_of_one_process(self, size, tmp_path, note):
        """Three nodes and a head; a node is killed, as a whole, while both are at work."""
        pytest.importorskip("ray", reason="the ray extra is not installed")
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        started, killed = time.time(), 0
        try:
            for script, options, journal in size.on_nodes:
                alone, there = tmp_path / script / "alone", tmp_path / script / "cluster"
                finish(script, *options, "--out", alone)
                cluster_options = ("--executor", "ray", "--ray-address", cluster.address)
                command = command_of(
                    script, *options, *cluster_options, "--workers", 3, "--out", there
                )
                with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
                    wait_for_rows(there, 3, driver)
                    cluster.remove_node(nodes.pop(), allow_graceful=False)
                    killed += 1
                    _, errors = driver.communicate(timeout=1200)
                assert driver.returncode == 0, errors
                cluster.add_node(num_cpus=1)
                assert rows_of(there / journal) == rows_of(alone / journal)
        finally:
            ray.shutdown()
            cluster.shutdown()
        journals = [tmp_path / "table2/cluster/journal.jsonl"]
        journals += tmp_path.glob("search/cluster/trials.jsonl")
        rows = [row for path in journals for row in Journal(path).results().values()]
        again = sum(row.attempts - 1 for row in rows)
        if len(size.on_nodes) > 1:
            # In the small form the node may have been idle.
            assert again > 0
        note(
            "nodes killed, ray",
            trials=len(rows),
            kills=killed,
            begun_again=again,
            seconds=round(time.time() - started),
        )


def rows_of(journal):
    """What a journal says, by key or id, but for when and how long; no key comes twice."""
    rows = {}
    for line in journal.read_text().splitlines():
        row = json.loads(line)
        if "settings" in row:
            continue
        name = row.get("key") or row["id"]
        assert name not in rows
        losses = [epoch["loss"] for epoch in row.get("history", ())]
        kept = ("status", "accuracy", "validation_accuracy", "fitness", "expression", "twin")
        rows[name] = [row.get(column) for column in kept] + losses
    return rows


class TestDriversThatAreKilled:
    @pytest.mark.parametrize("options", [(), PROCESSES])
    def test_nothing_that_was_finished_is_lost(self, options, size, tmp_path, note):
        if not options and size.drivers == 2:
            pytest.skip("without workers in make soak only")
        kills = size.drivers // 2
        runs = 40 if size.drivers > 2 else 4
        table = ("--losses", "CE", "NGL", "f4", "Focal", "--runs", runs, "--models", "head", *SMALL)
        chance = random.Random(0)
        place, alone = tmp_path / "killed", tmp_path / "alone"
        finish("table2", *table, "--out", alone)
        journal = place / "journal.jsonl"
        before, started, printed, killed = "", time.time(), 0, 0
        for _ in range(kills):
            command = command_of("table2", *table, *options, "--out", place)
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
                # Anywhere between its start and some rows, and in the small form in between.
                if size.drivers > 2:
                    threading.Timer(chance.uniform(3, 16), driver.kill).start()
                else:
                    wait_for_rows(place, 1, driver)
                    driver.kill()
                output = driver.communicate()[0]
            killed += driver.returncode == -signal.SIGKILL
            printed += sum(" % in " in line for line in output.splitlines())
            after = journal.read_text() if journal.exists() else ""
            # Rows of earlier calls stay as they were, and what was said to be done is there.
            assert after.startswith(before)
            assert after.count("\n") >= printed
            before = after
        assert killed >= kills / 2
        finish("table2", *table, *options, "--out", place)
        assert rows_of(journal) == rows_of(alone / "journal.jsonl")
        note(
            f"driver killed, {options[1] if options else 'local'}",
            trials=len(rows_of(journal)),
            kills=killed,
            seconds=round(time.time() - started),
        )


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, which can be made full and read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=16k", "tmpfs", folder):
        pytest.skip("this user may not mount a disk")
    yield folder
    while not subprocess.run(["umount", folder], capture_output=True).returncode:
        pass


def _mount(*arguments):
    if shutil.which("mount") is None:
        return 1
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode


@pytest.mark.parametrize("options", [(), PROCESSES])
class TestDisksThatAreFull:
    @pytest.fixture(autouse=True)
    def only_one_in_small(self, options, size):
        if options and size.drivers == 2:
            pytest.skip("with workers in make soak only")

    def test_full_then_free(self, options, disk, tmp_path):
        finish("table2", *TABLE, "--out", tmp_path / "alone")
        command = command_of("table2", *TABLE, *options, "--out", disk)
        stopped = subprocess.run(command, capture_output=True, text=True)
        assert stopped.returncode == 2, stopped.stderr
        assert "Traceback" not in stopped.stderr
        error = stopped.stderr.splitlines()[-1]
        assert f"error: cannot write to {disk}/journal.jsonl: No space left on device" in error
        assert "the same command goes on" in error
        journal = disk / "journal.jsonl"
        kept = rows_of(journal)
        assert 0 < len(kept) < 6
        assert journal.read_text().endswith("\n")
        # The row that had no room is not lost either.
        rescued = Path(error[error.index("cat ") : error.rindex(")")].split()[1])
        assert json.loads(rescued.read_text())["status"] == "ok"
        rescued.unlink()

        _mount("-o", "remount,size=4m", disk)
        finish("table2", *TABLE, *options, "--out", disk)
        assert rows_of(journal) == rows_of(tmp_path / "alone" / "journal.jsonl")
        assert rows_of(journal).items() >= kept.items()

    def test_read_only_then_not(self, options, disk, tmp_path):
        _mount("-o", "remount,size=4m", disk)
        finish("table2", *TABLE, "--out", tmp_path / "alone")
        command = command_of("table2", *TABLE, *options, "--out", disk)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
            wait_for_rows(disk, 1, driver)
            # On top of the disk, which as a whole is busy with the lock file.
            assert not _mount("--bind", disk, disk)
            assert not _mount("-o", "remount,bind,ro", disk)
            _, errors = driver.communicate(timeout=120)
        assert driver.returncode == 2, errors
        assert "Read-only file system" in errors.splitlines()[-1]
        assert "Traceback" not in errors
        again = subprocess.run(command, capture_output=True, text=True)
        assert again.returncode == 2
        error = again.stderr.splitlines()[-1]
        assert error == f"error: cannot write to {disk}: Read-only file system"
        kept = rows_of(disk / "journal.jsonl")
        subprocess.run(["umount", disk], check=True)
        finish("table2", *TABLE, *options, "--out", disk)
        assert rows_of(disk / "journal.jsonl") == rows_of(tmp_path / "alone" / "journal.jsonl")
        assert rows_of(disk / "journal.jsonl").items() >= kept.items()


class TestTwoDrivers:
    def test_the_second_is_refused_and_the_status_can_be_read(self, tmp_path, script):
        command = command_of("table2", *TABLE, "--runs", 40, "--out", tmp_path)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
            wait_for_rows(tmp_path, 1, one)
            second = subprocess.run(command, capture_output=True, text=True)
            assert second.returncode == 2
            assert "Traceback" not in second.stderr
            error = second.stderr.splitlines()[-1]
            assert f"journal.jsonl is being written by process {one.pid} on" in error
            code, out, _ = script("status", tmp_path)
            assert code == 0
            assert f"running: process {one.pid}" in out
            assert "of 120 done" in out
            assert "worker 0: digits, small_cnn, " in out
            one.send_signal(signal.SIGKILL)
        code, out, _ = script("status", tmp_path)
        assert "the same command goes on" in out

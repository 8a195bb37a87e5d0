"""What a card does in a few minutes: one task costs no other, and a command goes on."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import ROOT, command_of, wait_for_rows
from gpu_tasks import task

from benchmark import gpu, gpu_kernels, gpu_limits, gpu_rows, gpu_training
from benchmark.gpu_rows import Row, Rows

PARTS = list(gpu.SHARES)
WITHOUT_TENSORFLOW = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_datasets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def rows(tmp_path):
    return Rows(tmp_path / "gpu.jsonl", "tiny")


class TestLimits:
    @pytest.mark.slow
    def test_a_task_that_hangs_dies_or_fails_costs_no_other(self, rows):
        # The first row of each is on the disk before its end.
        limits = {"hangs": 25}
        endings = ("hangs", "dies", "is_full", "has_no_time", "well")
        tasks = [task("kernels", ending, limits.get(ending, 90)) for ending in endings]
        gpu_limits.run(tasks, rows, 1000, {"kernels": 1.0})
        found = {key[1:]: row for key, (row, _) in rows.last().items()}
        assert all((ending, "first") in found for ending in endings)
        assert [ending for ending in endings if (ending, "second") in found] == ["well"]
        ends = {ending: found[ending, ""] for ending in endings}
        assert {ending: row.status for ending, row in ends.items()} == {
            "hangs": "timeout",
            "dies": "crashed",
            "is_full": "out_of_memory",
            "has_no_time": "timeout",
            "well": "done",
        }
        assert ends["hangs"].seconds == pytest.approx(25, abs=5)
        assert "signal 11" in ends["dies"].message
        assert "no room for a batch" in ends["is_full"].message
        # The same command goes on: with what was not measured, in tasks that were not done.
        before = len(list(rows.read()))
        gpu_limits.run([tasks[2], tasks[4]], rows, 1000, {"kernels": 1.0})
        new = [row for row, _ in rows.read()][before:]
        assert [(row.case, row.name, row.status) for row in new] == [
            ("is_full", "", "out_of_memory")
        ]

    @pytest.mark.slow
    def test_a_task_ends_with_its_command(self, rows):
        """It would measure beside the next command, and write to the same file."""
        code = (
            "import pathlib, sys\n"
            "from gpu_tasks import task\n"
            "from benchmark import gpu_limits, gpu_rows\n"
            "if __name__ == '__main__':\n"
            "    rows = gpu_rows.Rows(pathlib.Path(sys.argv[1]), 'tiny')\n"
            "    gpu_limits.run_one(task('kernels', 'hangs'), rows, 300)\n"
        )
        script = rows.path.with_name("command.py")
        script.write_text(code)
        path = os.pathsep.join([str(ROOT / "reproduce"), str(ROOT / "tests"), str(ROOT)])
        command = [sys.executable, str(script), str(rows.path)]
        with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}) as run:
            wait_for_rows(rows.path.parent, 1, run)
            children = psutil.Process(run.pid).children(recursive=True)
            assert children
            run.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive

    @pytest.fixture
    def clock(self, monkeypatch):
        """A clock that runs when tasks do; returns what was begun, with its limit."""
        now, begun, taken = [0.0], [], {}

        def run_one(task, rows, seconds, say):
            if seconds < gpu_limits.LEAST:
                return False
            begun.append((task.name, round(seconds)))
            now[0] += min(taken.get(task.name, 5.0), seconds)
            return True

        monkeypatch.setattr(gpu_limits.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(gpu_limits, "run_one", run_one)
        return begun, taken

    def test_parts_share_the_time_and_leave_what_they_do_not_need(self, rows, clock):
        begun, taken = clock
        taken |= {"b": 80.0, "c": 80.0}
        tasks = [
            gpu_limits.Task(part, name, None, 1000)
            for part, name in (("kernels", "a"), ("step", "b"), ("step", "c"), ("memory", "d"))
        ]
        gpu_limits.run(tasks, rows, 200, {"kernels": 1.0, "step": 2.0, "memory": 1.0})
        # A quarter of 200, then two thirds of 195; 75 seconds are left for the last part.
        assert begun == [("a", 50), ("b", 130), ("c", 50), ("d", 65)]

    def test_what_was_never_tried_comes_first(self, rows, clock):
        begun, _ = clock
        rows.append(gpu_rows.failure("kernels", "a", "timeout", "slow", 9.0))
        rows.append(Row(part="step", case="b", status="done"))
        # The same name in another part is another task.
        tasks = [
            gpu_limits.Task(part, name, None, 60)
            for part, name in (("kernels", "a"), ("step", "b"), ("memory", "b"))
        ]
        gpu_limits.run(tasks, rows, 200, dict.fromkeys(PARTS, 1.0))
        assert [name for name, _ in begun] == ["b", "a"]

    def test_a_task_without_time_comes_in_the_next_command(self, rows, clock, capsys):
        begun, taken = clock
        taken["a"] = 95.0
        tasks = [gpu_limits.Task("step", name, None, 1000) for name in "ab"]
        gpu_limits.run(tasks, rows, 100, {"step": 1.0})
        assert begun == [("a", 100)]
        assert "step, b: no time is left; the same command goes on" in capsys.readouterr().out


class TestRows:
    def test_a_measurement_outlives_a_later_failure(self, rows):
        rows.append(Row(part="memory", case="a", name="batch of 8", seconds=1.0))
        rows.append(Row(part="memory", case="a", name="batch of 8", status="out_of_memory"))
        rows.append(gpu_rows.failure("memory", "a", "crashed", "twice", 1.0))
        rows.append(Row(part="memory", case="a", status="done"))
        found = rows.last()
        assert {key[2]: row.status for key, (row, _) in found.items()} == {
            "batch of 8": "ok",
            "": "done",
        }

    def test_rows_of_another_card_or_size_are_not_ours(self, rows, monkeypatch):
        row = Row(part="step", case="a", name="NGL")
        rows.append(row, {"python": "3"})
        monkeypatch.setattr(gpu_rows, "machine", lambda: {"machine": "other", "driver": "1"})
        assert list(Rows(rows.path, "tiny").read()) == []
        monkeypatch.undo()
        assert list(Rows(rows.path, "full").read()) == []
        ((found, record),) = Rows(rows.path, "tiny").read()
        assert found == row
        assert record["environment"] == {"python": "3"}
        assert {"machine", "driver", "backend", "sizes", "finished"} <= set(record)


class TestKernels:
    @pytest.mark.parametrize("name", gpu_kernels.EXACT)
    def test_the_exact_gradient_is_that_of_the_exact_value(self, name):
        random = np.random.default_rng(0)
        z, labels = random.normal(size=(4, 3)), random.integers(0, 3, 4)
        y = {"SparseNGL": labels, "BinaryNGL": random.integers(0, 2, z.shape)}.get(
            name, np.eye(3)[labels]
        )
        _, gradient = gpu_kernels.exact(name, y, z)
        for place in np.ndindex(z.shape):
            change = np.zeros_like(z)
            change[place] = 1e-6
            high, low = (gpu_kernels.exact(name, y, z + sign * change)[0] for sign in (1, -1))
            assert gradient[place] == pytest.approx((high - low) / 2e-6, rel=1e-4, abs=1e-9)

    def test_errors_are_against_float64(self, rows):
        context = gpu_limits.Context(frozenset({("8 x 5", "NGL")}), np.inf, rows)
        found = list(gpu_kernels.work(context, shapes=((8, 5),), rounds=2, repeats=1))
        errors = {row.name: (row.value_error, row.gradient_error) for row in found}
        assert set(gpu_kernels.EXACT) <= set(errors)
        for name in gpu_kernels.EXACT:
            assert max(errors[name]) < 3e-6
            # The kernels are polynomials in float32: no error at all would be no measurement.
            assert max(errors[name]) > 0


class TestMemory:
    @pytest.fixture
    def room(self, monkeypatch):
        """A card on which so many images fit; returns the batches that were tried."""
        tried, peaks = [], {}

        def card(most, tells):
            def train(network, precision, loss, schedule, count):
                tried.append(schedule.part_size)
                peaks["peak_gib"] = max(peaks.get("peak_gib", 0), schedule.part_size / 10)
                if schedule.part_size > most:
                    raise MemoryError("RESOURCE_EXHAUSTED: out of memory")
                return [1.0]

            monkeypatch.setattr(gpu_training, "train", train)
            told = peaks if tells else {}
            limit = {"memory_gib": most / 10} if tells else {}
            monkeypatch.setattr(gpu_training, "memory", lambda: told | limit)
            return tried

        return card

    @pytest.mark.parametrize(("tells", "at_most"), [(True, 8), (False, 12)])
    def test_finds_the_greatest_batch_and_divides_a_greater_one(self, rows, room, tells, at_most):
        tried = room(1000, tells)
        network = gpu_training.Network("small_cnn", 8, 32)
        context = gpu_limits.Context(frozenset(), np.inf, rows)
        *tries, last = gpu_training.memory_end(
            context, network=network, precision="float32", most=100_000
        )
        assert 850 < last.batch <= 1000
        assert len(tried) <= at_most
        (divided,) = [row for row in tries if row.parts > 1]
        assert divided.status == "ok"
        assert divided.batch > 1000 >= divided.batch / divided.parts
        least = min(row.batch for row in tries if row.status != "ok" or row.parts > 1)
        assert last.message == f"of {least} none fits"

    def test_stops_at_the_greatest_that_is_wanted(self, rows, room):
        tried = room(1000, False)
        network = gpu_training.Network("small_cnn", 8, 8)
        context = gpu_limits.Context(frozenset(), np.inf, rows)
        *_, last = gpu_training.memory_end(context, network=network, precision="float32", most=40)
        assert tried == [8, 16, 32]
        assert (last.batch, last.message) == (32, "none above 32 was tried")


class TestScript:
    def check(self, folder, backend):
        name = "gpu_tiny" if backend == "tensorflow" else f"gpu_{backend}_tiny"
        records = list(map(json.loads, (folder / f"{name}.jsonl").read_text().splitlines()))
        assert {record["part"] for record in records} == set(PARTS)
        assert {record["status"] for record in records} <= {"ok", "done"}, records
        for record in records:
            assert record["backend"] == backend
            assert {backend, "keras", "python", "cpu", "gpus"} <= set(record["environment"])
        table = pd.read_csv(folder / f"{name}.csv")
        measured = dict(list(table.groupby("part")))
        assert (measured["step"]["images_per_second"] > 0).all()
        assert set(measured["step"]["name"]) == {"NGL", "CE"}
        ways = set(measured["candidates"]["name"])
        expected = {"one by one"}
        if backend == "jax":
            expected |= {"one program", "together, 2", "together, 4"}
        assert ways == expected
        assert (measured["column"]["epochs"] == 2).all()
        # The rows of table 2, with all their epochs.
        lines = (folder / f"{name}_table2.jsonl").read_text().splitlines()
        assert [len(json.loads(line)["history"]) for line in lines] == [2, 2]
        assert (folder / f"{name}.png").stat().st_size > 10_000
        return len(records)

    @pytest.mark.slow
    def test_in_tiny(self, script, tmp_path):
        backend = keras.backend.backend()
        arguments = ["benchmark", "gpu", "--tiny", "--minutes", 60, "--out", tmp_path]
        code, out, err = script(*arguments)
        assert code == 0, err
        assert "images/s" in out
        count = self.check(tmp_path, backend)
        assert script(*arguments)[0] == 0
        assert self.check(tmp_path, backend) == count
        # Under another driver, what was trained on the same card is shown too.
        (rows,) = (path for path in tmp_path.glob("*.jsonl") if "table2" not in path.name)
        lines = [json.loads(line) for line in rows.read_text().splitlines()]
        moved = [line | {"driver": "old"} if line["part"] == "column" else line for line in lines]
        rows.write_text("".join(f"{json.dumps(line)}\n" for line in moved))
        assert script(*arguments)[0] == 0
        assert self.check(tmp_path, backend) > count

    def test_the_end_of_a_task_alone_is_no_measurement(self, tmp_path, capsys):
        file = tmp_path / "gpu.csv"
        file.write_text("before")
        done = gpu_rows.Row(part="column", case="all", status=gpu_rows.DONE)
        gpu.report([(done, {})], "title", tmp_path / "gpu", None)
        assert capsys.readouterr().out == "nothing was measured\n"
        assert file.read_text() == "before"

    @pytest.mark.slow
    @pytest.mark.parametrize("backend", ["jax", "torch"])
    def test_in_tiny_without_tensorflow(self, tmp_path, backend):
        if find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")
        # Python reads it in every process, the tasks' too.
        (tmp_path / "sitecustomize.py").write_text(WITHOUT_TENSORFLOW)
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": path, "KERAS_BACKEND": backend}
        out = tmp_path / "out"
        command = command_of("benchmark", "gpu", "--tiny", "--minutes", 60, "--out", out)
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        self.check(out, backend)

    def test_unknown_data(self, mistake):
        error = mistake("benchmark", "gpu", "--tiny", "--data", "faces")
        assert "unknown data set 'faces'" in error

    def test_unknown_part(self, mistake):
        error = mistake("benchmark", "gpu", "--tiny", "--parts", "kernels", "losses")
        assert "unknown part 'losses'" in error
        assert "kernels, step, candidates, memory, column" in error

    def test_some_parts(self, tmp_path, monkeypatch):
        run = []
        monkeypatch.setattr(gpu_limits, "run", lambda tasks, *rest: run.extend(tasks))
        gpu.measure(None, path=tmp_path / "gpu", minutes=1, tiny=True, parts=["memory", "kernels"])
        assert [task.part for task in run] == ["kernels", "memory"]

"""Tasks in, outcomes out: the same in this process, in worker processes and on a Ray cluster."""

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import groupby
from pathlib import Path

import keras
import pytest
from conftest import ROOT
from laboratory import Work

from nglkeras import UserError, executors
from nglkeras.executors import Failure, Local, Processes, gpus, pool, processes
from nglkeras.executors.gpus import visible_gpus

SQUARES = [("square", x) for x in range(20)]


class Unreadable:
    """What the driver can send and no worker can read."""

    def __reduce__(self):
        return _not_here, ()


def _not_here():
    raise ImportError("not here")


def ray_or_skip():
    pytest.importorskip("ray", reason="the ray extra is not installed")


@pytest.fixture(scope="module", params=["processes", "ray"])
def workers(request):
    """Two workers, kept for all tests of a kind."""
    if request.param == "ray":
        ray_or_skip()
    with executors.make(request.param, workers=2) as executor:
        yield executor


def results(executor, tasks, **settings):
    return {o.index: o.result for o in executor.run(Work(), tasks, **settings)}


class TestLocal:
    def test_one_after_the_other(self):
        outcomes = list(Local().run(Work(), SQUARES))
        assert [outcome.result for outcome in outcomes] == [x * x for x in range(20)]
        assert [outcome.index for outcome in outcomes] == list(range(20))
        assert {outcome.attempts for outcome in outcomes} == {1}

    def test_next_task_begins_when_it_is_asked_for(self):
        work = Work()
        outcomes = Local().run(work, SQUARES)
        assert work.built is None
        next(outcomes)
        assert work.built is not None

    def test_progress_and_what_is_running(self):
        local, seen = Local(), []

        def look(task, epoch, row):
            seen.append((task, epoch, local.running[0].progress[0]))

        task = ("epochs", 2, 0.0)
        list(local.run(Work(), [task], on_progress=look))
        assert seen == [(task, 1, 1), (task, 2, 2)]
        assert local.running == []

    def test_reports_go_elsewhere_for_a_while(self):
        local, lines = Local(), []
        local.report = lines.append
        with local.reporting_to(None):
            local.report("unheard")
        with local.reporting_to(lambda line: lines.append(line.upper())):
            local.report("heard")
        local.report("again")
        assert lines == ["HEARD", "again"]

    def test_errors_go_through(self):
        with pytest.raises(ZeroDivisionError, match="why"):
            list(Local().run(Work(), [("fail", ZeroDivisionError, "why")]))


class TestWorkers:
    def test_every_task_once_with_the_result_of_this_process(self, workers):
        assert results(workers, SQUARES) == results(Local(), SQUARES)

    def test_keras_settings_are_those_of_this_process(self, workers):
        usual = results(workers, [("keras_settings",)])
        keras.config.set_dtype_policy("mixed_bfloat16")
        keras.config.set_epsilon(1e-5)
        try:
            here, there = (
                results(executor, [("keras_settings",)]) for executor in (Local(), workers)
            )
        finally:
            keras.config.set_dtype_policy("float32")
            keras.config.set_epsilon(1e-7)
        assert here == there == {0: ("mixed_bfloat16", 1e-5)}
        assert usual == results(workers, [("keras_settings",)]) == {0: ("float32", 1e-7)}

    def test_no_tasks(self, workers):
        assert list(workers.run(Work(), [])) == []

    def test_they_work_elsewhere_at_the_same_time_and_keep_what_they_have_built(self, workers):
        work = Work()
        first = {o.result for o in workers.run(work, [("builder", 0.5)] * 6)}
        again = {o.result for o in workers.run(work, [("builder", 0.5)] * 6)}
        assert len(first) == 2
        assert again == first
        assert os.getpid() not in {pid for pid, thread in first}

    def test_tasks_with_something_in_common_go_to_one_worker(self, workers):
        work = Work()
        tasks = [("builder", 0.1 * (1 + name)) for _ in range(4) for name in range(2)]
        outcomes = list(workers.run(work, tasks, affinity=lambda task: task[1]))
        # Whoever is done with a kind helps out, and has no more of the kind to come back to.
        for worker in {o.result for o in outcomes}:
            kinds = [o.task[1] for o in outcomes if o.result == worker]
            assert len(list(groupby(kinds))) == len(set(kinds))

    def test_another_method_and_a_function(self, workers):
        (outcome,) = workers.run(Work(), [5], method="other")
        assert outcome.result == ("other", 5)
        offset = 3
        found = {o.result for o in workers.run(lambda x: x + offset, [1, 2])}
        assert found == {4, 5}

    def test_progress_arrives(self, workers):
        seen = []
        task = ("epochs", 8, 0.6)
        for outcome in workers.run(Work(), [task], on_progress=lambda *args: seen.append(args)):
            assert outcome.result == 8
        assert seen
        assert all(task == seen_task for seen_task, _, _ in seen)
        assert all(row == {"loss": 1 / epoch} for _, epoch, row in seen)

    def test_mistakes_of_the_user_end_the_run_as_such(self, workers):
        with pytest.raises(UserError, match="no such file"):
            list(workers.run(Work(), [*SQUARES, ("fail", UserError, "no such file")]))
        assert results(workers, SQUARES) == results(Local(), SQUARES)

    @pytest.mark.parametrize(
        ("task", "message"),
        [
            (("fail", ZeroDivisionError, "why"), "ZeroDivisionError: why"),
            (("unpicklable",), "lock"),
        ],
    )
    def test_other_errors_end_it_with_their_traceback(self, workers, task, message):
        with pytest.raises(RuntimeError, match=message) as caught:
            list(workers.run(Work(), [task]))
        if "why" in message:
            assert "laboratory.py" in str(caught.value)

    def test_what_cannot_be_sent(self, workers):
        work = Work()
        work.built = threading.Lock()
        with pytest.raises(UserError, match="cannot be sent to workers"):
            list(workers.run(work, SQUARES))

    @pytest.mark.slow
    def test_after_what_a_worker_cannot_read_nothing_is_mixed_up(self, workers):
        with pytest.raises(RuntimeError, match="not here"):
            list(workers.run(Unreadable(), SQUARES[:1], method="square"))
        with pytest.raises(RuntimeError, match="not here"):
            list(workers.run(Unreadable(), SQUARES[:1], method="square"))
        assert results(workers, SQUARES) == results(Local(), SQUARES)

    def test_a_killed_worker_s_task_begins_again(self, workers, tmp_path):
        lines = []
        workers.report = lines.append
        tasks = [*SQUARES, ("die", 2, tmp_path)]
        outcomes = {o.task: o for o in workers.run(Work(), tasks)}
        assert outcomes["die", 2, tmp_path].result == 2
        assert outcomes["die", 2, tmp_path].attempts == 3
        assert [outcomes[task].result for task in SQUARES] == [x * x for x in range(20)]
        assert len(lines) == 2
        assert "attempt 3 of 4" in lines[1]

    @pytest.mark.slow
    def test_one_that_always_dies_is_given_up_and_the_others_are_not(self, workers, tmp_path):
        workers.report = lambda line: None
        tasks = [("die", 99, tmp_path), *SQUARES]
        outcomes = {o.task: o for o in workers.run(Work(), tasks)}
        failure = outcomes["die", 99, tmp_path].failure
        assert failure.status == "crashed"
        assert "its worker was lost 4 times" in failure.message
        assert len(list(tmp_path.iterdir())) == executors.ATTEMPTS
        assert len(outcomes) == 21

    @pytest.mark.slow
    def test_one_that_hangs_is_ended(self, workers, monkeypatch):
        monkeypatch.setattr(pool, "GRACE_PERIOD", 0.5)
        monkeypatch.setattr(workers, "timeout", 1.0)
        tasks = [("builder", 600.0), *SQUARES]
        outcomes = {o.index: o for o in workers.run(Work(), tasks)}
        assert outcomes[0].failure == Failure(
            "timeout", "it did not end within 1 s and 0.5 s of grace"
        )
        assert len(outcomes) == 21

    def test_what_was_left_early_leaves_nothing_behind(self, workers):
        run = workers.run(Work(), [("square", 1), ("builder", 600.0), ("builder", 600.0)])
        next(run)
        run.close()
        assert workers.running == []
        assert results(workers, SQUARES) == results(Local(), SQUARES)

    def test_one_run_at_a_time(self, workers):
        first = workers.run(Work(), SQUARES)
        next(first)
        with pytest.raises(RuntimeError, match="at a time"):
            next(workers.run(Work(), SQUARES))
        assert len(list(first)) == 19

    @pytest.mark.slow
    def test_they_are_replaced_after_so_many_tasks(self, workers, monkeypatch):
        monkeypatch.setattr(workers, "tasks_per_worker", 2)
        outcomes = list(workers.run(Work(), [("builder",)] * 7))
        counts = {}
        for outcome in outcomes:
            counts[outcome.result] = counts.get(outcome.result, 0) + 1
        assert len(outcomes) == 7
        assert max(counts.values()) <= 2


class TestProcesses:
    def test_each_sees_its_own_gpus(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc")
        with Processes() as executor:
            assert executor.workers == 2
            found = {o.result for o in executor.run(Work(), [("gpus", 1.0)] * 4)}
        assert found == {"4", "GPU-abc"}

    @pytest.mark.parametrize(
        ("share", "there", "room", "of_each"),
        [
            (1, 2, 2, [["0"], ["1"]]),
            (2, 4, 2, [["0", "1"], ["2", "3"]]),
            (0.5, 2, 4, [["0"], ["0"], ["1"], ["1"]]),
            (0.3, 1, 3, [["0"], ["0"], ["0"]]),
            (0, 2, None, [[], []]),
        ],
    )
    def test_shares(self, share, there, room, of_each):
        names = [str(number) for number in range(there)]
        assert gpus.capacity(share, there) == room
        found = [gpus.gpus_of_worker(i, share, names) for i in range(len(of_each))]
        assert found == of_each

    def test_more_workers_than_gpus(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        with pytest.raises(UserError, match=r"5 workers with 0.5 GPUs each are wanted.* 2 GPUs"):
            Processes(5, gpus_per_worker=0.5)
        for share in (1.5, -1, float("inf"), float("nan"), "1"):
            with pytest.raises(UserError, match=f"{share!r} GPUs per worker"):
                Processes(gpus_per_worker=share)
        with pytest.raises(UserError, match="a worker takes 4 GPUs, and there are 2"):
            Processes(gpus_per_worker=4)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        with pytest.raises(UserError, match="a worker takes 1 GPUs, and there are 0"):
            Processes(gpus_per_worker=1)

    @pytest.mark.parametrize("name", ["workers", "tasks_per_worker", "attempts"])
    @pytest.mark.parametrize("value", [0, -1, 2.0, "2"])
    def test_no_whole_number(self, name, value):
        with pytest.raises(UserError, match=f"{name}={value!r} is not a whole number of at least"):
            Processes(**{"workers": 2, name: value})

    @pytest.mark.parametrize("seconds", [0, -1, "soon", float("nan")])
    def test_no_limit_of_time(self, seconds):
        with pytest.raises(UserError, match=f"timeout={seconds!r} is not a positive number"):
            Processes(2, timeout=seconds)

    @pytest.mark.slow
    def test_one_that_cannot_start_does_not_end_the_others(self, monkeypatch, tmp_path):
        program = (
            "import os, pathlib\n"
            f"first = pathlib.Path({str(tmp_path)!r}, 'first')\n"
            "try:\n"
            "    first.touch(exist_ok=False)\n"
            "except FileExistsError:\n"
            "    raise SystemExit(3)\n"
            "from nglkeras.executors.worker import main; main()\n"
        )
        monkeypatch.setattr(processes, "PROGRAM", program)
        with Processes(2) as executor:
            assert results(executor, SQUARES) == results(Local(), SQUARES)

    def test_workers_that_cannot_start(self, monkeypatch):
        monkeypatch.setattr(processes, "PROGRAM", "raise SystemExit(3)")
        with (
            Processes(1) as executor,
            pytest.raises(UserError, match=r"end before they can work \(exit code 3\)"),
        ):
            list(executor.run(Work(), SQUARES))

    @pytest.mark.slow
    def test_they_end_with_their_driver_however_it_dies(self, tmp_path):
        program = (
            "import sys; sys.path.insert(0, 'tests')\n"
            "from laboratory import Work\n"
            "from nglkeras.executors import Processes\n"
            "with Processes(1) as executor:\n"
            "    for o in executor.run(Work(), [('builder',), ('builder', 600.0)]):\n"
            "        print(o.result[0], flush=True)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as driver:
            worker = int(driver.stdout.readline())
            driver.send_signal(signal.SIGKILL)
        for _ in range(100):
            if not _runs(worker):
                return
            time.sleep(0.1)
        pytest.fail("the worker outlives its driver")


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


class TestVisibleGPUs:
    @pytest.mark.parametrize(
        ("named", "gpus"),
        [("0,1", ["0", "1"]), ("", []), ("-1", []), ("2,-1,3", ["2"]), ("GPU-a, GPU-b", None)],
    )
    def test_as_the_environment_names_them(self, monkeypatch, named, gpus):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert visible_gpus() == (["GPU-a", "GPU-b"] if gpus is None else gpus)

    def test_as_the_driver_lists_them(self, monkeypatch, tmp_path):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert visible_gpus() == []
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: A (UUID: y)'\n")
        program.chmod(0o755)
        assert visible_gpus() == ["0", "1"]


@pytest.mark.parametrize("given", [None, "false"])
def test_a_driver_leaves_the_memory_of_gpus_to_its_workers(monkeypatch, given):
    """JAX would take three quarters of each once a network is built in it, TensorFlow all."""
    variable = gpus.PREALLOCATE
    monkeypatch.setattr(gpus, "_of_driver", set())
    for name in ("TF_FORCE_GPU_ALLOW_GROWTH", variable):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if given:
        monkeypatch.setenv(variable, given)
    of_worker = Processes(1)._environment(0)
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert os.environ[variable] == "false"
    assert of_worker[variable] == (given or "true")


class TestMake:
    @pytest.mark.parametrize(
        ("name", "settings", "message"),
        [
            ("slurm", {}, "unknown executor 'slurm'; choose from: local, processes, ray"),
            ("local", {"workers": 2}, "--workers is not for executor local"),
            ("local", {"gpus_per_worker": 1}, "--gpus-per-worker is not for executor local"),
            ("processes", {"address": "auto"}, "--ray-address is not for executor processes"),
        ],
    )
    def test_what_does_not_go_together(self, name, settings, message):
        with pytest.raises(UserError, match=message):
            executors.make(name, **settings)

    def test_a_cluster_that_is_not_there(self, monkeypatch):
        ray_or_skip()
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(UserError, match=r"no Ray cluster answers at 127.0.0.1:1 "):
            executors.make("ray", address="127.0.0.1:1")

    def test_without_ray_its_executor_says_what_to_install(self, monkeypatch):
        from nglkeras.executors import cluster

        monkeypatch.setattr(cluster, "ray", None)
        with pytest.raises(UserError, match=r"ray is not installed: pip install 'nglkeras\[ray\]'"):
            executors.make("ray")


class TestSearches:
    """A search is the same wherever its candidates are trained."""

    @pytest.mark.slow
    def test_of_trials(self, tmp_path):
        from dataclasses import replace

        from nglkeras import Journal
        from nglkeras.experiments.discovery.experiments import ExperimentFitness
        from nglkeras.experiments.discovery.protocol import SCALES
        from nglkeras.search import GeneticProgramming, search

        scale = replace(
            SCALES["demo"], model="head", epochs=1, train_images=64, evaluation_images=32
        )
        found = {}
        for name in ("local", "processes"):
            settings = {} if name == "local" else {"workers": 2}
            with executors.make(name, **settings) as executor:
                journal = Journal(tmp_path / name / "trials.jsonl")
                fitness = ExperimentFitness(2, scale, journal, executor=executor)
                strategy = GeneticProgramming(0, population_size=4, generations=1)
                search(strategy, fitness, out=tmp_path / name, quiet=True)
                (compared,) = (fitness.compare({"CE": None}, 2)["digits"],)
                found[name] = _fitnesses(tmp_path / name), compared[0].accuracies
        assert found["local"] == found["processes"]
        assert len(found["local"][0]) >= 8
        assert len(found["local"][1]) == 2

    @pytest.mark.slow
    def test_of_one_s_own(self, tmp_path):
        import keras
        import numpy as np

        from nglkeras.search import GeneticProgramming, TrainingFitness, search

        x = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
        y = (x[:, 0] > 0).astype(int)

        def model_fn():
            return keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, "softmax")])

        found = {}
        for name in ("local", "processes"):
            fitness = TrainingFitness(model_fn, (x, y), (x, y), epochs=2)
            with executors.make(name, **({} if name == "local" else {"workers": 2})) as executor:
                strategy = GeneticProgramming(0, population_size=4, generations=1)
                search(strategy, fitness, out=tmp_path / name, executor=executor, quiet=True)
            found[name] = _fitnesses(tmp_path / name)
        assert found["local"] == found["processes"]

    def test_of_trials_take_their_own_executor_only(self, tmp_path):
        from nglkeras import Journal
        from nglkeras.experiments.discovery.experiments import ExperimentFitness
        from nglkeras.experiments.discovery.protocol import SCALES
        from nglkeras.search import GeneticProgramming, search

        fitness = ExperimentFitness(1, SCALES["demo"], Journal(tmp_path / "trials.jsonl"))
        with pytest.raises(UserError, match="an executor of its own"):
            search(GeneticProgramming(0), fitness, out=tmp_path, executor=Local())


def _fitnesses(folder):
    import json

    lines = (folder / "search.jsonl").read_text().splitlines()[1:]
    rows = [json.loads(line) for line in lines]
    return {row["id"]: (row["status"], row["fitness"], row["twin"]) for row in rows}

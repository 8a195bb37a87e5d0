"""The benchmarks run to their end in small, and count what they say they count."""

import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import needs_tensorflow

from nglkeras.benchmarks.measure import compared, interleaved

pytestmark = needs_tensorflow


class TestMeasure:
    def test_calls_take_turns(self):
        turns = []
        calls = {name: lambda name=name: turns.append(name) for name in "ab"}
        seconds = interleaved(calls, rounds=2, repeats=3)
        # Once each beforehand, so that nobody's first call counts.
        assert "".join(turns) == "ab" + 2 * "aaabbb"
        assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}

    def test_seconds_are_of_one_call(self):
        calls = {"sleeper": lambda: time.sleep(0.02)}
        assert interleaved(calls, rounds=3, repeats=2)["sleeper"] == pytest.approx(0.02, rel=0.5)

    def test_ratios_are_of_each_round(self):
        # A machine that is twice as slow in one round changes no ratio.
        seconds = {"ours": np.array([1.0, 2.0, 1.0]), "theirs": np.array([2.0, 4.0, 2.0])}
        ours, theirs = compared("case", seconds, "theirs", error={"ours": 1e-7})
        assert (ours.ratio, ours.ratio_q1, ours.ratio_q3) == (0.5, 0.5, 0.5)
        assert (ours.error, theirs.error, theirs.ratio, ours.rounds) == (1e-7, None, 1.0, 3)


class TestScript:
    def check(self, out, name, cases):
        table = pd.read_csv(out / f"{name}.csv")
        assert set(cases) <= set(table["case"])
        assert (table["ratio"] > 0).all()
        assert {"date", "cpu", "cores", "tensorflow", "keras", "python"} <= set(table)
        assert (out / f"{name}.png").stat().st_size > 10_000
        return table

    @pytest.mark.slow
    def test_loss(self, script, tmp_path, monkeypatch):
        from nglkeras.benchmarks import loss, segmentation

        # Each has its memory measured in a process of its own.
        dense, sparse = ("NGL", loss.DENSE), ("SparseNGL", loss.SPARSE)
        monkeypatch.setattr(loss, "LOSSES", {name: loss.LOSSES[name] for name in dense})
        monkeypatch.setattr(
            loss, "SPARSE_LOSSES", {name: loss.SPARSE_LOSSES[name] for name in sparse}
        )
        monkeypatch.setattr(loss, "SHAPES", ((16, 5),))
        monkeypatch.setattr(loss, "MEMORY_SHAPES", {(16, 5): (20_000, 100)})
        monkeypatch.setattr(segmentation, "SIZE", 16)
        code, out, _ = script("benchmark", "loss", "--rounds", 2, "--out", tmp_path)
        assert code == 0
        assert "SparseNGL" in out
        cases = ["16 x 5", "16 x 5, class indices", "step of a U-Net, 4 x 16 x 16 x 21"]
        table = self.check(tmp_path, "loss", cases).set_index(["case", "name"])
        assert table.loc[("16 x 5", "NGL"), "error"] < 1.5e-6
        # At the least the gradient itself.
        assert (table["memory"].dropna() > 0.9 * 20_000 * 100 * 4).all()

    def test_the_authors_way_is_ngl(self):
        from nglkeras.benchmarks.loss import AuthorsNGL, batch
        from nglkeras.losses import NGL

        y, z = batch((8, 5), sparse=False)
        assert float(AuthorsNGL()(y, z)) == pytest.approx(float(NGL(from_logits=True)(y, z)))

    @pytest.mark.slow
    def test_search(self, script, tmp_path, monkeypatch):
        from nglkeras.benchmarks import search

        small = search.Setting("head", 8, 8, 4, 16)
        monkeypatch.setitem(search.SETTINGS, "small_cnn", small)
        arguments = ["--models", "small_cnn", "--rounds", 1, "--out", tmp_path]
        code, _, _ = script("benchmark", "search", *arguments)
        assert code == 0
        table = self.check(tmp_path, "search", ["head, 8 x 8, batch 8: a candidate of 4 steps"])
        assert {"bare steps", "on the workbench"} <= set(table["name"])

    @pytest.mark.slow
    def test_trial(self, script, tmp_path, monkeypatch):
        from nglkeras.benchmarks import table

        monkeypatch.setattr(table, "LOSSES", ("CE", "NGL"))
        monkeypatch.setattr(table, "MODELS", ("head",))
        code, _, _ = script("benchmark", "trial", "--rounds", 1, "--out", tmp_path)
        assert code == 0
        self.check(tmp_path, "trial", ["table 2 on digits, 2 losses x 1 models, a run"])

    def test_gp(self, script, tmp_path):
        pytest.importorskip("deap", reason="DEAP is only needed for its benchmark")
        code, _, _ = script("benchmark", "gp", "--rounds", 2, "--out", tmp_path)
        assert code == 0
        table = self.check(tmp_path, "gp", ["crossover of a tree"])
        assert set(table["name"]) == {"nglkeras", "gplearn", "DEAP"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["speed"], "unknown benchmark 'speed'; choose from: loss, search, trial, gp"),
            (["search", "--models", "VGG"], "unknown model 'VGG'; choose from: small_cnn"),
            (["loss", "--rounds", "0"], "0 is not a positive number"),
        ],
    )
    def test_bad_input(self, script, arguments, message, tmp_path):
        code, _, err = script("benchmark", *arguments, "--out", tmp_path)
        assert code == 2
        assert message in err.strip().splitlines()[-1]


class TestScaling:
    @pytest.mark.slow
    def test_the_script_measures_and_draws(self, script, tmp_path, monkeypatch):
        from nglkeras.benchmarks import scaling

        monkeypatch.setattr(scaling, "TRIVIAL", 60)
        monkeypatch.setattr(scaling, "EPOCHS", 1)
        monkeypatch.setattr(scaling, "_driver", partial(_but_for_ray, scaling._driver))
        code, out, _ = script("benchmark", "scaling", "--rounds", 2, "--out", tmp_path)
        assert code == 0
        assert "trials_an_hour" in out
        found = pd.read_csv(tmp_path / "scaling.csv")
        assert set(found["what"]) == {"driver", "throughput", "simulated"}
        assert (found["trials_an_hour"] > 0).all()
        assert (tmp_path / "scaling.png").stat().st_size > 10_000

    def test_the_simulation_keeps_to_the_arithmetic(self):
        from nglkeras.benchmarks.scaling import Row, simulated

        driver = Row("driver", "processes", 1, 0.0, 1, 1.0, 1.0, driver_seconds=0.01)
        few = simulated(10, 10.0, driver)
        assert few.trials_an_hour == pytest.approx(3600 * 10 / 10.01, rel=0.02)
        # A hundred a second are all that this driver can hand out.
        many = simulated(1_000, 1.0, driver)
        assert many.trials_an_hour == pytest.approx(3600 * 100, rel=0.02)


def _but_for_ray(measure, name):
    return measure(name) if name == "processes" else ()

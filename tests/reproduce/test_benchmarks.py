"""The benchmarks run to their end in small, and count what they say they count."""

import os
import time
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import needs_tensorflow

from benchmark.measure import compared, in_new_process, interleaved, timed
from nglkeras import UserError
from nglkeras.search import Result

pytestmark = needs_tensorflow


class TestMeasure:
    def test_contestants_take_turns(self):
        turns = []
        contestants = {name: timed(lambda name=name: turns.append(name), 3) for name in "ab"}
        seconds = interleaved(contestants, rounds=2)
        # With a round beforehand, so that no first call counts.
        assert "".join(turns) == 3 * "aaabbb"
        assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}

    def test_the_first_round_can_count(self):
        numbers = []
        seconds = interleaved({"a": lambda i: numbers.append(i) or i}, rounds=3, warm_up=False)
        assert numbers == [0, 1, 2] == seconds["a"].tolist()

    def test_seconds_are_of_one_call(self):
        contestants = {"sleeper": timed(lambda: time.sleep(0.02), 2)}
        # A machine with other work may be late in some rounds.
        seconds = interleaved(contestants, rounds=5)["sleeper"].min()
        assert seconds == pytest.approx(0.02, rel=0.5)

    def test_a_new_process_is_another_one(self):
        assert in_new_process(os.getpid) != os.getpid()
        with pytest.raises(ZeroDivisionError):
            in_new_process(divmod, 1, 0)

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
        from benchmark import loss, unet

        # Each has its memory measured in a process of its own.
        dense, sparse = ("NGL", loss.DENSE), ("SparseNGL", loss.SPARSE)
        monkeypatch.setattr(loss, "LOSSES", {name: loss.LOSSES[name] for name in dense})
        monkeypatch.setattr(
            loss, "SPARSE_LOSSES", {name: loss.SPARSE_LOSSES[name] for name in sparse}
        )
        monkeypatch.setattr(loss, "SHAPES", ((16, 5),))
        monkeypatch.setattr(loss, "BINARY_SHAPES", ((16, 1),))
        monkeypatch.setattr(loss, "MEMORY_SHAPES", {(16, 5): (20_000, 100)})
        monkeypatch.setattr(unet, "SIZE", 16)
        code, out, _ = script("benchmark", "loss", "--rounds", 2, "--out", tmp_path)
        assert code == 0
        assert "SparseNGL" in out
        cases = ["16 x 5", "16 x 5, class indices", "16 x 1, sigmoids"]
        cases += ["step of a U-Net, 4 x 16 x 16 x 21"]
        table = self.check(tmp_path, "loss", cases).set_index(["case", "name"])
        assert table.loc[("16 x 5", "NGL"), "error"] < 1.5e-6
        # At the least the gradient itself.
        assert (table["memory"].dropna() > 0.9 * 20_000 * 100 * 4).all()

    def test_the_authors_way_is_ngl(self):
        from benchmark.loss import DENSE, AuthorsNGL, batch
        from nglkeras.losses import NGL

        y, z = batch((8, 5), DENSE)
        assert float(AuthorsNGL()(y, z)) == pytest.approx(float(NGL(from_logits=True)(y, z)))

    @pytest.mark.slow
    def test_racing(self, script, tmp_path, monkeypatch):
        from benchmark import racing

        sizes = {"images": 800, "held": 100, "population": 3, "new_runs": 1}
        setting = racing.Setting(("digits",), epochs=2, generations=6, neighbours=1, **sizes)
        monkeypatch.setattr(racing, "SETTING", setting)
        monkeypatch.setattr(racing, "MOST", 1)
        arguments = ["benchmark", "racing", "--rounds", 1, "--out", tmp_path]
        code, out, _ = script(*arguments)
        assert code == 0
        assert "winner on new runs" in out
        ((_, row),) = pd.read_csv(tmp_path / "racing.csv").iterrows()
        assert (row["dataset"], row["seed"], row["new_runs"]) == ("digits", 0, 1)
        folder = tmp_path / "racing_searches" / "digits" / "0"
        plain, raced = (Result.load(folder / way) for way in ("plain", "raced"))
        assert not plain.ending + raced.ending
        assert row["plain_epochs"] == plain.generations[-1].trained * 2 * 2
        assert (row["raced_epochs"], row["raced_whole"]) == raced.epochs
        assert row["raced_stopped"] == raced.generations[-1].stopped
        assert row["plain_best"] == max(plain.generations[-1].best)
        assert (tmp_path / "racing.png").stat().st_size > 10_000
        # What is measured is not measured again, but by another setting.
        monkeypatch.setattr(racing, "_Task", pytest.fail)
        assert script(*arguments)[0] == 0
        assert pd.read_csv(tmp_path / "racing.csv")["plain_best"].tolist() == [row["plain_best"]]
        other = replace(setting, epochs=3)
        assert racing._read(tmp_path / "racing.csv", other) == []

    @pytest.mark.slow
    def test_trial(self, script, tmp_path, monkeypatch):
        from benchmark import trial

        monkeypatch.setattr(trial, "LOSSES", ("CE", "NGL"))
        monkeypatch.setattr(trial, "MODELS", ("head",))
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
            (["speed"], "unknown benchmark 'speed'; choose from: loss, search, racing, trial, gp"),
            (["search", "--models", "VGG"], "unknown model 'VGG'; choose from: small_cnn"),
            (["loss", "--rounds", "0"], "0 is not a positive number"),
        ],
    )
    def test_bad_input(self, mistake, arguments, message):
        assert message in mistake("benchmark", *arguments)


class TestStep:
    def test_measures_and_keeps_the_other_rows_of_the_file(self, tmp_path, capsys):
        from benchmark import step

        def make(batch):
            layers = [
                keras.Input((8, 8, 3)),
                keras.layers.Flatten(),
                keras.layers.Dense(5, "softmax"),
            ]
            model = keras.Sequential(layers)
            model.compile("sgd", "categorical_crossentropy")
            return model, np.zeros((batch, 8, 8, 3)), np.eye(5)[np.arange(batch) % 5]

        found = step.step(step.Configuration("tiny", 64, 8, make), 4, 2)
        assert (found.batch, found.paper_batch, found.rounds) == (4, 64, 2)
        assert found.parameters == 192 * 5 + 5
        assert 0.05 < found.peak_gib < 50
        for row in (found, replace(found, name="other"), replace(found, batch=8)):
            step.report([row], "title", tmp_path / "step", None)
        table = pd.read_csv(tmp_path / "step.csv").set_index("name")
        assert table.batch.to_dict() == {"other": 4, "tiny": 8}
        assert "peak memory" in capsys.readouterr().out

    @pytest.mark.parametrize(("peaks", "batch"), [((2.0, 2.4), 64), ((2.0, 2.01), 256)])
    def test_the_largest_batch_that_fits(self, monkeypatch, peaks, batch):
        from benchmark import step

        known = step.configurations()["ResNet101"]
        assert (known.batch_size, known.image_size) == (256, 224)
        rows = {
            count: step.Step("x", 1, 224, 256, count, 1.0, 1.0, 1.0, peak, 1)
            for count, peak in zip(step.PROBES, peaks, strict=True)
        }
        monkeypatch.setattr(
            step, "in_new_process", lambda step, network, count, rounds: rows[count]
        )
        # 0.1 GiB an image: 100 of them beside the first four.
        assert step.largest_batch(known, 12) == batch

    def test_a_network_that_fails_does_not_stop_the_others(self, monkeypatch, capsys):
        from benchmark import step

        row = step.Step("Swin-T", 1, 224, 1024, 4, 1.0, 1.0, 1.0, 0.1, 1)

        def in_new_process(step, network, batch, rounds):
            if network.name == "ResNet101":
                raise MemoryError("no memory")
            return row

        monkeypatch.setattr(step, "in_new_process", in_new_process)
        assert step.measure(1, ["ResNet101", "Swin-T"]) == [row]
        assert "ResNet101 failed: no memory" in capsys.readouterr().out
        with pytest.raises(UserError, match="no step could be measured"):
            step.measure(1, ["ResNet101"])

    def test_unknown_networks(self, mistake):
        error = mistake("benchmark", "step", "--models", "VGG", out=None)
        assert "unknown model 'VGG'; choose from: ResNet101, ResNet152, Swin-T, Swin-S" in error

    def test_a_step_of_the_papers_scale(self):
        from benchmark import step

        model, images, labels = step.segmentation_step("unet", "voc2012", 1)
        assert images.shape == (1, 224, 224, 3)
        assert labels.shape == (1, 224, 224)
        assert model.output_shape[-1] == 21


class TestScaling:
    @pytest.mark.slow
    def test_the_script_measures_and_draws(self, script, tmp_path, monkeypatch):
        from benchmark import scaling

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
        from benchmark.scaling import Row, simulated

        driver = Row("driver", "processes", 1, 0.0, 1, 1.0, 1.0, driver_seconds=0.01)
        few = simulated(10, 10.0, driver)
        assert few.trials_an_hour == pytest.approx(3600 * 10 / 10.01, rel=0.02)
        # A hundred a second are all that this driver can hand out.
        many = simulated(1_000, 1.0, driver)
        assert many.trials_an_hour == pytest.approx(3600 * 100, rel=0.02)


def _but_for_ray(measure, name):
    return measure(name) if name == "processes" else ()

"""The benchmarks run to their end in small, and count what they say they count."""

import os
import time
from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, needs_tensorflow

from benchmark.measure import compared, in_new_process, interleaved, timed
from nglkeras import UserError
from nglkeras.experiments import classification, imagenet
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

    def test_racing_keeps_what_it_does_not_measure(self, script, tmp_path, monkeypatch):
        from benchmark import racing

        values = {one.name: one.type(1) for one in fields(racing.Row)}
        monkeypatch.setattr(racing, "SETTING", racing.Setting(("1",), *[1] * 8))
        rows = iter([racing.Row(**values | {"seed": 1, "plain_best": 0.5})])
        monkeypatch.setattr(
            racing, "_Task", lambda *_, **__: SimpleNamespace(row=lambda *_: next(rows))
        )
        file = tmp_path / "racing.csv"
        before = [
            values | {"seed": 0, "date": "2020-01-01", "cpu": "another"},
            values | {"seed": 1, "epochs": 3, "date": "2020-01-01", "cpu": "another"},
        ]
        pd.DataFrame(before).to_csv(file, index=False)
        code, _, err = script("benchmark", "racing", "--rounds", 2, "--out", tmp_path)
        assert code == 0, err
        found = pd.read_csv(file)
        assert found["seed"].tolist() == [0, 1, 1]
        assert found["epochs"].tolist() == [1, 3, 1]
        assert found["date"].eq("2020-01-01").tolist() == [True, True, False]
        assert found["cpu"].eq("another").tolist() == [True, True, False]
        # What is no whole line is not in the way.
        for line in ({"case": "x"}, values | {"equal_new": np.nan}):
            assert racing._of_setting([line], racing.SETTING) == []

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("loss", "--tiny"), "loss has no --tiny; it is for: gpu"),
            (("racing", "--models", "digits"), "racing has no --models; it is for: search, step"),
            (("step", "--data-dir", "."), "step has no --data-dir; it is for: gpu"),
            (("gpu", "--memory", "3"), "gpu has no --memory; it is for: step"),
            (("cost", "--rounds", "3"), "cost has no --rounds; it is for: loss, search"),
        ],
    )
    def test_options_of_others_are_refused(self, script, tmp_path, options, message):
        code, _, err = script("benchmark", *options, "--out", tmp_path)
        assert code == 2
        assert message in err

    def test_a_part_measured_anew_leaves_the_others(self, tmp_path):
        from benchmark import measure

        def report(case, ratio):
            times = {"new": np.array([ratio]), "old": np.ones(1)}
            rows = measure.compared(case, times, "old")
            measure.report(rows, "T", tmp_path / "t", lambda *_: [])

        for case, ratio in (("a", 2.0), ("b", 3.0), ("a", 4.0)):
            report(case, ratio)
        found = pd.read_csv(tmp_path / "t.csv").set_index(["case", "name"]).ratio
        assert found["a", "new"] == 4.0
        assert found["b", "new"] == 3.0
        assert len(found) == 4

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
            (["cost", "--tflops", "-1"], "-1 is not a positive number"),
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

    @pytest.mark.parametrize("reason", ["no memory", ""])
    def test_a_network_that_fails_does_not_stop_the_others(self, reason, monkeypatch, capsys):
        from benchmark import step

        row = step.Step("Swin-T", 1, 224, 1024, 4, 1.0, 1.0, 1.0, 0.1, 1)

        def in_new_process(step, network, batch, rounds):
            if network.name == "ResNet101":
                raise MemoryError(reason)
            return row

        monkeypatch.setattr(step, "in_new_process", in_new_process)
        assert step.measure(1, ["ResNet101", "Swin-T", "Swin-T"]) == [row]
        assert f"ResNet101 failed: {reason or 'MemoryError'}\n" in capsys.readouterr().out
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


class TestCost:
    @pytest.mark.parametrize(
        ("build", "size", "published"),
        [
            # Table 1 of He et al. 2015; Szegedy et al. 2015 as counted by torchvision; Liu et al.
            (partial(keras.applications.ResNet50, weights=None), 224, 3.8e9),
            (partial(keras.applications.InceptionV3, weights=None), 299, 5.7e9),
            (partial(imagenet.models.build, "Swin-T", 224, 1000), 224, 4.5e9),
        ],
    )
    def test_multiply_adds_are_the_published_ones(self, build, size, published):
        assert cost().multiply_adds(build(), size) == pytest.approx(published, rel=0.05)

    def test_multiply_adds_by_hand(self):
        build = classification.models.build
        convolutions = 28**2 * 25 * 32 + 14**2 * 25 * 32 * 64
        products = convolutions + 7**2 * 64 * 1024 + 1024 * 10
        assert cost().multiply_adds(build("glo_mnist", (28, 28, 3), 10), 28) == products
        # A network that enlarges its images has the multiply-adds of large ones.
        enlarged, large = (
            cost().multiply_adds(
                build("small_cnn", (8 * n, 8 * n, 3), 10, upsampling=2 // n), 8 * n
            )
            for n in (1, 2)
        )
        assert enlarged == large

    @pytest.mark.parametrize("dilation", [1, 2, 5])
    def test_dilation_costs_nothing(self, dilation):
        layer = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=dilation)
        model = keras.Sequential([keras.Input((9, 9, 3)), layer])
        assert cost().multiply_adds(model, 9) == 9 * 9 * 3 * 3 * 3 * 4

    @pytest.mark.parametrize(
        ("experiment", "dataset", "images"),
        [
            ("table 2", "cifar10", 200 * (45_000 // 128) * 128),
            # Validated on its own split, and divided at random.
            ("table 2", "patch_camelyon", 50 * 262_144),
            ("table B.2.2", "malaria", 400 * ((27_558 - 2 * 2_756) // 32) * 32),
            ("table 3", "imagenet2012", 180 * (1_281_167 // 256) * 256),
            ("table 4", "voc2012", 100 * ((1_464 - 146) // 32) * 32),
            ("table 4", "voc2012_aug", 20_000 * 10),
            ("B: figure 1", "mnist", 20_000 * 100),
        ],
    )
    def test_images_of_a_training(self, experiment, dataset, images):
        trials = (trial for trial, _ in cost().experiments()[experiment])
        assert cost().images_of(next(t for t in trials if t.dataset == dataset)) == images

    def test_numbers_of_networks(self):
        networks = {
            name: cost().amount(planned)[0]
            for name, planned in cost().experiments().items()
            if "table" in name or "search" in name
        }
        candidates = 16 * 101
        assert networks == {
            "table 2": 630,
            "table B.2.2": 630,
            "table 3": 16,
            "table 4": 40,
            "table 5": 20,
            "search 1": candidates,
            "search 2": 3 * candidates,
            "search 3": candidates,
            "search 4": 3 * candidates,
            # Cross entropy on three data sets.
            "search 5": 3 * candidates + 3,
            "B: search": 80 + 100 * 74 + 1 + 50 * 15,
        }

    def test_the_committed_table_is_of_todays_plans(self):
        table = pd.read_csv(ROOT / "results/benchmark/cost.csv")
        found = [
            (name, pairs[0][0].dataset, pairs[0][0].model, *cost().amount(pairs))
            for name, planned in cost().experiments().items()
            for pairs in cost().by_network(planned)
        ]
        columns = ["experiment", "dataset", "network", "networks"]
        assert table[columns].values.tolist() == [list(line[:4]) for line in found]
        assert (table.images * table.networks).tolist() == [line[4] for line in found]

    def test_the_script(self, script, tmp_path, monkeypatch):
        planned = cost().experiments()
        few = {name: planned[name] for name in ("B: figure 1", "B: transfer")}
        monkeypatch.setattr(cost(), "experiments", lambda: few)
        code, out, _ = script("benchmark", "cost", "--tflops", 30, "--out", tmp_path)
        assert code == 0
        assert "an assumption: 30 TFLOP/s" in out
        table = pd.read_csv(tmp_path / "cost.csv").set_index("experiment")
        operations = 6 * table.multiply_adds * table.images * table.networks
        assert table.networks.to_dict() == {"B: figure 1": 30, "B: transfer": 36}
        assert (table.eflop * 1e18).tolist() == pytest.approx(operations.tolist())
        for hours, rate in (("gpu_hours", 30e12), ("cpu_hours", table.cpu_gflops * 1e9)):
            assert table[hours].tolist() == pytest.approx((operations / rate / 3600).tolist())
        *_, total = (line.split() for line in out.splitlines() if line.strip().startswith("all"))
        assert float(total[2]) == pytest.approx(table.eflop.sum(), rel=0.01)


def cost():
    """The module, which needs TensorFlow."""
    from benchmark import cost

    return cost


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

    def test_a_second_measurement_takes_the_place_of_the_first(self, tmp_path):
        from benchmark import scaling

        driver = scaling.Row("driver", "processes", 1, 0.0, 1, 1.0, 1.0, driver_seconds=0.01)
        rows = [driver, scaling.simulated(10, 10.0, driver, trials=20)]
        for _ in range(2):
            scaling.report(rows, "T", tmp_path / "scaling", lambda *_: [])
            assert len(pd.read_csv(tmp_path / "scaling.csv")) == len(rows)

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

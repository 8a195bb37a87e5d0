"""Paper B's experiments: networks, trials, training by steps, tables, scripts."""

import json
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import needs_two_devices
from matplotlib.colors import to_hex
from matplotlib.image import imread
from scipy import stats

from nglkeras import UserError, losses
from nglkeras.data import datasets
from nglkeras.experiments.classification import models
from nglkeras.experiments.classification.shared_networks import run_trial
from nglkeras.experiments.glo import plots, tables
from nglkeras.experiments.glo.protocol import SCALES, by_duration, by_portion, plan
from nglkeras.report.statistics import equivalence_p, interval, welch_p
from nglkeras.runs.trial import TrialResult
from nglkeras.training import streams
from nglkeras.training.schedule import Plateau, Schedule

TINY = replace(
    SCALES["demo"],
    model="head",
    steps=6,
    evaluate_every=2,
    runs=2,
    train_images=300,
    portion_runs=2,
)
OPTIONS = ("--steps", 4, "--evaluate-every", 2, "--runs", 2, "--train-images", 200)


def result(trial, accuracy, validation=None, status="ok", history=()):
    return TrialResult(
        key=trial.key,
        trial={"schedule": {"steps_per_epoch": trial.schedule.steps_per_epoch}},
        status=status,
        accuracy=accuracy,
        validation_accuracy=validation,
        history=list(history),
        sizes=(10, 5, 5),
    )


class TestNetworks:
    def test_mnist_has_the_supplement_s_layers(self):
        model = models.build("glo_mnist", (28, 28, 3), 10)
        # 5x5x1x32, 5x5x32x64, 7x7x64x1024, 1024x10, each with its biases.
        assert model.count_params() == 832 + 51_264 + 3_212_288 + 10_250
        kinds = [type(layer).__name__ for layer in model.layers]
        assert kinds.count("Conv2D") == kinds.count("MaxPooling2D") == 2
        (dropout,) = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
        assert dropout.rate == 0.4

    def test_cifar10(self):
        model = models.build("glo_cifar10", (32, 32, 3), 10)
        assert (
            model.count_params() == 4_864 + 102_464 + (4096 * 384 + 384) + (384 * 192 + 192) + 1_930
        )

    def test_pixels_in_probabilities_out_and_saved(self, tmp_path):
        model = models.build("glo_mnist", (8, 8, 3), 10)
        x = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
        p = model.predict(x, verbose=0)
        np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
        # MNIST is grey: the other channels are not looked at.
        x[..., 1:] = 0
        np.testing.assert_array_equal(model.predict(x, verbose=0), p)
        model.save(tmp_path / "m.keras")
        again = keras.saving.load_model(tmp_path / "m.keras")
        np.testing.assert_array_equal(again.predict(x, verbose=0), p)

    def test_mixed_precision_is_of_the_layers_only(self):
        before = keras.config.dtype_policy().name
        model = models.build("glo_mnist", (8, 8, 3), 10, precision="mixed_bfloat16")
        assert keras.config.dtype_policy().name == before
        assert {v.dtype for v in model.trainable_variables} == {"float32"}
        assert model.output.dtype == "float32"
        (conv, _) = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        assert conv.compute_dtype == "bfloat16"

    def test_mistakes(self):
        with pytest.raises(UserError, match="unknown precision 'int8'; choose from: float32"):
            models.build("glo_mnist", (28, 28, 3), 10, precision="int8")
        with pytest.raises(UserError, match="glo_mnist has no backbone"):
            models.build("glo_mnist", (28, 28, 3), 10, weights="imagenet")


class TestStreams:
    def arrays(self):
        return datasets.load_arrays("digits", 0, train_images=250, test=True)

    def rows(self, epochs, steps_per_epoch):
        x, y = np.arange(25, dtype="float32")[:, None], np.eye(25)
        data, steps = streams.training(
            x, y, batch_size=10, epochs=epochs, seed=3, steps_per_epoch=steps_per_epoch
        )
        assert steps == steps_per_epoch
        return np.concatenate([batch.ravel() for batch, _ in data.as_numpy_iterator()])

    def test_a_shorter_training_sees_the_beginning_of_a_longer_one(self):
        short, long = self.rows(1, 3), self.rows(2, 5)
        assert len(short) == 30
        assert len(long) == 100
        np.testing.assert_array_equal(short, long[:30])

    def test_every_pass_has_its_own_order_and_no_image_twice(self):
        rows = self.rows(1, 6).reshape(3, 20)
        assert all(len(set(one)) == 20 for one in rows)
        assert len({tuple(one) for one in rows}) == 3

    def test_of_arrays(self):
        arrays = self.arrays()
        schedule = Schedule(2, 100, plateau=None, steps_per_epoch=3)
        found = streams.of_arrays(arrays, schedule, seed=0)
        assert found.steps == 3
        assert len(list(found.train)) == 6
        x, y, weight = next(iter(found.test.as_numpy_iterator()))
        assert x.shape == (100, 8, 8, 3)
        assert y.shape == (100, 10)
        # 180 images in two batches of 100, the padding weightless.
        assert weight.max() == pytest.approx(200 / 180)
        without = streams.of_arrays(replace(arrays, test=None), schedule, seed=0)
        assert without.test is None


class TestValidationImages:
    def test_so_many_are_set_aside(self):
        arrays = datasets.load_arrays("digits", 0, validation_images=50, test=True)
        assert [len(part[1]) for part in (arrays.train, arrays.validation, arrays.test)] == [
            1797 - 180 - 50,
            50,
            180,
        ]
        assert datasets.load("digits", 0, validation_images=50).sizes == (1567, 50, 180)

    def test_a_smaller_share_lies_within_a_larger_one(self):
        small, large = (
            datasets.load_arrays("digits", 0, train_images=count).train[0] for count in (100, 400)
        )
        assert len(small) == 100
        known = {image.tobytes() for image in large}
        assert all(image.tobytes() in known for image in small)

    def test_arrays_of_tfds_are_the_stream_s_images(self, tfds_directory):
        arrays = datasets.load_arrays("fashion_mnist", 5, test=True, data_dir=tfds_directory)
        splits = datasets.load("fashion_mnist", 5, batch_size=4, data_dir=tfds_directory)
        for part in ("validation", "test"):
            images, _ = getattr(arrays, part)
            streamed = np.concatenate(
                [x[w > 0] for x, _, w in getattr(splits, part).as_numpy_iterator()]
            )
            np.testing.assert_array_equal(images, streamed[..., :1])


class TestPlan:
    def test_the_paper_s_scale(self):
        trials = plan(SCALES["paper"])
        assert len(trials) == 30
        first = trials[0].schedule
        assert (first.optimizer, first.learning_rate, first.batch_size) == ("SGD", 0.01, 100)
        assert first.plateau is None
        # 80 test evaluations, every 250 of 20,000 steps.
        assert (first.epochs, first.steps_per_epoch) == (80, 250)
        assert {trial.monitored for trial in trials} == {"test"}
        assert (trials[0].train_images, trials[0].validation_images) == (55_000, 5_000)

    def test_the_sum_over_classes_is_the_default(self):
        ce, baikal, cma = plan(replace(TINY, runs=1))
        assert ce.formula is None
        assert ce.loss_settings == ()
        assert dict(baikal.loss_settings) == dict(cma.loss_settings) == {"class_reduction": "sum"}

    def test_the_printed_mean_makes_a_tenth_of_the_cross_entropy(self):
        (ce,) = plan(replace(TINY, runs=1), ("CE",), class_reduction="mean")
        y, p = np.eye(10)[:3], np.random.default_rng(0).dirichlet(np.ones(10), 3)
        from nglkeras.experiments.classification.training import loss_of

        ours = keras.ops.convert_to_numpy(loss_of(ce)(y, p))
        theirs = keras.ops.convert_to_numpy(keras.losses.CategoricalCrossentropy()(y, p))
        assert float(ours) == pytest.approx(float(theirs) / 10, rel=1e-5)

    def test_a_loss_named_twice_is_one(self):
        names = ("CE", "Baikal", "baikal", "CE")
        assert [trial.loss for trial in plan(replace(TINY, runs=1), names)] == ["CE", "Baikal"]

    def test_rows_bring_their_penalty_and_their_reconstructed_formula(self):
        penalised, guessed = plan(replace(TINY, runs=1), ("CE + L2", "f1"))
        assert penalised.l2 == losses.ROWS["CE + L2"].l2 > 0
        assert guessed.formula == losses.FORMULAS["f1"]
        assert tables.reduction(penalised) == tables.reduction(guessed) == "sum"

    def test_portions_and_durations(self):
        portions = by_portion(replace(TINY, portions=(0.5, 1.0)))
        assert [trial.train_images for trial in portions] == 6 * [150] + 6 * [300]
        tests = by_duration(SCALES["paper"])
        assert {trial.dataset for trial in tests} == {"cifar10"}
        # As many tests, whichever other durations are asked for.
        assert {trial.run for trial in tests} == set(SCALES["paper"].durations)
        assert {trial.loss for trial in tests} == {"CE", "Baikal"}

    @pytest.mark.parametrize(
        ("scale", "arguments", "message"),
        [
            ({"dataset": "imagenet22k"}, {}, "unknown data set 'imagenet22k'; choose from: digits"),
            ({"model": "vgg99"}, {}, "unknown model 'vgg99'"),
            ({"steps": 7}, {}, "7 steps are not a multiple of the 2 between evaluations"),
            ({}, {"precision": "int8"}, "unknown precision 'int8'"),
            ({}, {"class_reduction": "median"}, "unknown class_reduction 'median'"),
            ({}, {"loss_names": ("Ladoga",)}, "unknown loss 'Ladoga'"),
            ({}, {"formulas": {"x": "y_pred +"}}, "is not a formula"),
            ({}, {"loss_names": ("Focal",)}, "Focal has no sum over the classes; choose from: CE"),
        ],
    )
    def test_mistakes(self, scale, arguments, message):
        with pytest.raises(UserError, match=message):
            plan(replace(TINY, **scale), **arguments)

    @pytest.mark.parametrize(
        ("portion", "message"),
        [(0.0, r"is not in \(0, 1\]"), (0.01, "3 images, fewer than a batch")],
    )
    def test_bad_portions(self, portion, message):
        with pytest.raises(UserError, match=message):
            by_portion(replace(TINY, portions=(portion,)))


@pytest.fixture(scope="module")
def rows():
    return [run_trial(trial) for trial in plan(TINY, ("CE", "Baikal"))[:2]]


class TestTrainingBySteps:
    def test_the_row(self, rows):
        for row in rows:
            assert row.status == "ok", row.message
            assert row.sizes == (300, 180, 180)
            assert [len(row.history), len(row.history[0])] == [3, 7]
            assert row.accuracy == row.history[-1]["test_accuracy"]
            assert 0 <= row.validation_accuracy <= 1
            assert "val_accuracy" not in row.history[0]
            assert all(0 < e["training_seconds"] <= e["seconds"] for e in row.history)

    def test_a_shorter_training_is_the_beginning_of_a_longer_one(self, rows):
        short = run_trial(plan(replace(TINY, steps=2), ("CE",))[0])
        for name in ("loss", "accuracy", "test_loss", "test_accuracy"):
            assert short.history[0][name] == pytest.approx(rows[0].history[0][name], rel=1e-5)

    def test_what_is_monitored_changes_nothing_but_the_names(self, rows):
        trial = replace(plan(TINY, ("CE",))[0], monitored="validation")
        row = run_trial(trial)
        assert row.accuracy == pytest.approx(rows[0].accuracy)
        assert row.validation_accuracy == pytest.approx(rows[0].validation_accuracy)
        assert row.history[-1]["val_accuracy"] == row.validation_accuracy

    def test_without_a_test_set_none_is_looked_at(self):
        trial = replace(plan(TINY, ("CE",))[0], monitored="validation", test=False)
        row = run_trial(trial)
        assert (row.status, row.accuracy, row.sizes) == ("ok", None, (300, 180, 0))

    def test_the_test_set_decides_on_nothing(self):
        trial = plan(TINY, ("CE",))[0]
        for changed in (
            replace(trial, test=False),
            replace(trial, schedule=replace(trial.schedule, plateau=Plateau())),
        ):
            with pytest.raises(UserError, match="must not look at the test set"):
                run_trial(changed)
        with pytest.raises(UserError, match="unknown monitored part 'train'"):
            run_trial(replace(trial, monitored="train"))

    @needs_two_devices
    def test_two_devices(self, rows):
        row = run_trial(replace(plan(TINY, ("CE",))[0], replicas=2))
        assert row.status == "ok", row.message
        assert row.history[0]["loss"] == pytest.approx(rows[0].history[0]["loss"], rel=0.2)

    def test_mixed_precision(self):
        trial = plan(replace(TINY, model="glo_mnist"), ("Baikal",), precision="mixed_bfloat16")[0]
        dtypes = []
        row = run_trial(
            trial, on_model=lambda model: dtypes.extend(x.compute_dtype for x in model.layers)
        )
        assert row.status == "ok", row.message
        assert dtypes.count("bfloat16") > 6
        assert dtypes[-1] == "float32"

    def test_a_network_that_broke_off_has_no_accuracy(self):
        diverging = {"mine": "1e8*square(1e8*(y_true - y_pred))*square(1e8*square(1e8*y_pred))"}
        row = run_trial(plan(TINY, (), formulas=diverging)[0])
        assert row.status == "non_finite", row.message
        assert row.accuracy is None
        assert row.validation_accuracy is None


TRIALS = plan(replace(SCALES["reduced"], runs=3))
VALUES = {"CE": (0.96, 0.97, 0.98), "Baikal": (0.97, 0.98, 0.985), "BaikalCMA": (0.99, 0.991)}


class TestTables:
    def results(self):
        found = {}
        for trial in TRIALS:
            values = VALUES[trial.loss]
            if trial.run < len(values):
                value = values[trial.run]
                found[trial.key] = result(trial, value, value - 0.001)
            else:
                found[trial.key] = result(trial, None, None, "non_finite")
        return found

    def test_means_intervals_and_welch(self):
        found = tables.cells(TRIALS, self.results())
        ce, baikal, cma = found
        assert ce.mean == pytest.approx(0.97)
        half = stats.t.ppf(0.975, 2) * 0.01 / 3**0.5
        assert (ce.low, ce.high) == pytest.approx((0.97 - half, 0.97 + half))
        assert ce.p is None
        against = stats.ttest_ind(VALUES["Baikal"], VALUES["CE"], equal_var=False)
        assert baikal.p == baikal.p_before == pytest.approx(against.pvalue)
        before = stats.ttest_ind(VALUES["BaikalCMA"], VALUES["Baikal"], equal_var=False)
        assert cma.p_before == pytest.approx(before.pvalue)
        assert cma.p != cma.p_before
        assert (cma.runs, cma.failed) == (2, "1 non_finite")

    def test_pairs_of_runs(self):
        ce, baikal, cma = found = tables.cells(TRIALS, self.results())
        against = stats.ttest_rel(VALUES["Baikal"], VALUES["CE"])
        assert baikal.p_paired == pytest.approx(against.pvalue)
        # Two runs of the other were trained to the end.
        assert [len(side) for side in cma.pairs] == [2, 2]
        assert ce.pairs is None
        # The band of ±0.5 % is 0.005 of an accuracy.
        assert baikal.p_outside == pytest.approx(
            equivalence_p(VALUES["Baikal"], VALUES["CE"], 0.005, paired=True)
        )
        (rows,) = tables.comparisons(found)
        assert [row[:4] for row in rows[1:]] == [
            ["Baikal", "test", "3", "+0.83"],
            ["BaikalCMA", "test", "2", "+2.55"],
        ]

    def test_the_paper_s_numbers_stand_only_where_they_belong(self):
        printed = tables.printed_numbers()
        found = tables.cells(TRIALS, self.results(), "validation", printed)
        assert [one.paper for one in found] == [0.97, 0.9838, 0.9902]
        assert [one.paper for one in tables.cells(TRIALS, {}, "test", printed)] == [None] * 3
        final = plan(replace(SCALES["paper"], runs=1))
        assert [one.paper for one in tables.cells(final, {}, "test", printed)] == [
            0.9899,
            0.9933,
            0.9947,
        ]
        elsewhere = plan(replace(SCALES["paper"], runs=1, dataset="fashion_mnist"))
        assert [one.paper for one in tables.cells(elsewhere, {}, "test", printed)] == [None] * 3

    @pytest.mark.parametrize(
        "change",
        [{"train_images": 1000}, {"evaluation_images": 100}, {"model": "small_cnn"}],
    )
    def test_nor_in_another_setting(self, change):
        trials = plan(replace(SCALES["paper"], runs=1, **change))
        found = tables.cells(trials, {}, "test", tables.printed_numbers())
        assert [one.paper for one in found] == [None] * 3

    def test_nor_beside_the_mean_over_classes(self):
        trials = plan(replace(SCALES["paper"], runs=1), class_reduction="mean")
        found = tables.cells(trials, {}, "test", tables.printed_numbers())
        assert [one.paper for one in found] == [None] * 3

    def test_nothing_is_said_of_equal_or_single_networks(self):
        assert welch_p(np.array([0.5]), np.array([0.4, 0.6])) is None
        assert welch_p(np.array([0.5, 0.5]), np.array([0.4, 0.4])) is None
        assert interval(np.array([0.5])) == (None, None)
        (one,) = tables.cells(TRIALS[:1], {})
        assert (one.mean, one.failed) == (None, "1 missing")
        assert tables.layout([one])[1][3] == "–"

    def test_curves_and_rates(self):
        trial = TRIALS[0]
        history = [
            {"test_accuracy": 0.1 * i, "training_seconds": seconds}
            for i, seconds in enumerate((90.0, 10.0, 20.0, 25.0), start=1)
        ]
        row = result(trial, 0.4, history=history)
        steps, values = tables.curves([trial], {trial.key: row})["CE"]
        np.testing.assert_array_equal(steps, [500, 1000, 1500, 2000])
        np.testing.assert_allclose(values, [[0.1, 0.2, 0.3, 0.4]])
        # The first epoch compiles: 50, 25 and 20 steps a second remain.
        assert tables.steps_per_second(row) == 25
        assert [tables.steps_until(row, share) for share in (0.1, 0.25, 0.5)] == [500, 1500, None]
        means = [f"{0.1 * i:.4f}" for i in range(1, 5)]
        assert tables.curve_layout({"CE": (steps, values)})[1] == ["CE", "1", *means]

    def test_pairs_are_of_the_same_run(self):
        results = self.results()
        (line, other) = tables.paired(TRIALS, results)
        assert line.startswith("Baikal beats CE in 3 of 3 tests, by +0.0083 in the mean")
        assert "2 of 2 tests" in other
        # Without CE's first and Baikal's last run the middle one is left: no pairs to speak of.
        for trial in TRIALS:
            if (trial.loss, trial.run) in (("CE", 0), ("Baikal", 2)):
                del results[trial.key]
        assert tables.paired(TRIALS, results) == []

    def test_failures_are_seen_over_a_quantity(self):
        found = {0.5: tables.cells(TRIALS, self.results())}
        rows = tables.layout_over(found, "share", ["0.5"])
        assert rows[3][1].endswith("(1 non_finite)")
        assert "non_finite" not in rows[1][1]

    def test_failures_are_named_under_the_curves(self):
        (line,) = tables.left_out(TRIALS, self.results())
        assert line == f"{TRIALS[-1].loss}: 1 non_finite, not among them."


class TestFigures:
    def test_figure2_s_minima_are_the_losses_own(self):
        axis = plots.figure2().axes[0]
        assert {text.get_text() for text in axis.texts} == {"min 0.71", "min 0.77"}

    def test_figure3_has_a_curve_for_each_loss(self):
        steps = np.array([100, 200])
        curves = {
            "CE": (steps, np.array([[0.1, 0.5], [0.2, 0.7]])),
            "Baikal": (steps, np.ones((1, 2))),
        }
        axis = plots.figure3(curves, "title").axes[0]
        assert [line.get_label() for line in axis.lines] == ["CE, 2 runs", "Baikal, 1 run"]
        np.testing.assert_allclose(axis.lines[0].get_ydata(), [0.15, 0.6])

    def test_losses_of_one_s_own_have_colours_of_their_own(self):
        curve = (np.array([100, 200]), np.ones((1, 2)))
        names = ["NGL", "mine", "CE", "another", "Baikal"]
        axis = plots.figure3(dict.fromkeys(names, curve), "t").axes[0]
        assert len({to_hex(line.get_color()) for line in axis.lines}) == len(names)

    def test_a_quantity_rises_however_it_was_given(self):
        cells = tables.cells(TRIALS[:1], {TRIALS[0].key: result(TRIALS[0], 0.5)})
        axis = plots.over(dict.fromkeys([0.5, 0.1, 0.2], cells), "share", "t").axes[0]
        assert axis.lines[0].get_xdata().tolist() == [0.1, 0.2, 0.5]


class TestScripts:
    @pytest.mark.slow
    def test_figures_1_and_3_share_their_rows(self, script, tmp_path):
        options = (*OPTIONS, "--losses", "CE", "Baikal", "--out", tmp_path)
        code, out, err = script("glo_figure1", *options, "--formula", "mine=-10*y_true*log(y_pred)")
        assert code == 0, err
        assert "6 of 6 trials to run" in out
        assert "mine" in out
        frame = pd.read_csv(tmp_path / "figure1_4.csv")
        assert list(frame.loss) == ["CE", "Baikal", "mine"] * 2
        assert (frame.steps == 4).all()
        assert (frame.train_images == 200).all()
        code, out, _ = script("glo_figure3", *options)
        assert code == 0
        assert "to run" not in out
        assert "steps a second" in out
        for name in ("figure1_4", "figure3_4"):
            assert imread(tmp_path / f"{name}.png").std() > 0.02
            assert (tmp_path / f"{name}.md").read_text().startswith("# Figure")

    def test_the_mean_over_classes_stands_beside_the_sum(self, script, tmp_path):
        code, out, err = script(
            "glo_figure1",
            *OPTIONS,
            "--class-reduction",
            "mean",
            "--losses",
            "Baikal",
            "--out",
            tmp_path,
        )
        assert code == 0, err
        assert "Losses are the mean, as paper B prints it, over the classes." in out
        assert set(pd.read_csv(tmp_path / "figure1_4_mean.csv").class_reduction) == {"mean"}

    def test_data(self, script, tmp_path):
        code, _, err = script(
            "glo_data", *OPTIONS, "--portions", "0.5,1", "--losses", "Baikal", "--out", tmp_path
        )
        assert code == 0, err
        assert sorted(set(pd.read_csv(tmp_path / "data_4.csv").train_images)) == [100, 200]
        runs = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
        assert [row["trial"]["run"] for row in runs] == [0, 0, 1, 1]
        assert imread(tmp_path / "data_4.png").std() > 0.02

    def test_if_nothing_can_be_trained_a_line_says_so(self, script, tmp_path):
        huge = "huge=1e8*square(1e8*(y_true - y_pred))*square(1e8*square(1e8*y_pred))"
        options = ("--portions", "1", "--losses", "CE", "--formula", huge, "--runs", 1)
        code, _, err = script("glo_data", *OPTIONS[:4], *options, "--out", tmp_path)
        assert code == 0, err
        assert "(1 non_finite)" in (tmp_path / "data_4.md").read_text()

    @pytest.mark.slow
    def test_transfer(self, script, tmp_path):
        code, out, err = script("glo_transfer", "--durations", "2,4", "--out", tmp_path)
        assert code == 0, err
        assert "Baikal beats CE in" in out
        assert len(pd.read_csv(tmp_path / "transfer.csv")) == 4

    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            (
                "glo_figure1",
                ("--scale", "huge"),
                "unknown scale 'huge'; choose from: demo, reduced",
            ),
            ("glo_figure1", ("--losses", "Ladoga"), "unknown loss 'Ladoga'"),
            ("glo_figure1", ("--steps", "7"), "7 steps are not a multiple of the 50"),
            ("glo_figure3", ("--precision", "int8"), "unknown precision 'int8'"),
            ("glo_data", ("--portions", "half"), "half is not a list of numbers"),
            ("glo_data", ("--portions", "2"), "a portion of 2.0 is not in (0, 1]"),
            ("glo_transfer", ("--durations", "1,x"), "1,x is not a list of whole numbers"),
            ("glo_transfer", ("--durations", "0"), "0 is not a list of whole numbers"),
            ("glo_figure1", ("--losses", "Focal"), "Focal has no sum over the classes"),
            ("glo_search", ("--without", "luck"), "unknown check 'luck'; choose from: equals"),
            ("glo_search", ("--steps", "5"), "5 steps do not divide by 4"),
        ],
    )
    def test_mistakes(self, mistake, name, arguments, message):
        assert message in mistake(name, *arguments)

"""Real trials on the digits: rows, repeatability, statuses, devices."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import ROOT, needs_jax, needs_two_devices

from nglkeras import UserError, losses, run_trial
from nglkeras.data import datasets
from nglkeras.data.augmentation import Augmentation
from nglkeras.experiments.classification import models
from nglkeras.experiments.classification.trial import Trial
from nglkeras.seeds import derive_seed
from nglkeras.training import devices
from nglkeras.training.monitor import rate_callbacks
from nglkeras.training.schedule import Plateau, Schedule

TRIAL = Trial(
    dataset="digits",
    model="small_cnn",
    loss="NGL",
    schedule=Schedule(2, 32),
    train_images=256,
    evaluation_images=100,
)


# Where a gradient is nearly zero, Adam makes a step out of its rounding.
PLAIN = Schedule(3, 32, "SGD", (), 1.0, Plateau())


class Broken(keras.losses.Loss):
    """A loss whose call does what it is told."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def call(self, y_true, y_pred):
        return self.action(keras.ops.sum(y_pred, -1))


def raising(error):
    def action(x):
        raise error

    return action


@pytest.fixture
def break_loss(monkeypatch):
    def use(action):
        monkeypatch.setattr(losses, "get", lambda name, **arguments: Broken(action))

    return use


@pytest.fixture(scope="module")
def rows():
    trial = replace(TRIAL, augmentation=Augmentation())
    return [run_trial(trial), run_trial(replace(trial, loss="CE")), run_trial(trial)]


class TestRow:
    def test_everything_is_there(self, rows):
        row = rows[0]
        assert row.status == "ok"
        assert row.message == ""
        assert row.sizes == (256, 100, 100)
        assert 0 < row.accuracy < 1
        assert row.validation_accuracy == row.history[-1]["val_accuracy"]
        assert len(row.history) == 2
        for epoch in row.history:
            assert epoch.keys() == {
                "loss",
                "accuracy",
                "val_loss",
                "val_accuracy",
                "learning_rate",
                "seconds",
                "training_seconds",
            }
            assert all(isinstance(value, float) for value in epoch.values())
        backend = keras.backend.backend()
        assert row.environment["backend"] == backend
        assert {"cpu", "cores", "gpus", "python", "keras", backend} <= row.environment.keys()
        assert row.seconds > 0
        assert row.finished.endswith("+00:00")

    def test_same_trial_same_row_whatever_ran_before(self, rows):
        first, _, again = rows
        assert first.accuracy == again.accuracy
        for a, b in zip(first.history, again.history, strict=True):
            for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
                assert a[name] == pytest.approx(b[name], rel=1e-6)

    @pytest.mark.slow
    def test_same_row_in_another_process(self, rows):
        """A process that has run nothing else, and whose global seeds are others."""
        code = (
            "import sys; sys.path[:0] = ['tests', 'tests/experiments/classification']\n"
            "from dataclasses import replace\n"
            "from test_training import TRIAL, Augmentation, run_trial\n"
            "row = run_trial(replace(TRIAL, augmentation=Augmentation()))\n"
            "print(row.key, row.accuracy, row.history[-1]['loss'])"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        key, accuracy, loss = run.stdout.split()[-3:]
        assert key == rows[0].key
        assert float(accuracy) == rows[0].accuracy
        assert float(loss) == pytest.approx(rows[0].history[-1]["loss"], rel=1e-6)

    def test_losses_differ(self, rows):
        assert rows[0].history[0]["loss"] != rows[1].history[0]["loss"]

    def test_reported_means_are_those_of_the_real_images(self):
        # 100 images in batches of 32: the last batch is mostly padding.
        seen = {}

        def keep(model):
            splits = datasets.load(
                "digits",
                derive_seed(0, "run", 0),
                batch_size=32,
                train_images=256,
                evaluation_images=100,
            )
            for name in ("validation", "test"):
                parts = [
                    (model.predict(images, verbose=0)[weights > 0], labels.numpy()[weights > 0])
                    for images, labels, weights in getattr(splits, name)
                ]
                seen[name] = [np.concatenate(part) for part in zip(*parts, strict=True)]

        row = run_trial(TRIAL, on_model=keep)
        predictions, labels = seen["test"]
        correct = predictions.argmax(1) == labels.argmax(1)
        assert row.accuracy == pytest.approx(correct.mean(), abs=1e-6)
        predictions, labels = seen["validation"]
        loss = keras.ops.convert_to_numpy(losses.ngl(labels, predictions)).mean()
        assert len(labels) == 100
        assert row.history[-1]["val_loss"] == pytest.approx(loss, rel=1e-4)

    def test_no_model_is_handed_over_when_training_failed(self, break_loss):
        break_loss(lambda x: x * float("nan"))
        handed = []
        run_trial(TRIAL, on_model=handed.append)
        assert handed == []

    def test_the_test_set_can_be_left_alone(self):
        row = run_trial(replace(TRIAL, test=False, schedule=Schedule(1, 32)))
        assert row.status == "ok"
        assert row.accuracy is None
        assert row.validation_accuracy is not None

    def test_learns(self):
        row = run_trial(replace(TRIAL, loss="CE", schedule=Schedule(12, 32), train_images=None))
        assert row.accuracy > 0.9

    def test_sgd_and_no_plateau(self):
        schedule = Schedule(1, 32, "SGD", (("momentum", 0.9),), 0.01, None)
        row = run_trial(replace(TRIAL, schedule=schedule))
        assert row.status == "ok"
        assert row.history[0]["learning_rate"] == pytest.approx(0.01)

    def test_learning_rate_falls_on_a_plateau(self):
        schedule = Schedule(4, 32, learning_rate=1e-9, plateau=Plateau(0.2, 1, 1e-10))
        history = run_trial(replace(TRIAL, schedule=schedule)).history
        assert history[-1]["learning_rate"] < 1e-9

    @pytest.mark.parametrize("compile_once", [False, True])
    @pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
    def test_the_plateau_is_one_of_what_it_monitors(self, monitor, compile_once):
        # The steps are too small to change a prediction, and each lowers a loss that is so large.
        schedule = Schedule(3, 32, "SGD", (), 1e-11, Plateau(0.2, 1, 0.0, monitor=monitor))
        formula = "-(1000000*(y_true*log(y_pred)))"
        row = run_trial(
            replace(TRIAL, schedule=schedule, formula=formula, compile_once=compile_once)
        )
        fell = row.history[-1]["learning_rate"] < row.history[0]["learning_rate"]
        assert fell == (monitor == "val_accuracy")

    @pytest.mark.parametrize("compile_once", [False, True])
    def test_ends_on_a_plateau_at_the_least_rate(self, compile_once):
        # The steps are too small to change a weight; only BatchNormalization's statistics move.
        plateau = Plateau(0.1, 2, 1e-12, monitor="val_accuracy", stop_after=3)
        schedule = Schedule(20, 32, "SGD", (), 1e-11, plateau)
        trial = replace(TRIAL, schedule=schedule, compile_once=compile_once)
        row = run_trial(trial)
        assert (row.status, row.answers(trial)) == ("ok", True)
        assert row.accuracy is not None
        assert row.validation_accuracy == row.history[-1]["val_accuracy"]
        assert 6 <= len(row.history) < 20
        rates = [epoch["learning_rate"] for epoch in row.history]
        assert rates[-3:] == pytest.approx([1e-12] * 3)
        *earlier, first, second, third = [epoch["val_accuracy"] for epoch in row.history]
        assert max(first, second, third) <= max(earlier)
        capped = replace(trial, schedule=replace(schedule, epochs=5))
        assert len(run_trial(capped).history) == 5

    @pytest.mark.parametrize(
        ("monitor", "mode"),
        [("val_loss", "min"), ("val_accuracy", "max"), ("val_mean_iou", "max")],
    )
    def test_keras_is_told_what_to_monitor_and_which_way(self, monitor, mode):
        (callback,) = rate_callbacks(replace(TRIAL.schedule, plateau=Plateau(monitor=monitor)))
        assert (callback.monitor, callback.mode) == (monitor, mode)

    def test_epochs_are_told_of(self):
        epochs = []
        run_trial(TRIAL, on_epoch=lambda epoch, row: epochs.append((epoch, row["val_accuracy"])))
        assert [epoch for epoch, _ in epochs] == [1, 2]

    def test_tensorboard_logs(self, tmp_path):
        row = run_trial(replace(TRIAL, schedule=Schedule(1, 32)), log_dir=tmp_path)
        assert row.status == "ok", row.message
        assert list((tmp_path / row.key).rglob("events.*"))


class TestStatuses:
    def test_non_finite(self, break_loss):
        break_loss(lambda x: x * float("nan"))
        row = run_trial(TRIAL)
        assert row.status == "non_finite"
        assert row.accuracy is None
        assert len(row.history) == 1

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (MemoryError(), "out_of_memory"),
            (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"), "out_of_memory"),
            (RuntimeError("something broke"), "crashed"),
        ],
    )
    def test_failures(self, break_loss, error, status):
        break_loss(raising(error))
        row = run_trial(TRIAL)
        assert row.status == status
        assert type(error).__name__ in row.message
        assert row.accuracy is None

    def test_timeout(self):
        row = run_trial(replace(TRIAL, schedule=Schedule(1000, 32)), timeout=0.0)
        assert row.status == "timeout"
        assert len(row.history) < 3

    def test_interruption_goes_through(self, break_loss):
        break_loss(raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run_trial(TRIAL)

    def test_mistakes_of_the_user_go_through(self):
        with pytest.raises(UserError, match="unknown strategy 'gpu'; choose from: auto, none, mir"):
            devices.count_replicas("gpu", 32)
        with pytest.raises(UserError, match="at least 75x75"):
            run_trial(replace(TRIAL, model="InceptionV3"))


class TestReplicas:
    def test_auto_takes_as_many_gpus_as_divide_the_batch(self, monkeypatch):
        if keras.backend.backend() == "torch":
            pytest.skip("PyTorch trains on one device")
        monkeypatch.setattr(devices, "_devices", lambda: [f"/device:GPU:{i}" for i in range(6)])
        assert devices.count_replicas("auto", 32) == 4
        assert devices.count_replicas("auto", 96) == 6
        assert devices.count_replicas("mirrored", 32) == 6

    @pytest.mark.parametrize("backend", ["tensorflow", "jax"])
    def test_a_driver_that_knows_the_number_asks_no_backend(self, monkeypatch, backend):
        monkeypatch.setattr(keras.backend, "backend", lambda: backend)
        monkeypatch.delattr(devices, "_devices")
        assert devices.count_replicas("mirrored", 33, devices=6) == 6
        assert devices.count_replicas("auto", 33, devices=6) == 3
        assert devices.count_replicas("auto", 32, devices=0) == 1
        assert devices.count_replicas("none", 32, devices=6) == 1

    def test_pytorch_trains_on_one_device(self, monkeypatch):
        monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
        assert devices.count_replicas("auto", 32) == 1
        assert devices.count_replicas("auto", 32, devices=4) == 1
        with pytest.raises(UserError, match="torch backend has no strategy mirrored; with it"):
            devices.count_replicas("mirrored", 32)
        with pytest.raises(UserError, match="the torch backend trains on one device"):
            devices.distribution(2, PLAIN)


@needs_two_devices
class TestMirrored:
    def test_strategies(self):
        assert devices.count_replicas("mirrored", 32) == 2
        assert devices.count_replicas("none", 32) == 1
        assert devices.count_replicas("auto", 32) == 1

    def test_two_devices(self):
        """The same images, weights and steps; TensorFlow's replicas have draws of their own."""
        schedule = Schedule(1, 32, learning_rate=0.0, plateau=None)
        one, two = (run_trial(replace(TRIAL, schedule=schedule, replicas=n)) for n in (1, 2))
        assert two.status == "ok", two.message
        assert two.environment["replicas"] == 2
        assert two.key != one.key
        assert two.history[0]["loss"] == pytest.approx(one.history[0]["loss"], rel=0.05)

    def test_same_row_without_dropout_and_statistics(self, monkeypatch):
        def build(name, shape, classes, **_):
            return keras.Sequential(
                [
                    keras.Input(shape),
                    keras.layers.Rescaling(1 / 255),
                    keras.layers.Flatten(),
                    keras.layers.Dense(32, "relu"),
                    keras.layers.Dense(classes, "softmax"),
                ]
            )

        monkeypatch.setattr(models, "build", build)
        # In memory: TensorFlow shuffles a stream otherwise for several devices.
        trial = replace(TRIAL, schedule=PLAIN, compile_once=True)
        assert_same_row(*(run_trial(replace(trial, replicas=n)) for n in (1, 2)))

    @needs_jax
    @pytest.mark.parametrize("compile_once", [False, True])
    def test_same_row_on_jax(self, compile_once):
        """JAX takes statistics over, and draws dropout for, all devices' images together.

        What is left of the number of devices is the order of sums: float noise.
        """
        settings = {"augmentation": Augmentation(), "compile_once": compile_once}
        trial = replace(TRIAL, model="head", schedule=PLAIN, **settings)
        assert_same_row(*(run_trial(replace(trial, replicas=n)) for n in (1, 2)))

    @needs_jax
    def test_the_next_trial_has_one_device_again(self):
        found = []

        def look(model):
            found.append({len(v.value.sharding.device_set) for v in model.variables})

        trial = replace(TRIAL, model="head", schedule=Schedule(1, 32))
        one, two, again = (run_trial(replace(trial, replicas=n), on_model=look) for n in (1, 2, 1))
        assert found == [{1}, {2}, {1}]
        assert one.accuracy == again.accuracy
        assert one.history[0]["loss"] == again.history[0]["loss"]
        assert two.status == "ok", two.message

    @needs_jax
    def test_each_device_has_its_share_of_a_batch(self):
        import jax

        shares = []

        class Look(keras.layers.Layer):
            def call(self, x):
                jax.debug.inspect_array_sharding(
                    x, callback=lambda found: shares.append(found.shard_shape(x.shape))
                )
                return x

        x, y = np.zeros((64, 6), "float32"), np.eye(3, dtype="float32")[np.arange(64) % 3]
        with devices.distribution(2, PLAIN):
            model = keras.Sequential([keras.Input((6,)), Look(), keras.layers.Dense(3, "softmax")])
            model.compile("sgd", losses.NGL())
            model.fit(x, y, batch_size=32, verbose=0)
        assert keras.distribution.distribution() is None
        assert set(shares) == {(16, 6)}

    def test_nothing_is_left_of_a_failure(self, break_loss):
        break_loss(raising(RuntimeError("something broke")))
        assert run_trial(replace(TRIAL, replicas=2)).status == "crashed"
        assert keras.distribution.distribution() is None

    def test_impossible_numbers_of_devices(self):
        with pytest.raises(UserError, match="a batch of 33 does not divide by 2 devices"):
            run_trial(replace(TRIAL, schedule=Schedule(1, 33), replicas=2))
        with pytest.raises(UserError, match="8 devices are wanted and there are 2"):
            run_trial(replace(TRIAL, replicas=8))

    @pytest.mark.slow
    @pytest.mark.parametrize("from_logits", [False, True])
    def test_same_network_as_one_device(self, from_logits):
        """One order of batches, the last one padded, and no dropout; with the kernel, too."""
        import tensorflow as tf

        splits = datasets.load("digits", 0, batch_size=32, train_images=250, evaluation_images=90)
        images, labels = (np.concatenate(parts) for parts in zip(*splits.train, strict=True))
        batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)

        def train(replicas):
            keras.utils.set_random_seed(0)
            with devices.distribution(replicas, PLAIN):
                model = keras.Sequential(
                    [
                        keras.Input(splits.image_shape),
                        keras.layers.Rescaling(1 / 255),
                        keras.layers.Flatten(),
                        keras.layers.Dense(32, "relu"),
                        keras.layers.Dense(10, None if from_logits else "softmax"),
                    ]
                )
                loss = losses.NGL(from_logits=from_logits, fast=from_logits)
                model.compile(keras.optimizers.SGD(1.0), loss, weighted_metrics=["accuracy"])
                history = model.fit(
                    batches, epochs=3, validation_data=splits.validation, shuffle=False, verbose=0
                ).history
                history |= model.evaluate(splits.test, verbose=0, return_dict=True)
            return model.get_weights(), history

        (one, one_history), (two, two_history) = train(1), train(2)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())
        for name, values in one_history.items():
            np.testing.assert_allclose(values, two_history[name], rtol=1e-5)


def assert_same_row(one, two):
    assert (one.status, two.status) == ("ok", "ok"), two.message
    assert two.environment["replicas"] == 2
    # More than chance.
    assert one.accuracy > 0.2
    assert two.accuracy == pytest.approx(one.accuracy, abs=1e-6)
    for a, b in zip(one.history, two.history, strict=True):
        assert b["val_accuracy"] == pytest.approx(a["val_accuracy"], abs=1e-6)
        for name in ("loss", "val_loss"):
            assert b[name] == pytest.approx(a[name], rel=1e-5)

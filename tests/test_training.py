"""Real trials on the digits: rows, repeatability, statuses, devices."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import ROOT, needs_tensorflow

from nglkeras import UserError, datasets, devices, losses, run_trial
from nglkeras.protocol import Augmentation, Plateau, Schedule, derive_seed
from nglkeras.trial import Trial

TRIAL = Trial(
    dataset="digits",
    model="small_cnn",
    loss="NGL",
    schedule=Schedule(2, 32),
    train_images=256,
    evaluation_images=100,
)


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

    def test_same_row_in_another_process(self, rows):
        """A process that has run nothing else, and whose global seeds are others."""
        code = (
            "import sys; sys.path.insert(0, 'tests')\n"
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


@needs_tensorflow
class TestMirrored:
    def test_strategies(self):
        assert devices.count_replicas("mirrored", 32) == 2
        assert devices.count_replicas("none", 32) == 1
        assert devices.count_replicas("auto", 32) == 1

    def test_auto_takes_as_many_gpus_as_divide_the_batch(self, monkeypatch):
        import tensorflow as tf

        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU"] * 6)
        assert devices.count_replicas("auto", 32) == 4
        assert devices.count_replicas("auto", 96) == 6

    def test_two_devices(self):
        """The same images, weights and steps; only dropout's draws are each replica's own."""
        schedule = Schedule(1, 32, learning_rate=0.0, plateau=None)
        one, two = (run_trial(replace(TRIAL, schedule=schedule, replicas=n)) for n in (1, 2))
        assert two.status == "ok", two.message
        assert two.environment["replicas"] == 2
        assert two.key != one.key
        assert two.history[0]["loss"] == pytest.approx(one.history[0]["loss"], rel=0.05)

    def test_impossible_numbers_of_devices(self):
        with pytest.raises(UserError, match="a batch of 33 does not divide by 2 devices"):
            run_trial(replace(TRIAL, schedule=Schedule(1, 33), replicas=2))
        with pytest.raises(UserError, match="8 devices are wanted and there are 2"):
            run_trial(replace(TRIAL, replicas=8))

    def test_same_network_as_one_device(self, mirrored):
        """One order of batches and no dropout, whose draws are each replica's own."""
        import tensorflow as tf

        splits = datasets.load("digits", 0, batch_size=32, train_images=250, evaluation_images=90)
        images, labels = (np.concatenate(parts) for parts in zip(*splits.train, strict=True))
        batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)

        def train(scope):
            keras.utils.set_random_seed(0)
            with scope:
                model = keras.Sequential(
                    [
                        keras.Input(splits.image_shape),
                        keras.layers.Rescaling(1 / 255),
                        keras.layers.Flatten(),
                        keras.layers.Dense(32, "relu"),
                        keras.layers.Dense(10, "softmax"),
                    ]
                )
                model.compile(
                    keras.optimizers.SGD(0.1), losses.NGL(), weighted_metrics=["accuracy"]
                )
            history = model.fit(
                batches, epochs=3, validation_data=splits.validation, shuffle=False, verbose=0
            ).history
            return model.get_weights(), history

        one, one_history = train(tf.distribute.get_strategy().scope())
        two, two_history = train(mirrored.scope())
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        for name in ("loss", "val_loss", "val_accuracy"):
            np.testing.assert_allclose(one_history[name], two_history[name], rtol=1e-4)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow can mirror")
def test_mirrored_is_tensorflows():
    with pytest.raises(UserError, match="choose from: auto, none"):
        devices.count_replicas("mirrored", 32)

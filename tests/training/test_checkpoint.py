"""A training that is killed and goes on ends as one that was not."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from nglkeras import UserError
from nglkeras.losses import NGL
from nglkeras.runs.journal import Journal
from nglkeras.runs.trial import TrialResult
from nglkeras.training.checkpoint import Checkpoint, Checkpoints, fit
from nglkeras.training.monitor import Cosine, Monitor, ReduceOrStop

EPOCHS, STEPS, BATCH = 4, 6, 16
random = np.random.default_rng(0)
X = random.normal(size=(EPOCHS * STEPS, BATCH, 8)).astype("float32")
Y = np.eye(3, dtype="float32")[random.integers(0, 3, (EPOCHS * STEPS, BATCH))]


class KilledError(Exception):
    """What a test throws to break a training off."""


class Killer(keras.callbacks.Callback):
    """Breaks a training off after so many steps; keeps the logs of epochs."""

    def __init__(self, after=None, gently=False):
        super().__init__()
        self.after = after
        self.gently = gently
        self.steps = 0
        self.epochs = []

    def get_state(self):
        return self.epochs

    def set_state(self, state):
        self.epochs = state

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.after:
            if not self.gently:
                raise KilledError
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append({name: float(value) for name, value in logs.items()})


def make_model():
    """Dropout, averages, momentum: everything that an interruption could lose."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), NGL(), metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    return model


def batches(first):
    return tf.data.Dataset.from_tensor_slices((X[first:], Y[first:]))


def plateau():
    return keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=10.0)


def cosine():
    return Cosine(EPOCHS)


def train(path, kill_after=None, seconds=0.0, gently=False, rates=plateau):
    model, killer = make_model(), Killer(kill_after, gently)
    checkpoint = None if path is None else Checkpoint(path, "one", seconds)
    try:
        fit(
            model,
            batches,
            epochs=EPOCHS,
            steps=STEPS,
            checkpoint=checkpoint,
            callbacks=[rates(), killer],
            validation_data=batches(EPOCHS * STEPS - 1),
        )
    except KilledError:
        return None
    rate = float(model.optimizer.learning_rate)
    return model.get_weights(), killer.epochs, rate, int(model.optimizer.iterations)


@pytest.mark.parametrize(
    ("kill_after", "rates"),
    [*((steps, plateau) for steps in (1, 4, 6, 7, 11, 20)), (20, cosine)],
)
def test_a_killed_training_ends_as_one_that_was_not(tmp_path, kill_after, rates):
    weights, epochs, rate, iterations = train(None, rates=rates)
    path = tmp_path / "folder" / "state.npz"
    assert train(path, kill_after, rates=rates) is None
    again, epochs_again, rate_again, iterations_again = train(path, rates=rates)
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert (rate, iterations) == (rate_again, iterations_again)
    for one, other in zip(epochs, epochs_again, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert rate < 0.01


@pytest.mark.parametrize("stop_after", [8, 12])
def test_one_that_a_callback_has_stopped_goes_on_in_the_middle_of_its_epoch(tmp_path, stop_after):
    weights, epochs, *_ = train(None)
    train(tmp_path / "state.npz", stop_after, seconds=1000.0, gently=True)
    assert Checkpoint(tmp_path / "state.npz", "one").read()[1]["step"] == stop_after
    again, epochs_again, *_ = train(tmp_path / "state.npz")
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    for one, other in zip(epochs, epochs_again, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.slow
def test_killed_while_it_looks_at_the_validation_set(tmp_path, monkeypatch):
    _, epochs, *_ = train(None)
    path = tmp_path / "state.npz"
    killed = [3]

    def kill(self, logs=None):
        killed[0] -= 1
        if killed[0] == 0:
            raise KilledError

    monkeypatch.setattr(Killer, "on_test_begin", kill)
    assert train(path) is None
    monkeypatch.undo()
    _, epochs_again, *_ = train(path)
    for one, other in zip(epochs, epochs_again, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.slow
def test_killed_again_and_again(tmp_path):
    path, tries = tmp_path / "state.npz", 1
    while (ended := train(path, 5)) is None:
        tries += 1
    assert tries == 6
    for one, other in zip(train(None)[0], ended[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_what_is_finished_is_not_begun_again(tmp_path):
    weights, epochs, *_ = train(tmp_path / "state.npz")
    again, epochs_again, *_ = train(tmp_path / "state.npz", kill_after=1)
    assert epochs == epochs_again
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_training_that_has_failed_is_not_continued():
    monitor = Monitor()
    monitor.set_state([{"loss": 1.0}, {"loss": math.nan, "val_loss": 1.0}])
    assert (monitor.status, monitor.message) == (
        "non_finite",
        "the loss left the finite numbers in epoch 2",
    )

    def batches(first):
        raise AssertionError("nothing is trained")

    fit(None, batches, epochs=3, steps=1, callbacks=[monitor])


def test_what_ended_on_a_plateau_is_not_continued(tmp_path):
    def train_flat():
        model, counter = make_model(), Killer()
        plateau = ReduceOrStop(
            1, monitor="loss", mode="min", patience=1, min_delta=10.0, min_lr=0.01
        )
        fit(
            model,
            batches,
            epochs=EPOCHS,
            steps=STEPS,
            checkpoint=Checkpoint(tmp_path / "state.npz", "one"),
            callbacks=[plateau, counter],
        )
        return counter.epochs

    epochs = train_flat()
    assert len(epochs) == 2
    # As if it had been killed before its row was written.
    assert train_flat() == epochs


def test_within_an_epoch_only_as_often_as_asked(tmp_path):
    assert train(tmp_path / "state.npz", kill_after=5, seconds=1000.0) is None
    assert not (tmp_path / "state.npz").exists()
    assert train(tmp_path / "state.npz", kill_after=8, seconds=1000.0) is None
    assert Checkpoint(tmp_path / "state.npz", "one").read()[1]["step"] == STEPS


class TestFiles:
    def test_another_trainings(self, tmp_path):
        train(tmp_path / "state.npz", kill_after=2)
        with pytest.raises(UserError, match="another training's: remove it"):
            Checkpoint(tmp_path / "state.npz", "two").read()

    def test_damaged(self, tmp_path):
        path = tmp_path / "state.npz"
        train(path, kill_after=2)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(UserError, match="is no checkpoint: remove it"):
            Checkpoint(path, "one").read()

    def test_one_that_cannot_be_read_is_not_called_damaged(self, tmp_path):
        (tmp_path / "state.npz").mkdir()
        with pytest.raises(UserError, match="cannot read the checkpoint"):
            Checkpoint(tmp_path / "state.npz", "one").read()

    def test_nothing_of_it_is_executed(self, tmp_path):
        np.savez(tmp_path / "state.npz", notes=np.array([print], dtype=object))
        with pytest.raises(UserError, match="is no checkpoint"):
            Checkpoint(tmp_path / "state.npz", "one").read()

    def test_another_model(self, tmp_path):
        path = tmp_path / "state.npz"
        Checkpoint(path, "one").write({"weights": [np.zeros(3)]}, {"step": 2, "callbacks": []})
        with pytest.raises(UserError, match="of another model"):
            train(path)

    def test_a_place_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="cannot write the checkpoint"):
            train(tmp_path / "file" / "state.npz")


class TestCheckpointsOfFinishedTrials:
    def row(self, status):
        return TrialResult(key="one", trial={}, status=status)

    def test_a_row_that_is_final_takes_the_checkpoints_with_it(self, tmp_path):
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        journal = Journal(tmp_path / "journal.jsonl", checkpoints=checkpoints)
        states = [checkpoints.of(*which) for which in (("one",), ("one", 2), ("other",))]
        for state in states:
            state.write({}, {})
        journal.append(self.row("timeout"))
        assert all(state.read() for state in states)
        journal.append(self.row("ok"))
        assert [state.path.exists() for state in states] == [False, False, True]

    def test_what_a_kill_between_row_and_checkpoint_left_behind(self, tmp_path):
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        Journal(tmp_path / "journal.jsonl").append(self.row("non_finite"))
        checkpoints.of("one").write({}, {})
        Journal(tmp_path / "journal.jsonl", checkpoints=checkpoints).results()
        assert not checkpoints.of("one").path.exists()

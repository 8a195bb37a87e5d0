"""When a training ends on a plateau: rules on constructed histories, without a training."""

import time
from types import SimpleNamespace

import keras
import pytest

from nglkeras import UserError
from nglkeras.training.monitor import Monitor, rate_callbacks
from nglkeras.training.schedule import Plateau, Schedule


def epochs_of(accuracies, **changes):
    """The learning rate of each epoch until a training with such accuracies ends."""
    settings = {"patience": 2, "min_learning_rate": 1e-4, "monitor": "val_accuracy"}
    plateau = Plateau(**settings | {"stop_after": 3} | changes)
    (callback,) = rate_callbacks(Schedule(len(accuracies), 8, plateau=plateau))
    optimizer = SimpleNamespace(learning_rate=keras.Variable(1e-3))
    model = SimpleNamespace(optimizer=optimizer, stop_training=False)
    callback.set_model(model)
    # Keras would look the measure up in a compiled model.
    callback.monitor_op = keras.ops.greater
    callback.on_train_begin()
    rates = []
    for epoch, accuracy in enumerate(accuracies):
        rates.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
        callback.on_epoch_end(epoch, {"val_accuracy": accuracy})
        # Plain attributes: the callback assigns a number.
        optimizer.learning_rate = keras.Variable(float(optimizer.learning_rate))
        if model.stop_training:
            break
    return rates


class TestStopAfter:
    def test_reductions_to_the_least_rate_then_flat_epochs(self):
        rates = epochs_of([0.5] * 50)
        assert rates == pytest.approx([1e-3] * 3 + [2e-4] * 2 + [1e-4] * 3)

    def test_an_improvement_at_the_least_rate_begins_the_count_anew(self):
        accuracies = [0.5] * 7 + [0.6] + [0.6] * 50
        assert len(epochs_of(accuracies)) == 8 + 3

    def test_a_change_below_keras_threshold_is_no_improvement(self):
        accuracies = [0.5 + 1e-6 * epoch for epoch in range(50)]
        assert len(epochs_of(accuracies)) == 8

    def test_never_before_the_least_rate(self):
        rates = epochs_of([0.5] * 40, stop_after=1, min_learning_rate=1e-9)
        # Each reduction takes two epochs; the count begins after the last.
        assert rates[-1] == pytest.approx(1e-9)
        assert rates[-2] > 1e-9

    def test_a_patience_beyond_the_rule_s_does_not_delay_it(self):
        rates = epochs_of([0.5] * 50, patience=10, stop_after=2)
        assert rates == pytest.approx([1e-3] * 11 + [2e-4] * 10 + [1e-4] * 2)

    @pytest.mark.parametrize(
        ("accuracies", "stop_after"), [([0.5] * 50, None), ([i / 50 for i in range(50)], 3)]
    )
    def test_all_epochs_without_the_rule_or_while_it_improves(self, accuracies, stop_after):
        assert len(epochs_of(accuracies, stop_after=stop_after)) == 50

    @pytest.mark.parametrize("stop_after", [0, -1])
    def test_fewer_epochs_than_one(self, stop_after):
        with pytest.raises(UserError, match=f"cannot stop after {stop_after} epochs on a plateau"):
            Plateau(stop_after=stop_after)


def test_the_time_of_training_has_the_steps_that_are_still_running_when_an_evaluation_begins(
    monkeypatch,
):
    def convert(variable):
        # As on JAX: the counter has its value only when the steps are done.
        time.sleep(0.2 if variable == "iterations" else 0)
        return 0.1

    monkeypatch.setattr(keras.ops, "convert_to_numpy", convert)
    monitor = Monitor()
    monitor.set_params({"epochs": 1})
    optimizer = SimpleNamespace(iterations="iterations", learning_rate="learning_rate")
    monitor.set_model(SimpleNamespace(optimizer=optimizer))
    monitor.on_epoch_begin(0)
    monitor.on_test_begin()
    monitor.on_epoch_end(0, {"loss": 1.0})
    assert monitor.history[0]["training_seconds"] >= 0.2


def test_a_rate_falls_along_half_a_cosine():
    (callback,) = rate_callbacks(Schedule(4, 8, plateau=None, cosine=True))
    optimizer = SimpleNamespace(learning_rate=keras.Variable(0.1))
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_train_begin()
    rates = []
    for epoch in range(4):
        callback.on_epoch_begin(epoch)
        rates.append(optimizer.learning_rate)
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-4)
    assert rate_callbacks(Schedule(4, 8, plateau=None)) == []

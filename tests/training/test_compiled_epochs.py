"""Epochs that XLA compiles on TensorFlow: the same trainings as with Keras' `fit`, but quicker."""

import keras
import pytest
from conftest import needs_tensorflow
from small_network import X, Y, outcome

from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS, NGL
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.losses.switched import SwitchedLoss
from nglkeras.training import streams
from nglkeras.training.compiled import CompiledNetwork
from nglkeras.training.schedule import Schedule

pytestmark = needs_tensorflow
LOSSES = {name: Expression.parse(FORMULAS[name]) for name in ("NGL", "Baikal", "f4")}


def build(run, dropout=0.0):
    keras.utils.set_random_seed(run)
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((2,), name="b")}
    x = keras.layers.Dense(16, "relu")(keras.layers.Concatenate()(list(inputs.values())))
    x = keras.layers.Dropout(dropout)(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))


def make_streams(run):
    x = {"a": X[:, :4], "b": X[:, 4:]}
    data, steps = streams.training(x, Y, batch_size=16, epochs=3, seed=run)
    # Two batches, of which the last has padding.
    held = streams.evaluation({n: a[:25] for n, a in x.items()}, Y[:25], batch_size=16)
    return streams.Streams(data, held, steps)


def compiled_network(one_program=True, make_loss=InterpretedLoss, network=build, **changes):
    schedule = Schedule(epochs=3, batch_size=16, plateau=None)
    settings = {"measure_epochs": True, "bound": 1e5, "one_program": one_program} | changes
    return CompiledNetwork(network, make_streams, schedule, make_loss, **settings)


@pytest.fixture(scope="module")
def network():
    return compiled_network(network=lambda run: build(run, dropout=0.5))


def switched():
    return SwitchedLoss({"CE": keras.losses.CategoricalCrossentropy(), "NGL": NGL()})


@pytest.mark.parametrize(
    ("make_loss", "losses"), [(InterpretedLoss, LOSSES.values()), (switched, ("CE", "NGL"))]
)
def test_trains_as_fit_does(make_loss, losses):
    ours, theirs = (compiled_network(way, make_loss) for way in (True, False))
    for loss in losses:
        for settings in ({"run": 0}, {"run": 1, "learning_rate": 0.01}):
            one, other = (network.train(loss, **settings) for network in (ours, theirs))
            assert (one.status, one.path, other.path) == ("ok", "compiled epochs", "fit")
            for row, expected in zip(outcome(one), outcome(other), strict=True):
                assert row == pytest.approx(expected, rel=1e-5)
            assert one.validation_accuracy == pytest.approx(other.validation_accuracy)
    # Both the training and what it measures are traced once.
    assert ours.loss.traces == theirs.loss.traces


def test_first_or_tenth_is_the_same_to_the_last_bit(network):
    losses = list(LOSSES.values())
    first = network.train(losses[0])
    for i in range(8):
        network.train(losses[i % 3], run=i % 2)
    tenth = network.train(losses[0])
    assert first.status == tenth.status == "ok"
    assert outcome(first) == outcome(tenth)
    assert outcome(first) != outcome(network.train(losses[0], run=1))


def test_calls_of_fewer_steps_give_the_same(network, monkeypatch):
    from nglkeras.training import compiled_epochs

    whole = network.train(LOSSES["NGL"])
    monkeypatch.setattr(compiled_epochs, "KEPT", 0)
    # The six steps of an epoch are in two calls: a batch has 16 x 9 numbers.
    monkeypatch.setattr(compiled_epochs, "CALL", 4 * 16 * 9 * 4)
    in_calls = compiled_network(network=network.build).train(LOSSES["NGL"])
    assert [row["loss"] for row in outcome(in_calls)] == pytest.approx(
        [row["loss"] for row in outcome(whole)], rel=1e-6
    )


class TestEndings:
    @pytest.mark.parametrize(
        ("loss", "settings", "status", "epochs"),
        [
            ("exp(exp(exp(3 + y_pred)))*y_true", {}, "non_finite", 1),
            ("1e7*y_pred*y_true", {}, "exploded", 1),
            (FORMULAS["NGL"], {"bars": (0.0, 1.1)}, "stopped", 2),
            (FORMULAS["NGL"], {"timeout": 0.0}, "timeout", 1),
        ],
    )
    def test_of_a_training_do_not_change_the_next(self, network, loss, settings, status, epochs):
        before = network.train(LOSSES["NGL"])
        ended = network.train(Expression.parse(loss), **settings)
        assert (ended.status, len(ended.history)) == (status, epochs)
        assert outcome(network.train(LOSSES["NGL"])) == outcome(before)

    def test_callbacks_and_validation_take_fit(self, network):
        callbacks = [keras.callbacks.Callback()]
        assert network.train(LOSSES["NGL"], callbacks=callbacks).path == "fit"
        assert compiled_network(validate=True).train(LOSSES["NGL"]).path == "fit"


def dense(*units):
    hidden = [keras.layers.Dense(count, "relu") for count in units]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])


def convolutional():
    layers = keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def of_ones_own():
    class Own(keras.layers.Dense):
        pass

    return keras.Sequential([keras.Input((64,)), Own(10, "softmax")])


@pytest.mark.parametrize(
    ("make", "steps", "expected"),
    [
        (lambda: dense(32), 100, True),
        (lambda: dense(32), 99, False),
        (lambda: dense(512, 512), 100, True),
        (lambda: dense(1024, 1024), 100, False),
        (lambda: keras.Sequential([dense(32)]), 100, False),
        (convolutional, 100, False),
        (of_ones_own, 100, False),
        (lambda: build(0), 100, True),
    ],
)
def test_where_they_are_faster(make, steps, expected):
    from nglkeras.training import compiled_epochs

    assert compiled_epochs.is_faster(make(), steps) is expected

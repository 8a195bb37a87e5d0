"""Optimizers of a schedule: their arguments and the learning rate of each step."""

import contextlib
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import to_numpy

from nglkeras.errors import UserError
from nglkeras.training.optimizer import learning_rate, make_optimizer
from nglkeras.training.schedule import SGD, Decay, Schedule


def test_arguments_are_the_schedules():
    optimizer = make_optimizer(Schedule(1, 8, "SGD", SGD, 0.25))
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert (optimizer.momentum, float(optimizer.learning_rate)) == (0.9, 0.25)


def test_gradients_of_parts_are_accumulated():
    assert make_optimizer(Schedule(1, 8)).gradient_accumulation_steps is None
    assert make_optimizer(Schedule(1, 8, accumulation=2)).gradient_accumulation_steps == 2


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only it has a strategy")
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("limit", [5.0, 15.0, 30.0])
@pytest.mark.parametrize("name", ["global_clipnorm", "clipnorm", "clipvalue"])
def test_the_gradient_of_the_whole_batch_is_clipped(mirrored, name, limit, parts):
    schedule = Schedule(1, 8, "SGD", ((name, limit),), 1.0, None, accumulation=parts)
    updates = []
    for replicas, scope in ((1, contextlib.nullcontext()), (2, mirrored.scope())):
        with scope:
            dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
            model = keras.Sequential([keras.Input((1,)), dense])
            # Its gradient is 20, of which each of two devices has 10.
            model.compile(make_optimizer(schedule, replicas), loss=lambda t, p: 20 * p)
            model.optimizer.build(model.trainable_variables)
        x = np.ones((8, 1), "float32")
        batches = tf.data.Dataset.from_tensor_slices((x, x)).batch(schedule.part_size)
        model.fit(batches, shuffle=False, verbose=0)
        updates.append(abs(model.get_weights()[0].item()))
    assert updates == pytest.approx(2 * [min(limit, 20.0)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0 is not a whole number of at least 1"),
        ({"batch_size": 0}, "batch_size=0 is not a whole number of at least 1"),
        ({"batch_size": 2.5}, "batch_size=2.5 is not a whole number"),
        ({"steps_per_epoch": 0}, "steps_per_epoch=0 is not a whole number of at least 1"),
        ({"accumulation": 0}, "accumulation=0 is not a whole number of at least 1"),
        ({"optimizer": "Adamm"}, "Keras has no optimizer 'Adamm'"),
    ],
)
def test_a_schedule_that_cannot_be_trained(settings, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(Schedule(**{"epochs": 1, "batch_size": 8} | settings))


def test_warm_up_and_cosine_by_the_formula():
    schedule = learning_rate(0.4, Decay(40, warmup=10))
    for step in range(41):
        if step <= 10:
            expected = 0.4 * step / 10
        else:
            expected = 0.2 * (1 + math.cos(math.pi * (step - 10) / 30))
        assert to_numpy(schedule(step)) == pytest.approx(expected, abs=1e-6)
    assert to_numpy(learning_rate(0.4, Decay(40))(0)) == pytest.approx(0.4)


def test_polynomial_by_the_formula():
    schedule = Schedule(1, 8, learning_rate=2.5e-5)
    optimizer = make_optimizer(schedule, decay=Decay(40_000, power=0.9))
    assert float(optimizer.learning_rate) == pytest.approx(2.5e-5)
    optimizer._iterations.assign(20_000)
    assert float(optimizer.learning_rate) == pytest.approx(2.5e-5 * 0.5**0.9, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Decay(40, warmup=10, power=0.9), "a warm-up of 10 steps"),
        (lambda: Schedule(3, 8, cosine=True), "plateau=None"),
    ],
)
def test_what_does_not_go_together_is_refused(make, says):
    with pytest.raises(UserError, match=says):
        make()

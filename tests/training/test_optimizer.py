"""Optimizers of a schedule: their arguments and the learning rate of each step."""

import math

import keras
import pytest
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

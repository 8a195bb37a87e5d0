"""What identifies a loss or a callback of one's own: all that it was made with."""

import keras
import numpy as np
import pytest

from nglkeras.errors import UserError
from nglkeras.search.digests import (
    arguments_of,
    check_callbacks,
    digest_callbacks,
    digest_model,
)


class Own(keras.callbacks.Callback):
    def __init__(self, values, factor=1.0):
        super().__init__()
        self.values, self._factor = values, factor


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (([1.0, 2.0],), ([5.0, 6.0],)),
        ((np.ones(3),), (np.zeros(3),)),
        ((len,), (max,)),
        ((lambda epoch: 0.1,), (lambda epoch: 0.001,)),
        ((None, 1.0), (None, 2.0)),
        ((True,), (False,)),
    ],
)
def test_arguments_of_any_kind(one, other):
    first, same, second = (digest_callbacks([Own(*given)]) for given in (one, one, other))
    assert first == same != second


def _with_layer(factor):
    class Scaled(keras.layers.Layer):
        def call(self, x):
            return factor * x

    return [Scaled()]


def _nested(factor):
    return [keras.Sequential(_with_layer(factor))]


def _with_activation(factor):
    def scaled(x):
        return factor * x

    return [keras.layers.Dense(3, scaled)]


@pytest.mark.parametrize("layers", [_with_layer, _nested, _with_activation])
def test_layers_and_activations_of_ones_own_have_their_code(layers):
    first, same, other = (
        digest_model(keras.Sequential([keras.Input((4,)), *layers(factor)]), None)
        for factor in (1, 1, 2)
    )
    assert first == same != other


def test_callbacks_are_a_list():
    with pytest.raises(UserError, match="callbacks is a Own; give a list of them"):
        check_callbacks(Own(1))


def test_numbers_and_texts_stay_what_they_are_and_state_does_not_count():
    stop = keras.callbacks.EarlyStopping(patience=2, monitor="val_accuracy")
    found = arguments_of(stop)
    assert (found["patience"], found["monitor"]) == (2, "val_accuracy")
    stop.stopped_epoch = 7
    assert arguments_of(stop) == found

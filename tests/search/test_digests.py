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
        ((keras.metrics.AUC(100),), (keras.metrics.AUC(50),)),
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


def _in_a_wrapper(factor):
    return [keras.layers.Reshape((1, 4)), keras.layers.TimeDistributed(*_with_layer(factor))]


def _with_a_lost_argument(factor):
    class Scaled(keras.layers.Layer):
        def __init__(self, factor, **others):
            super().__init__(**others)
            self.factor = factor

        def call(self, x):
            return self.factor * x

        def get_config(self):
            return super().get_config()

    return [Scaled(factor)]


def _with_a_layer_as_argument(factor):
    class Around(keras.layers.Layer):
        def __init__(self, inner, **others):
            super().__init__(**others)
            self.inner = inner

        def call(self, x):
            return self.inner(x)

        def get_config(self):
            return super().get_config()

    return [Around(keras.layers.Dense(factor))]


def _with_part(base, argument):
    def layers(factor):
        class Own(base):
            def __call__(self, x, *_, **__):
                return factor * keras.ops.sum(x)

            def get_config(self):
                return {}

        return [keras.layers.Dense(3, **{argument: Own()})]

    return layers


@pytest.mark.parametrize(
    "layers",
    [
        *(_with_layer, _nested, _in_a_wrapper, _with_activation, _with_a_lost_argument),
        _with_a_layer_as_argument,
        _with_part(keras.regularizers.Regularizer, "kernel_regularizer"),
        _with_part(keras.constraints.Constraint, "kernel_constraint"),
    ],
)
def test_what_is_ones_own_in_a_network_has_its_code(layers):
    first, same, other = (
        digest_model(keras.Sequential([keras.Input((4,)), *layers(factor)]), None)
        for factor in (1, 1, 2)
    )
    assert first == same != other


def test_a_layer_without_a_config_within_another():
    class Inner(keras.layers.Layer):
        def __init__(self, given):
            super().__init__()
            self.given = given

        def build(self, shape):
            pass

        def get_config(self):
            raise NotImplementedError

    class Outer(keras.layers.Layer):
        def __init__(self, factor=1):
            super().__init__()
            self.inner = Inner(factor)

        def build(self, shape):
            pass

        def call(self, x):
            return x

        def get_config(self):
            return {"factor": 1}

    def digest(factor):
        first = keras.Input((4,))
        layers = Outer(factor), keras.layers.Dense(2)
        return digest_model(keras.Model(first, layers[1](layers[0](first))), None)

    assert digest(1) == digest(1) != digest(2)


def _graph(wiring, wrap=lambda model: model):
    """A model of dense layers; the wiring has the places of what is added at its end."""
    first = keras.Input((4,))
    outputs = [first]
    for _ in range(3):
        outputs.append(keras.layers.Dense(4)(outputs[-1]))
    if wiring:
        outputs.append(keras.layers.Add()([outputs[place] for place in wiring]))
    return wrap(keras.Model(first, outputs[-1]))


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: keras.Sequential([keras.Input((4,)), m])])
def test_networks_that_differ_in_their_wiring(wrap):
    of = [digest_model(_graph(wiring, wrap), None) for wiring in ((1, 3), (2, 3), (1, 2, 3), ())]
    assert len(set(of)) == 4
    # Whatever numbers Keras gives to the names.
    assert digest_model(_graph((1, 3), wrap), None) == of[0]


def test_callbacks_are_a_list():
    with pytest.raises(UserError, match="callbacks is a Own; give a list of them"):
        check_callbacks(Own(1))


def test_numbers_and_texts_stay_what_they_are_and_state_does_not_count():
    stop = keras.callbacks.EarlyStopping(patience=2, monitor="val_accuracy")
    found = arguments_of(stop)
    assert (found["patience"], found["monitor"]) == (2, "val_accuracy")
    stop.stopped_epoch = 7
    assert arguments_of(stop) == found

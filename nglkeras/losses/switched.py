"""One Keras loss that can be switched between several without compiling the network again.

A table trains the same network with many losses. Here the active loss is an index in a
non-trainable variable, so that all losses share one compiled step. Results do not change.
"""

from collections.abc import Hashable, Mapping

import keras
import numpy as np
from keras import ops
from keras.src.backend import get_keras_mask, set_keras_mask

from nglkeras.losses.base import LabelLoss
from nglkeras.losses.labels import check_pairs


class Choice(keras.layers.Layer):
    """A layer that holds the index of the active loss.

    It is a weight of the model because JAX passes only those into a compiled step.
    """

    def __init__(self, names: list[Hashable], **arguments):
        super().__init__(trainable=False, **arguments)
        self.names = names
        self.index = self.add_weight(shape=(), dtype="int32", trainable=False, name="index")
        self.built = True

    def content(self, name: Hashable) -> tuple[np.ndarray, ...]:
        """Return what the variables hold if the loss with this name is the active one."""
        return (np.array(self.names.index(name), "int32"),)

    def store(self, name: Hashable) -> None:
        """Make the loss with this name the active one."""
        for variable, value in zip(self.variables, self.content(name), strict=True):
            variable.assign(value)


class SwitchedLoss(LabelLoss):
    """The loss that its memory names.

    Args:
        losses: Losses by name; before reduction their values must have the same shape.

    Attributes:
        memory: Layer that holds the choice; it must be part of the model.
        traces: Number of times the loss has been traced.
    """

    def __init__(self, losses: Mapping[Hashable, keras.losses.Loss]):
        super().__init__(name="switched_loss")
        self.losses = list(losses.values())
        self.memory = Choice(list(losses), name="choice")
        self.traces = 0

    def call(self, y_true, y_pred):
        """Return one value per sample: `[batch, ..., classes]` to `[batch, ...]`."""
        self.traces += 1
        axis = getattr(self.losses[0], "axis", -1)
        y_true = check_pairs(y_true, y_pred, axis if isinstance(axis, int) else -1)
        if len(self.losses) == 1:
            return self.losses[0].call(y_true, y_pred)
        index = ops.convert_to_tensor(self.memory.index)
        if all(getattr(loss, "ignore_class", None) is None for loss in self.losses):
            return ops.switch(index, [loss.call for loss in self.losses], y_true, y_pred)
        # The switch drops Keras' masks, so they are returned as tensors.
        values, counts = ops.switch(index, list(map(_with_mask, self.losses)), y_true, y_pred)
        set_keras_mask(values, mask=counts)
        return values


def _with_mask(loss):
    def call(y_true, y_pred):
        values = loss.call(y_true, y_pred)
        mask = get_keras_mask(values)
        return values, ops.ones_like(values, "bool") if mask is None else mask

    return call

"""One Keras loss that is any of several: a network compiled with it need not be compiled again.

A table trains the same network with loss after loss. Which of them counts is data, an index in a
non-trainable variable, so that the losses share one compiled step, each as exact as by itself.
"""

from collections.abc import Hashable, Mapping

import keras
from keras import ops
from keras.src.backend import get_keras_mask, set_keras_mask

from nglkeras.losses.base import LabelLoss
from nglkeras.losses.labels import check_pairs


class Choice(keras.layers.Layer):
    """Holds the choice, as a weight of the model: JAX passes only those into a compiled step.

    Args:
        names: What there is to choose from.
        **arguments: Of the layer.
    """

    def __init__(self, names: list[Hashable], **arguments):
        super().__init__(trainable=False, **arguments)
        self.names = names
        self.index = self.add_weight(shape=(), dtype="int32", trainable=False, name="index")
        self.built = True

    def store(self, name: Hashable) -> None:
        """Make it the one."""
        self.index.assign(self.names.index(name))


class SwitchedLoss(LabelLoss):
    """Whichever of the losses its memory names.

    Args:
        losses: By name; what each gives before Keras reduces it has the same shape.
        name: The name of the loss.

    Attributes:
        memory: The choice, to be a part of the model.
        traces: How often the loss has been traced so far.
    """

    def __init__(self, losses: Mapping[Hashable, keras.losses.Loss], name="switched_loss"):
        super().__init__(name=name)
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
        # Which values count would not leave the switch with them.
        values, counts = ops.switch(index, list(map(_with_mask, self.losses)), y_true, y_pred)
        set_keras_mask(values, mask=counts)
        return values


def _with_mask(loss):
    def call(y_true, y_pred):
        values = loss.call(y_true, y_pred)
        mask = get_keras_mask(values)
        return values, ops.ones_like(values, "bool") if mask is None else mask

    return call

"""Base classes of the Keras losses: they convert labels and apply masks and sample weights."""

from collections.abc import Callable

import keras
from keras import ops
from keras.src.backend import get_keras_mask
from keras.src.losses.loss import reduce_weighted_values

from nglkeras.losses.labels import as_tensor


class LabelLoss(keras.losses.Loss):
    """A Keras loss that keeps the dtype of its labels.

    Keras casts labels to the dtype of the loss, and half precision would round class indices.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Compute the reduced loss, as `keras.losses.Loss` does.

        Args:
            y_true: Labels.
            y_pred: Predictions.
            sample_weight: A weight for each sample or pixel; `None` for equal weights.
        """
        mask = get_keras_mask(y_pred)
        with keras.name_scope(self.name):
            y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
            values = self.call(as_tensor(y_true), y_pred)
            return self._reduced(values, sample_weight, mask)

    def _reduced(self, values, sample_weight=None, mask=None):
        """Let Keras weight and reduce the values that neither mask excludes."""
        own = get_keras_mask(values)
        if own is not None:
            mask = own if mask is None else ops.logical_and(mask, own)
        return reduce_weighted_values(
            values,
            sample_weight=sample_weight,
            mask=mask,
            reduction=self.reduction,
            dtype=self.dtype,
        )


class FunctionLoss(LabelLoss):
    """A Keras loss that calls a function of `y_true`, `y_pred` and further arguments.

    Args:
        reduction: Keras' reduction over the samples.
        name: Name of the loss; by default the function's.
        dtype: Dtype of the computation, at least float32; by default Keras' floatx.

    Attributes:
        function: The function, which returns one value per sample.
        arguments: Names of attributes that are passed to it, and saved in the config.
        reconstructed: Whether the formula is a guess at an illegible one.
    """

    function: Callable
    arguments: tuple[str, ...] = ()
    reconstructed = False

    def __init__(self, *, reduction="sum_over_batch_size", name=None, dtype=None):
        super().__init__(name=name or self.function.__name__, reduction=reduction, dtype=dtype)
        self._requested_dtype = getattr(dtype, "name", dtype)

    def _own_arguments(self):
        return {argument: getattr(self, argument) for argument in self.arguments}

    def call(self, y_true, y_pred):
        """Return one value per sample."""
        return self.function(y_true, y_pred, **self._own_arguments())

    def get_config(self):
        """Return all arguments of the constructor."""
        return super().get_config() | self._own_arguments() | {"dtype": self._requested_dtype}

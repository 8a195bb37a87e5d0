"""Compare the shapes of labels and predictions, without Keras."""

import numpy as np

from nglkeras.errors import UserError


def agree(shape: tuple | None, other: tuple | None) -> bool:
    """Return whether two shapes may be equal; `None` stands for an unknown dimension or rank."""
    if shape is None or other is None:
        return True
    pairs = zip(shape, other, strict=False)
    return len(shape) == len(other) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def check_same_shape(y_true, y_pred) -> None:
    """Raise `UserError` unless two NumPy arrays have the same shape, or `y_true` is a scalar."""
    shape, predicted = np.shape(y_true), np.shape(y_pred)
    if shape and not agree(shape, predicted):
        raise UserError(f"y_true of shape {shape} and y_pred of shape {predicted} differ")

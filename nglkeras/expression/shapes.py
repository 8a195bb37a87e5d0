"""Whether shapes of labels and predictions agree: for NumPy and all backends, without Keras."""

import numpy as np

from nglkeras.errors import UserError


def agree(shape: tuple | None, other: tuple | None) -> bool:
    """Whether two shapes can be the same: an unknown (`None`) dimension or rank can be any."""
    if shape is None or other is None:
        return True
    pairs = zip(shape, other, strict=False)
    return len(shape) == len(other) and all(None in pair or pair[0] == pair[1] for pair in pairs)


def check_same_shape(y_true, y_pred) -> None:
    """Raise `UserError` unless two NumPy arrays have the same shape; one number suits any."""
    shape, predicted = np.shape(y_true), np.shape(y_pred)
    if shape and not agree(shape, predicted):
        raise UserError(f"y_true of shape {shape} and y_pred of shape {predicted} differ")

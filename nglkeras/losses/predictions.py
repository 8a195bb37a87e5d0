"""What losses do with predictions besides their formulas: precision, void samples, logarithms."""

import keras
from keras import ops

# Private, but the only way to exclude pixels from Keras' reduction; its own sparse loss uses it.
from keras.src.backend import set_keras_mask

from nglkeras.expression import EPSILON


def is_other_row(t, ignore_class, axis):
    """Return which rows are not the one-hot row of `ignore_class`; `None` without one."""
    if ignore_class is None:
        return None
    indices = ops.arange(ops.shape(t)[axis], dtype="int32")
    row = along(ops.cast(ops.equal(indices, ignore_class), t.dtype), axis, t)
    return ops.any(ops.not_equal(t, row), axis=axis)


def along(vector, axis, x):
    """Reshape a vector so that it lies along an axis of `x`."""
    rank = len(x.shape)
    return ops.reshape(vector, [-1 if i == axis % rank else 1 for i in range(rank)])


def without_void(labels, x, valid, axis):
    """Replace the prediction of void samples by a constant, and label indices there by 0.

    This must happen before any computation: the gradient of a NaN is NaN even if its value is
    replaced afterwards.
    """
    if valid is None:
        return labels, x
    if len(labels.shape) < len(x.shape):
        labels = ops.where(valid, labels, 0)
    return labels, ops.where(ops.expand_dims(valid, axis), x, 0.5)


def without_ignored(t, x, ignore_class):
    """Replace label and prediction of outputs with the label `ignore_class` by constants.

    Returns:
        Labels, predictions, and which outputs are not ignored: `None` without `ignore_class`.
    """
    if ignore_class is None:
        return t, x, None
    valid = ops.not_equal(t, ignore_class)
    return ops.where(valid, t, 0.0), ops.where(valid, x, 0.5), valid


def masked(values, valid):
    """Set the values of invalid samples to 0, and exclude them from Keras' mean."""
    if valid is None:
        return values
    values = ops.where(valid, values, 0.0)
    set_keras_mask(values, mask=valid)
    return values


def float32_at_least(x):
    """Return `x` in at least float32: float16 and bfloat16 cannot represent p + 1e-8."""
    # Not all operations take variables, neither Keras' nor TensorFlow's.
    x = ops.convert_to_tensor(x.value if isinstance(x, keras.Variable) else x)
    x = x.read_value() if hasattr(x, "read_value") else x
    is_wide = keras.backend.standardize_dtype(x.dtype) in ("float32", "float64")
    return x if is_wide else ops.cast(x, "float32")


def number_of_classes(x, axis):
    """Return the number of classes; a scalar tensor if TensorFlow knows it only at run time."""
    classes = ops.shape(x)[axis]
    return classes if isinstance(classes, int) else ops.cast(classes, x.dtype)


def log_of(p):
    """Return the logarithm of probabilities, which are taken as at least ε."""
    return ops.log(ops.maximum(p, EPSILON))

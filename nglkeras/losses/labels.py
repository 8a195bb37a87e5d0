"""Convert and check the labels of losses and metrics over classes.

Shapes are compared when a step is traced, which costs nothing at run time. Dimensions that
TensorFlow does not know then, as in data sets from a generator, are compared when the step runs.
Values are known only at run time: a sample with an invalid label has the loss NaN on every backend.
"""

import numbers

import keras
import numpy as np
from keras import ops

from nglkeras.errors import UserError
from nglkeras.expression.shapes import agree

# Class indices are compared in int32; larger numbers are clipped, since they must not wrap around.
LIMIT = 2**30
_NARROW = ("bool", "int8", "uint8", "int16", "uint16", "int32")
# Rounding in half precision may move soft labels out of [0, 1] by this much.
TOLERANCE = 0.01
TO_ONE_HOT = "make them one-hot with keras.utils.to_categorical"
TO_INDICES = "make them class indices with keras.ops.argmax"
SPARSE = f"give the loss sparse=True (SparseNGL instead of NGL), or {TO_ONE_HOT}"
NOT_SPARSE = f"leave out sparse=True (NGL instead of SparseNGL), or {TO_INDICES}"


def as_tensor(y_true):
    """Convert labels to a tensor of their own dtype.

    Keras would cast them to the dtype of the loss, and bfloat16 rounds the class index 257 to 256.
    JAX would wrap 64-bit integers around, so they are clipped first.
    """
    if ops.is_tensor(y_true) or isinstance(y_true, (keras.KerasTensor, keras.Variable)):
        return ops.convert_to_tensor(y_true)
    if any(ops.is_tensor(leaf) for leaf in keras.tree.flatten(y_true)):
        return ops.convert_to_tensor(y_true)
    labels = np.asarray(y_true)
    if labels.dtype in (np.int64, np.uint64):
        low = 0 if labels.dtype == np.uint64 else -LIMIT
        labels = labels.clip(low, LIMIT).astype(np.int32)
    return ops.convert_to_tensor(labels)


def one_hot_labels(y_true, y_pred, axis=-1, *, for_indices=TO_ONE_HOT):
    """Return one-hot (or soft) labels in the shape and dtype of the predictions.

    Args:
        y_true: Labels, any dtype.
        y_pred: Predictions, a tensor `[batch, ..., classes]`.
        axis: Axis of the classes.
        for_indices: Advice in the error message for class indices.

    Raises:
        UserError: If the shapes differ, or `y_pred` has only one class.
    """
    t = as_tensor(y_true)
    predicted = check_classes(y_pred, axis)
    shape = static_shape(t)
    if not agree(shape, predicted):
        both = f"y_true of shape {_text(shape)} and y_pred of shape {_text(predicted)}"
        if agree(_without(shape, predicted, axis), _without(predicted, predicted, axis)):
            raise UserError(f"{both}: the labels are class indices; {for_indices}")
        raise UserError(f"{both} differ; one-hot labels have the shape of the predictions")
    return ops.cast(_bound(t, y_pred), y_pred.dtype)


def binary_labels(y_true, y_pred, axis=-1):
    """Return the labels of sigmoid outputs in the shape and dtype of the predictions.

    Args:
        y_true: A label of 0 or 1 (or soft) for each output, any dtype. With a single output the
            axis of the outputs may be missing.
        y_pred: Predictions, a tensor `[batch, ..., outputs]`.
        axis: Axis of the outputs.

    Raises:
        UserError: If the shapes differ.
    """
    t = as_tensor(y_true)
    predicted, shape = _known_shape(y_pred, axis), static_shape(t)
    if len(predicted) == 1:
        raise UserError(
            f"y_pred of shape {_text(predicted)} has no axis of outputs; a sigmoid head wants "
            "[batch, ..., outputs], with one output [batch, 1]"
        )
    if predicted[axis] == 1 and (shape is None or len(shape) < len(predicted)):
        return ops.cast(
            ops.expand_dims(one_each(t, y_pred, axis, what="label"), axis), y_pred.dtype
        )
    if not agree(shape, predicted):
        raise UserError(
            f"y_true of shape {_text(shape)} and y_pred of shape {_text(predicted)} differ; a "
            "sigmoid head takes a label of 0 or 1 for each output"
        )
    return ops.cast(_bound(t, y_pred), y_pred.dtype)


def class_indices(y_true, y_pred, ignore_class=None, axis=-1, *, for_one_hot=TO_INDICES):
    """Return class indices without a class axis, and which of them are not ignored.

    Args:
        y_true: Class indices, any dtype, one for each prediction. A class axis of length 1 is
            accepted.
        y_pred: Predictions, a tensor `[batch, ..., classes]`.
        ignore_class: Label to ignore, such as 255 for void pixels.
        axis: Axis of the classes.
        for_one_hot: Advice in the error message for one-hot labels.

    Returns:
        The indices, int32 `[batch, ...]`; an invalid label, such as -1, 0.5 or NaN, is outside
        `[0, classes)`. And a boolean tensor of that shape, false where the label is `ignore_class`;
        `None` without one.

    Raises:
        UserError: If the shapes differ, `y_pred` has only one class, or the labels' dtype cannot
            hold the class indices.
    """
    labels = as_tensor(y_true)
    predicted, shape = check_classes(y_pred, axis), static_shape(labels)
    if shape is not None and agree(shape, predicted) and shape[axis] not in (1, None):
        both = f"y_true of shape {_text(shape)} and y_pred of shape {_text(predicted)}"
        raise UserError(f"{both}: the labels are one-hot; {for_one_hot}")
    ignore_class = check_ignore_class(ignore_class)
    labels = one_each(labels, y_pred, axis, what="class index")
    labels = _as_int32(labels, predicted[axis], ignore_class)
    return labels, None if ignore_class is None else ops.not_equal(labels, ignore_class)


def one_each(x, y_pred, axis=-1, *, what):
    """Return a tensor with one value for each prediction, without a class axis.

    Args:
        x: The values; a class axis of length 1 is accepted.
        y_pred: Predictions, a tensor `[batch, ..., classes]`.
        axis: Axis of the classes.
        what: Name of a value in the error message.

    Raises:
        UserError: If `x` has another shape.
    """
    x = as_tensor(x)
    shape, predicted = static_shape(x), static_shape(y_pred)
    if not agree(_without(shape, predicted, axis), _without(predicted, predicted, axis)):
        without = {one: predicted[:one] + predicted[one + 1 :] for one in range(1, len(predicted))}
        fitting = next((one for one, rest in without.items() if agree(shape, rest)), None)
        advice = f"; if axis {fitting} has the classes, give axis={fitting}" if fitting else ""
        raise UserError(
            f"shape {_text(shape)} does not hold one {what} for each prediction of y_pred, shape "
            f"{_text(predicted)}{advice}"
        )
    return _bound(x, y_pred, axis)


def index_and_factor(labels, y_pred, axis=-1):
    """Return class indices within range, and a factor that is NaN for invalid ones.

    Args:
        labels: As `class_indices` returns them.
        y_pred: The predictions.
        axis: Axis of the classes.
    """
    is_class = ops.logical_and(labels >= 0, labels < ops.shape(y_pred)[axis])
    return ops.where(is_class, labels, 0), _one_or_nan(is_class, y_pred.dtype)


def one_hot_factor(t, axis=-1):
    """Return 1 for each sample whose labels are within [0, 1], NaN for the others."""
    # Keras refuses the minimum of an empty batch, which a device may get as its share.
    return _one_or_nan(ops.all(_within(t), axis=axis), t.dtype)


def valid_factor(t):
    """Return 1 for each label within [0, 1], NaN for the others, in the shape of `t`."""
    return _one_or_nan(_within(t), t.dtype)


def _within(t):
    return ops.logical_and(t >= -TOLERANCE, t <= 1.0 + TOLERANCE)


def _one_or_nan(condition, dtype):
    number = np.dtype(keras.backend.standardize_dtype(dtype)).type
    return ops.where(condition, number(1.0), number("nan"))


def check_classes(y_pred, axis=-1):
    """Return the static shape of predictions over at least two classes.

    Raises:
        UserError: If there are fewer classes, or no such axis.
    """
    shape = _known_shape(y_pred, axis)
    if shape[axis] == 1:
        raise UserError(
            f"y_pred of shape {_text(shape)} has one class: a loss over classes needs two and "
            "more; for one sigmoid unit give the loss head='sigmoid' (BinaryNGL instead of NGL), "
            "or the network Dense(2, 'softmax')"
        )
    return shape


def _known_shape(y_pred, axis):
    shape = static_shape(y_pred)
    if shape is None:
        raise UserError("y_pred is of unknown rank; give it its shape with tf.ensure_shape")
    if not -len(shape) <= axis < len(shape):
        raise UserError(f"y_pred of shape {_text(shape)} has no axis {axis} of classes")
    if axis == -len(shape) < -1:
        raise UserError(f"axis={axis} of y_pred of shape {_text(shape)} is that of the samples")
    return shape


def check_ignore_class(ignore_class):
    """Return `ignore_class` as an integer; `None` stays `None`.

    Raises:
        UserError: If it is not a whole number.
    """
    if ignore_class is None:
        return None
    is_number = isinstance(ignore_class, numbers.Real) and not isinstance(ignore_class, bool)
    # The comparison also refuses NaN and infinity.
    if not is_number or not abs(ignore_class) < LIMIT or ignore_class != int(ignore_class):
        within = "such as 255, within ±2**30"
        raise UserError(f"ignore_class={ignore_class!r} is not a whole number, {within}")
    return int(ignore_class)


def check_pairs(y_true, y_pred, axis=-1):
    """Return the labels if they are one-hot labels or class indices for the predictions.

    Raises:
        UserError: If they have neither shape.
    """
    t = as_tensor(y_true)
    shape, predicted = static_shape(t), static_shape(y_pred)
    if shape is None or predicted is None:
        return t
    if agree(shape, predicted):
        return _bound(t, y_pred)
    if not agree(_without(shape, predicted, axis), _without(predicted, predicted, axis)):
        raise UserError(
            f"y_true of shape {_text(shape)} and y_pred of shape {_text(predicted)} differ"
        )
    return t


def static_shape(x) -> tuple[int | None, ...] | None:
    """Return the shape with `None` for unknown dimensions; `None` if the rank is unknown."""
    if getattr(x.shape, "rank", 0) is None:
        return None
    return tuple(x.shape)


def _without(shape, predicted, axis):
    """Return a shape without its class axis, which in labels may have length 1 or be missing."""
    if shape is None or len(shape) != len(predicted):
        return shape
    if shape is not predicted and shape[axis] not in (1, None):
        return shape
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]


def _text(shape):
    return str(tuple(shape))


def _bound(t, y_pred, class_axis=None):
    """Return labels in the shape of the predictions, without `class_axis` if one is given.

    If TensorFlow does not know the shapes yet, they are compared at run time: otherwise
    broadcasting would hide a mismatch.
    """
    shape, predicted = static_shape(t), static_shape(y_pred)
    rank, rest = len(predicted), None
    if class_axis is not None:
        class_axis %= rank
        predicted = predicted[:class_axis] + predicted[class_axis + 1 :]
        if shape is not None and len(shape) == rank:
            if shape[class_axis] == 1:
                t = ops.squeeze(t, axis=class_axis)
                shape = static_shape(t)
            else:
                rest = class_axis + 1
    is_known = shape == predicted and None not in shape
    symbolic = any(isinstance(x, keras.KerasTensor) for x in (t, y_pred))
    if is_known or symbolic or keras.backend.backend() != "tensorflow":
        return t
    import tensorflow as tf

    given, wanted = tf.shape(t), tf.shape(y_pred)
    if class_axis is not None:
        wanted = tf.concat([wanted[:class_axis], wanted[class_axis + 1 :]], axis=0)
        if shape is None:
            # The rank is one more if there is a class axis.
            rest = class_axis + tf.rank(t) - (rank - 1)
        if rest is not None:
            given = tf.concat([given[:class_axis], given[rest:]], axis=0)
    message = "y_true and y_pred differ in shape"
    with tf.control_dependencies([tf.debugging.assert_equal(given, wanted, message)]):
        # XLA ignores assertions; the invalid shape -2 makes it fail too.
        t = tf.reshape(t, tf.where(tf.equal(given, wanted), wanted, -2))
    t.set_shape(predicted)
    return t


def _as_int32(labels, classes, ignore_class):
    """Return class indices in int32; fractions and large numbers become invalid ones."""
    dtype = keras.backend.standardize_dtype(labels.dtype)
    if dtype in _NARROW:
        return ops.cast(labels, "int32")
    if "int" in dtype:
        low = 0 if dtype.startswith("uint") else -LIMIT
        if low == 0 and keras.backend.backend() == "torch":
            # It has few operations for them. What is beyond int64 becomes negative, thus invalid.
            labels, low = ops.cast(labels, "int64"), -LIMIT
        return ops.cast(ops.clip(labels, low, LIMIT), "int32")
    _check_precision(dtype, classes, ignore_class)
    if dtype in ("float16", "bfloat16"):
        labels = ops.cast(labels, "float32")
    # NaN is not equal to itself.
    is_whole = ops.equal(labels, ops.floor(labels))
    return ops.cast(ops.where(is_whole, ops.clip(labels, -LIMIT, LIMIT), -LIMIT), "int32")


# Largest whole numbers up to which each dtype is exact.
_EXACT = {"bfloat16": 2**8, "float16": 2**11, "float32": 2**24, "float64": 2**53}


def _check_precision(dtype, classes, ignore_class):
    largest = max(classes or 0, abs(ignore_class or 0) + 1)
    if dtype not in _EXACT or largest > _EXACT[dtype]:
        raise UserError(f"class indices in {dtype} are not exact; use an integer dtype")

"""Check a user's data and model before anything is trained with them.

`read` returns inputs and labels as arrays, `count_classes` checks a model's output on one batch,
and `one_hot` compares labels with it. Errors are a `UserError` of one line that says what to do.
"""

import contextlib
import hashlib

import keras
import numpy as np
import tensorflow as tf

from nglkeras.errors import UserError
from nglkeras.losses import heads

# Greatest size of a data set that is read into arrays, in bytes.
MAX_GATHERED = 2**31
# Greatest deviation of a label row's sum from 1.
_TOLERANCE = 1e-3


def read(name: str, data: object) -> tuple[object, np.ndarray]:
    """Return inputs and labels as arrays.

    Args:
        name: "train", "validation" or "test", for messages.
        data: (x, y), a finite `tf.data.Dataset` or a `keras.utils.PyDataset` of batches. x is an
            array, or a dict or list of arrays for a model with several inputs; y holds class
            indices `[n]` or `[n, 1]` of any type, or one-hot rows `[n, classes]`.

    Returns:
        x, an array or a dict or tuple of arrays; y, class indices `[n]` or rows `[n, classes]`.

    Raises:
        UserError: If the data are not inputs with one label each.
    """
    if isinstance(data, tf.data.Dataset | keras.utils.PyDataset):
        data = _gathered(name, data)
    if not isinstance(data, tuple | list):
        raise UserError(
            f"{name} is of type {type(data).__name__}; give (x, y), arrays of inputs and labels, "
            "or a finite tf.data.Dataset of such batches"
        )
    if len(data) != 2:
        raise UserError(
            f"{name} has {len(data)} parts; give (x, y): sample weights are not supported"
        )
    y = _labels(name, data[1])
    x = _inputs(name, data[0], len(y))
    for array in keras.tree.flatten(x):
        if array.ndim == 0 or len(array) != len(y):
            raise UserError(
                f"{name} has inputs of shape {array.shape} and labels of shape {y.shape}; wanted "
                "are as many labels as inputs"
            )
        if array.dtype.kind not in "biufUS":
            raise UserError(
                f"the inputs of {name} are of type {array.dtype}; give arrays of numbers, every "
                "sample with the same shape"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array.reshape(len(array), -1)).all(axis=1)).sum())
            raise UserError(f"{bad} of {len(y)} inputs of {name} hold NaN or infinity")
    if len(y) == 0:
        raise UserError(f"{name} is empty: it has no samples")
    return x, y


def _gathered(name, data):
    """Read a data set into (x, y), in an order that does not depend on its shuffling."""
    is_tensorflow = isinstance(data, tf.data.Dataset)
    if is_tensorflow:
        endless = data.cardinality() == tf.data.INFINITE_CARDINALITY
    else:
        endless = data.num_batches is None
    if endless:
        kind = "tf.data.Dataset" if is_tensorflow else "PyDataset"
        raise UserError(f"{name} is an endless {kind}; give a finite one")
    if is_tensorflow:
        if _is_of_samples(data):
            data = data.batch(heads.LOOKED_AT)
        batches = data.as_numpy_iterator()
    else:
        batches = (data[i] for i in range(data.num_batches))
    found, size = [], 0
    for batch in batches:
        if not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise UserError(
                f"the elements of {name} are not (x, y); wanted are inputs and labels, without "
                "sample weights"
            )
        batch = keras.tree.map_structure(np.asarray, tuple(batch))
        size += sum(array.nbytes for array in keras.tree.flatten(batch))
        if size > MAX_GATHERED:
            raise UserError(
                f"{name} holds more than {MAX_GATHERED / 2**30:g} GiB, more than a search keeps in "
                "memory; give a part of it, e.g. by take()"
            )
        found.append(batch)
    if not found:
        raise UserError(f"{name} is empty: it has no samples")
    try:
        x, y = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *found)
    except ValueError as error:
        raise UserError(f"the batches of {name} do not fit together: {error}") from error
    leaves = keras.tree.flatten((x, y))
    if any(len(leaf) != len(y) for leaf in leaves):
        return x, y
    # A shuffled data set has another order each time, and would be another search.
    keys = [b"".join(leaf[i].tobytes() for leaf in leaves) for i in range(len(y))]
    order = sorted(range(len(y)), key=keys.__getitem__)
    return keras.tree.map_structure(lambda array: array[order], (x, y))


def _is_of_samples(data):
    """Return whether the elements of a data set are single samples instead of batches.

    If the element types leave it open, the first element decides: as many labels as inputs make a
    batch.
    """
    spec = data.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2):
        return False
    if getattr(spec[1].shape, "rank", None) == 0:
        return True
    for element in data.take(1).as_numpy_iterator():
        lengths = [np.shape(leaf)[:1] for leaf in keras.tree.flatten(element)]
        return len(set(lengths)) > 1 or lengths == [()] * len(lengths)
    return False


def _inputs(name, x, count):
    if isinstance(x, dict):
        return {key: _array(f"the input {key!r} of {name}", part) for key, part in x.items()}
    # A list with as many arrays as there are labels is a list of samples.
    several = isinstance(x, tuple | list) and 0 < len(x) != count
    if several and all(tuple(getattr(part, "shape", ()))[:1] == (count,) for part in x):
        return tuple(_array(f"an input of {name}", part) for part in x)
    return _array(f"the inputs of {name}", x)


def _array(what, value):
    if np.ma.is_masked(value):
        raise UserError(f"{what} are a masked array; give the samples that are not masked")
    try:
        return np.asarray(value)
    # Ragged lists, tensors on a device: every library raises its own error.
    except Exception as error:
        raise UserError(f"{what} cannot be read as an array: {error}") from error


def _labels(name, labels):
    if isinstance(labels, dict):
        raise UserError(f"the labels of {name} are a dict; give one array of class indices")
    y = _array(f"the labels of {name}", labels)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim not in (1, 2):
        raise UserError(
            f"the labels of {name} have shape {y.shape}; wanted are class indices [n] or one-hot "
            "rows [n, classes]"
        )
    objects = y.flat if y.dtype.kind == "O" else ()
    if y.dtype.kind in "US" or any(isinstance(value, str | bytes) for value in objects):
        raise UserError(
            f"the labels of {name} are text, such as {str(y.flat[0])!r}; give class indices, e.g. "
            "numpy.unique(labels, return_inverse=True)[1]"
        )
    if y.dtype.kind in "OV":
        with contextlib.suppress(TypeError, ValueError):
            y = y.astype(float)
    if y.dtype.kind not in "biuf":
        raise UserError(
            f"the labels of {name} are of type {y.dtype}; give class indices or one-hot rows"
        )
    bad = ~np.isfinite(y)
    if bad.any():
        raise UserError(f"{int(bad.sum())} labels of {name} are NaN or infinite")
    return _indices(name, y) if y.ndim == 1 else _rows(name, y)


def _indices(name, y):
    if y.dtype.kind == "f":
        # The limit below does not fit in float16.
        y = y.astype("float64")
    fractions = y != np.floor(y) if y.dtype.kind == "f" else np.zeros(len(y), bool)
    if fractions.any():
        raise UserError(
            f"the labels of {name} are no class indices, such as {y[fractions][0]:g}: the losses "
            "here are over classes, not for regression"
        )
    if len(y) and y.min() < 0:
        raise UserError(f"the labels of {name} include {y.min():g}: class indices count from 0")
    if len(y) and y.max() >= 2**31:
        raise UserError(f"the labels of {name} include {y.max():g}, which is no class index")
    return y.astype("int64")


def _rows(name, y):
    sums = y.sum(axis=1, dtype="float64")
    if y.size and (y.min() < 0 or y.max() > 1 or np.abs(sums - 1).max() > _TOLERANCE):
        raise UserError(
            f"the rows of the labels of {name}, of shape {y.shape}, are not one-hot: each must "
            "have values from 0 to 1 that sum to 1 (one class a sample, not several labels)"
        )
    return y.astype("float32") if y.dtype == bool else y


def one_hot(name: str, y: np.ndarray, classes: int) -> np.ndarray:
    """Return labels as one-hot rows over the model's classes.

    Raises:
        UserError: If a label is of a class that the model does not have.
    """
    if y.ndim == 2:
        if y.shape[1] != classes:
            raise UserError(
                f"the labels of {name} are one-hot over {y.shape[1]} classes, and the model has "
                f"{classes} outputs"
            )
        return y
    if y.max() >= classes:
        raise UserError(
            f"the labels of {name} include {y.max()}, and the model has {classes} outputs: they "
            f"are not class indices from 0 to {classes - 1}"
        )
    return keras.utils.to_categorical(y, classes)


def build(model_fn: object, x: object) -> keras.Model:
    """Return the user's model with its weights built.

    Raises:
        UserError: If it returns no model, or one that cannot take the inputs.
    """
    if isinstance(model_fn, keras.Model) or not callable(model_fn):
        kind = type(model_fn).__name__
        raise UserError(f"model_fn is a {kind}; give a function that builds the model anew")
    model = model_fn()
    if not isinstance(model, keras.Model):
        raise UserError(f"model_fn gave a {type(model).__name__}; wanted is a keras.Model")
    if not model.built or not model.variables:
        heads.outputs(model, x)
    if not model.trainable_variables:
        raise UserError("the model of model_fn has no weights to train")
    return model


def count_classes(model: keras.Model, x: object) -> int:
    """Return the number of outputs of a model, after checking that it ends in a softmax.

    Raises:
        UserError: If its output is not `[batch, classes]` with rows that sum to 1.
    """
    batch = len(keras.tree.flatten(x)[0])
    outputs = heads.outputs(model, x)
    if isinstance(outputs, list | tuple | dict):
        raise UserError(
            f"the model has {len(keras.tree.flatten(outputs))} outputs in a "
            f"{type(outputs).__name__}; give one that ends in a single softmax over the classes"
        )
    shape = tuple(outputs.shape)
    if len(shape) != 2 or shape[0] != batch:
        raise UserError(
            f"the model's output has shape {shape} for {batch} samples; wanted is "
            f"[{batch}, classes], the softmax over the classes"
        )
    if shape[1] == 1:
        raise UserError(
            "the model ends in one unit; a loss over classes needs an output for each class: end "
            "it in Dense(2, activation='softmax')"
        )
    wrong = heads.not_softmax(model, x, outputs)
    if wrong:
        raise UserError(wrong)
    return shape[1]


def digest(*parts: object) -> str:
    """Return a hash of the content of arrays, or of dicts and tuples of them."""
    digest = hashlib.sha256()
    for array in keras.tree.flatten(parts):
        digest.update(
            f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    return digest.hexdigest()[:16]

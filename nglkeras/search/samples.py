"""Check a user's data and model before anything is trained with them.

`as_arrays` returns inputs and labels as arrays, `build` a model; `task.look` compares them. Errors
are a `UserError` of one line that says what to do.
"""

import contextlib
import hashlib
import operator
import sys

import keras
import numpy as np

from nglkeras.errors import UserError
from nglkeras.losses import heads

# Greatest size of a data set that is read into arrays, in bytes.
MAX_GATHERED = 2**31


def as_arrays(
    name: str, data: object, ignore_class: int | None = None
) -> tuple[object, np.ndarray]:
    """Return inputs and labels as arrays.

    Args:
        name: "train", "validation" or "test", for messages.
        data: (x, y), a finite `tf.data.Dataset` or a `keras.utils.PyDataset` of batches, or a
            function without arguments that returns one of them. x is an array, or a dict or list of
            arrays for a model with several inputs; y holds labels of any type of numbers, for whole
            samples (`[n]`, `[n, 1]`, `[n, classes]`) or for positions in them.
        ignore_class: Label that does not count.

    Returns:
        x, an array or a dict or tuple of arrays; y, an array.

    Raises:
        UserError: If the data are not inputs with one label each.
    """
    if callable(data) and not _is_stream(data):
        data = data()
    if _is_stream(data):
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
    y = _labels(name, data[1], ignore_class)
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


def _is_stream(data):
    return isinstance(data, keras.utils.PyDataset) or _is_tensorflow(data)


def _is_tensorflow(data):
    """Return whether data are a `tf.data.Dataset`; TensorFlow is not imported for that."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(data, tensorflow.data.Dataset)


def _gathered(name, data):
    """Read a data set into (x, y), in an order that does not depend on its shuffling."""
    is_tensorflow = _is_tensorflow(data)
    if is_tensorflow:
        endless = data.cardinality() == sys.modules["tensorflow"].data.INFINITE_CARDINALITY
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
    # Texts of a data set are bytes.
    keys = [b"".join(np.asarray(leaf[i]).tobytes() for leaf in leaves) for i in range(len(y))]
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
        return {key: _numbers(f"the input {key!r} of {name}", part) for key, part in x.items()}
    # A list with as many arrays as there are labels is a list of samples.
    several = isinstance(x, tuple | list) and 0 < len(x) != count
    if several and all(tuple(getattr(part, "shape", ()))[:1] == (count,) for part in x):
        return tuple(_numbers(f"an input of {name}", part) for part in x)
    return _numbers(f"the inputs of {name}", x)


def _numbers(what, value):
    """Return an array; numbers of several types, as a table's columns may have, in float64."""
    array = _array(what, value)
    if array.dtype == object and not any(isinstance(one, str | bytes) for one in array.flat):
        with contextlib.suppress(TypeError, ValueError):
            return array.astype("float64")
    return array


def _array(what, value):
    if np.ma.is_masked(value):
        raise UserError(f"{what} are a masked array; give the samples that are not masked")
    try:
        return np.asarray(value)
    # Ragged lists, tensors on a device: every library raises its own error.
    except Exception as error:
        raise UserError(f"{what} cannot be read as an array: {error}") from error


def _labels(name, labels, ignore_class):
    if isinstance(labels, dict):
        raise UserError(f"the labels of {name} are a dict; give one array of class indices")
    y = _array(f"the labels of {name}", labels)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 0:
        raise UserError(
            f"the labels of {name} have shape {y.shape}; wanted are class indices [n] or one-hot "
            "rows [n, classes]"
        )
    objects = y.flat if y.dtype.kind == "O" else ()
    if y.dtype.kind in "US" or any(isinstance(value, str | bytes) for value in objects):
        text = y.flat[0]
        text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise UserError(
            f"the labels of {name} are text, such as {text!r}; give class indices, e.g. "
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
        raise UserError(f"{int(bad.sum())} of {y.size} labels of {name} are NaN or infinite")
    return _checked(name, y, ignore_class)


def _checked(name, y, ignore_class):
    if y.dtype.kind == "f" and y.ndim == 1:
        y = y.astype("float64")
    kept = y if ignore_class is None else y[y != ignore_class]
    fractions = kept[kept != np.floor(kept)] if y.dtype.kind == "f" else kept[:0]
    if fractions.size and (kept.min() < 0 or kept.max() > 1):
        raise UserError(
            f"the labels of {name} are no class indices, such as {fractions[0]:g}: the losses here "
            "are over classes, not for regression"
        )
    if kept.size and kept.min() < 0:
        raise UserError(f"the labels of {name} include {kept.min():g}: class indices count from 0")
    if kept.size and float(kept.max()) >= 2**31:
        raise UserError(f"the labels of {name} include {kept.max():g}, which is no class index")
    if y.ndim == 1:
        return y if fractions.size else y.astype("int64")
    return y.astype("float32") if y.dtype == bool else y


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


def outputs(model: keras.Model, x: object, batch_size: int) -> np.ndarray:
    """Return what a model gives for inputs, batch by batch."""
    found = []
    for start in range(0, len(keras.tree.flatten(x)[0]), batch_size):
        rows = operator.itemgetter(slice(start, start + batch_size))
        part = keras.tree.map_structure(rows, x)
        found.append(keras.ops.convert_to_numpy(heads.outputs(model, part)))
    return np.concatenate(found)


def digest_each(x: object) -> list[bytes]:
    """Return a hash of each sample of inputs, the same for the same numbers of another dtype."""
    rows = zip(*keras.tree.flatten(x), strict=True)
    return [hashlib.sha256(b"".join(map(_bytes_of, row))).digest() for row in rows]


def _bytes_of(part):
    part = np.asarray(part)
    # Networks compute in float32; integers may be longer.
    with np.errstate(over="ignore"):
        part = part.astype("float32") if part.dtype.kind == "f" else part
    return (part.astype("float64") if part.dtype.kind in "biuf" else part).tobytes()


def digest(*parts: object) -> str:
    """Return a hash of the content of arrays, or of dicts and tuples of them."""
    digest = hashlib.sha256()
    for array in keras.tree.flatten(parts):
        digest.update(
            f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    return digest.hexdigest()[:16]

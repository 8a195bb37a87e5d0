"""What a model returns: the probabilities of a softmax, independent sigmoids, or logits.

Only the numbers are looked at, so that every kind of Keras model can be read. An untrained model
may return sums of 1 by chance, e.g. two sigmoids of zero; it is therefore run a second time with
noise in its last weights.
"""

import contextlib
import re
from collections.abc import Iterable

import keras
import numpy as np

from nglkeras.errors import UserError

# Number of samples that a model is looked at with.
LOOKED_AT = 32
# Greatest deviation of a softmax's sum from 1, in float32 and in 16-bit types.
_TOLERANCE, _SHORT_TOLERANCE = 1e-3, 2e-2
SHORT = ("float16", "bfloat16")
# Noise in the last weights that shows whether outputs are cut off.
FAR = (1e3, -1e3)
# What outputs are, in sentences.
NAMES = {"softmax": "a softmax", "sigmoid": "sigmoids, one label each", "logits": "logits"}


def first(x: object, count: int = LOOKED_AT) -> object:
    """Return the first samples of inputs."""
    return keras.tree.map_structure(lambda array: array[:count], x)


def outputs(model: keras.Model, x: object) -> object:
    """Return a model's outputs as tensors.

    Raises:
        UserError: If the model cannot take these inputs.
    """
    try:
        return model(x, training=False)
    # A model may raise anything: shapes, types, missing keys.
    except Exception as error:
        shapes = keras.tree.map_structure(lambda array: tuple(array.shape), x)
        raise UserError(
            f"the model cannot take inputs of shape {shapes}: {reason(error)}"
        ) from error


def reason(error: Exception) -> str:
    """Return the first informative line of a Keras error, without colors."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    # Keras prints whole inputs before it says what is wrong with them.
    text = re.sub(r" for input \W.*?(?=Expected)", ". ", text, flags=re.DOTALL)
    lines = text.splitlines()
    around = ("Exception encountered", "Arguments received", "\u2022")
    said = [line.strip() for line in lines if not line.strip().startswith(around)]
    return next(filter(None, said), type(error).__name__)


def with_noise(
    model: keras.Model, x: object, noise: float = 1.0, training: bool = False
) -> object | None:
    """Return the outputs with noise in the last two weights; `None` if Keras cannot compute it.

    Args:
        model: The model; none of its variables changes.
        x: Inputs.
        noise: Standard deviation of the noise.
        training: Whether layers act as in a training.
    """
    random = np.random.default_rng(0)
    weights = [variable.value for variable in model.trainable_variables]
    for i in range(max(len(weights) - 2, 0), len(weights)):
        change = noise * random.normal(size=tuple(weights[i].shape))
        weights[i] = weights[i] + keras.ops.cast(change, weights[i].dtype)
    others = [variable.value for variable in model.non_trainable_variables]
    with contextlib.suppress(Exception):
        return model.stateless_call(weights, others, x, training=training)[0]
    return None


def rows(output: object, axis: int = -1) -> np.ndarray:
    """Return an output in float64, one row for each sample or pixel: `[rows, classes]`."""
    p = np.moveaxis(keras.ops.convert_to_numpy(keras.ops.cast(output, "float32")), axis, -1)
    return p.reshape(-1, p.shape[-1]).astype("float64")


def is_short(output: object) -> bool:
    """Return whether an output is in a 16-bit type."""
    return keras.backend.standardize_dtype(output.dtype) in SHORT


def kind(versions: Iterable[object], axis: int = -1) -> str:
    """Return what one output of a model is: "softmax", "sigmoid" or "logits".

    Args:
        versions: The output, and optionally the same output with other weights.
        axis: Axis of the classes.
    """
    kinds = [_kind(rows(output, axis), is_short(output)) for output in versions]
    return max(kinds, key=("softmax", "sigmoid", "logits").index)


def _kind(p, short):
    tolerance = _SHORT_TOLERANCE if short else _TOLERANCE
    p = p[np.isfinite(p).all(axis=1)]
    if not len(p):
        return "softmax"
    if p.min() >= -tolerance and np.abs(p.sum(axis=1) - 1).max() <= tolerance:
        return "softmax"
    return "sigmoid" if p.min() >= 0 and p.max() <= 1 and p.any() else "logits"


def cut_off(versions: Iterable[object | None], axis: int = -1) -> str:
    """Return why outputs are no logits, which are of any size; nothing if they may be some.

    Args:
        versions: One output of a model with noise of the sizes `FAR`; without any nothing is known.
        axis: Axis of the classes.
    """
    found = [rows(one, axis) for one in versions if one is not None]
    if not found:
        return ""
    found = np.stack(found)
    if found.min() >= 0 and (found == 0).any():
        reason = "never below 0, as those of a ReLU"
    elif 0.999 < np.abs(found).max() <= 1:
        reason = "always between -1 and 1, as those of a tanh"
    else:
        return ""
    return (
        f"the model's outputs are {reason}: end it in a softmax, in sigmoids, or in logits, which "
        "have no activation"
    )


def other_axis(output: object, axis: int) -> int | None:
    """Return another axis, over which the output is a softmax; `None` if there is none."""
    rank = len(output.shape)
    others = (other for other in range(1, rank) if other != axis % rank)
    return next((other for other in others if kind([output], other) == "softmax"), None)


def flat(outputs: object) -> list:
    """Return a model's outputs, one or several, as a list."""
    return list(outputs.values()) if isinstance(outputs, dict) else keras.tree.flatten(outputs)


def not_softmax(model: keras.Model, x: object, output: object) -> str | None:
    """Return why a model's output for `x` is not that of a softmax; `None` if it is."""
    if not np.isfinite(rows(output)).all():
        return "the untrained model's output is not finite on the first samples"
    for one in (output, with_noise(model, x)):
        if one is not None and kind([one]) != "softmax":
            sums = rows(one).sum(axis=1)
            return (
                f"the rows of the model's output sum to {sums.min():.3g} to {sums.max():.3g}, not "
                f"to 1: it seems to end in {NAMES[kind([one])]}; end it in a softmax over the "
                f"classes, e.g. Dense({output.shape[-1]}, activation='softmax')"
            )
    return None

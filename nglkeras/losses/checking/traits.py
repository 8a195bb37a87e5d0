"""What a loss expects of predictions and labels: ours, and Keras' own over classes."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras.src.losses.losses import LossFunctionWrapper

from nglkeras.errors import UserError
from nglkeras.losses.labels import as_tensor

# Keras' losses over classes, and those of them that take class indices.
_INDICES = ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy")
_SOFTMAX = (
    *("categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence"),
    *_INDICES,
)
_SIGMOID = ("binary_crossentropy", "binary_focal_crossentropy")
_OVERLAP = ("dice", "tversky")


@dataclass(frozen=True)
class Traits:
    """What a loss expects.

    Attributes:
        name: Name of the loss in messages.
        values: The loss as a function of labels and predictions, one value per sample.
        options: Names of the options that the loss has.
        head: "softmax" or "sigmoid"; `None` if it is neither ours nor Keras' over classes.
        sparse: Whether labels are class indices.
        from_logits: Whether predictions are logits.
        ignore_class: Label that is left out.
        class_weights: Weights of the classes.
        axis: Axis of the classes.
        class_reduction: "mean" or "sum" over the classes.
        reduction: Keras' reduction over the samples.
        is_overlap: Whether it is one of Keras' losses of overlap, which take probabilities.
    """

    name: str
    values: Callable
    options: frozenset[str]
    head: str | None
    sparse: bool
    from_logits: bool
    ignore_class: int | None
    class_weights: object
    axis: int
    class_reduction: str | None
    reduction: str
    is_overlap: bool


def traits_of(loss: object) -> Traits:
    """Return what a loss expects.

    Args:
        loss: What `model.compile` takes for one output: a Keras loss, a function, or a name.

    Raises:
        UserError: If Keras does not know such a loss.
    """
    try:
        loss = keras.losses.get(loss)
    # Keras has several errors for what it does not know.
    except Exception as error:
        message = f"{loss!r} is no loss that Keras knows; give it as nglkeras.losses.get('NGL')"
        raise UserError(message) from error
    is_named = isinstance(loss, keras.losses.Loss) and type(loss) is not LossFunctionWrapper
    if not isinstance(loss, keras.losses.Loss):
        loss = LossFunctionWrapper(loss)
    function = getattr(loss, "function", getattr(loss, "fn", loss.call))
    # A partial function has no name.
    plain = getattr(function, "func", function)
    name = getattr(plain, "__name__", type(plain).__name__)
    is_ours = hasattr(plain, "checked")
    defaults = {
        "head": "softmax" if is_ours or name in _SOFTMAX else None,
        "sparse": name in _INDICES or (is_ours and name.startswith("sparse")),
        "from_logits": False,
        "ignore_class": None,
        "class_weights": None,
        "axis": -1,
        "class_reduction": None,
        "reduction": None,
    }
    if name in _SIGMOID:
        defaults["head"] = "sigmoid"
    parameters = inspect.signature(function).parameters.values()
    own = {one.name: one.default for one in parameters if one.default is not one.empty}
    fixed = getattr(getattr(plain, "definition", None), "fixed", {})
    given = defaults | own | fixed | getattr(loss, "_fn_kwargs", {})
    found = {key: getattr(loss, key, given[key]) for key in defaults}
    # Keras' losses of overlap take all axes together.
    found["axis"] = found["axis"] if isinstance(found["axis"], int) else -1

    def values(y_true, y_pred):
        labels = as_tensor(y_true)
        labels = labels if found["sparse"] else keras.ops.cast(labels, y_pred.dtype)
        return loss.call(labels, y_pred)

    shown = type(loss).__name__ if is_named else name
    found["is_overlap"] = name in _OVERLAP
    return Traits(name=shown, values=values, options=frozenset(own), **found)

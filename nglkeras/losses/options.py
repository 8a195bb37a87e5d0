"""The options that all losses over classes share, and their checks."""

import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.losses.labels import check_ignore_class
from nglkeras.numbers import whole_number

CLASS_REDUCTIONS = ("mean", "sum")
HEADS = ("softmax", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a loss reads predictions and labels.

    The fields are documented where users see them, in `DOCUMENTATION`.
    """

    head: str = "softmax"
    sparse: bool = False
    from_logits: bool = False
    label_smoothing: float = 0.0
    class_weights: Sequence | None = None
    ignore_class: int | None = None
    class_reduction: str = "mean"
    axis: int = -1

    def __post_init__(self):
        check_head(self.head)
        check_class_reduction(self.class_reduction)
        smoothing = self.label_smoothing
        if not is_number(smoothing) or not 0.0 <= smoothing < 1.0:
            raise UserError(f"label_smoothing={smoothing!r} is not in [0, 1)")
        axis = whole_number("axis", self.axis, least=None)
        if axis == 0:
            raise UserError("axis=0 is the axis of the samples, and cannot be that of the classes")
        plain = {
            "sparse": check_switch("sparse", self.sparse),
            "from_logits": check_switch("from_logits", self.from_logits),
            "label_smoothing": float(smoothing),
            "axis": axis,
            "class_weights": check_class_weights(self.class_weights, self.head),
            "ignore_class": check_ignore_class(self.ignore_class),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        if self.head == "sigmoid" and self.sparse:
            raise UserError(
                "sparse=True is of a softmax: the labels of sigmoid outputs are 0 and 1 already"
            )


OPTIONS = tuple(option.name for option in fields(Options))


def checked_options(arguments: Mapping) -> dict:
    """Return arguments with the options among them checked, and in one form.

    Raises:
        UserError: If an option is not valid.
    """
    options = Options(**{name: arguments[name] for name in OPTIONS if name in arguments})
    return {name: getattr(options, name, value) for name, value in arguments.items()}


def bind(name: str, signature: inspect.Signature, given=(), named=None) -> dict:
    """Return all arguments of a call by name.

    Raises:
        TypeError: If they do not fit the signature; the message names what is valid.
    """
    try:
        bound = signature.bind(*given, **named or {})
    except TypeError as error:
        valid = ", ".join(signature.parameters)
        raise TypeError(f"{name}() {error}; its arguments are {valid}") from None
    bound.apply_defaults()
    return bound.arguments


# What docstrings say about each option.
DOCUMENTATION = {
    "head": """`"softmax"`: the outputs are the probabilities of classes that exclude each other.
        `"sigmoid"`: each output is the probability of a label of its own, for binary (one unit)
        and multi-label networks. It is read as the two-class prediction (1 - p, p); the value of a
        sample is the mean over its outputs, as in Keras' binary cross entropy.""",
    "sparse": """Whether labels are class indices, of the shape of `y_pred` without the class axis
        (or with a class axis of length 1), instead of one-hot.""",
    "from_logits": "Whether `y_pred` holds logits instead of probabilities.",
    "label_smoothing": """Share of the label that is spread evenly over the classes, in [0, 1).""",
    "class_weights": """One number a class, by which the value of each sample of that class is
        multiplied; e.g. `balanced(counts)`. As with `class_weight` in `fit`, values are not divided
        by the sum of the weights. With the sigmoid head the weights of the labels 0 and 1: one
        pair, or a pair for each output.""",
    "ignore_class": """Label, such as 255 for void pixels, whose samples have zero loss and gradient
        and are left out of the mean; it need not be a class. One-hot labels of such samples are all
        zeros, as `keras.ops.one_hot` makes them, or that class. With the sigmoid head it is a label
        of single outputs.""",
    "class_reduction": """`"mean"` over the classes as the papers print it, or `"sum"`. The mean
        divides the gradient by the number of classes: plain SGD sees a smaller learning rate.""",
    "axis": "Axis of the classes, or of the outputs of a sigmoid head.",
    "pixel_weight": "Weight of each pixel in the sums, `[batch, ...]`; equal by default.",
    "fast": """Whether to use the compiled kernel, which computes loss and gradient together from
        logits in float32 or lower: see `kernels`. `None` uses it if it is valid, `False` never
        does. Values and gradients are the same.""",
}


def balanced(counts: Sequence[int] | Mapping[int, int]) -> tuple[float, ...]:
    """Return class weights that give all classes the same total weight: n / (k n_c).

    n is the number of samples, k the number of classes that occur. The mean weight of a sample is
    1, so that the learning rate keeps its meaning. A class without samples has the weight 0.

    Args:
        counts: Number of samples, or of pixels, of each class, in their order or by class as in
            a dictionary, a `Counter` or `value_counts()` of pandas; of the labels 0 and 1 for a
            sigmoid head.

    Raises:
        UserError: If a count is negative or not finite, a class is missing, or all are zero.

    Examples:
        >>> balanced([90, 10])
        (0.5555555555555556, 5.0)
    """
    counts = _in_order(counts, "counts")
    try:
        counts = np.asarray(counts, "float64")
    except (TypeError, ValueError):
        raise UserError(f"counts {counts!r} are no numbers of samples") from None
    if counts.ndim != 1 or not np.isfinite(counts).all() or (counts < 0).any() or not counts.any():
        raise UserError(f"counts {counts.tolist()} are no numbers of samples, one for each class")
    occur = counts > 0
    weights = np.divide(counts.sum(), occur.sum() * counts, where=occur, out=np.zeros_like(counts))
    return tuple(weights.tolist())


def _in_order(values, name):
    """Numbers in the order of the classes; those by class, also of pandas, know their class."""
    if not isinstance(values, Mapping) and not hasattr(values, "items"):
        return values
    values = dict(values.items())
    if set(values) != set(range(len(values))):
        raise UserError(f"{name} for {sorted(values, key=str)}: give every class from 0 on")
    return [values[label] for label in range(len(values))]


def check_class_weights(weights, head: str = "softmax") -> tuple | None:
    """Return class weights as a tuple of numbers, or of pairs; `None` stays `None`.

    Raises:
        UserError: If they are not finite numbers of at least 0 in one of the forms that `Options`
            takes.
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        raise UserError(
            f"class_weights={weights!r}: give numbers, e.g. nglkeras.losses.balanced(counts) with "
            "the number of samples of each class"
        )
    weights = _in_order(weights, "class_weights")
    try:
        array = np.asarray(weights, "float64")
    except (TypeError, ValueError):
        array = np.array(np.nan)
    dimensions = (1,) if head == "softmax" else (1, 2)
    is_right = array.ndim in dimensions and array.size > 1 and np.isfinite(array).all()
    if head == "sigmoid":
        is_right = is_right and array.shape[-1] == 2
    if not is_right or (array < 0).any():
        form = (
            "a number for each class" if head == "softmax" else "a pair (w0, w1), or one an output"
        )
        raise UserError(f"class_weights={weights!r} is not {form}, finite and at least 0")
    return tuple(tuple(row) if isinstance(row, list) else row for row in array.tolist())


def check_length(weights, classes, what="numbers"):
    """Raise `UserError` unless there is a weight for each class."""
    if classes is not None and len(weights) != classes:
        raise UserError(
            f"class_weights are {len(weights)} {what}, but y_pred has {classes} outputs"
        )


def check_class_reduction(class_reduction):
    """Raise `UserError` unless it is one of `CLASS_REDUCTIONS`."""
    if class_reduction not in CLASS_REDUCTIONS:
        raise unknown("class_reduction", class_reduction, CLASS_REDUCTIONS)


def check_head(head, heads=HEADS):
    """Raise `UserError` unless it is one of `heads`."""
    if head not in heads:
        raise unknown("head", head, heads)


def check_switch(name, value):
    """Return a switch as `True` or `False`.

    Raises:
        UserError: If it is neither, as the text "no" would count as true.
    """
    if not isinstance(value, bool | np.bool_ | numbers.Integral) or value not in (0, 1):
        raise UserError(f"{name}={value!r} is neither True nor False")
    return bool(value)


def check_number(name, value):
    """Return a constant if it is a finite number, in the form that a file can hold, or a tensor.

    Raises:
        UserError: If it is neither, or a tensor of several numbers.
    """
    if isinstance(value, np.generic | np.ndarray) and value.ndim == 0:
        value = value.item()
    is_tensor = hasattr(value, "dtype") and tuple(value.shape) == ()
    if not is_tensor and not (is_number(value) and np.isfinite(value)):
        raise UserError(f"{name}={value!r} is not a finite number")
    return value


def within(name: str, interval: str, holds: Callable[[float], bool]) -> Callable:
    """Return a check of a constant, as `loss_over_classes` takes it.

    Args:
        name: Name of the constant.
        interval: The interval for the message, such as "(0, 1]".
        holds: Whether a number is in it.
    """

    def check(value):
        value = check_number(name, value)
        if is_number(value) and not holds(value):
            raise UserError(f"{name}={value!r} is not in {interval}")
        return value

    return check


def is_number(x) -> bool:
    """Return whether `x` is a plain number, which can be compiled into a kernel."""
    return isinstance(x, numbers.Real) and not isinstance(x, bool)

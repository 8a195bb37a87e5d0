"""The losses as pure functions that return one value per sample.

`p` is the predicted probability of a class (`y_pred`; y_pred or y in the papers) and `t` its
label (`y_true`; y_real or x in the papers).
"""

from functools import cache

import keras
from keras import ops

# Private, but the only way to exclude pixels from Keras' reduction; its own sparse loss uses it.
from keras.src.backend import set_keras_mask

from nglkeras.errors import unknown
from nglkeras.expression import EPSILON, Expression
from nglkeras.losses import kernels
from nglkeras.losses.formulas import FORMULAS
from nglkeras.losses.labels import (
    check_ignore_class,
    class_indices,
    index_and_factor,
    one_hot_factor,
    one_hot_labels,
)

registered = keras.saving.register_keras_serializable(package="nglkeras")

# Constants of paper A as printed.
ALPHA, ETA = 2.4092, 2.6085

# Symmetric cross entropy clips predictions and labels before their logarithms are taken.
PREDICTION_CLIP, LABEL_CLIP = 1e-7, 1e-4

CLASS_REDUCTIONS = ("mean", "sum")
SCALINGS = (None, "sigmoid")


@registered
def ngl(
    y_true,
    y_pred,
    alpha=ALPHA,
    scaling=None,
    from_logits=False,
    label_smoothing=0.0,
    class_reduction="mean",
    axis=-1,
    fast=None,
):
    """Next Generation Loss, f5 of paper A (eq. 1): `exp(α - p(1 + t)) - cos(cos(sin p))`.

    Args:
        y_true: One-hot (or soft) labels, the shape of `y_pred`, any dtype. The loss of a sample is
            NaN if any of its labels is outside [0, 1].
        y_pred: Probabilities, shape `[batch, ..., classes]`; logits with `from_logits`.
        alpha: α; by default 2.4092, as evolved.
        scaling: `"sigmoid"` applies a sigmoid to the probabilities first, as the CIFAR-100
            example of the paper's authors does; `None` is the printed formula.
        from_logits: Whether `y_pred` holds logits instead of probabilities.
        label_smoothing: Share of the label that is spread evenly over the classes, in [0, 1).
        class_reduction: `"mean"` over the classes as printed, or `"sum"`.
        axis: Axis of the classes.
        fast: Whether to use the compiled kernel, which computes loss and gradient together: see
            `kernels`. It needs TensorFlow or JAX, logits in float32 or lower, and no scaling.
            `None` uses it if it is valid, `False` never does. Values and gradients are the same.

    Returns:
        One value per sample (per pixel in dense prediction): the shape of `y_pred` without
        the class axis, float32 unless `y_pred` is float64.

    Raises:
        UserError: If the shapes differ, `y_pred` has only one class, or `fast=True` is given
            where the kernel is not valid.

    Example:
    >>> float(ngl([[0, 1]], [[0.2, 0.8]])[0])  # doctest: +ELLIPSIS
    5.034...
    """
    p = float32_at_least(y_pred)
    t = one_hot_labels(y_true, p, axis, for_indices="use SparseNGL")
    check_class_reduction(class_reduction)
    why_not = _forbids_kernel(from_logits, scaling)
    if kernels.is_chosen(fast, p, axis=axis, constants=(alpha,), why_not=why_not):
        term = kernels.ngl_term(float(alpha))
        return kernels.Kernel(term, False, label_smoothing, class_reduction, axis)(t, p)
    factor = one_hot_factor(t, axis)
    t = _smooth(t, label_smoothing, axis)
    p = _scale(ops.softmax(p, axis=axis) if from_logits else p, scaling)
    terms = _ngl_exponential(t, p, alpha) - _ngl_cosine(p)
    return _reduce(terms, factor, class_reduction, axis)


@registered
def sparse_ngl(
    y_true,
    y_pred,
    alpha=ALPHA,
    scaling=None,
    from_logits=False,
    label_smoothing=0.0,
    ignore_class=None,
    class_reduction="mean",
    axis=-1,
    fast=None,
):
    """Compute `ngl` for integer labels, without a one-hot tensor.

    Args:
        y_true: Class indices, integer or float dtype, the shape of `y_pred` without the class
            axis (a class axis of length 1 is accepted).
        y_pred: As in `ngl`.
        alpha: As in `ngl`.
        scaling: As in `ngl`.
        from_logits: As in `ngl`.
        label_smoothing: As in `ngl`.
        ignore_class: Label, such as 255 for void pixels, whose samples have zero loss and
            gradient and are left out of the mean; it need not be a class. The loss of a sample with
            any other invalid label, such as -1, 0.5 or NaN, is NaN.
        class_reduction: As in `ngl`.
        axis: As in `ngl`.
        fast: As in `ngl`.

    Returns:
        As `ngl`.
    """
    check_class_reduction(class_reduction)
    p = float32_at_least(y_pred)
    labels, valid = class_indices(y_true, p, ignore_class, axis, for_one_hot="use NGL")
    why_not = _forbids_kernel(from_logits, scaling)
    if kernels.is_chosen(fast, p, axis=axis, constants=(alpha,), why_not=why_not):
        term, void = kernels.ngl_term(float(alpha)), check_ignore_class(ignore_class)
        kernel = kernels.Kernel(term, True, label_smoothing, class_reduction, axis, void)
        return masked(kernel(labels, p), valid)
    labels, p = without_void(labels, p, valid, axis)
    p = _scale(ops.softmax(p, axis=axis) if from_logits else p, scaling)
    return masked(_sparse_ngl(labels, p, alpha, label_smoothing, class_reduction, axis), valid)


def _sparse_ngl(labels, p, alpha, label_smoothing, class_reduction, axis):
    classes = number_of_classes(p, axis)
    t_other = label_smoothing / classes
    t_own = t_other + 1.0 - label_smoothing
    labels, factor = index_and_factor(labels, p, axis)
    p_own = ops.take_along_axis(p, ops.expand_dims(labels, axis), axis=axis)

    # Sum over the classes as if none were the label, plus the correction for the one that is.
    others = ops.sum(_ngl_exponential(t_other, p, alpha) - _ngl_cosine(p), axis=axis)
    own = _ngl_exponential(t_own, p_own, alpha) - _ngl_exponential(t_other, p_own, alpha)
    values = factor * (others + ops.squeeze(own, axis=axis))
    return values / classes if class_reduction == "mean" else values


def without_void(labels, p, valid, axis):
    """Replace label and prediction of void samples by class 0 and a constant.

    This must happen before any computation: the gradient of a NaN is NaN even if its value is
    replaced afterwards.
    """
    if valid is None:
        return labels, p
    return ops.where(valid, labels, 0), ops.where(ops.expand_dims(valid, axis), p, 1.0)


def masked(values, valid):
    """Set the values of invalid samples to 0, and exclude them from Keras' mean."""
    if valid is None:
        return values
    values = ops.where(valid, values, 0.0)
    set_keras_mask(values, mask=valid)
    return values


@registered
def formula_loss(
    y_true,
    y_pred,
    formula,
    from_logits=False,
    label_smoothing=0.0,
    class_reduction="mean",
    axis=-1,
):
    """Compute the loss given by a formula, e.g. `"exp(1 - y_pred*y_true)"`.

    Formulas are those of `Expression.parse`; other arguments and result as in `ngl`.
    """
    t, p, factor = _prepared(y_true, y_pred, from_logits, label_smoothing, axis)
    return _reduce(_parsed(formula)(t, p, ops), factor, class_reduction, axis)


@cache
def _parsed(formula):
    return Expression.parse(formula)


def _reconstruction(name, equation):
    """Return the loss function of a reconstructed formula."""

    def function(
        y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1
    ):
        return formula_loss(
            y_true, y_pred, FORMULAS[name], from_logits, label_smoothing, class_reduction, axis
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{name} of paper A (eq. {equation}), reconstructed: see `formulas`.\n\n"
        "    Arguments and result as in `ngl`.\n    "
    )
    function.reconstructed = True
    return registered(function)


f1 = _reconstruction("f1", "B.1.1")
f2 = _reconstruction("f2", "B.1.2")
f3 = _reconstruction("f3", "B.1.3")


@registered
def f4(
    y_true,
    y_pred,
    from_logits=False,
    label_smoothing=0.0,
    class_reduction="mean",
    axis=-1,
    fast=None,
):
    """f4 of paper A (eq. B.1.4): `sin(sin(p - η) + t²)`, negative for good predictions.

    Arguments and result as in `ngl`.
    """
    p = float32_at_least(y_pred)
    t = one_hot_labels(y_true, p, axis)
    check_class_reduction(class_reduction)
    if kernels.is_chosen(fast, p, axis=axis, why_not=_forbids_kernel(from_logits)):
        term = kernels.f4_term(ETA)
        return kernels.Kernel(term, False, label_smoothing, class_reduction, axis)(t, p)
    factor = one_hot_factor(t, axis)
    t = _smooth(t, label_smoothing, axis)
    p = ops.softmax(p, axis=axis) if from_logits else p
    terms = ops.sin(ops.sin(p - ETA) + ops.square(t))
    return _reduce(terms, factor, class_reduction, axis)


@registered
def baikal(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """Baikal of paper B: `-(log p - t/p)`, where p is at least ε.

    Arguments and result as in `ngl`. The paper prints a mean over the classes, but the sum gives
    its accuracies at its learning rate.
    """
    t, p, factor = _prepared(y_true, y_pred, from_logits, label_smoothing, axis)
    p = ops.maximum(p, EPSILON)
    return _reduce(-(ops.log(p) - t / p), factor, class_reduction, axis)


@registered
def baikal_cma(
    y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1
):
    """BaikalCMA of paper B: `-2.7279 (0.9863 log(1.5352 p) - 1.8158 t/p)`, p at least ε.

    Arguments and result as in `baikal`.
    """
    t, p, factor = _prepared(y_true, y_pred, from_logits, label_smoothing, axis)
    p = ops.maximum(p, EPSILON)
    terms = -2.7279 * (0.9863 * ops.log(1.5352 * p) - 1.8158 * t / p)
    return _reduce(terms, factor, class_reduction, axis)


@registered
def symmetric_crossentropy(
    y_true,
    y_pred,
    alpha=0.1,
    beta=1.0,
    from_logits=False,
    label_smoothing=0.0,
    class_reduction="sum",
    axis=-1,
):
    """Symmetric cross entropy: `-α t log p - β p log t` (Wang et al. 2019, arXiv 1908.06112).

    Predictions are clipped at 1e-7 and labels at 1e-4 before their logarithms, as in its
    authors' code.

    Args:
        y_true: As in `ngl`.
        y_pred: As in `ngl`.
        alpha: Weight of the cross entropy; its authors use 0.1 for CIFAR-10, 6 for CIFAR-100.
        beta: Weight of the reverse cross entropy; 1 for CIFAR-10, 0.1 for CIFAR-100.
        from_logits: As in `ngl`.
        label_smoothing: As in `ngl`.
        class_reduction: `"sum"` over the classes as defined, or `"mean"`.
        axis: As in `ngl`.

    Returns:
        As `ngl`.
    """
    t, p, factor = _prepared(y_true, y_pred, from_logits, label_smoothing, axis)
    log_p = ops.log(ops.clip(p, PREDICTION_CLIP, 1.0))
    log_t = ops.log(ops.clip(t, LABEL_CLIP, 1.0))
    return _reduce(-alpha * t * log_p - beta * p * log_t, factor, class_reduction, axis)


def _ngl_exponential(t, p, alpha):
    return ops.exp(alpha - p * (1.0 + t))


def _ngl_cosine(p):
    return ops.cos(ops.cos(ops.sin(p)))


def _scale(p, scaling):
    check_scaling(scaling)
    return ops.sigmoid(p) if scaling == "sigmoid" else p


def check_scaling(scaling):
    """Raise `UserError` unless it is one of `SCALINGS`."""
    if scaling not in SCALINGS:
        raise unknown("scaling", scaling, map(str, SCALINGS))


def _reduce(terms, factor, class_reduction, axis):
    check_class_reduction(class_reduction)
    reduce = ops.mean if class_reduction == "mean" else ops.sum
    return factor * reduce(terms, axis=axis)


def check_class_reduction(class_reduction):
    """Raise `UserError` unless it is one of `CLASS_REDUCTIONS`."""
    if class_reduction not in CLASS_REDUCTIONS:
        raise unknown("class_reduction", class_reduction, CLASS_REDUCTIONS)


def float32_at_least(x):
    """Return `x` in at least float32: float16 and bfloat16 cannot represent p + 1e-8."""
    x = ops.convert_to_tensor(x)
    is_wide = keras.backend.standardize_dtype(x.dtype) in ("float32", "float64")
    return x if is_wide else ops.cast(x, "float32")


def _prepared(y_true, y_pred, from_logits, label_smoothing, axis):
    """Return labels, probabilities, and a factor that is NaN if labels are not in [0, 1]."""
    p = float32_at_least(y_pred)
    t = one_hot_labels(y_true, p, axis)
    factor = one_hot_factor(t, axis)
    p = ops.softmax(p, axis=axis) if from_logits else p
    return _smooth(t, label_smoothing, axis), p, factor


def _smooth(t, label_smoothing, axis):
    if not label_smoothing:
        return t
    return t * (1.0 - label_smoothing) + label_smoothing / number_of_classes(t, axis)


def number_of_classes(x, axis):
    """Return the number of classes; a scalar tensor if TensorFlow knows it only at run time."""
    classes = ops.shape(x)[axis]
    return classes if isinstance(classes, int) else ops.cast(classes, x.dtype)


def _forbids_kernel(from_logits, scaling=None):
    """Return why the kernels do not accept these arguments; an empty string if they do."""
    check_scaling(scaling)
    if not from_logits:
        return "probabilities; it takes logits, with from_logits=True"
    return "" if scaling is None else f"scaling={scaling!r}"

"""The losses as pure functions on `keras.ops`: one value per sample, no reduction over them.

`p` is the predicted probability of a class (`y_pred`; y_pred or y in the papers) and `t` its
label (`y_true`; y_real or x in the papers).
"""

from functools import cache

import keras
from keras import ops

# The only way to tell Keras' reduction which pixels count; its own sparse loss does the same.
from keras.src.backend import set_keras_mask

from nglkeras.errors import unknown
from nglkeras.expression import EPSILON, Expression
from nglkeras.losses import kernels
from nglkeras.losses.formulas import FORMULAS, RECONSTRUCTED

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
        y_true: One-hot (or soft) labels, the shape of `y_pred`, any dtype.
        y_pred: Probabilities, shape `[batch, ..., classes]`; logits with `from_logits`.
        alpha: α, 2.4092 as evolved.
        scaling: `"sigmoid"` puts the probabilities through a sigmoid first, as the CIFAR-100
            example of the paper's authors does; `None` is the printed formula.
        from_logits: Whether `y_pred` still has to go through a softmax.
        label_smoothing: The share of the label that is spread evenly over the classes, in [0, 1).
        class_reduction: `"mean"` over the classes as printed, or `"sum"`.
        axis: The axis of the classes.
        fast: Whether to use the compiled kernel, which has loss and gradient by the logits in one
            function: see `kernels`. It takes logits in float32 or lower, no scaling, labels
            between 0 and 1, on TensorFlow or JAX. `None` uses it there, `True` insists, `False`
            keeps to plain operations.

    Returns:
        One value per sample (per pixel in dense prediction): the shape of `y_pred` without
        the class axis, float32 unless `y_pred` is float64.

    Example:
    >>> float(ngl([[0, 1]], [[0.2, 0.8]])[0])  # doctest: +ELLIPSIS
    5.034...
    """
    p = float32_at_least(y_pred)
    t = _one_hot(y_true, p, axis)
    check_class_reduction(class_reduction)
    why_not = _forbids_kernel(from_logits, scaling)
    if kernels.is_chosen(fast, p, axis=axis, constants=(alpha,), why_not=why_not):
        term = kernels.ngl_term(float(alpha))
        return kernels.Kernel(term, False, label_smoothing, class_reduction, axis)(t, p)
    t = _smooth(t, label_smoothing, axis)
    p = _scale(ops.softmax(p, axis=axis) if from_logits else p, scaling)
    return _reduce(_ngl_exponential(t, p, alpha) - _ngl_cosine(p), class_reduction, axis)


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
    """`ngl` for integer labels, without ever building the one-hot tensor.

    Args:
        y_true: Class indices, integer or float dtype, the shape of `y_pred` without the class
            axis (a class axis of length 1 is accepted).
        y_pred: As in `ngl`.
        alpha: As in `ngl`.
        scaling: As in `ngl`.
        from_logits: As in `ngl`.
        label_smoothing: As in `ngl`.
        ignore_class: A label, such as 255 for void pixels, whose samples have loss and gradient
            zero and do not count in the mean; it need not be a valid index. With any other label
            that is no class the kernel's loss is NaN; plain operations may raise instead.
        class_reduction: As in `ngl`.
        axis: As in `ngl`.
        fast: As in `ngl`.

    Returns:
        As `ngl`.
    """
    check_class_reduction(class_reduction)
    p = float32_at_least(y_pred)
    labels, valid = labels_and_valid(y_true, p, ignore_class, axis)
    why_not = _forbids_kernel(from_logits, scaling)
    if kernels.is_chosen(fast, p, axis=axis, constants=(alpha,), why_not=why_not):
        term = kernels.ngl_term(float(alpha))
        kernel = kernels.Kernel(term, True, label_smoothing, class_reduction, axis)
        values = kernel(labels, p)
    else:
        p = _scale(ops.softmax(p, axis=axis) if from_logits else p, scaling)
        values = _sparse_ngl(labels, p, alpha, label_smoothing, class_reduction, axis)
    if valid is not None:
        values = ops.where(valid, values, 0.0)
        set_keras_mask(values, mask=valid)
    return values


def _sparse_ngl(labels, p, alpha, label_smoothing, class_reduction, axis):
    classes = p.shape[axis]
    t_other = label_smoothing / classes
    t_own = t_other + 1.0 - label_smoothing
    p_own = ops.take_along_axis(p, ops.expand_dims(labels, axis), axis=axis)

    # Every class as if it were not the label, and the correction for the one that is.
    others = ops.sum(_ngl_exponential(t_other, p, alpha) - _ngl_cosine(p), axis=axis)
    own = _ngl_exponential(t_own, p_own, alpha) - _ngl_exponential(t_other, p_own, alpha)
    values = others + ops.squeeze(own, axis=axis)
    return values / classes if class_reduction == "mean" else values


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
    """The loss of any formula, e.g. `"exp(1 - y_pred*y_true)"`: see `Expression.parse`.

    Other arguments and result as in `ngl`.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    return _reduce(_parsed(formula)(t, p, ops), class_reduction, axis)


@cache
def _parsed(formula):
    return Expression.parse(formula)


@registered
def f1(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """f1 of paper A (eq. B.1.1), reconstructed: see `formulas`.

    Arguments and result as in `ngl`.
    """
    return formula_loss(
        y_true, y_pred, FORMULAS["f1"], from_logits, label_smoothing, class_reduction, axis
    )


@registered
def f2(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """f2 of paper A (eq. B.1.2), reconstructed: see `formulas`.

    Arguments and result as in `ngl`.
    """
    return formula_loss(
        y_true, y_pred, FORMULAS["f2"], from_logits, label_smoothing, class_reduction, axis
    )


@registered
def f3(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """f3 of paper A (eq. B.1.3), reconstructed: see `formulas`.

    Arguments and result as in `ngl`.
    """
    return formula_loss(
        y_true, y_pred, FORMULAS["f3"], from_logits, label_smoothing, class_reduction, axis
    )


for guess in (f1, f2, f3):
    guess.reconstructed = guess.__name__ in RECONSTRUCTED


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
    """f4 of paper A (eq. B.1.4): `sin(sin(p - η) + t²)`.

    Arguments and result as in `ngl`. The values are negative for good predictions.
    """
    p = float32_at_least(y_pred)
    t = _one_hot(y_true, p, axis)
    check_class_reduction(class_reduction)
    if kernels.is_chosen(fast, p, axis=axis, why_not=_forbids_kernel(from_logits)):
        term = kernels.f4_term(ETA)
        return kernels.Kernel(term, False, label_smoothing, class_reduction, axis)(t, p)
    t = _smooth(t, label_smoothing, axis)
    p = ops.softmax(p, axis=axis) if from_logits else p
    return _reduce(ops.sin(ops.sin(p - ETA) + ops.square(t)), class_reduction, axis)


@registered
def baikal(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """Baikal of paper B: `-(log p - t/p)`, where p is at least ε.

    Arguments and result as in `ngl`. The paper prints a mean over the classes, but its
    accuracies at its learning rate are those of the sum.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    p = ops.maximum(p, EPSILON)
    return _reduce(-(ops.log(p) - t / p), class_reduction, axis)


@registered
def baikal_cma(
    y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1
):
    """BaikalCMA of paper B: `-2.7279 (0.9863 log(1.5352 p) - 1.8158 t/p)`, p at least ε.

    Arguments and result as in `baikal`.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    p = ops.maximum(p, EPSILON)
    terms = -2.7279 * (0.9863 * ops.log(1.5352 * p) - 1.8158 * t / p)
    return _reduce(terms, class_reduction, axis)


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
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    log_p = ops.log(ops.clip(p, PREDICTION_CLIP, 1.0))
    log_t = ops.log(ops.clip(t, LABEL_CLIP, 1.0))
    return _reduce(-alpha * t * log_p - beta * p * log_t, class_reduction, axis)


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


def _reduce(terms, class_reduction, axis):
    check_class_reduction(class_reduction)
    return ops.mean(terms, axis=axis) if class_reduction == "mean" else ops.sum(terms, axis=axis)


def check_class_reduction(class_reduction):
    """Raise `UserError` unless it is one of `CLASS_REDUCTIONS`."""
    if class_reduction not in CLASS_REDUCTIONS:
        raise unknown("class_reduction", class_reduction, CLASS_REDUCTIONS)


def float32_at_least(x):
    """A tensor in float32 or float64: in float16 and bfloat16 ε = 1e-8 is lost."""
    x = ops.convert_to_tensor(x)
    is_wide = keras.backend.standardize_dtype(x.dtype) in ("float32", "float64")
    return x if is_wide else ops.cast(x, "float32")


def _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis):
    """(t, p): checked, in the dtype of the computation, smoothed, softmax applied."""
    p = float32_at_least(y_pred)
    t = _smooth(_one_hot(y_true, p, axis), label_smoothing, axis)
    return t, (ops.softmax(p, axis=axis) if from_logits else p)


def _one_hot(y_true, p, axis):
    """The labels, which must have the shape of `p`, in its dtype."""
    t = ops.convert_to_tensor(y_true)
    if len(t.shape) != len(p.shape) or t.shape[axis] != p.shape[axis]:
        raise ValueError(
            f"y_true of shape {tuple(t.shape)} is not one-hot over the classes of y_pred, shape "
            f"{tuple(p.shape)}; for integer class labels use SparseNGL"
        )
    return ops.cast(t, p.dtype)


def _smooth(t, label_smoothing, axis):
    if not label_smoothing:
        return t
    return t * (1.0 - label_smoothing) + label_smoothing / t.shape[axis]


def _forbids_kernel(from_logits, scaling=None):
    """What of these arguments a kernel does not take; nothing if it takes them."""
    check_scaling(scaling)
    if not from_logits:
        return "probabilities; it takes logits, with from_logits=True"
    return "" if scaling is None else f"scaling={scaling!r}"


def labels_and_valid(y_true, y_pred, ignore_class=None, axis=-1):
    """Class indices as int32 without a class axis, 0 where they do not count, and where they do.

    The latter is `None` where all of them count.
    """
    labels = ops.cast(_without_class_axis(y_true, y_pred, axis), "int32")
    if ignore_class is None:
        return labels, None
    valid = ops.not_equal(labels, int(ignore_class))
    return ops.where(valid, labels, 0), valid


def _without_class_axis(y_true, y_pred, axis):
    labels = ops.convert_to_tensor(y_true)
    if len(labels.shape) == len(y_pred.shape) and labels.shape[axis] == 1:
        labels = ops.squeeze(labels, axis=axis)
    if len(labels.shape) != len(y_pred.shape) - 1:
        raise ValueError(
            f"y_true of shape {tuple(labels.shape)} does not hold one class index for each "
            f"prediction of y_pred, shape {tuple(y_pred.shape)}; for one-hot labels use NGL"
        )
    return labels

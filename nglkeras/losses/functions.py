"""The losses of the two papers, as terms over classes.

`p` is the predicted probability of a class (`y_pred`; y_pred or y in the papers) and `t` its
label (`y_true`; y_real or x in the papers).
"""

from functools import cache

from keras import ops

from nglkeras.errors import unknown
from nglkeras.expression import EPSILON, Expression
from nglkeras.expression.papers import FORMULAS
from nglkeras.losses.classwise import loss_over_classes, variant
from nglkeras.losses.kernel_terms import f4_term, ngl_term
from nglkeras.losses.options import is_number

# Constants of paper A as printed.
ALPHA, ETA = 2.4092, 2.6085

# Symmetric cross entropy clips predictions and labels before their logarithms are taken.
PREDICTION_CLIP, LABEL_CLIP = 1e-7, 1e-4

SCALINGS = (None, "sigmoid")


def _check_scaling(scaling):
    if scaling not in SCALINGS:
        raise unknown("scaling", scaling, map(str, SCALINGS))
    return scaling


def _ngl_kernel(alpha, scaling):
    if scaling is not None:
        return f"scaling={scaling!r}"
    return ngl_term(float(alpha)) if is_number(alpha) else "an alpha that is no number"


@loss_over_classes(kernel=_ngl_kernel, checks={"scaling": _check_scaling})
def ngl(t, p, *, alpha=ALPHA, scaling=None):
    """Next Generation Loss, f5 of paper A (eq. 1): `exp(α - p(1 + t)) - cos(cos(sin p))`.

    The value hardly moves while a network learns, and certain predictions cost more than uniform
    ones: monitor `val_accuracy`, not `val_loss`. The best p is far below 1: do not use this loss
    where outputs are read as probabilities, or decisions need a threshold other than 0.5.

    Scale:
        With 10 classes the value is 9.426 for a uniform prediction, 9.857 for a certain and wrong
        one, 9.598 for a certain and right one, and least at p = 0.391: 9.318. With 2 classes it is
        least at p = 0.566: 4.765. The gradient of a uniform prediction is 0.36, 0.082 and 0.0011
        times cross entropy's with 2, 10 and 100 classes; with `class_reduction="sum"` it is 0.72,
        0.82 and 0.11 times.

    Constants:
        alpha: α; by default 2.4092, as evolved.
        scaling: `"sigmoid"` applies a sigmoid to the probabilities first, as the CIFAR-100
            example of the paper's authors does; `None` is the printed formula.

    Examples:
        >>> float(ngl([[0, 1]], [[0.2, 0.8]])[0])  # doctest: +ELLIPSIS
        5.034...
    """
    p = ops.sigmoid(p) if scaling == "sigmoid" else p
    return ops.exp(alpha - p * (1.0 + t)) - ops.cos(ops.cos(ops.sin(p)))


sparse_ngl = variant(
    ngl,
    "sparse_ngl",
    "`ngl` for class indices, computed without a one-hot tensor.",
    head="softmax",
    sparse=True,
)
binary_ngl = variant(
    ngl,
    "binary_ngl",
    "`ngl` for sigmoid outputs, binary or multi-label (eq. 2 of paper A on each output).",
    head="sigmoid",
    sparse=False,
)


@cache
def _parsed(formula):
    return Expression.parse(formula)


def _check_formula(formula):
    # What cannot be hashed is no formula: the parser says so.
    return str((_parsed if isinstance(formula, str) else Expression.parse)(formula))


@loss_over_classes(checks={"formula": _check_formula})
def formula_loss(t, p, *, formula):
    """The loss given by a formula, e.g. `"exp(1 - y_pred*y_true)"`.

    The scale depends on the formula: `nglkeras.losses.curves.size_at_uniform(loss, classes)`
    measures the gradient of a uniform prediction, and the ratio to cross entropy's is the factor by
    which plain SGD sees another learning rate. Monitor `val_accuracy`, not `val_loss`.

    Constants:
        formula: Formula for `Expression.parse`.
    """
    return _parsed(formula)(t, p, ops)


def _reconstruction(name, text):
    """Return the loss function of a reconstructed formula."""

    def term(t, p):
        return _parsed(FORMULAS[name])(t, p, ops)

    term.__name__, term.__doc__ = name, text
    function = loss_over_classes(term)
    function.reconstructed = True
    return function


f1 = _reconstruction(
    "f1",
    """f1 of paper A (eq. B.1.1), reconstructed: see `expression.papers`.

    Use it only beside the paper's tables: the formula is a guess. Certain predictions cost
    thousands, whether right or wrong: monitor `val_accuracy`, not `val_loss`.

    Scale:
        With 10 classes the value is 1.576 for a uniform prediction, 5015 for a certain and wrong
        one, 4500 for a certain and right one, and least at p = 0.201: 1.519. With 2 classes it is
        least at p = 0.694: 1.185. The gradient of a uniform prediction is 0.34, 0.15 and 0.048
        times cross entropy's with 2, 10 and 100 classes; with `class_reduction="sum"` it is 0.68,
        1.5 and 4.8 times.
    """,
)
f2 = _reconstruction(
    "f2",
    """f2 of paper A (eq. B.1.2), reconstructed: see `expression.papers`.

    Use it only beside the paper's tables: the formula is a guess. A single certain and wrong
    prediction outweighs all others in the mean: monitor `val_accuracy`, not `val_loss`.

    Scale:
        With 10 classes the value is 1.162 for a uniform prediction, 1722 for a certain and wrong
        one, and least for a certain and right one: 0.3263. The gradient of a uniform prediction is
        0.69, 0.28 and 0.086 times cross entropy's with 2, 10 and 100 classes; with
        `class_reduction="sum"` it is 1.4, 2.8 and 8.6 times.
    """,
)
f3 = _reconstruction(
    "f3",
    """f3 of paper A (eq. B.1.3), reconstructed: see `expression.papers`.

    Use it only beside the paper's tables: the formula is a guess. A single certain and wrong
    prediction outweighs all others in the mean: monitor `val_accuracy`, not `val_loss`.

    Scale:
        With 10 classes the value is 0.499 for a uniform prediction, 1000 for a certain and wrong
        one, and least for a certain and right one: 0.1188. The gradient of a uniform prediction is
        0.42, 0.17 and 0.05 times cross entropy's with 2, 10 and 100 classes; with
        `class_reduction="sum"` it is 0.83, 1.7 and 5.0 times.
    """,
)


@loss_over_classes(kernel=lambda: f4_term(ETA))
def f4(t, p):
    """f4 of paper A (eq. B.1.4): `sin(sin(p - η) + t²)`, negative for good predictions.

    The value moves in its third digit and rises for certain predictions: monitor `val_accuracy`,
    not `val_loss`. Do not use this loss for many classes, where its gradient vanishes (Adam's ε,
    1e-7, is larger), or where outputs are read as probabilities, since its best p is far below 1.

    Scale:
        With 10 classes the value is -0.4622 for a uniform prediction, -0.4262 for a certain and
        wrong one, -0.4379 for a certain and right one, and least at p = 0.242: -0.4628. With 2
        classes it is least at p = 0.605: -0.3128. The gradient of a uniform prediction is 0.043,
        0.00071 and 1.4e-06 times cross entropy's with 2, 10 and 100 classes; with
        `class_reduction="sum"` it is 0.086, 0.0071 and 0.00014 times.
    """
    return ops.sin(ops.sin(p - ETA) + ops.square(t))


@loss_over_classes
def baikal(t, p):
    """Baikal of paper B: `-(log p - t/p)`, where p is at least ε.

    The paper prints a mean over the classes, but the sum gives its accuracies at its learning rate.
    The value rises for certain predictions: monitor `val_accuracy`, not `val_loss`. The gradient
    grows as 1/p of the true class: do not use this loss with wrong labels, or where outputs are
    read as probabilities.

    Scale:
        With 10 classes the value is 3.303 for a uniform prediction, 1.0e+07 for a certain and wrong
        one, 16.68 for a certain and right one, and least at p = 0.316: 2.751. With 2 classes it is
        least at p = 0.707: 1.494. The gradient of a uniform prediction is 1.0, 1.0 and 1.0 times
        cross entropy's with 2, 10 and 100 classes; with `class_reduction="sum"` it is 2.0, 10 and
        100 times.
    """
    p = ops.maximum(p, EPSILON)
    return -(ops.log(p) - t / p)


@loss_over_classes
def baikal_cma(t, p):
    """BaikalCMA of paper B: `-2.7279 (0.9863 log(1.5352 p) - 1.8158 t/p)`, p at least ε.

    As for `baikal`, the sum over the classes gives the paper's accuracies. Monitor `val_accuracy`,
    not `val_loss`; do not use this loss with wrong labels, or where outputs are read as
    probabilities.

    Scale:
        With 10 classes the value is 9.995 for a uniform prediction, 5.0e+07 for a certain and wrong
        one, 43.95 for a certain and right one, and least at p = 0.389: 6.888. With 2 classes it is
        least at p = 0.772: 4.392. The gradient of a uniform prediction is 5.0, 5.0 and 5.0 times
        cross entropy's with 2, 10 and 100 classes; with `class_reduction="sum"` it is 9.9, 50 and
        495 times.
    """
    p = ops.maximum(p, EPSILON)
    return -2.7279 * (0.9863 * ops.log(1.5352 * p) - 1.8158 * t / p)


@loss_over_classes(defaults={"class_reduction": "sum"})
def symmetric_crossentropy(t, p, *, alpha=0.1, beta=1.0):
    """Symmetric cross entropy: `-α t log p - β p log t` (Wang et al. 2019, arXiv 1908.06112).

    Predictions are clipped at 1e-7 and labels at 1e-4 before their logarithms, as in its
    authors' code. It is a sum over the classes as defined. Use it where labels are wrong; the
    constants decide between fitting and robustness, so do not leave them at the default for 100
    classes. The value falls as cross entropy's does and may be monitored.

    Scale:
        With 10 classes the value is 8.52 for a uniform prediction, 10.82 for a certain and wrong
        one, and least for a certain and right one: 0. The gradient of a uniform prediction is
        4.7, 1.0 and 0.19 times cross entropy's with 2, 10 and 100 classes.

    Constants:
        alpha: Weight of the cross entropy; its authors use 0.1 for CIFAR-10, 6 for CIFAR-100.
        beta: Weight of the reverse cross entropy; 1 for CIFAR-10, 0.1 for CIFAR-100.
    """
    log_p = ops.log(ops.clip(p, PREDICTION_CLIP, 1.0))
    log_t = ops.log(ops.clip(t, LABEL_CLIP, 1.0))
    return -alpha * t * log_p - beta * p * log_t

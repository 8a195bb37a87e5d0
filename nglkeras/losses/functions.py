"""The losses of the two papers, as terms over classes.

`p` is the predicted probability of a class (`y_pred`; y_pred or y in the papers) and `t` its
label (`y_true`; y_real or x in the papers).
"""

from functools import cache

from keras import ops

from nglkeras.errors import unknown
from nglkeras.expression import EPSILON, Expression
from nglkeras.losses import kernels
from nglkeras.losses.classwise import loss_over_classes, variant
from nglkeras.losses.formulas import FORMULAS
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
    return kernels.ngl_term(float(alpha)) if is_number(alpha) else "an alpha that is no number"


@loss_over_classes(kernel=_ngl_kernel, checks={"scaling": _check_scaling})
def ngl(t, p, *, alpha=ALPHA, scaling=None):
    """Next Generation Loss, f5 of paper A (eq. 1): `exp(α - p(1 + t)) - cos(cos(sin p))`.

    Constants:
        alpha: α; by default 2.4092, as evolved.
        scaling: `"sigmoid"` applies a sigmoid to the probabilities first, as the CIFAR-100
            example of the paper's authors does; `None` is the printed formula.

    Example:
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


@loss_over_classes(checks={"formula": lambda formula: str(_parsed(formula))})
def formula_loss(t, p, *, formula):
    """The loss given by a formula, e.g. `"exp(1 - y_pred*y_true)"`.

    Constants:
        formula: Formula for `Expression.parse`.
    """
    return _parsed(formula)(t, p, ops)


@cache
def _parsed(formula):
    return Expression.parse(formula)


def _reconstruction(name, equation):
    """Return the loss function of a reconstructed formula."""

    def term(t, p):
        return _parsed(FORMULAS[name])(t, p, ops)

    term.__name__ = name
    term.__doc__ = f"{name} of paper A (eq. {equation}), reconstructed: see `formulas`."
    function = loss_over_classes(term)
    function.reconstructed = True
    return function


f1 = _reconstruction("f1", "B.1.1")
f2 = _reconstruction("f2", "B.1.2")
f3 = _reconstruction("f3", "B.1.3")


@loss_over_classes(kernel=lambda: kernels.f4_term(ETA))
def f4(t, p):
    """f4 of paper A (eq. B.1.4): `sin(sin(p - η) + t²)`, negative for good predictions."""
    return ops.sin(ops.sin(p - ETA) + ops.square(t))


@loss_over_classes
def baikal(t, p):
    """Baikal of paper B: `-(log p - t/p)`, where p is at least ε.

    The paper prints a mean over the classes, but the sum gives its accuracies at its learning rate.
    """
    p = ops.maximum(p, EPSILON)
    return -(ops.log(p) - t / p)


@loss_over_classes
def baikal_cma(t, p):
    """BaikalCMA of paper B: `-2.7279 (0.9863 log(1.5352 p) - 1.8158 t/p)`, p at least ε.

    As for `baikal`, the sum over the classes gives the paper's accuracies.
    """
    p = ops.maximum(p, EPSILON)
    return -2.7279 * (0.9863 * ops.log(1.5352 * p) - 1.8158 * t / p)


@loss_over_classes(defaults={"class_reduction": "sum"})
def symmetric_crossentropy(t, p, *, alpha=0.1, beta=1.0):
    """Symmetric cross entropy: `-α t log p - β p log t` (Wang et al. 2019, arXiv 1908.06112).

    Predictions are clipped at 1e-7 and labels at 1e-4 before their logarithms, as in its
    authors' code. It is a sum over the classes as defined.

    Constants:
        alpha: Weight of the cross entropy; its authors use 0.1 for CIFAR-10, 6 for CIFAR-100.
        beta: Weight of the reverse cross entropy; 1 for CIFAR-10, 0.1 for CIFAR-100.
    """
    log_p = ops.log(ops.clip(p, PREDICTION_CLIP, 1.0))
    log_t = ops.log(ops.clip(t, LABEL_CLIP, 1.0))
    return -alpha * t * log_p - beta * p * log_t

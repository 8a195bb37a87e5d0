"""The losses in NumPy and float64, written anew from their definitions.

A definition is the loss of one class as a function of its label t and of `q`, which holds the
probability p, the logarithms of p and 1 - p and the number of classes. `values` adds what all
losses share. Labels, predictions and `counts` have their classes (or outputs) on the last axis.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

# Keeps quotients, roots and logarithms finite (paper A, section 3.1).
EPSILON = 1e-8
BOTH = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Definition:
    """A loss: its term, what it is defined for, and other values of its constants to try."""

    term: Callable | None
    others: dict = field(default_factory=dict)
    needed: dict = field(default_factory=dict)
    heads: tuple[str, ...] = BOTH
    class_reduction: str = "mean"


def log(x, least=EPSILON):
    return np.log(np.maximum(x, least))


def over(x, y):
    return x / (y + EPSILON)


def root(x):
    return np.sqrt(np.abs(x) + EPSILON)


def sigmoid(x):
    return np.exp(-np.logaddexp(0.0, -x))


def ngl(t, q, alpha=2.4092, scaling=None):
    p = sigmoid(q.p) if scaling == "sigmoid" else q.p
    return np.exp(alpha - p * (1 + t)) - np.cos(np.cos(np.sin(p)))


def f1(t, q):
    return over(np.exp(np.sin(t) ** 2), 2 * root((1.5494 - t) * q.p))


def f2(t, q):
    return over(np.cos(-t), root(q.p)) * (3.1868 * t + q.p) + root(q.p)


def f3(t, q):
    return root(over(t, q.p) + over(q.p, 2.4428))


def f4(t, q):
    return np.sin(np.sin(q.p - 2.6085) + t**2)


def baikal(t, q):
    return -(log(q.p) - t / np.maximum(q.p, EPSILON))


def baikal_cma(t, q):
    p = np.maximum(q.p, EPSILON)
    return -2.7279 * (0.9863 * np.log(1.5352 * p) - 1.8158 * t / p)


def symmetric_crossentropy(t, q, alpha=0.1, beta=1.0):
    return -alpha * t * log(q.p, 1e-7) - beta * q.p * log(t, 1e-4)


def focal(t, q, alpha=0.25, gamma=2.0):
    return -alpha * t * np.maximum(1 - q.p, EPSILON) ** gamma * q.log_p


FORMULAS = {
    "sqrt(1.5 - y_pred) - y_true*log(y_pred)": lambda t, p: root(1.5 - p) - t * log(p + EPSILON),
    "(y_pred - y_true)**2": lambda t, p: (p - t) ** 2,
    "cos(y_true) - 0.5": lambda t, p: np.cos(t) - 0.5 + 0 * p,
}


def formula_loss(t, q, formula):
    return FORMULAS[formula](t, q.p)


def crossentropy(t, q):
    return -t * q.log_p


def poly1(t, q, epsilon=2.0):
    return t * (-q.log_p + epsilon * (1 - q.p))


def generalized_crossentropy(t, z, q=0.7):
    return t * (1 - np.exp(q * z.log_p)) / q


def mean_absolute_error(t, q):
    return 2 * t * (1 - q.p)


def asymmetric_multi_label(t, q, gamma_positive=1.0, gamma_negative=4.0, margin=0.05):
    shifted = np.maximum(q.p - margin, EPSILON)
    of_1 = np.maximum(1 - q.p, EPSILON) ** gamma_positive * q.log_p
    of_0 = shifted**gamma_negative * log(1 - shifted)
    return -t * of_1 - (1 - t) * of_0


def asymmetric_single_label(t, q, gamma_positive=0.0, gamma_negative=4.0, smoothing=0.1):
    of_true = np.maximum(1 - q.p, EPSILON) ** gamma_positive
    of_others = np.maximum(q.p, EPSILON) ** gamma_negative
    smooth = (1 - smoothing) * t + smoothing / q.classes
    return -smooth * (t * of_true + (1 - t) * of_others) * q.log_p


def sparse_lsr(t, q, smoothing=0.1):
    c = q.classes
    of_true = (1 - smoothing + smoothing / c) * q.log_p
    of_others = smoothing * (c - 1) / c * np.log(np.maximum(1 - q.p, 1e-7) / (c - 1))
    return -t * (of_true + of_others)


def cse_autoloss_b(t, q, alpha=0.25):
    z = q.log_p - q.log_not_p
    serf = (1 + np.vectorize(math.erf)(math.sqrt(math.pi) / 4 * sigmoid(1 - t))) / 2
    sgd = 0.5 + 2 / math.pi * np.arctan(np.tanh(math.pi * z / 8))
    found = -t * (1 + serf) * q.log_p - (sgd - t) * (q.p - t) * q.log_not_p
    return (alpha * t + (1 - alpha) * (1 - t)) * found


def taylor_glo(t, q, parameters="LossFromMNIST"):
    if parameters == "LossFromMNIST":
        parameters = (-10.9408, 7.5216, 8.2896, 0.2415, 7.8726, 8.9666, 2.0184, 7.0513)
    h0, h1, h2, h3, h4, h5, h6, h7 = parameters

    def printed(p):
        a, b = t - h0, p - h1
        of_b = h2 * b + h3 * b**2 + h4 * b**3
        return -(of_b + h5 * a * b + h6 * a * b**2 + h7 * a**2 * b)

    # Terms without p are left out.
    return printed(q.p) - printed(0.0)


_FORMULAS = [{"formula": formula} for formula in FORMULAS]
DEFINITIONS = {
    "NGL": Definition(ngl, {"alpha": 2.0, "scaling": "sigmoid"}),
    "F1": Definition(f1),
    "F2": Definition(f2),
    "F3": Definition(f3),
    "F4": Definition(f4),
    "FormulaLoss": Definition(formula_loss, _FORMULAS[1], _FORMULAS[0]),
    "Baikal": Definition(baikal),
    "BaikalCMA": Definition(baikal_cma),
    "SymmetricCrossentropy": Definition(
        symmetric_crossentropy, {"alpha": 6.0, "beta": 0.1}, class_reduction="sum"
    ),
    "Focal": Definition(focal, {"alpha": 0.5, "gamma": 0.5}, class_reduction="sum"),
    "Dice": Definition(None),
    "Crossentropy": Definition(crossentropy, class_reduction="sum"),
    "Poly1": Definition(poly1, {"epsilon": -1.0}, class_reduction="sum"),
    "GeneralizedCrossentropy": Definition(
        generalized_crossentropy, {"q": 0.3}, class_reduction="sum"
    ),
    "MeanAbsoluteError": Definition(mean_absolute_error, class_reduction="sum"),
    "AsymmetricMultiLabel": Definition(
        asymmetric_multi_label,
        {"gamma_positive": 0.5, "gamma_negative": 2.0, "margin": 0.125},
        heads=("sigmoid",),
        class_reduction="sum",
    ),
    "AsymmetricSingleLabel": Definition(
        asymmetric_single_label,
        {"gamma_positive": 1.0, "gamma_negative": 0.5, "smoothing": 0.0},
        class_reduction="sum",
    ),
    "SparseLSR": Definition(sparse_lsr, {"smoothing": 0.3}, class_reduction="sum"),
    "CSEAutolossB": Definition(
        cse_autoloss_b, {"alpha": 0.5}, heads=("sigmoid",), class_reduction="sum"
    ),
    "TaylorGLO": Definition(
        taylor_glo,
        {"parameters": (0.5, 0.2, -1.0, 3.0, 0.7, 2.0, -0.3, 0.9)},
        class_reduction="sum",
    ),
}


def definition_of(cls):
    """Return the definition of a loss class, which for class indices is that of its base."""
    found = [DEFINITIONS[base.__name__] for base in cls.__mro__ if base.__name__ in DEFINITIONS]
    assert found, f"{cls.__name__} has no definition in reference.DEFINITIONS"
    return found[0]


def quantities(x, head, from_logits):
    """Return the probabilities of a head, and what else terms are functions of."""
    if not from_logits:
        p, log_p, log_not_p = x, log(x), log(1 - x)
    elif head == "softmax":
        log_p = x - x.max(-1, keepdims=True)
        log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
        p = np.exp(log_p)
        log_not_p = log(1 - p)
    else:
        p, log_p, log_not_p = sigmoid(x), -np.logaddexp(0, -x), -np.logaddexp(0, x)
    return SimpleNamespace(p=p, log_p=log_p, log_not_p=log_not_p, classes=x.shape[-1])


def opposite(q):
    """Return the quantities of the other one of the two classes that a sigmoid predicts."""
    return SimpleNamespace(p=1 - q.p, log_p=q.log_not_p, log_not_p=q.log_p, classes=2)


def values(definition, t, x, counts, constants, pixel_weight=None, **options):
    """Return one value for each sample, and which samples count.

    Args:
        definition: The loss.
        t: Labels, one-hot, soft or of single outputs.
        x: Predictions, in the shape of `t`.
        counts: Which samples (softmax) or outputs (sigmoid) are not ignored.
        constants: Constants of the loss.
        pixel_weight: Weight of each pixel in the sums of dice.
        **options: `head`, `from_logits`, `label_smoothing`, `class_reduction`, `class_weights`.
    """
    o = SimpleNamespace(
        **{"from_logits": False, "label_smoothing": 0.0, "class_weights": None}
        | {"class_reduction": definition.class_reduction}
        | options
    )
    is_sigmoid = o.head == "sigmoid"
    of_classes = counts if is_sigmoid else counts[..., None]
    t, x = np.where(of_classes, t, 0.0), np.where(of_classes, x, 0.5)
    q = quantities(x, o.head, o.from_logits)
    if definition.term is None:
        return _dice(t, q, counts, pixel_weight, is_sigmoid, o.class_weights)
    if not is_sigmoid:
        smooth = t * (1 - o.label_smoothing) + o.label_smoothing / q.classes
        found = _reduced(definition.term(smooth, q, **constants), o.class_reduction)
        if o.class_weights is not None:
            found = found * (t * o.class_weights).sum(-1)
        return np.where(counts, found, 0.0), counts
    smooth = t * (1 - o.label_smoothing) + o.label_smoothing / 2
    if definition.heads == ("sigmoid",):
        found, reduction = definition.term(smooth, q, **constants), o.class_reduction
    else:
        q.classes, reduction = 2, "mean"
        pair = [
            definition.term(smooth, q, **constants),
            definition.term(1 - smooth, opposite(q), **constants),
        ]
        found = _reduced(np.stack(pair, -1), o.class_reduction)
    if o.class_weights is not None:
        of_0, of_1 = np.moveaxis(np.asarray(o.class_weights, "float64"), -1, 0)
        found = found * (of_0 * (1 - t) + of_1 * t)
    total, number = (found * counts).sum(-1), counts.sum(-1)
    if reduction == "mean":
        total = total / np.maximum(number, 1)
    return total, number > 0


def _reduced(terms, class_reduction):
    return terms.mean(-1) if class_reduction == "mean" else terms.sum(-1)


def _dice(t, q, counts, pixel_weight, is_sigmoid, class_weights):
    """1 - 2 Σ p t / (Σ p + Σ t) over the pixels, mean over the classes that occur in an image."""
    p, w = q.p, counts.astype("float64")
    if pixel_weight is not None:
        w = w * (pixel_weight[..., None] if is_sigmoid else pixel_weight)
    if is_sigmoid:
        t, p = np.stack([1 - t, t], -1), np.stack([1 - p, p], -1)
    pixels = tuple(range(1, w.ndim - is_sigmoid))
    w = w[..., None]
    true = (w * t).sum(pixels)
    score = over(2 * (w * p * t).sum(pixels), (w * p).sum(pixels) + true)
    share = (true > 0) * (1.0 if class_weights is None else np.asarray(class_weights, "float64"))
    total = share.sum(-1)
    found = np.where(total > 0, 1 - (share * score).sum(-1) / np.where(total > 0, total, 1), 0.0)
    occurs = total > 0
    if is_sigmoid:
        return found.sum(-1) / np.maximum(occurs.sum(-1), 1), occurs.any(-1)
    return found, occurs


def factors(counts, weights, reduction):
    """Return what each sample's value is multiplied by before all are added."""
    share = counts * (1.0 if weights is None else weights)
    if reduction == "sum_over_batch_size":
        return share / max(counts.sum(), 1)
    if reduction == "mean_with_sample_weight":
        return share / (share.sum() or 1)
    return share


def gradient(function, x, rank):
    """Return the derivatives of one value per sample by the sample's own predictions.

    They are central differences. Samples do not depend on each other, so that one prediction of
    each is moved at a time.

    Args:
        function: Function of x that returns an array over the first `rank` axes of x.
        x: Predictions.
        rank: Number of axes over samples.
    """
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape[rank:]):
        at = (slice(None),) * rank + place
        step = np.zeros_like(x)
        step[at] = 1e-5 * np.minimum(1.0, np.abs(x[at]) + 0.05)
        found[at] = (function(x + step) - function(x - step)) / (2 * step[at])
    return found

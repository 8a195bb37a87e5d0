"""Tell whether a loss is Baikal, trains like it, has its pole, or is a rescaled cross entropy.

A training sees nothing of a loss but its gradient by the logits of the softmax, for labels 0 and 1.
Let f(p) be the loss of the true class and g(p) that of another one. Then this gradient is
p (s - Σ p s), where s is f' for the true class and g' for the others. It stays the same if the same
number is added to f' and g': the probabilities sum to 1, so that adding 3 p to the loss of each
class adds 3 to the loss of the sample. With three classes or more nothing else can be added, but
for what depends on the label alone. A positive factor is a learning rate.

Hence two losses of a class train alike if their gradients by the logits agree up to a positive
factor, and cross entropy is "only rescaled" if its gradient p - t comes out times a factor,
whatever the formula. Each kind below is decided by numbers and not by the text of a formula, so
that no rewriting hides a loss. The protected operators add ε = 1e-8; the points stay clear of
probabilities at which that shows, so that t p / p² counts as t / p. It shows where √0 is 1e-4:
√t log(p) is cross entropy within the tolerance, √t / p is t / p for the true class only. All is
computed in float32, as in a training, where log(1) is 0 instead of ε.
"""

from functools import lru_cache

import numpy as np

from nglkeras.expression import Expression, papers
from nglkeras.search import scale
from nglkeras.search.screening import logits_gradient, random_samples, slopes

BAIKAL, LIKE_BAIKAL, POLE = "Baikal", "trains like Baikal", "pole like t/p"
CROSS_ENTROPY, OTHER = "cross entropy", "other"
# A loss is of the first kind that fits.
KINDS = {
    BAIKAL: "the formula -(log(p) - t/p) for all labels in [0, 1], but for a positive factor and "
    "an added constant",
    LIKE_BAIKAL: "another formula with Baikal's gradient by the logits for labels 0 and 1, but for "
    "a positive factor",
    POLE: "as p of the true class goes to 0, the slope of its loss falls like -1/p², a logarithm "
    "aside (so that -t log(p)/p counts), and so does the difference to the slope of another class "
    "with the same p",
    CROSS_ENTROPY: "its gradient by the logits is that of cross entropy times a positive factor",
    OTHER: "none of these",
}
DTYPE = "float32"
# Greatest difference between equal losses, relative to the greatest entry of a sample.
TOLERANCE = 5e-3
CLASSES, SAMPLES = 10, 256
# Least probability in a sample: ε in a quotient by p² is below the tolerance there.
LEAST = 0.005
# Where a pole is looked for. p² times the slope is the same at all of them up to this factor: a
# logarithm as a factor passes, a fourth root of p does not.
NEAR_ZERO = np.array([5e-4, 1.5e-3, 5e-3])
CONSTANT = 1.5

_BAIKAL = Expression.parse(papers.FORMULAS[BAIKAL])
_CROSS_ENTROPY = Expression.parse(papers.CROSS_ENTROPY)


@lru_cache(maxsize=10_000)
def kind_of(loss: Expression) -> str:
    """Return the kind of a loss, one of `KINDS`.

    Args:
        loss: The loss of one class; less of it is better.
    """
    if trains_like(loss, _BAIKAL):
        return BAIKAL if is_affine_in(loss, _BAIKAL) else LIKE_BAIKAL
    if has_pole(loss):
        return POLE
    return CROSS_ENTROPY if trains_like(loss, _CROSS_ENTROPY) else OTHER


def trains_like(loss: Expression, other: Expression) -> bool:
    """Return whether the gradients by the logits agree up to a positive factor.

    The samples have ten classes, hard labels, and probabilities of at least `LEAST`.
    """
    t, p = random_samples(np.random.default_rng(0), SAMPLES, CLASSES)
    p = LEAST + (1 - CLASSES * LEAST) * p
    return _is_multiple(*(logits_gradient(one, t, p, DTYPE) for one in (loss, other)))


def is_affine_in(loss: Expression, other: Expression) -> bool:
    """Return whether a loss of a class is another one times a positive factor plus a constant.

    Unlike in `trains_like`, labels between 0 and 1 count, and so does what cancels in the gradient.
    """
    t, p = np.meshgrid(np.linspace(0, 1, 5), np.linspace(LEAST, 1 - LEAST, 200), indexing="ij")
    # Less the value at one point, a constant is gone.
    found, wanted = (one(t, p) - one(t[:1, :1], p[:1, :1]) for one in (loss, other))
    return _is_multiple(found, wanted)


def has_pole(loss: Expression) -> bool:
    """Return whether a loss of a class has a pole like that of t/p; see `KINDS`.

    The slope of the true class's loss falls like -1/p² for t/p. The difference to another class is
    asked too, because a term that all classes have in common, such as 1/p, is not about the label.
    """
    labels = np.ones_like(NEAR_ZERO), np.zeros_like(NEAR_ZERO)
    true, false = (slopes(loss, t, NEAR_ZERO, DTYPE) for t in labels)
    with np.errstate(all="ignore"):
        sizes = np.stack([-true, false - true]) * NEAR_ZERO**2
        least, greatest = sizes.min(axis=1), sizes.max(axis=1)
        constant = (least > 0) & (greatest <= CONSTANT * least) & (greatest < np.inf)
        return bool(constant.all())


def gradient_size(loss: Expression) -> float | None:
    """Return the size of a loss's gradient by the logits at an even prediction.

    That of cross entropy is 1. There is none if the gradient is zero or not finite.
    """
    t = np.eye(CLASSES)
    found = scale.measure(loss, t, np.full_like(t, 1 / CLASSES), "sum")
    return None if found.problem else 1 / found.factor


def _is_multiple(found, wanted):
    """Return whether arrays `[samples, entries]` agree up to one positive factor."""
    with np.errstate(all="ignore"):
        factor = np.median(np.abs(found).max(axis=1) / np.abs(wanted).max(axis=1))
        wanted = factor * wanted
        allowed = TOLERANCE * np.abs(wanted).max(axis=1, keepdims=True)
        # NaN is equal to nothing.
        return bool(0 < factor < np.inf and (np.abs(found - wanted) <= allowed).all())

"""Bring losses to cross entropy's size, so that a search compares their shapes.

Ten times a loss is the same loss at ten times the learning rate, unless the optimizer divides by
the gradient's size. A search that trains all losses at one rate thus rewards hidden rates. With
`scale_free=True`, a fitness multiplies each loss by a factor with which its gradient by the logits
is as large as that of cross entropy, at the untrained network on the first batch. The factor
stands in the evaluation's details, and is part of the losses that a result exports.
"""

from dataclasses import dataclass

import numpy as np

from nglkeras.expression import Expression
from nglkeras.expression.prefix import MAX_CONSTANT
from nglkeras.search.screening import logits_gradient, random_samples

# Significant digits of a factor: it becomes a constant of the formula.
DIGITS = 5
# Key of the factor in the details of an evaluation.
FACTOR = "scale_free_factor"


@dataclass(frozen=True)
class LossScale:
    """The factor of a loss, or the reason why it has none."""

    factor: float = 1.0
    problem: str = ""

    @property
    def details(self) -> dict:
        """The factor as details of an evaluation."""
        return {FACTOR: self.factor}


def measure(
    expression: Expression, t: np.ndarray, p: np.ndarray, class_reduction: str = "mean"
) -> LossScale:
    """Return the factor that brings the gradient of a loss to the size of cross entropy's.

    The size of a gradient is its Euclidean norm over all samples and logits. Cross entropy is
    -Σ t log p, whose gradient by the logits is p - t. Losses are computed in float32, as in a
    training: there, 1/log(y_true) of the true class is twice what it is in float64.

    Args:
        expression: The loss of one class.
        t: Labels `[samples, classes]`, whose rows sum to 1; see `Task.of_classes`.
        p: Probabilities in the same shape.
        class_reduction: "mean" or "sum" of the loss over the classes.
    """
    t, p = np.asarray(t, float), np.asarray(p, float)
    gradient = logits_gradient(expression, t, p, "float32")
    if class_reduction == "sum":
        gradient = gradient * p.shape[-1]
    wanted = np.linalg.norm(p - t)
    with np.errstate(all="ignore"):
        size = np.linalg.norm(gradient)
        factor = float(f"{wanted / size:.{DIGITS}g}")
    if not np.isfinite(size):
        return LossScale(problem="its gradient at the untrained network is not finite")
    if not 0 < factor <= MAX_CONSTANT:
        return LossScale(problem=f"its gradient at the untrained network has the size {size:.3g}")
    return LossScale(factor)


def scaled(expression: Expression, factor: float) -> Expression:
    """Return the loss times a factor."""
    return expression if factor == 1 else Expression(("mul", factor, *expression.nodes))


def factor_of_twin(
    factor: float, original: Expression, expression: Expression, classes: int
) -> float:
    """Return the factor of a loss that shares the evaluation of another one.

    Their gradients agree up to a positive factor: see `Screening.gradients`.

    Args:
        factor: Factor of the other one.
        original: The other one.
        expression: The loss.
        classes: Number of classes with which they agree.
    """
    if original == expression:
        return factor
    points = random_samples(np.random.default_rng(0), 64, classes)
    with np.errstate(all="ignore"):
        # In float32, as the other one's factor was measured.
        gradients = [logits_gradient(one, *points, "float32") for one in (original, expression)]
        sizes = [np.abs(gradient).max() for gradient in gradients]
        found = factor * sizes[0] / sizes[1]
    return float(f"{found:.{DIGITS}g}") if 0 < found <= MAX_CONSTANT else factor

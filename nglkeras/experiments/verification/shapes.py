"""The shape of a loss that is a formula, computed with NumPy: its minimum and its gradient."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nglkeras.errors import unknown
from nglkeras.expression import Expression
from nglkeras.expression.papers import FORMULAS
from nglkeras.search.screening import logits_gradient


@dataclass(frozen=True)
class Shape:
    """A loss whose term of a class is a formula.

    Attributes:
        name: A key of `FORMULAS`.
    """

    name: str

    @cached_property
    def expression(self) -> Expression:
        """The term of a class."""
        return Expression.parse(FORMULAS[self.name])

    def value(self, p: np.ndarray, classes: int) -> np.ndarray:
        """Return the mean over the classes where the true one has p, and the others are equal."""
        right = self.expression(np.ones_like(p), p)
        other = self.expression(np.zeros_like(p), (1 - p) / (classes - 1))
        return (right + (classes - 1) * other) / classes

    def minimum(self, classes: int) -> tuple[float, float]:
        """Return the p of the true class where the loss is least, and its value there."""
        p = np.linspace(0.0005, 0.9995, 2_000)
        value = self.value(p, classes)
        at = int(value.argmin())
        return float(p[at]), float(value[at])

    def uniform(self, classes: int) -> float:
        """Return the loss of a uniform prediction."""
        return float(self.value(np.array([1 / classes]), classes)[0])

    def gradient(self, classes: int, class_reduction: str) -> float:
        """Return the length of the gradient by the logits at a uniform prediction.

        It is a multiple of cross entropy's.

        Args:
            classes: Number of classes.
            class_reduction: "mean" or "sum" over the classes.
        """
        label = np.eye(classes)[0]
        p = np.full(classes, 1 / classes)
        gradient = logits_gradient(self.expression, label, p)
        size = np.linalg.norm(gradient) / np.linalg.norm(p - label)
        return float(size * classes if class_reduction == "sum" else size)


def shape(name: str) -> Shape:
    """Return the shape of one of the papers' losses.

    Raises:
        UserError: If there is no formula of this name.
    """
    if name not in FORMULAS:
        raise unknown("formula", name, FORMULAS)
    return Shape(name)

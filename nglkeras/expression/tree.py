"""`Expression`: a loss as an immutable tree."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import nglkeras
from nglkeras.errors import UserError
from nglkeras.expression import algebra, formula, mathml, prefix
from nglkeras.expression.operators import OPERATORS
from nglkeras.expression.prefix import Y_PRED, Y_TRUE
from nglkeras.expression.shapes import check_same_shape


@dataclass(frozen=True)
class Expression:
    """The loss of one class as a tree over `y_true`, `y_pred` and constants.

    Attributes:
        nodes: Names of operators and terminals, and constants, in prefix order:
            `("sub", "y_pred", 1.5)` is `y_pred - 1.5`.

    Raises:
        UserError: If the nodes are not one whole tree within the limits of `prefix`.
    """

    nodes: prefix.Nodes

    def __post_init__(self):
        object.__setattr__(self, "nodes", prefix.checked(self.nodes))

    @classmethod
    def parse(cls, text: str) -> "Expression":
        """Parse a formula, e.g. `"exp(1 - y_pred) / sqrt(y_true)"`.

        A formula may contain `+ - * / **2`, numbers, `y_true` (or `y_real`), `y_pred` and every
        operator as a function: `sqrt log exp sin cos square neg add sub mul div`.

        Raises:
            UserError: If the text is not such a formula, or is too long or too deeply nested.
        """
        return cls(formula.parse(text))

    def __str__(self):
        """Return the formula; `parse` turns it into an equal tree."""
        return formula.to_text(self.nodes)

    def __len__(self):
        return len(self.nodes)

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    @cached_property
    def height(self) -> int:
        """Number of edges from the root to the deepest leaf: 0 for a single terminal."""
        return prefix.height(self.nodes)

    @property
    def has_both_terminals(self) -> bool:
        """Whether y_true and y_pred both occur, as paper A demands of a loss."""
        return Y_TRUE in self.nodes and Y_PRED in self.nodes

    def fold(self, leaf: Callable, branch: Callable):
        """Evaluate the tree from its leaves to its root: see `prefix.fold`."""
        return prefix.fold(self.nodes, leaf, branch)

    def subtree(self, start: int) -> "Expression":
        """Return the tree whose root is the node at index `start`."""
        if not 0 <= start < len(self.nodes):
            raise UserError(f"no node {start}: the expression has {len(self.nodes)}")
        return Expression(self.nodes[start : prefix.subtree_end(self.nodes, start)])

    def __call__(self, y_true, y_pred, xp=np):
        """Compute the loss of each class, elementwise.

        Args:
            y_true: Labels in the shape of `y_pred`, or one number for all of them.
            y_pred: Predictions, any shape.
            xp: Array library, NumPy or `keras.ops`. NumPy computes in float64.

        Returns:
            Array in the shape of `y_pred`.

        Raises:
            UserError: If NumPy arrays differ in shape.
        """
        return self.value_and_slope(y_true, y_pred, xp, slope=False)[0]

    def value_and_slope(self, y_true, y_pred, xp=np, slope=True):
        """Compute the loss of each class and its derivative by `y_pred`, in forward mode.

        Args:
            y_true: As in `__call__`.
            y_pred: As in `__call__`.
            xp: As in `__call__`.
            slope: Whether to compute the derivative; if not, the second result is `None`.
        """
        if xp is np:
            y_true, y_pred = np.asarray(y_true, float), np.asarray(y_pred, float)
            check_same_shape(y_true, y_pred)
        zero = xp.zeros_like(y_pred)
        values = {Y_TRUE: (y_true + zero, zero), Y_PRED: (y_pred + zero, zero + 1.0)}

        def leaf(node):
            return values[node] if node in values else (zero + node, zero)

        def plain(name, *arguments):
            return OPERATORS[name].value(xp, *(value for value, _ in arguments)), None

        def dual(name, *arguments):
            return OPERATORS[name].dual(xp, *arguments)

        # Overflow is a valid result: callers check whether the values are finite.
        with np.errstate(all="ignore"):
            value, derivative = self.fold(leaf, dual if slope else plain)
        return value, (derivative if slope else None)

    def of_samples(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Compute the loss of each sample, the mean over the classes: `[n, ..., classes]`.

        It is NaN where the losses of classes are infinite with both signs.
        """
        with np.errstate(all="ignore"):
            return self(y_true, y_pred).mean(axis=-1)

    def to_loss(self, **arguments):
        """Return the Keras loss `losses.FormulaLoss`, which is saved and loaded as its formula.

        Args:
            **arguments: Passed to `FormulaLoss`: `from_logits`, `class_reduction`, `name`, ...
        """
        return nglkeras.losses.FormulaLoss(str(self), **arguments)

    def to_latex(self) -> str:
        """Return the formula in LaTeX, with t for y_true and p for y_pred."""
        return formula.to_latex(self.nodes)

    def to_mathml(self) -> str:
        """Return the formula in MathML, with t for y_true and p for y_pred.

        Each term of the outermost sum is an element of its own, so that a page breaks long lines
        between terms.
        """
        return mathml.to_mathml(self.nodes)

    def simplify(self) -> "Expression":
        """Return an equivalent, smaller tree found by SymPy, or the tree itself.

        Protected operators keep their meaning: p/p is p/(p + ε), which is 0 at p = 0.
        """
        simple = algebra.simplify(self.nodes)
        return self if simple is self.nodes else Expression(simple)

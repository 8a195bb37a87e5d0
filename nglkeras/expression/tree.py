"""`Expression`: an immutable tree, kept as the list of its nodes in prefix order.

Prefix order needs no pointers and no recursion: a subtree is a slice, and everything that is
computed from a tree is one fold from its end to its beginning.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.expression.operators import OPERATORS
from nglkeras.expression.shapes import check_same_shape

Y_TRUE, Y_PRED = "y_true", "y_pred"
TERMINALS = (Y_TRUE, Y_PRED)
MAX_SIZE = 1_000
MAX_HEIGHT = 100
MAX_CONSTANT = 1e8


@dataclass(frozen=True)
class Expression:
    """A loss per class as a tree over `y_true`, `y_pred` and constants.

    Attributes:
        nodes: Names of operators and terminals, and constants, in prefix order:
            `("sub", "y_pred", 1.5)` is `y_pred - 1.5`.

    Raises:
        UserError: If the nodes are not one whole tree within the limits.
    """

    nodes: tuple[str | float, ...]

    def __post_init__(self):
        object.__setattr__(self, "nodes", tuple(map(_checked, self.nodes)))
        if len(self.nodes) > MAX_SIZE:
            raise UserError(f"an expression of {len(self.nodes)} nodes; at most {MAX_SIZE}")
        if not self.nodes or self._end(0) != len(self.nodes):
            raise UserError("the nodes are not one whole tree")
        if self.height > MAX_HEIGHT:
            raise UserError(f"an expression of height {self.height}; at most {MAX_HEIGHT}")

    @classmethod
    def parse(cls, formula: str) -> "Expression":
        """The tree of a formula, e.g. `"exp(1 - y_pred) / sqrt(y_true)"`.

        Understood are `+ - * / **2`, numbers, `y_true` (or `y_real`), `y_pred` and every
        operator as a function: `sqrt log exp sin cos square neg add sub mul div`.

        Raises:
            UserError: If it is no such formula, or too long or too deep.
        """
        from nglkeras.expression.formula import parse

        return cls(tuple(parse(formula)))

    def __str__(self):
        """The formula, which `parse` turns into this very tree again."""
        from nglkeras.expression.formula import to_text

        return to_text(self)

    def __len__(self):
        return len(self.nodes)

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    @cached_property
    def height(self) -> int:
        """Edges from the root to the deepest leaf: 0 for a single terminal."""
        return self.fold(lambda leaf: 0, lambda operator, *heights: 1 + max(heights))

    @property
    def has_both_terminals(self) -> bool:
        """Whether y_true and y_pred both occur, as paper A asks of a loss."""
        return Y_TRUE in self.nodes and Y_PRED in self.nodes

    def fold(self, leaf: Callable, branch: Callable):
        """What comes of the leaves by `leaf(node)` and the rest by `branch(name, *arguments)`."""
        stack = []
        for node in reversed(self.nodes):
            if node in OPERATORS:
                arguments = [stack.pop() for _ in range(OPERATORS[node].arity)]
                stack.append(branch(node, *arguments))
            else:
                stack.append(leaf(node))
        return stack.pop()

    def subtree(self, start: int) -> "Expression":
        """The tree whose root is the node at that position."""
        if not 0 <= start < len(self.nodes):
            raise UserError(f"no node {start}: the expression has {len(self.nodes)}")
        return Expression(self.nodes[start : self._end(start)])

    def _end(self, start):
        """One past the last node of the subtree that starts there; -1 if it is cut short."""
        missing = 1
        for position in range(start, len(self.nodes)):
            node = self.nodes[position]
            missing += OPERATORS[node].arity - 1 if node in OPERATORS else -1
            if missing == 0:
                return position + 1
        return -1

    def __call__(self, y_true, y_pred, xp=np):
        """The loss per class, element by element.

        Args:
            y_true: Labels, the shape of `y_pred`, or one number for all.
            y_pred: Predictions, any shape.
            xp: Array library; with NumPy both are taken as float64.

        Returns:
            Array of that shape.

        Raises:
            UserError: If NumPy arrays differ in shape.
        """
        return self.value_and_slope(y_true, y_pred, xp, slope=False)[0]

    def value_and_slope(self, y_true, y_pred, xp=np, slope=True):
        """The loss per class and its derivative by `y_pred`, in forward mode.

        Args:
            y_true: As in `__call__`.
            y_pred: As in `__call__`.
            xp: As in `__call__`.
            slope: Whether the derivative is wanted; without it the second result is `None`.
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

        # Overflow is an answer here: whoever asks looks whether the values are finite.
        with np.errstate(all="ignore"):
            value, derivative = self.fold(leaf, dual if slope else plain)
        return value, (derivative if slope else None)

    def to_loss(self, **arguments):
        """The Keras loss `losses.FormulaLoss`, which saves and loads by its formula.

        Args:
            **arguments: `from_logits`, `class_reduction`, `name` and the others of that class.
        """
        from nglkeras.losses import FormulaLoss

        return FormulaLoss(str(self), **arguments)

    def to_latex(self) -> str:
        """LaTeX of the formula, with t for y_true and p for y_pred."""
        from nglkeras.expression.formula import to_latex

        return to_latex(self)

    def simplify(self) -> "Expression":
        """A tree that means the same and is no larger, by SymPy; itself if there is none.

        Protected operators stay what they are: p/p is p/(p + ε), which is 0 at p = 0.
        """
        from nglkeras.expression.algebra import simplify

        return simplify(self)


def _checked(node):
    if isinstance(node, str):
        if node not in OPERATORS and node not in TERMINALS:
            raise unknown("operator or terminal", node, (*OPERATORS, *TERMINALS))
        return node
    # NaN and infinity are beyond it too; an int may be too long to become a float.
    if not abs(node) <= MAX_CONSTANT:
        raise UserError(f"a constant is not within ±{MAX_CONSTANT:g}")
    return float(node) + 0.0  # -0.0 becomes 0.0: it has no formula of its own

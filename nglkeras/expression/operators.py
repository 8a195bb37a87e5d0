"""The operators of the two papers, with their values and partial derivatives.

Division, square root and logarithm are protected as in section 3.1 of paper A, so that every tree
is defined for all predictions in [0, 1]. Operators take an array library `xp` with NumPy's names:
NumPy itself or `keras.ops`.
"""

from collections.abc import Callable
from dataclasses import dataclass

# Keeps division, square root and logarithm finite (paper A, section 3.1).
EPSILON = 1e-8


@dataclass(frozen=True)
class Operator:
    """An operator of one or two arguments.

    Attributes:
        name: Its name in formulas.
        arity: Number of arguments, 1 or 2.
        value: `value(xp, *arguments)` computes the result.
        slopes: `slopes(xp, *arguments)` computes the partial derivatives, one per argument.
        latex: Format string with a `{}` for each argument.
    """

    name: str
    arity: int
    value: Callable
    slopes: Callable
    latex: str

    def dual(self, xp, *arguments):
        """Compute value and derivative from each argument's pair of value and derivative."""
        values = [value for value, _ in arguments]
        slopes = self.slopes(xp, *values)
        terms = [slope * d for slope, (_, d) in zip(slopes, arguments, strict=True)]
        return self.value(xp, *values), (terms[0] if self.arity == 1 else terms[0] + terms[1])


def _root(xp, x):
    return xp.sqrt(xp.abs(x) + EPSILON)


def _inverse(xp, x, y):
    return 1.0 / (y + EPSILON)


OPERATORS = {
    operator.name: operator
    for operator in (
        Operator("add", 2, lambda xp, x, y: x + y, lambda xp, x, y: (1.0, 1.0), "{} + {}"),
        Operator("sub", 2, lambda xp, x, y: x - y, lambda xp, x, y: (1.0, -1.0), "{} - {}"),
        Operator("mul", 2, lambda xp, x, y: x * y, lambda xp, x, y: (y, x), r"{} \cdot {}"),
        Operator(
            "div",  # x / (y + ε)
            2,
            lambda xp, x, y: x / (y + EPSILON),
            lambda xp, x, y: (_inverse(xp, x, y), -x * xp.square(_inverse(xp, x, y))),
            r"\frac{{{}}}{{{}}}",
        ),
        Operator("neg", 1, lambda xp, x: -x, lambda xp, x: (-1.0,), "-{}"),
        Operator(
            "sqrt",  # √(|x| + ε)
            1,
            _root,
            lambda xp, x: (xp.sign(x) * 0.5 / _root(xp, x),),
            r"\sqrt{{{}}}",
        ),
        Operator(
            "log",  # log(|x| + ε)
            1,
            lambda xp, x: xp.log(xp.abs(x) + EPSILON),
            lambda xp, x: (xp.sign(x) / (xp.abs(x) + EPSILON),),
            r"\log({})",
        ),
        Operator("exp", 1, lambda xp, x: xp.exp(x), lambda xp, x: (xp.exp(x),), r"\exp({})"),
        Operator("sin", 1, lambda xp, x: xp.sin(x), lambda xp, x: (xp.cos(x),), r"\sin({})"),
        Operator("cos", 1, lambda xp, x: xp.cos(x), lambda xp, x: (-xp.sin(x),), r"\cos({})"),
        Operator("square", 1, lambda xp, x: x * x, lambda xp, x: (2.0 * x,), "{}^2"),
    )
}

# The function sets of the papers (A: section 3.1; B: section 3).
PAPER_A = ("add", "sub", "mul", "div", "neg", "sqrt", "log", "exp", "sin", "cos")
PAPER_B = ("add", "sub", "mul", "div", "log", "square", "sqrt")

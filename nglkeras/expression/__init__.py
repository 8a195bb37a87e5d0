"""Losses as trees of the two papers' operators over y_true, y_pred and constants.

    from nglkeras.expression import Expression
    ngl = Expression.parse("exp(2.4092 - y_pred*(1 + y_true)) - cos(cos(sin(y_pred)))")
    model.compile(loss=ngl.to_loss())

A tree can be parsed, printed, measured, evaluated, simplified, written as LaTeX, and turned into
a Keras loss that saves and loads; `search.plots.tree` draws it. Formulas are never `eval`ed.
"""

from nglkeras.expression.formula import MAX_LENGTH
from nglkeras.expression.operators import EPSILON, OPERATORS, PAPER_A, PAPER_B, Operator
from nglkeras.expression.prefix import MAX_CONSTANT, MAX_HEIGHT, MAX_SIZE, TERMINALS
from nglkeras.expression.tree import Expression

__all__ = [
    "EPSILON",
    "MAX_CONSTANT",
    "MAX_HEIGHT",
    "MAX_LENGTH",
    "MAX_SIZE",
    "OPERATORS",
    "PAPER_A",
    "PAPER_B",
    "TERMINALS",
    "Expression",
    "Operator",
]

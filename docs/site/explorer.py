"""Write `docs/explorer/losses.js`: what the loss explorer knows of this package.

    python docs/site/explorer.py

The file holds the limits and names of the grammar, and the losses that the grammar can write. A
loss that is no formula in the code, such as Poly-1, is traced: its term is called with symbols in
the place of arrays. A loss that has no formula is listed with the reason.
"""

import json
import keyword
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

from nglkeras import losses
from nglkeras.expression import (
    EPSILON,
    MAX_CONSTANT,
    MAX_HEIGHT,
    MAX_LENGTH,
    MAX_SIZE,
    Expression,
    formula,
)
from nglkeras.losses import FORMULAS, ROWS

FILE = Path(__file__).parents[1] / "explorer" / "losses.js"
# Our forms of the losses for which the tables take Keras' own, by row: with all options.
OURS = {"CE": losses.Crossentropy, "Focal": losses.Focal}
# Bounds up to here only keep logarithms and powers finite; those of the grammar do so by ε.
_PROTECTION = 1e-7


class NotWritableError(Exception):
    """The grammar has no formula for a loss; the message says why."""


def _operation(name: str, *, swapped: bool = False) -> Callable:
    def apply(*arguments):
        symbols = map(Symbol.of, reversed(arguments) if swapped else arguments)
        return Symbol(name, *(node for symbol in symbols for node in symbol.nodes))

    return apply


class Symbol:
    """A formula in the place of an array."""

    def __init__(self, *nodes):
        self.nodes = nodes

    @classmethod
    def of(cls, value):
        """Return a symbol as it is, and a number as a constant of ten digits."""
        return value if isinstance(value, cls) else cls(float(f"{value:.10g}"))

    __add__, __radd__ = _operation("add"), _operation("add", swapped=True)
    __sub__, __rsub__ = _operation("sub"), _operation("sub", swapped=True)
    __mul__, __rmul__ = _operation("mul"), _operation("mul", swapped=True)
    __truediv__, __rtruediv__ = _operation("div"), _operation("div", swapped=True)
    __neg__ = _operation("neg")


T, P = Symbol("y_true"), Symbol("y_pred")


class Operations:
    """The functions of `keras.ops` that the grammar can write."""

    exp, log = staticmethod(_operation("exp")), staticmethod(_operation("log"))
    sin, cos = staticmethod(_operation("sin")), staticmethod(_operation("cos"))
    square = staticmethod(_operation("square"))

    def __getattr__(self, name):
        raise NotWritableError(f"the grammar has no {name}")

    def sigmoid(self, x):
        """Return `1 / (1 + exp(-x))`."""
        return 1.0 / (1.0 + self.exp(-x))

    def expm1(self, x):
        """Return `exp(x) - 1`."""
        return self.exp(x) - 1.0

    def power(self, x, exponent):
        """Return a square, or a power of a number that is not negative."""
        return self.square(x) if exponent == 2 else self.exp(exponent * self.log(x))

    def maximum(self, x, bound):
        """Return `x` if the bound only protects a probability."""
        if bound > _PROTECTION or x.nodes not in (P.nodes, (1.0 - P).nodes):
            raise NotWritableError("the grammar has no maximum")
        return x

    def clip(self, x, low, high):
        """Clip a probability, or a label that is 0 or 1."""
        if x is T and high == 1.0:
            return low + (1.0 - low) * x
        return self.maximum(x, low)


def formula_of(row: losses.Row) -> str:
    """Return the formula of a loss per class.

    Raises:
        NotWritableError: If the grammar cannot write it.
    """
    if row.l2:
        raise NotWritableError("its penalty is on the weights of the model")
    known = row.formula or FORMULAS.get(row.name)
    if known:
        return known
    loss = OURS.get(row.name, row.make)()
    definition = getattr(loss.function, "definition", None)
    if definition is None:
        raise NotWritableError("it is no sum of terms of the classes")
    if "softmax" not in definition.heads:
        raise NotWritableError("it is defined on independent sigmoids")
    if "classes" in definition.quantities:
        raise NotWritableError("it depends on the number of classes")
    operations = Operations()
    term = FunctionType(definition.term.__code__, definition.term.__globals__ | {"ops": operations})
    symbols = {"t": T, "p": P, "log_p": operations.log(P), "log_not_p": operations.log(1.0 - P)}
    constants = {name: getattr(loss, name) for name in definition.constants}
    nodes = term(*(symbols[name] for name in definition.quantities), **constants).nodes
    return str(Expression(nodes))


def data() -> dict:
    """Return what the explorer knows, as JSON data."""
    found, left_out = [], []
    for row in ROWS.values():
        try:
            written = formula_of(row)
        except NotWritableError as why:
            left_out.append({"name": row.name, "why": str(why)})
            continue
        reduction = getattr(row.make(), "class_reduction", "sum")
        found.append(
            {
                "name": row.name,
                "label": row.label,
                "formula": written,
                "reduction": reduction,
                "group": "The papers" if row.name in FORMULAS else "Others",
            }
        )
    found.sort(key=lambda loss: loss["group"] != "The papers")
    limits = {"length": MAX_LENGTH, "size": MAX_SIZE, "height": MAX_HEIGHT}
    limits |= {"constant": MAX_CONSTANT, "shown": f"{MAX_CONSTANT:g}"}
    return {
        "epsilon": EPSILON,
        "limits": limits,
        "names": formula.NAMES,
        "instead": formula.INSTEAD,
        "keywords": keyword.kwlist,
        "losses": found,
        "left_out": left_out,
    }


def text() -> str:
    """Return the content of the file: a script, because browsers read no JSON from a disk."""
    return f"window.explorerData = {json.dumps(data(), indent=1)};\n"


if __name__ == "__main__":
    FILE.write_text(text())

"""Formulas in MathML: read back, they have the values of the tree."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from nglkeras.expression import Expression
from nglkeras.expression.papers import FORMULAS

SIGNS = {"·": "*", "−": "-", "\u2061": ""}
FORMULAS_WITH_SIGNS = (
    *("y_pred - (y_true - 2)", "y_true + (-y_pred)", "y_true - (-y_pred)", "y_true*(-y_pred)"),
    *("-(y_true*log(y_pred))", "-(y_true + y_pred)", "(-y_true)*y_pred", "-(-y_pred)"),
    *("y_true - (-y_true)*y_pred", "y_true*((-y_true)*y_pred)", "y_true + (-2.5)*y_pred"),
    *("square(-y_pred)", "square(exp(y_pred))", "square(y_true + y_pred)", "square(-2)*y_pred"),
    *("square(square(y_pred))", "sqrt(y_true/(y_pred + 1))", "1.5e-07*y_pred", "-2 - y_pred"),
    *("y_true/y_pred/(y_true + 2)", "y_pred - (y_true + 1)*(2 - y_pred)", "3"),
)


def as_python(element):
    """An element as a Python expression."""
    parts = [as_python(child) for child in element]
    if element.tag == "mfrac":
        return f"(({parts[0]})/({parts[1]}))"
    if element.tag == "msqrt":
        return f"sqrt({''.join(parts)})"
    if element.tag == "msup":
        # A power binds what stands before it; a function's argument has brackets of its own.
        return f"({parts[0]})**({parts[1]})"
    text = element.text or ""
    return "".join(parts) or "".join(SIGNS.get(letter, letter) for letter in text)


@pytest.mark.parametrize("text", [*FORMULAS.values(), *FORMULAS_WITH_SIGNS])
def test_reads_as_the_same_formula(text):
    expression = Expression.parse(text)
    root = ElementTree.fromstring(f"<p>{expression.to_mathml()}</p>")
    t, p = np.random.default_rng(0).uniform(0.2, 1.0, (2, 20))
    names = {name: getattr(np, name) for name in ("exp", "sin", "cos", "sqrt")}
    names |= {"t": t, "p": p, "log": lambda x: np.log(np.abs(x))}
    found = eval("".join(map(as_python, root)), names)
    np.testing.assert_allclose(found * np.ones(20), expression(t, p), rtol=1e-5)


def test_each_term_of_the_outermost_sum_is_an_element():
    assert Expression.parse("y_true - y_pred*(1 + y_true) + 3").to_mathml().count("<math>") == 3


@pytest.mark.parametrize("text", FORMULAS_WITH_SIGNS)
def test_no_sign_follows_a_sign(text):
    root = ElementTree.fromstring(f"<p>{Expression.parse(text).to_mathml()}</p>")
    letters = "".join("".join(root.itertext()).split())
    assert not any(pair in letters for pair in ("−−", "+−", "·−")), letters

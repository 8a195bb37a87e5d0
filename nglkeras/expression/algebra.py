"""Simplify trees with SymPy; the protected operators stay as they are."""

from functools import cache

import numpy as np

from nglkeras.expression.limits import limited
from nglkeras.expression.operators import OPERATORS
from nglkeras.expression.prefix import TERMINALS, Nodes, checked, fold
from nglkeras.startup.extras import needed

# SymPy stops after so many calls of functions, about a second. The trees of a hundred nodes that
# searches make took a sixth of it at most.
MAX_CALLS = 1_000_000
# SymPy computes powers of whole numbers exactly: 3p squared thirty times has a billion digits.
_MAX_DEGREE = 64
# And it takes a decimal number for a fraction: 1e-300 has a denominator of 300 digits.
_LEAST = 1e-30


@needed()
def simplify(nodes: Nodes) -> Nodes:
    """Return the shortest equal tree found, or `nodes` itself: see `Expression.simplify`."""
    import sympy  # noqa: F401 - a missing package is an error, other than those below

    found = [nodes]
    with limited(MAX_CALLS):
        try:
            folded = _fold_constants(nodes)
            numbers = [abs(node) for node in folded if isinstance(node, float) and node]
            if _degree(folded) <= _MAX_DEGREE and min(numbers, default=1.0) >= _LEAST:
                for form in _forms(_to_sympy(folded)):
                    found.append(checked(_to_nodes(form)))
        # A form may contain a function that we lack (such as tan), a constant that is too large, or
        # be nested too deeply, and SymPy has errors of its own; the forms before it are valid.
        except Exception:
            pass
    return min(found, key=len)


def _fold_constants(nodes):
    """Replace each subtree of constants by its value.

    SymPy would compute exp(exp(exp(100))) to its last digit.
    """

    def leaf(node):
        return (node,), node not in TERMINALS

    def branch(name, *arguments):
        if not all(constant for _, constant in arguments):
            return (name, *(node for part, _ in arguments for node in part)), False
        with np.errstate(all="ignore"):
            value = OPERATORS[name].value(np, *(np.float64(part[0]) for part, _ in arguments))
        return (float(value),), True

    return checked(fold(nodes, leaf, branch)[0])


def _degree(nodes):
    """Return the highest power of a leaf, if the tree is taken as a polynomial."""

    def branch(name, *degrees):
        if name == "mul":
            return sum(degrees)
        return 2 * degrees[0] if name == "square" else max(degrees)

    return fold(nodes, lambda leaf: 1, branch)


def _forms(value):
    """Yield equal forms of a SymPy expression.

    SymPy's own `simplify` tries every trigonometric identity: it took 32 s for 87 trees, ten of
    them for a single tree of twenty nodes. These forms took 1 s for all trees and were as short.
    """
    import sympy

    yield value
    if any(isinstance(power.base, sympy.sin | sympy.cos) for power in value.atoms(sympy.Pow)):
        value = sympy.trigsimp(value, method="matching")
        yield value
    yield sympy.together(value)
    yield sympy.factor_terms(sympy.powsimp(value))


class _NoFormError(Exception):
    """A SymPy expression that our operators cannot express."""


@cache
def _functions():
    """Return undefined functions, for which SymPy applies no law that ε would break."""
    import sympy

    return {name: sympy.Function(name, real=True) for name in ("inverse", "sqrt", "log")}


def _to_sympy(nodes):
    import sympy

    def leaf(node):
        if isinstance(node, str):
            return sympy.Symbol(node, real=True)
        return sympy.Float(node) if node % 1 else sympy.Integer(int(node))

    rules = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": _divide,
        "neg": lambda x: -x,
        "square": lambda x: x**2,
        "exp": sympy.exp,
        "sin": sympy.sin,
        "cos": sympy.cos,
        "sqrt": _functions()["sqrt"],
        "log": _functions()["log"],
    }
    return fold(nodes, leaf, lambda name, *arguments: rules[name](*arguments))


def _divide(x, y):
    # ε is negligible beside a number far from 0.
    if y.is_number and abs(y) >= 0.01:
        return x / y
    return x * _functions()["inverse"](y)


def _to_nodes(value):
    import sympy

    # 12 digits hide SymPy's rounding errors.
    if value.is_number and value.is_real:
        return [float(f"{float(value):.12g}")]
    if value.is_Symbol:
        return [value.name]
    if value.is_Add:
        return _sum(value.as_ordered_terms())
    if value.is_Mul:
        return _product(value)
    if value.is_Pow and value.exp.is_Integer and value.exp > 0:
        return _power(_to_nodes(value.base), int(value.exp))
    if isinstance(value, sympy.exp | sympy.sin | sympy.cos) or value.func.__name__ in _functions():
        argument = _to_nodes(value.args[0])
        name = value.func.__name__
        return ["div", 1.0, *argument] if name == "inverse" else [name, *argument]
    raise _NoFormError(str(value))


def _sum(terms):
    """Write terms with a minus sign as differences; they come after the others."""
    terms = sorted(terms, key=lambda term: term.could_extract_minus_sign())
    nodes = _to_nodes(terms[0])
    for term in terms[1:]:
        minus = term.could_extract_minus_sign()
        nodes = ["sub" if minus else "add", *nodes, *_to_nodes(-term if minus else term)]
    return nodes


def _product(value):
    """Write inverses as divisions, and a factor of -1 as a sign."""
    inverse = _functions()["inverse"]
    factors, divisors, sign = [], [], []
    for factor in value.as_ordered_factors():
        if factor == -1:
            sign = ["neg"]
        elif isinstance(factor, inverse):
            divisors.append(_to_nodes(factor.args[0]))
        else:
            factors.append(_to_nodes(factor))
    nodes = factors[0] if factors else [1.0]
    for factor in factors[1:]:
        nodes = ["mul", *nodes, *factor]
    for divisor in divisors:
        nodes = ["div", *nodes, *divisor]
    return sign + nodes


def _power(base, exponent):
    """Write a power as squares and products."""
    if exponent == 1:
        return base
    half = ["square", *_power(base, exponent // 2)]
    return ["mul", *half, *base] if exponent % 2 else half

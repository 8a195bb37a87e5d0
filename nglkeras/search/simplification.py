"""Write a loss in fewer nodes and digits, and verify that it is the same loss.

Evolved formulas carry nodes that do nothing and constants of four decimals. `simplified` rewrites a
formula with SymPy, drops nodes, and rounds constants. The identities of algebra do not all hold for
the protected operators (log(x) is log(|x| + ε)), and rounding changes a loss a little. Hence the
result is compared with the original, in float64, on points that were not used to find it. If values
or gradients differ by more than `TOLERANCE`, the original is returned.

A constant that is added outside, as in log(p) + 3, changes no gradient. It is kept and rounded as
any other one, because the simplified loss has the values of the original too.
"""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache

import numpy as np

from nglkeras.expression import OPERATORS, Expression
from nglkeras.expression.prefix import MAX_CONSTANT, subtree_end
from nglkeras.search.screening import by_logits, greatest, random_samples
from nglkeras.startup.extras import MissingPackageError

# Greatest difference from the original in value and gradient. It is relative to the greatest entry
# of the sample, or to the median of all samples where a sample has only smaller ones.
TOLERANCE = 1e-3
# Nodes are dropped if value and gradient change by no more than ε does: log(exp(p)) is p.
EXACT = 1e-6
# Larger formulas are shown as they are: the time grows with the square of the size. Those of
# searches have at most 128 nodes, which the interpreter takes.
MAX_SIZE = 128
# Upper limit on how often one formula is changed and compared, about two seconds at 100 nodes.
MAX_TRIALS = 1_000
# Most digits of a constant that make a difference in float64.
_DIGITS = 16
_FLOAT_SLACK = 1e-13


@lru_cache(maxsize=1_000)
def simplified(expression: Expression) -> Expression:
    """Return the same loss in fewer nodes and digits, or the expression itself.

    It takes seconds at most, and the same formula gives the same result on every machine.

    Args:
        expression: The loss of one class.
    """
    if expression.size > MAX_SIZE:
        return expression
    for candidate in _candidates(expression):
        if candidate != expression and is_same_loss(expression, candidate):
            return candidate
    return expression


def is_same_loss(expression: Expression, other: Expression) -> bool:
    """Return whether two losses agree within `TOLERANCE` in value and gradient on dense points.

    The values of a class and their slopes are compared for labels in [0, 1] and predictions that
    reach 0 and 1; the gradients by the logits in samples of 2, 10 and 100 classes. Where one of
    them is not finite, the other must be neither.
    """
    return all(
        _near(mine, theirs, TOLERANCE)
        for mine, theirs in zip(_on_dense_points(expression), _on_dense_points(other), strict=True)
    )


def _candidates(expression):
    """Yield forms of an expression, the shortest first."""
    trials = iter(range(MAX_TRIALS))
    shorter = _shortened(expression, trials)
    # Points that reach the ends may show what the fixed ones do not: then more digits are kept.
    for tolerance in (TOLERANCE, TOLERANCE / 10, TOLERANCE / 100, TOLERANCE / 1e4):
        yield _shortened(_rounded(shorter, tolerance, trials), trials)
    yield shorter
    yield _by_algebra(expression)


def _shortened(expression, trials):
    """Rewrite with SymPy and drop nodes, until nothing changes."""
    while True:
        shorter = _without_needless_nodes(_by_algebra(expression), trials)
        if shorter == expression:
            return shorter
        expression = shorter


def _by_algebra(expression):
    try:
        return expression.simplify()
    except MissingPackageError:
        return expression


def _without_needless_nodes(expression, trials):
    """Replace subtrees by a constant or one of their arguments where that changes nothing."""
    is_same = _comparison(expression, EXACT, trials)
    position = 0
    while position < expression.size:
        for nodes in _replacements(expression, position):
            candidate = Expression(nodes)
            if is_same(candidate):
                expression = candidate
                break
        else:
            position += 1
    return expression


def _replacements(expression, position) -> Iterator[tuple]:
    """Yield the nodes with the subtree at a position replaced by something smaller."""
    nodes = expression.nodes
    if nodes[position] not in OPERATORS:
        return
    end = subtree_end(nodes, position)
    values = Expression(nodes[position:end])(*_fixed_points())
    middle = float(np.median(values))
    if np.isfinite(middle) and abs(middle) <= MAX_CONSTANT:
        # What is nearly an integer would not be without rounding errors.
        rounded = round(middle)
        middle = float(rounded) if abs(middle - rounded) < EXACT else middle
        yield (*nodes[:position], middle, *nodes[end:])
    children = list(_arguments(nodes, position))
    grandchildren = [inner for start, _ in children for inner in _arguments(nodes, start)]
    for start, stop in (*grandchildren, *children):
        yield (*nodes[:position], *nodes[start:stop], *nodes[end:])


def _arguments(nodes, position):
    """Yield start and end of each argument of the node at a position."""
    end, start = subtree_end(nodes, position), position + 1
    while start < end:
        stop = subtree_end(nodes, start)
        yield start, stop
        start = stop


def _rounded(expression, tolerance, trials):
    """Round the constants to the fewest digits: first all to as many, then each to fewer."""
    is_same = _comparison(expression, tolerance, trials)
    constants = [i for i, node in enumerate(expression.nodes) if isinstance(node, float)]
    for digits in range(_DIGITS):
        candidate = _with_digits(expression, constants, digits)
        if is_same(candidate):
            expression = candidate
            break
    else:
        return expression
    for position in constants:
        for fewer in range(digits):
            candidate = _with_digits(expression, [position], fewer)
            if is_same(candidate):
                expression = candidate
                break
    return expression


def _with_digits(expression, positions, digits):
    """Round the constants at some positions to significant digits; without any they become 0."""
    nodes = list(expression.nodes)
    for position in positions:
        nodes[position] = float(f"{nodes[position]:.{digits}g}") if digits else 0.0
    return Expression(tuple(nodes))


def _comparison(expression, tolerance, trials) -> Callable[[Expression], bool]:
    """Return a function that compares others with an expression, while trials are left."""
    wanted = _on_fixed_points(expression)

    def is_same(other):
        if other == expression:
            return True
        if next(trials, None) is None:
            return False
        found = _on_fixed_points(other)
        return all(
            _near(mine, theirs, tolerance) for mine, theirs in zip(wanted, found, strict=True)
        )

    return is_same


def _near(wanted, found, tolerance):
    """Return whether arrays `[samples, entries]` agree; see `TOLERANCE`.

    Where one is infinite or NaN, the other must be one of them too. What is finite nowhere agrees
    with nothing.
    """
    finite = np.isfinite(wanted)
    size = np.where(finite, np.abs(wanted), 0.0).max(axis=-1, keepdims=True)
    slack = _FLOAT_SLACK * greatest(size)
    size = np.maximum(size, np.median(size))
    with np.errstate(all="ignore"):
        same = np.abs(wanted - found) <= tolerance * size + slack
    both = finite & np.isfinite(found)
    return bool(finite.any() and (np.where(both, same, finite == np.isfinite(found))).all())


def _smoothed(t):
    """Return labels with 0.1 of their weight on all classes."""
    return 0.9 * t + 0.1 / t.shape[-1]


@cache
def _fixed_points():
    """Return the points of the screening with ten classes, with hard and with smooth labels."""
    t, p = random_samples(np.random.default_rng(0), 64, 10)
    return np.concatenate([t, _smoothed(t)]), np.concatenate([p, p])


@cache
def _grid():
    """Return labels and predictions of one class, `[points, 1]`."""
    # None of them is ε, where y_pred - ε has a zero and a quotient would have a pole.
    ends = np.concatenate([[0.0], np.logspace(-12.1, -2.1, 41)])
    p = np.concatenate([ends, np.linspace(0.015, 0.985, 195), 1 - ends[::-1]])
    t, p = np.meshgrid(np.linspace(0, 1, 11), p)
    return t.reshape(-1, 1), p.reshape(-1, 1)


@cache
def _samples():
    """Return labels and predictions of samples of 2, 10 and 100 classes."""
    samples = [random_samples(np.random.default_rng(n), 128, n) for n in (2, 10, 100)]
    return [pair for t, p in samples for pair in ((t, p), (_smoothed(t), p))]


def _on_fixed_points(expression):
    return _value_and_gradient(expression, *_fixed_points())


def _on_dense_points(expression):
    yield from expression.value_and_slope(*_grid())
    for t, p in _samples():
        yield from _value_and_gradient(expression, t, p)


def _value_and_gradient(expression, t, p):
    value, slope = expression.value_and_slope(t, p)
    gradient = by_logits(slope, p)
    with np.errstate(all="ignore"):
        # The slopes of 7p cancel, but for rounding errors, which no two forms share.
        noise = _FLOAT_SLACK * np.abs(p * slope).max(axis=-1, keepdims=True)
        return value, np.where((np.abs(gradient) <= noise) & (noise < np.inf), 0.0, gradient)

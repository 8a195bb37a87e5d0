"""Trees as tuples of nodes in prefix order: checks, slices and folds.

A node is the name of an operator or terminal, or a constant. Prefix order needs no pointers and
no recursion: a subtree is a slice, and everything computed from a tree is one fold.
"""

import numbers
from collections.abc import Callable, Sequence

from nglkeras.errors import UserError, unknown
from nglkeras.expression.operators import OPERATORS

Y_TRUE, Y_PRED = "y_true", "y_pred"
TERMINALS = (Y_TRUE, Y_PRED)
MAX_SIZE = 1_000
MAX_HEIGHT = 100
MAX_CONSTANT = 1e8

Nodes = tuple[str | float, ...]


def checked(nodes: Sequence[str | float]) -> Nodes:
    """Return the nodes as a tuple, with every constant as a float.

    Raises:
        UserError: If a node is unknown, or the nodes are not one whole tree within the limits.
    """
    nodes = tuple(map(_checked_node, nodes))
    if len(nodes) > MAX_SIZE:
        raise UserError(f"an expression of {len(nodes)} nodes; at most {MAX_SIZE}")
    if not nodes or subtree_end(nodes, 0) != len(nodes):
        raise UserError("the nodes are not one whole tree")
    if height(nodes) > MAX_HEIGHT:
        raise UserError(f"an expression of height {height(nodes)}; at most {MAX_HEIGHT}")
    return nodes


def _checked_node(node):
    if isinstance(node, str):
        if node not in OPERATORS and node not in TERMINALS:
            raise unknown("operator or terminal", node, (*OPERATORS, *TERMINALS))
        return node
    if not isinstance(node, numbers.Real):
        raise UserError(f"{node!r} is neither an operator, a terminal nor a constant")
    # The comparison also refuses NaN and infinity; an int may be too long to become a float.
    if not abs(node) <= MAX_CONSTANT:
        raise UserError(f"a constant is not within ±{MAX_CONSTANT:g}")
    return float(node) + 0.0  # -0.0 becomes 0.0, because no formula is parsed as -0.0


def subtree_end(nodes: Nodes, start: int) -> int:
    """Return the index after the last node of the subtree at `start`; -1 if it is incomplete."""
    missing = 1
    for position in range(start, len(nodes)):
        node = nodes[position]
        missing += OPERATORS[node].arity - 1 if node in OPERATORS else -1
        if missing == 0:
            return position + 1
    return -1


def fold(nodes: Nodes, leaf: Callable, branch: Callable):
    """Evaluate a tree from its leaves to its root.

    Args:
        nodes: The tree.
        leaf: `leaf(node)` gives the result for a terminal or constant.
        branch: `branch(operator_name, *results_of_the_arguments)` gives the result for an operator.
    """
    stack = []
    for node in reversed(nodes):
        if node in OPERATORS:
            arguments = [stack.pop() for _ in range(OPERATORS[node].arity)]
            stack.append(branch(node, *arguments))
        else:
            stack.append(leaf(node))
    return stack.pop()


def height(nodes: Nodes) -> int:
    """Return the number of edges from the root to the deepest leaf."""
    return fold(nodes, lambda leaf: 0, lambda operator, *heights: 1 + max(heights))

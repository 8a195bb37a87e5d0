"""Random trees, crossover and mutation (paper A, section 3.1), with the programs of gplearn.

Only this module imports gplearn. A child that breaks a rule of the paper (height, size, both
terminals) is drawn again.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real

import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.expression import OPERATORS, PAPER_A, TERMINALS, Expression
from nglkeras.numbers import convert_whole_numbers
from nglkeras.startup.extras import needed

# Attempts to draw a valid child before the parent is kept unchanged.
DRAWS = 100
# Greatest size of a tree in nodes (paper A, section 3.1).
MAX_SIZE = 100
# Decimal places of a constant, as the paper prints them.
DECIMALS = 4


@dataclass(frozen=True)
class Exchange:
    """The outcome of a crossover.

    Attributes:
        child: The tree with a subtree of the partner.
        removed: First and last position of the subtree that was removed from the tree.
        donated: First and last position in the partner of the subtree that replaces it.
    """

    child: Expression
    removed: tuple[int, int]
    donated: tuple[int, int]


@dataclass(frozen=True)
class Variation:
    """Rules for making and changing trees.

    The paper gives the operators, the least height and the greatest size. It is silent on the
    rest. Our choices are gplearn's ramped half-and-half with its usual depths, its choice of
    subtrees (operators with weight 0.9, leaves with 0.1, after Koza), and constants from the range
    of the printed ones.

    Attributes:
        operators: Names of the operators in trees.
        constants: Range of the constants R, drawn uniformly.
        depths: Least and greatest depth of a random tree.
        min_height: Least height, in edges from the root to the deepest leaf.
        max_size: Greatest number of nodes.
    """

    operators: tuple[str, ...] = PAPER_A
    constants: tuple[float, float] = (0.0, 4.0)
    depths: tuple[int, int] = (2, 6)
    min_height: int = 2
    max_size: int = MAX_SIZE

    def __post_init__(self):
        convert_whole_numbers(self, max_size=1, min_height=0)
        if not isinstance(self.operators, Iterable):
            raise UserError(f"operators={self.operators!r} are no names of operators")
        for name in self.operators:
            if name not in OPERATORS:
                raise unknown("operator", name, OPERATORS)
        if not any(OPERATORS[name].arity == 2 for name in self.operators):
            raise UserError("without an operator of two arguments no tree holds both terminals")
        if not _is_range(self.depths, Integral, 1):
            raise UserError(f"depths={self.depths!r} is not a range of depths from 1")
        if not _is_range(self.constants, Real, -math.inf):
            raise UserError(f"constants={self.constants!r} is not a range")
        if self.max_size > MAX_SIZE:
            raise UserError(f"max_size={self.max_size}; the paper's trees have at most {MAX_SIZE}")
        if self.max_size < max(4, self.min_height + 2):
            raise UserError(
                f"no tree of at most {self.max_size} nodes has height {self.min_height} and both "
                "terminals"
            )

    def is_valid(self, expression: Expression) -> bool:
        """Return whether a tree keeps the rules of the paper."""
        return (
            expression.has_both_terminals
            and expression.height >= self.min_height
            and expression.size <= self.max_size
        )

    def random_tree(self, random: np.random.RandomState) -> Expression:
        """Draw a random tree."""
        # About one in three is valid.
        for _ in range(100 * DRAWS):
            tree = self._expression(self._program().build_program(random))
            if tree is not None:
                return tree
        raise UserError(f"no random tree keeps the rules of {self}")

    def crossover(
        self, tree: Expression, partner: Expression, random: np.random.RandomState
    ) -> Expression:
        """Replace a random subtree of the tree by one of the partner."""
        return self.exchange(tree, partner, random).child

    def exchange(
        self, tree: Expression, partner: Expression, random: np.random.RandomState
    ) -> Exchange:
        """Do a crossover and return the positions of the subtrees too."""
        nodes, donor = self._nodes(tree), self._nodes(partner)
        for _ in range(DRAWS):
            child, removed, kept = self._program(nodes).crossover(donor, random)
            expression = self._expression(child)
            if expression is not None:
                donated = sorted(set(range(len(donor))) - set(kept))
                return Exchange(expression, (removed[0], removed[-1]), (donated[0], donated[-1]))
        return Exchange(tree, (0, tree.size - 1), (0, tree.size - 1))

    def subtree_mutation(self, tree: Expression, random: np.random.RandomState) -> Expression:
        """Replace a random subtree of the tree by one of a random tree."""
        program = self._program(self._nodes(tree))
        return self._drawn(tree, lambda: program.subtree_mutation(random)[0])

    def node_mutation(self, tree: Expression, random: np.random.RandomState) -> Expression:
        """Replace one random node of the tree by another of the same arity.

        The point mutation of gplearn replaces each node with a probability; that of the paper
        replaces one.
        """

        def draw():
            nodes = self._nodes(tree)
            position = random.randint(len(nodes))
            nodes[position] = self._another(nodes[position], random)
            return nodes

        return self._drawn(tree, draw)

    def _another(self, node, random):
        functions = self._functions
        if node in functions.values():
            others = [f for f in functions.values() if f.arity == node.arity and f is not node]
            return others[random.randint(len(others))] if others else node
        # A constant may be replaced by another constant.
        terminals = [i for i in range(len(TERMINALS)) if type(node) is not int or i != node]
        choice = random.randint(len(terminals) + 1)
        return terminals[choice] if choice < len(terminals) else random.uniform(*self.constants)

    def _drawn(self, tree: Expression, draw: Callable[[], list]) -> Expression:
        for _ in range(DRAWS):
            child = self._expression(draw())
            if child is not None:
                return child
        return tree

    @cached_property
    def _functions(self):
        # It imports scikit-learn, which takes a second, and readers of journals need neither.
        with needed():
            from gplearn.functions import make_function

        return {
            name: make_function(function=_on_numpy(name), name=name, arity=OPERATORS[name].arity)
            for name in self.operators
        }

    def _program(self, nodes=None):
        with needed():
            from gplearn._program import _Program

        functions = list(self._functions.values())
        arities = {}
        for function in functions:
            arities.setdefault(function.arity, []).append(function)
        return _Program(
            function_set=functions,
            arities=arities,
            init_depth=(self.depths[0], self.depths[1] + 1),
            init_method="half and half",
            n_features=len(TERMINALS),
            const_range=self.constants,
            metric=None,
            p_point_replace=0.0,
            parsimony_coefficient=0.0,
            # Used only to build a program where none is given; draws have their own generator.
            random_state=np.random.RandomState(0),
            program=nodes,
        )

    def _nodes(self, expression):
        """Convert a tree to gplearn's form: functions, terminals as int, constants as float."""
        names = self._functions | {name: i for i, name in enumerate(TERMINALS)}
        for node in expression.nodes:
            if node in OPERATORS and node not in names:
                raise unknown("operator", node, self.operators)
        return [names.get(node, node) for node in expression.nodes]

    def _expression(self, nodes):
        """Convert gplearn's nodes to a tree; `None` if it breaks a rule."""
        # Checked first, since an Expression has a limit of its own.
        if len(nodes) > self.max_size:
            return None
        expression = Expression(tuple(map(_name, nodes)))
        return expression if self.is_valid(expression) else None


def _is_range(ends, kind, least):
    """Return whether these are two numbers of a kind, finite and in order."""
    are_two = isinstance(ends, tuple | list) and len(ends) == 2
    if not are_two or not all(isinstance(end, kind) for end in ends):
        return False
    return all(map(math.isfinite, ends)) and least <= ends[0] <= ends[1]


def _name(node):
    if isinstance(node, int):
        return TERMINALS[node]
    return round(float(node), DECIMALS) if isinstance(node, float) else node.name


def _on_numpy(name):
    """Return an operator as a function of NumPy arrays, whose signature gplearn inspects."""
    value = OPERATORS[name].value
    return (lambda x: value(np, x)) if OPERATORS[name].arity == 1 else lambda x, y: value(np, x, y)

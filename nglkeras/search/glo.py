"""The genetic algorithm of paper B (GLO), as ask and tell.

A tree e gives the loss -Σ e(x, y) over the classes; an individual's expression is -e, the loss of
a class. Elites go on unchanged, the others are children of parents that a roulette picks by their
fitness. Whatever has no fitness counts as 0: trees without both x and y, and trainings that fail.

The text gives the operators, the leaves, both kinds of fitness 0 and the cache. The numbers in
`GLOParameters`, `WEIGHTS` and the exact mutations are of the paper's supplement as remembered; the
number of generations and, for the interpreter, the limit on a tree's size are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import OPERATORS, PAPER_B, Expression
from nglkeras.search.evolution import (
    Generational,
    Individual,
    Member,
    best_first,
    check_rates,
    generator,
)
from nglkeras.search.screening import screening

LEAVES = ("y_true", "y_pred", 1.0, -1.0)
# How much likelier than 1 an element is drawn.
WEIGHTS = {"log": 3.0, "y_true": 3.0, "y_pred": 3.0, "sqrt": 2.0}
RATES = ("recombination", "mutation")
# In nodes: with a coefficient on each the interpreter still takes it.
MAX_SIZE = 40
# The paper caches fitness, and nothing else spares a training.
PAPER = screening(["duplicates"], bounds=None)


@dataclass(frozen=True)
class GLOParameters:
    """Parameters of the genetic algorithm.

    Attributes:
        population_size: Trees in a generation.
        generations: After the random one.
        elites: The best that go on unchanged.
        recombination: Probability that two parents exchange subtrees.
        mutation: Probability that a node is replaced by one of the same arity, and that a number
            is changed by 1. A subtree is deleted, and a leaf grown, with half of it.
        depth: Greatest height of a random tree.
        max_size: Greatest number of nodes of e; at most `MAX_SIZE`.
    """

    population_size: int = 80
    generations: int = 100
    elites: int = 6
    recombination: float = 0.8
    mutation: float = 0.05
    depth: int = 2
    max_size: int = MAX_SIZE

    def __post_init__(self):
        if not 0 <= self.elites < self.population_size:
            raise UserError(
                f"{self.elites} elites in a population of {self.population_size}; at least one "
                "place must be left for a child"
            )
        if self.generations < 0:
            raise UserError(f"generations={self.generations} is not a number of at least 0")
        if not 1 <= self.max_size <= MAX_SIZE:
            raise UserError(f"max_size={self.max_size} is not a size from 1 to {MAX_SIZE}")
        check_rates(self, RATES)


class GLO(Generational):
    """Paper B's genetic algorithm.

    Args:
        seed: Root of all randomness.
        **parameters: See `GLOParameters`.

    Attributes:
        generation: The generation that is being evaluated.
        population: The last whole generation, best first.
    """

    def __init__(self, seed: int = 0, **parameters):
        super().__init__(seed, GLOParameters(**parameters))
        self._begin(self._generation())

    def _complete(self, members):
        self.population = best_first(self.population[: self.parameters.elites] + members)
        self.generation += 1
        self._begin(self._generation())

    def _generation(self):
        parameters = self.parameters
        if self.generation == 0:
            trees = [
                random_tree(self._random(i, "tree"), parameters.depth)
                for i in range(parameters.population_size)
            ]
            return [
                Individual(_loss(tree), 0, i, made_by=("random",)) for i, tree in enumerate(trees)
            ]
        count = parameters.population_size - parameters.elites
        pairs = [pair for i in range(-(-count // 2)) for pair in self._pair(i)]
        return [self._child(i, *pair) for i, pair in enumerate(pairs[:count])]

    def _pair(self, index):
        """Two trees, each with the ids of its parents and what made it."""
        random = self._random(index, "pair")
        weights = np.array([fitness(member) for member in self.population])
        weights = weights / weights.sum() if weights.sum() else None
        first, second = (
            self.population[i] for i in random.choice(len(self.population), 2, p=weights)
        )
        trees = [_tree(member.individual.expression) for member in (first, second)]
        ids = [member.individual.id for member in (first, second)]
        if random.uniform() >= self.parameters.recombination:
            return [(tree, (id_,), ()) for tree, id_ in zip(trees, ids, strict=True)]
        spliced = splice(*trees, random)
        return [
            (spliced[0], (ids[0], ids[1]), ("crossover",)),
            (spliced[1], (ids[1], ids[0]), ("crossover",)),
        ]

    def _child(self, index, tree, parents, made_by):
        mutant = mutate(tree, self._random(index, "mutation"), self.parameters.mutation)
        if mutant != tree:
            made_by = (*made_by, "mutation")
        if len(mutant) > self.parameters.max_size:
            mutant, made_by = self._parent(parents[0]), ()
        return Individual(_loss(mutant), self.generation, index, 0, parents, made_by)

    def _parent(self, id_):
        member = next(m for m in self.population if m.individual.id == id_)
        return _tree(member.individual.expression)

    def _random(self, index, what):
        return generator(self.seed, self.generation, index, what)


def fitness(member: Member) -> float:
    """Fitness with paper B's rule: 0 for whatever could not be trained."""
    rank = member.evaluation.rank
    return max(rank[0], 0.0) if rank else 0.0


def random_tree(random: np.random.RandomState, depth: int) -> tuple:
    """Nodes of a random tree in prefix order, each drawn by its weight; leaves at that depth."""
    node = _draw((*PAPER_B, *LEAVES) if depth else LEAVES, random)
    children = [random_tree(random, depth - 1) for _ in range(_arity(node))]
    return (node, *(n for child in children for n in child))


def splice(first: tuple, second: tuple, random: np.random.RandomState) -> tuple[tuple, tuple]:
    """Both trees after exchanging a random subtree each."""
    (a, b), (c, d) = (_random_slice(tree, random) for tree in (first, second))
    return (
        first[:a] + second[c:d] + first[b:],
        second[:c] + first[a:b] + second[d:],
    )


def mutate(tree: tuple, random: np.random.RandomState, rate: float) -> tuple:
    """The tree after each node, leaves first, had its chance of a change."""

    def happens(probability):
        return random.uniform() < probability

    def leaf(node):
        if isinstance(node, float) and happens(rate):
            node += 1.0 if happens(0.5) else -1.0
        if happens(rate):
            node = _draw(LEAVES, random)
        return random_tree(random, 1) if happens(rate / 2) else (node,)

    def branch(name, *arguments):
        if happens(rate):
            arity = OPERATORS[name].arity
            name = _draw([other for other in PAPER_B if _arity(other) == arity], random)
        if happens(rate / 2):
            return (_draw(LEAVES, random),)
        return (name, *(node for argument in arguments for node in argument))

    return Expression(tree).fold(leaf, branch)


def _draw(elements: Sequence, random):
    weights = np.array([WEIGHTS.get(element, 1.0) for element in elements])
    return elements[random.choice(len(elements), p=weights / weights.sum())]


def _arity(node):
    return OPERATORS[node].arity if node in OPERATORS else 0


def _random_slice(tree, random):
    start = random.randint(len(tree))
    return start, start + Expression(tree).subtree(start).size


def _loss(tree):
    return Expression(("neg", *tree))


def _tree(expression):
    return expression.nodes[1:]

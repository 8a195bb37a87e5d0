"""The genetic algorithm of paper B (GLO).

A tree e stands for the loss -Σ e(x, y) over the classes; the expression of an individual is -e, the
loss of one class. Elites survive unchanged; all others are children of parents that are drawn with
probabilities proportional to their fitness. Trees without both x and y and trainings that fail
have fitness 0.

The paper's text gives the operators, the leaves, both cases of fitness 0 and the cache. The numbers
in `GLOParameters`, `WEIGHTS` and the exact mutations are those of the paper's supplement as
remembered. The number of generations and the limit on a tree's size, which the interpreter needs,
are ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import OPERATORS, PAPER_B, Expression
from nglkeras.numbers import check_rates, convert_whole_numbers
from nglkeras.search.screening import with_checks
from nglkeras.search.strategy import Individual, Member, Strategy, best_first, generator

LEAVES = ("y_true", "y_pred", 1.0, -1.0)
# Weights with which elements are drawn; all others have weight 1.
WEIGHTS = {"log": 3.0, "y_true": 3.0, "y_pred": 3.0, "sqrt": 2.0}
RATES = ("recombination", "mutation")
# Greatest size of a tree in nodes: with a coefficient on each node the interpreter still takes it.
MAX_SIZE = 40
# The paper skips the training of duplicates and no other.
PAPER = with_checks(["duplicates"], bounds=None)


@dataclass(frozen=True)
class GLOParameters:
    """Parameters of the genetic algorithm.

    Attributes:
        population_size: Trees in a generation.
        generations: Number of generations after the random one.
        elites: Number of the best that survive unchanged.
        recombination: Probability that two parents exchange subtrees.
        mutation: Probability that a node is replaced by one of the same arity, and that a number
            is changed by 1. With half this probability a subtree is deleted or a leaf grown.
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
        convert_whole_numbers(self, population_size=1, generations=0, elites=0, depth=0, max_size=1)
        if self.elites >= self.population_size:
            raise UserError(
                f"{self.elites} elites in a population of {self.population_size}; at least one "
                "place must be left for a child"
            )
        if self.max_size > MAX_SIZE:
            raise UserError(f"max_size={self.max_size} is not a size from 1 to {MAX_SIZE}")
        check_rates(self, RATES)


class GLO(Strategy):
    """The genetic algorithm of paper B.

    Args:
        seed: Root of all randomness.
        **parameters: See `GLOParameters`.

    Attributes:
        generation: Number of the generation that is being evaluated.
        population: The last evaluated generation and its elites, best first.
    """

    parameters_class = GLOParameters

    def as_seed(self, loss: Expression) -> Expression:
        """Return a known loss L as -e, with e = -L.

        Raises:
            UserError: If e is too large.
        """
        if loss.nodes[0] != "neg":
            loss = _loss(("mul", -1.0, *loss.nodes))
        if loss.size - 1 > self.parameters.max_size:
            raise UserError(f"the seed {loss} has more than {self.parameters.max_size} nodes")
        return loss

    @property
    def rivals(self) -> list[Member]:
        """The population: a tree that is stopped has weight 0 when parents are drawn."""
        return [member for member in self.population if member.evaluation.rank]

    def propose(self) -> Iterator[Individual]:
        """Yield random trees in generation 0, and the children of the population in the others."""
        parameters = self.parameters
        if self.generation == 0:
            for i in range(parameters.population_size):
                tree = random_tree(self._random(i, "tree"), parameters.depth)
                yield Individual(_loss(tree), 0, i, made_by=("random",))
            return
        for i in range(parameters.population_size - parameters.elites):
            yield self._child(i, *self._pair(i // 2)[i % 2])

    def select(self, members: list[Member]) -> list[Member]:
        """Return the elites and the whole new generation."""
        return best_first(self.population[: self.parameters.elites] + members)

    def _pair(self, index):
        """Draw two trees; return each with the ids of its parents and what made it."""
        random = self._random(index, "pair")
        weights = np.array([fitness(member) for member in self.population])
        if not weights.any():
            weights = _above_the_worst(self.population)
        weights = weights / weights.sum() if weights.any() else None
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

    def _random(self, index, purpose):
        return generator(self.seed, self.generation, index, purpose)


def fitness(member: Member) -> float:
    """Return the fitness by paper B's rule: 0 for a loss that could not be trained."""
    rank = member.evaluation.rank
    return max(rank[0], 0.0) if rank else 0.0


def _above_the_worst(population):
    """Return weights for measures below 0, of which more is better, too; 0 without a measure."""
    ranks = [member.evaluation.rank for member in population]
    measures = np.array([rank[0] if rank else np.nan for rank in ranks])
    if np.isnan(measures).all():
        return np.zeros(len(measures))
    return np.nan_to_num(measures - np.nanmin(measures))


def random_tree(random: np.random.RandomState, depth: int) -> tuple:
    """Return the nodes of a random tree in prefix order; at this depth all are leaves."""
    node = _draw((*PAPER_B, *LEAVES) if depth else LEAVES, random)
    children = [random_tree(random, depth - 1) for _ in range(_arity(node))]
    return (node, *(n for child in children for n in child))


def splice(first: tuple, second: tuple, random: np.random.RandomState) -> tuple[tuple, tuple]:
    """Exchange a random subtree of each tree with one of the other; return both."""
    (a, b), (c, d) = (_random_slice(tree, random) for tree in (first, second))
    return (
        first[:a] + second[c:d] + first[b:],
        second[:c] + first[a:b] + second[d:],
    )


def mutate(tree: tuple, random: np.random.RandomState, rate: float) -> tuple:
    """Change each node of a tree, leaves first, with a probability that the rate gives."""

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

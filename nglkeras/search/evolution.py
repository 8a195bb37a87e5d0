"""Algorithm 1 of paper A: genetic programming with an external archive, as ask and tell.

`ask` gives the individuals whose evaluation is wanted, `tell` takes it. The strategy trains
nothing and knows no Keras. Everything random is drawn from (seed, generation, index, what), so
neither the order of the answers nor an interruption changes what comes next.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.search.variation import Variation

# How often a discarded individual is made anew before its place is left to the worst fitness.
MAX_ATTEMPTS = 200
RATES = ("crossover", "subtree_mutation", "node_mutation", "archive", "archive_crossover")


@dataclass(frozen=True)
class Individual:
    """A candidate and how it came to be.

    Attributes:
        expression: The loss per class.
        generation: 0 for the random population.
        index: Its place in the generation.
        attempt: How many before it in this place were discarded.
        parents: Ids of the individuals that it was made from, the one it started as first.
        made_by: What made it, in order: "random", or some of "crossover", "subtree_mutation"
            and "node_mutation"; nothing for a copy.
    """

    expression: Expression
    generation: int
    index: int
    attempt: int = 0
    parents: tuple[str, ...] = ()
    made_by: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Name within the search, e.g. "3-7"; "3-7-2" after two discarded attempts."""
        tail = f"-{self.attempt}" if self.attempt else ""
        return f"{self.generation}-{self.index}{tail}"

    def agrees_with(self, other: "Individual") -> bool:
        """Whether the other is the same up to rounding of its constants.

        Another machine's linear algebra, which CMA-ES uses, differs in the last digits.
        """
        if replace(self, expression=other.expression) != other:
            return False
        nodes = self.expression.nodes, other.expression.nodes
        return len(nodes[0]) == len(nodes[1]) and all(map(_agree, *nodes))


@dataclass(frozen=True)
class Evaluation:
    """What came of an individual.

    Attributes:
        status: "ok"; "discarded" if another must be made in its place; else why it has no
            fitness.
        fitness: Compared number by number, more is better; empty without a fitness.
        message: What went wrong.
        details: What the fitness was made of, as JSON has it.
        seconds: Wall time.
    """

    status: str = "ok"
    fitness: tuple[float, ...] = ()
    message: str = ""
    details: dict = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def rank(self) -> tuple[float, ...]:
        """Sorts evaluations; whatever has no finite fitness comes below everything that has."""
        if self.status != "ok" or not all(map(math.isfinite, self.fitness)):
            return ()
        return tuple(self.fitness)


@dataclass(frozen=True)
class Member:
    """An individual with its evaluation."""

    individual: Individual
    evaluation: Evaluation


@dataclass(frozen=True)
class Parameters:
    """The paper's parameters (section 4.1) and the rules for its trees.

    Attributes:
        population_size: n.
        generations: T.
        crossover: Cr, the probability of a crossover.
        subtree_mutation: M_ST.
        node_mutation: M_N.
        archive: p_A, the probability that an individual which does not survive is archived.
        archive_crossover: Cr_A, the probability that the partner comes from the archive.
        variation: Rules for trees.
        distinct: Whether of several survivors with the same formula only one is kept, as long
            as there are others. Not in the paper, whose copies are each evaluated anew: where
            trainings are deterministic they share a fitness, and soon fill the population.
    """

    population_size: int = 16
    generations: int = 100
    crossover: float = 0.7
    subtree_mutation: float = 0.3
    node_mutation: float = 0.1
    archive: float = 0.5
    archive_crossover: float = 0.5
    variation: Variation = field(default_factory=Variation)
    distinct: bool = False

    def __post_init__(self):
        for name, least in (("population_size", 1), ("generations", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"{name}={value!r} is not a whole number of at least {least}")
        check_rates(self, RATES)


def _agree(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6)
    return a == b


def check_rates(parameters, names: Sequence[str]) -> None:
    """Raise `UserError` unless these attributes are probabilities."""
    for name in names:
        value = getattr(parameters, name)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UserError(f"{name}={value!r} is not a probability")


def generator(*names) -> np.random.RandomState:
    """A generator for one use of randomness, e.g. `generator(seed, generation, index, what)`."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, "uint32"))


class Generational(ABC):
    """What strategies that work in generations share: who waits, who is evaluated.

    A strategy calls `_begin` with its first generation, and turns the members of a whole one into
    the next in `_complete`.

    Attributes:
        generation: The generation that is being evaluated.
        population: Members, best first; empty until generation 0 is evaluated.
    """

    def __init__(self, seed: int, parameters):
        if not isinstance(seed, int | np.integer) or isinstance(seed, bool):
            raise UserError(f"seed={seed!r} is not a whole number")
        self.seed = int(seed)
        self.parameters = parameters
        self.generation = 0
        self.population: list[Member] = []

    @property
    def settings(self) -> dict:
        """What decides the course of the search; how long it goes on does not."""
        parameters = asdict(self.parameters)
        del parameters["generations"]
        return {"strategy": type(self).__name__, "seed": self.seed, **parameters}

    @property
    def is_done(self) -> bool:
        """Whether the last generation has been evaluated."""
        return self.generation > self.parameters.generations

    def ask(self) -> list[Individual]:
        """The individuals whose evaluation is wanted, by index; none when the search is done."""
        return [] if self.is_done else [self._waiting[i] for i in sorted(self._waiting)]

    def tell(self, individual: Individual, evaluation: Evaluation) -> None:
        """Take the evaluation of one of the individuals that `ask` gave.

        A discarded one may be made anew: `ask` again. When all of a generation are evaluated, the
        next one is there to be asked for.

        Raises:
            UserError: If nobody asked for it.
        """
        waiting = self._waiting.get(individual.index)
        if waiting is None or not waiting.agrees_with(individual):
            raise UserError(f"individual {individual.id} is not one of those that wait")
        del self._waiting[individual.index]
        another = self._instead_of(individual, evaluation)
        if another is not None:
            self._waiting[individual.index] = another
            return
        self._evaluated[individual.index] = Member(individual, evaluation)
        if self._waiting:
            return
        members = [self._evaluated[i] for i in sorted(self._evaluated)]
        self._complete(members)

    def _begin(self, individuals):
        """Let these be the generation that waits."""
        self._evaluated: dict[int, Member] = {}
        self._waiting = {individual.index: individual for individual in individuals}

    def _instead_of(self, individual, evaluation):  # noqa: B027 - not every strategy makes one
        """Another individual in the place of one that was discarded; `None` keeps it."""

    @abstractmethod
    def _complete(self, members):
        """Make the next generation of the members of a whole one."""


def best_first(members: Sequence[Member]) -> list[Member]:
    """The members by their fitness; of equals, the earlier comes first."""
    return sorted(members, key=lambda member: member.evaluation.rank, reverse=True)


class GeneticProgramming(Generational):
    """Algorithm 1 of paper A.

    Where the paper is silent: the partner of a crossover is drawn uniformly, from the population
    without the individual itself; the archive, when full, loses a random member; of equals, the
    older survives.

    Args:
        seed: Root of all randomness.
        **parameters: See `Parameters`.

    Attributes:
        generation: The generation that is being evaluated.
        population: The survivors, best first; empty until generation 0 is evaluated.
        archive: Members that did not survive, at most n.
    """

    def __init__(self, seed: int = 0, **parameters):
        unknown_names = parameters.keys() - {field_.name for field_ in fields(Parameters)}
        if unknown_names:
            valid = ", ".join(field_.name for field_ in fields(Parameters))
            raise UserError(f"unknown parameter {min(unknown_names)!r}; choose from: {valid}")
        super().__init__(seed, Parameters(**parameters))
        self.archive: list[Member] = []
        self._begin(self._generation())

    @property
    def settings(self) -> dict:
        """What decides the course of the search; how long it goes on does not."""
        settings = super().settings
        if not self.parameters.distinct:
            del settings["distinct"]
        return settings

    def _instead_of(self, individual, evaluation):
        if evaluation.status == "discarded" and individual.attempt < MAX_ATTEMPTS:
            return self._make(individual.index, individual.attempt + 1)
        return None

    def _complete(self, members):
        """Sort parents and children, let the best n survive, archive some of the others."""
        members = best_first(self.population + members)
        if self.parameters.distinct:
            members = _repeats_last(members)
        n = self.parameters.population_size
        self.population, losers = members[:n], members[n:]
        for i, member in enumerate(losers):
            random = self._random(i, "archive")
            if random.uniform() < self.parameters.archive:
                if len(self.archive) < n:
                    self.archive.append(member)
                else:
                    self.archive[random.randint(n)] = member
        self.generation += 1
        self._begin(self._generation())

    def _generation(self):
        return [self._make(i, 0) for i in range(self.parameters.population_size)]

    def _make(self, index, attempt):
        if self.generation == 0:
            tree = self.parameters.variation.random_tree(self._random(index, "tree", attempt))
            return Individual(tree, 0, index, attempt, made_by=("random",))
        return self._child(index, attempt)

    def _child(self, index, attempt):
        """Crossover, then subtree mutation, then one-point mutation, each at its rate."""
        parameters, variation = self.parameters, self.parameters.variation
        parent = self.population[index]
        tree = parent.individual.expression
        parents, made_by = [parent], []

        random = self._random(index, "crossover", attempt)
        if random.uniform() < parameters.crossover:
            partner = self._partner(index, random)
            tree = variation.crossover(tree, partner.individual.expression, random)
            parents.append(partner)
            made_by.append("crossover")
        for name, rate, mutate in (
            ("subtree_mutation", parameters.subtree_mutation, variation.subtree_mutation),
            ("node_mutation", parameters.node_mutation, variation.node_mutation),
        ):
            random = self._random(index, name, attempt)
            if random.uniform() < rate:
                tree = mutate(tree, random)
                made_by.append(name)
        ids = tuple(member.individual.id for member in parents)
        return Individual(tree, self.generation, index, attempt, ids, tuple(made_by))

    def _partner(self, index, random):
        if random.uniform() < self.parameters.archive_crossover and self.archive:
            return _one(self.archive, random)
        others = self.population[:index] + self.population[index + 1 :]
        return _one(others or self.population, random)

    def _random(self, index, what, attempt=0):
        return generator(self.seed, self.generation, index, attempt, what)


def _repeats_last(members):
    """The members in order, those whose formula has come before at the end."""
    seen, repeats = {}, []
    for member in members:
        if seen.setdefault(member.individual.expression, member) is not member:
            repeats.append(member)
    return [*seen.values(), *repeats]


def _one(members: Sequence[Member], random: np.random.RandomState) -> Member:
    return members[random.randint(len(members))]

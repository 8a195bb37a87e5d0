"""The base class of search strategies, and the individuals that they propose.

A strategy proposes losses (`ask`) and takes their evaluations (`tell`). It trains nothing and
knows no Keras.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import ClassVar, Self

import msgspec
import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.numbers import whole_number

# What a known loss is made by.
SEED = ("seed",)


@dataclass(frozen=True)
class Individual:
    """A candidate loss and its origin.

    Attributes:
        expression: The loss of one class.
        generation: Number of its generation; 0 is the first population.
        index: Its place in the generation, from 0.
        attempt: How many candidates in this place were discarded before it.
        parents: Ids of the individuals that it was made from, the main parent first.
        made_by: Operations that made it, in order: "random", "seed" for a known loss, or some of
            "crossover", "subtree_mutation" and "node_mutation"; empty for a copy.
        rates: Probabilities that it was made with, by name, where each individual has its own.
    """

    expression: Expression
    generation: int
    index: int
    attempt: int = 0
    parents: tuple[str, ...] = ()
    made_by: tuple[str, ...] = ()
    rates: dict[str, float] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        """Name within the search, e.g. "3-7", or "3-7-2" after two discarded attempts."""
        tail = f"-{self.attempt}" if self.attempt else ""
        return f"{self.generation}-{self.index}{tail}"

    @property
    def place(self) -> tuple[int, int, int]:
        """Its place in the order of the search."""
        return self.generation, self.index, self.attempt

    def agrees_with(self, other: "Individual") -> bool:
        """Return whether both are the same but for rounding of their constants.

        CMA-ES uses linear algebra, whose last digits differ between machines.
        """
        if replace(self, expression=other.expression) != other:
            return False
        nodes = self.expression.nodes, other.expression.nodes
        return len(nodes[0]) == len(nodes[1]) and all(map(_agree, *nodes))


def _agree(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6)
    return a == b


@dataclass(frozen=True)
class Evaluation:
    """The outcome of evaluating an individual.

    Attributes:
        status: "ok"; "discarded" if another individual must take its place; otherwise the reason
            why it has no fitness.
        fitness: Numbers that are compared one after the other; more is better. Empty without a
            fitness.
        message: Description of the failure.
        details: What the fitness was computed from, as JSON data.
        seconds: Wall time.
    """

    status: str = "ok"
    fitness: tuple[float, ...] = ()
    message: str = ""
    details: dict = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def rank(self) -> tuple[float, ...]:
        """Key to sort evaluations by; empty, the lowest rank, without a finite fitness."""
        if self.status != "ok" or not all(map(math.isfinite, self.fitness)):
            return ()
        return tuple(self.fitness)

    @property
    def level(self) -> tuple[float, ...]:
        """The rank to six digits: evaluations of the same level are equally good."""
        return level_of(self.rank)


def level_of(fitness: Sequence[float]) -> tuple[float, ...]:
    """Return a fitness to six digits.

    Accuracies are computed in float32, where the same number of hits may differ in the last digit.
    """
    return tuple(float(f"{value:.6g}") for value in fitness)


@dataclass(frozen=True)
class Member:
    """An individual with its evaluation."""

    individual: Individual
    evaluation: Evaluation


def generator(*names) -> np.random.RandomState:
    """Return the random generator of one purpose, e.g. `generator(seed, generation, index)`."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, "uint32"))


def best_first(members: Iterable[Member]) -> list[Member]:
    """Sort members by fitness; of equal ones the earlier comes first."""
    return sorted(members, key=lambda member: member.evaluation.rank, reverse=True)


class Strategy(ABC):
    """Proposes losses generation by generation and selects by their fitness.

    A strategy of your own derives from this class, names the dataclass of its parameters, and
    says in `propose` which individuals a generation has. If it draws every random number from
    `generator(self.seed, self.generation, ...)`, an interrupted search goes on as if it had not
    been interrupted.

    Args:
        seed: Root of all randomness.
        **parameters: Fields of `parameters_class`.

    Attributes:
        parameters_class: Dataclass of the parameters, with a field `generations`.
        generation: Number of the generation that is being evaluated.
        population: The survivors, best first; empty until generation 0 is evaluated.
        seeds: Known losses in the places of the first individuals of generation 0.
    """

    parameters_class: ClassVar[type]

    def __init__(self, seed: int = 0, **parameters):
        self.seed = whole_number("seed", seed, least=None)
        if not is_dataclass(getattr(self, "parameters_class", None)):
            raise UserError(f"{type(self).__name__} needs a dataclass as its parameters_class")
        names = [field_.name for field_ in fields(self.parameters_class)]
        unknown_names = parameters.keys() - set(names)
        if unknown_names:
            raise UserError(
                f"unknown parameter {min(unknown_names)!r}; choose from: {', '.join(names)}"
            )
        self.parameters = self.parameters_class(**parameters)
        self.generation = 0
        self.population: list[Member] = []
        self.seeds: tuple[Expression, ...] = ()
        self._waiting: dict[int, Individual] = {}
        self._evaluated: dict[int, Member] = {}

    @abstractmethod
    def propose(self) -> Iterable[Individual]:
        """Return the individuals of the generation `self.generation`."""

    def select(self, members: list[Member]) -> list[Member]:
        """Return the next population, best first: by default the best of parents and children.

        Args:
            members: The evaluated individuals of this generation, by index.
        """
        return best_first(self.population + members)[: len(members)]

    def remake(self, individual: Individual, evaluation: Evaluation) -> Individual | None:
        """Return an individual to take the place of a discarded one; by default none does."""
        return None

    def begin_with(self, losses: Iterable[Expression]) -> None:
        """Put known losses in the places of the first individuals of generation 0.

        Raises:
            UserError: If there are more losses than places, or one cannot be varied.
        """
        self.seeds = tuple(map(self.as_seed, losses))
        if self.seeds:
            self.ask()

    def as_seed(self, loss: Expression) -> Expression:
        """Return a known loss in a form that this strategy can vary; by default as it is.

        Raises:
            UserError: If there is no such form.
        """
        return loss

    def as_begun(self, settings: dict) -> None:  # noqa: B027 - optional
        """Adopt what an earlier version did by default, if it began the search in the folder.

        Args:
            settings: Settings of the search that the folder holds; empty for a new folder.
        """

    @property
    def rivals(self) -> list[Member]:
        """Survivors that a new loss must beat one of: none while one of them has no fitness.

        See `racing`.
        """
        is_full = all(member.evaluation.rank for member in self.population)
        return self.population if is_full else []

    @property
    def generations(self) -> int:
        """Number of the last generation."""
        return self.parameters.generations

    @property
    def settings(self) -> dict:
        """Everything that decides the course of the search, which its length does not."""
        parameters = asdict(self.parameters)
        del parameters["generations"]
        settings = {"strategy": type(self).__name__, "seed": self.seed, **parameters}
        return settings | ({"seeds": list(map(str, self.seeds))} if self.seeds else {})

    @classmethod
    def from_settings(cls, settings: dict, generations: int) -> Self:
        """Return a fresh strategy with the settings in a journal.

        Args:
            settings: The settings; those that are not of the strategy are ignored.
            generations: Number of the last generation.

        Raises:
            ValueError: If a setting is missing or holds a value that it cannot hold.
        """
        return cls(seed=settings["seed"], **cls._parameters(settings, generations))

    @classmethod
    def _parameters(cls, settings, generations):
        """Return the parameters in the settings as arguments of the constructor."""
        names = {field_.name for field_ in fields(cls.parameters_class)}
        found = {name: settings[name] for name in names & settings.keys()}
        found["generations"] = generations
        converted = msgspec.convert(found, cls.parameters_class)
        return {name: getattr(converted, name) for name in found}

    @property
    def is_done(self) -> bool:
        """Whether the last generation has been evaluated."""
        return self.generation > self.generations

    def ask(self) -> list[Individual]:
        """Return the individuals that wait for an evaluation; none when the search is done."""
        if self.is_done:
            return []
        if not self._waiting:
            proposed = list(self.propose())
            if self.generation == 0:
                proposed = self._with_seeds(proposed)
            self._waiting = {individual.index: individual for individual in proposed}
            self._check(proposed)
        return [self._waiting[i] for i in sorted(self._waiting)]

    def _check(self, proposed):
        """Raise an error if a strategy of one's own has numbered its individuals wrongly."""
        name, number = type(self).__name__, self.generation
        if not proposed:
            raise UserError(f"generation {number} of the strategy has no individual")
        if len(self._waiting) < len(proposed):
            raise UserError(
                f"{name}.propose gives two individuals of generation {number} one index: give each "
                "its own, Individual(loss, self.generation, index)"
            )
        other = next((one for one in proposed if one.generation != number), None)
        if other is not None:
            raise UserError(
                f"{name}.propose gives an individual of generation {other.generation} in "
                f"generation {number}: make it with Individual(loss, self.generation, index)"
            )

    def _with_seeds(self, proposed):
        if len(self.seeds) > len(proposed):
            raise UserError(f"{len(self.seeds)} seeds for {len(proposed)} places in generation 0")
        planted = [
            Individual(loss, 0, one.index, made_by=SEED)
            for loss, one in zip(self.seeds, proposed, strict=False)
        ]
        return planted + proposed[len(planted) :]

    def tell(self, individual: Individual, evaluation: Evaluation) -> None:
        """Take the evaluation of one of the individuals that `ask` returned, in any order.

        When it was discarded, `ask` again for the one in its place. When the whole generation is
        evaluated, `ask` returns the next one.

        Raises:
            UserError: If the individual does not wait for an evaluation.
        """
        waiting = self._waiting.get(individual.index)
        if waiting is None or not waiting.agrees_with(individual):
            raise UserError(f"individual {individual.id} is not one of those that wait")
        del self._waiting[individual.index]
        another = self.remake(individual, evaluation)
        if another is not None:
            self._waiting[individual.index] = another
            return
        self._evaluated[individual.index] = Member(individual, evaluation)
        if not self._waiting:
            members = [self._evaluated[i] for i in sorted(self._evaluated)]
            self._evaluated = {}
            self.end_generation(members)

    def end_generation(self, members: list[Member]) -> None:
        """Select the survivors and begin the next generation.

        `tell` calls it when the last individual is evaluated. A journal is read without `ask` and
        `tell`, with this method alone.

        Args:
            members: The evaluated individuals of this generation, by index.
        """
        self.population = self.select(members)
        self.generation += 1

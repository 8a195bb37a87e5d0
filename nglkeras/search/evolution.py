"""Algorithm 1 of paper A: genetic programming with an external archive.

Every random number is drawn from (seed, generation, index, purpose), so that neither the order of
the evaluations nor an interruption changes the search.
"""

from dataclasses import dataclass, field, replace

from nglkeras.errors import UserError, unknown
from nglkeras.expression import Expression
from nglkeras.numbers import check_rates, convert_whole_numbers
from nglkeras.search.adaptation import Success, SuccessHistory
from nglkeras.search.strategy import Evaluation, Individual, Member, Strategy, best_first, generator
from nglkeras.search.variation import Variation

# Attempts to replace a discarded individual before its place goes to the lowest fitness.
MAX_ATTEMPTS = 200
RATES = ("crossover", "subtree_mutation", "node_mutation", "archive", "archive_crossover")
ADAPTATIONS = ("success_history",)
# Rules of survival that are not in the paper.
RULES = ("distinct", "parsimony")


@dataclass(frozen=True)
class Parameters:
    """Parameters of the paper (section 4.1) and the rules for its trees.

    Attributes:
        population_size: n.
        generations: T.
        crossover: Cr, the probability of a crossover.
        subtree_mutation: M_ST, the probability of a subtree mutation.
        node_mutation: M_N, the probability of a node mutation.
        archive: p_A, the probability that an individual which does not survive is archived.
        archive_crossover: Cr_A, the probability that the partner comes from the archive.
        variation: Rules for trees.
        distinct: Whether to keep only one of several survivors with the same formula, as long as
            there are others. Not in the paper, which evaluates every copy anew: where trainings
            are deterministic, copies share a fitness and soon fill the population. `None`
            (default): yes, but not in the folder of a search that was begun without it.
        parsimony: Whether the smaller of two losses with the same fitness survives (lexicographic
            parsimony pressure, Luke and Panait 2002), and not the older as in the paper. `None`
            (default): as for `distinct`.
        adaptation: "success_history": the rates above are only those at the beginning, and then
            follow the children that are better than their parents: see `adaptation`. `None`
            (default): the rates are fixed.
    """

    population_size: int = 16
    generations: int = 100
    crossover: float = 0.7
    subtree_mutation: float = 0.3
    node_mutation: float = 0.1
    archive: float = 0.5
    archive_crossover: float = 0.5
    variation: Variation = field(default_factory=Variation)
    distinct: bool | None = None
    parsimony: bool | None = None
    adaptation: str | None = None

    def __post_init__(self):
        convert_whole_numbers(self, population_size=1, generations=0)
        check_rates(self, RATES)
        if not isinstance(self.variation, Variation):
            raise UserError(f"variation={self.variation!r} is no Variation")
        for name in RULES:
            if getattr(self, name) not in (True, False, None):
                raise UserError(f"{name}={getattr(self, name)!r} is neither True, False nor None")
        if self.adaptation not in (None, *ADAPTATIONS):
            raise unknown("adaptation", self.adaptation, ADAPTATIONS)


class GeneticProgramming(Strategy):
    """Algorithm 1 of paper A.

    Where the paper is silent: the partner of a crossover is drawn uniformly from the population
    without the individual itself; a full archive loses a random member; of equals, the older
    survives. `distinct=False` and `parsimony=False` are the paper's algorithm.

    Args:
        seed: Root of all randomness.
        **parameters: See `Parameters`.

    Attributes:
        generation: Number of the generation that is being evaluated.
        population: The survivors, best first; empty until generation 0 is evaluated.
        archive: Members that did not survive, at most n.
        history: The memory of successful rates; `None` if the rates are fixed.
    """

    parameters_class = Parameters

    def __init__(self, seed: int = 0, **parameters):
        super().__init__(seed, **parameters)
        self.archive: list[Member] = []
        self._rates = {name: getattr(self.parameters, name) for name in RATES}
        self.history = SuccessHistory(self._rates) if self.parameters.adaptation else None

    @property
    def settings(self) -> dict:
        """Everything that decides the course of the search, which its length does not."""
        settings = super().settings
        # Journals from before there were these parameters do not have them.
        for name in RULES:
            settings[name] = self._follows(name)
            if not settings[name]:
                del settings[name]
        if self.history is None:
            del settings["adaptation"]
        return settings

    def as_begun(self, settings: dict) -> None:
        """Leave out the rules of survival that the search in the folder was begun without."""
        if settings:
            choices = {name: getattr(self.parameters, name) for name in RULES}
            begun = {
                name: bool(settings.get(name)) if choice is None else choice
                for name, choice in choices.items()
            }
            self.parameters = replace(self.parameters, **begun)

    def as_seed(self, loss: Expression) -> Expression:
        """Return a known loss with the operators of the trees.

        Raises:
            UserError: If it has others, or breaks the rules for trees.
        """
        variation = self.parameters.variation

        def branch(name, *arguments):
            if name == "square" and name not in variation.operators:
                name, arguments = "mul", arguments * 2
            if name not in variation.operators:
                raise unknown(f"operator in the seed {loss}:", name, variation.operators)
            return (name, *(node for argument in arguments for node in argument))

        tree = Expression(loss.fold(lambda node: (node,), branch))
        if not variation.is_valid(tree):
            raise UserError(
                f"the seed {loss} needs y_true and y_pred, a height of at least "
                f"{variation.min_height} and at most {variation.max_size} nodes"
            )
        return tree

    def propose(self) -> list[Individual]:
        """Return random trees in generation 0, and a child of each survivor in the others."""
        return [self._make(i, 0) for i in range(self.parameters.population_size)]

    def remake(self, individual: Individual, evaluation: Evaluation) -> Individual | None:
        """Return another individual in the place of a discarded one."""
        if evaluation.status == "discarded" and individual.attempt < MAX_ATTEMPTS:
            return self._make(individual.index, individual.attempt + 1)
        return None

    def select(self, members: list[Member]) -> list[Member]:
        """Return the best n of parents and children; archive some of the others."""
        if self.history is not None:
            self.history.learn(self._successes(members))
        members = self.population + members
        if self._follows("parsimony"):
            # Sorting is stable: the size decides between members of the same fitness.
            members = sorted(members, key=lambda member: member.individual.expression.size)
            members = sorted(members, key=lambda member: member.evaluation.level, reverse=True)
        else:
            members = best_first(members)
        if self._follows("distinct"):
            members = _repeats_last(members)
        n = self.parameters.population_size
        for i, member in enumerate(members[n:]):
            random = self._random(i, "archive")
            if random.uniform() < self._rate_of_archiving(member):
                if len(self.archive) < n:
                    self.archive.append(member)
                else:
                    self.archive[random.randint(n)] = member
        return members[:n]

    def _follows(self, rule):
        choice = getattr(self.parameters, rule)
        return True if choice is None else choice

    def _make(self, index, attempt):
        if self.generation == 0:
            tree = self.parameters.variation.random_tree(self._random(index, "tree", attempt))
            return Individual(tree, 0, index, attempt, made_by=("random",))
        return self._child(index, attempt)

    def _child(self, index, attempt):
        """Apply crossover, subtree mutation and node mutation, each with its probability."""
        variation, rates, own_rates = self.parameters.variation, self._rates, {}
        if self.history is not None:
            rates = own_rates = self.history.draw(self._random(index, "rates", attempt))
        parent = self.population[index]
        tree = parent.individual.expression
        parents, made_by = [parent], []

        random = self._random(index, "crossover", attempt)
        if random.uniform() < rates["crossover"]:
            partner = self._partner(index, random, rates["archive_crossover"])
            tree = variation.crossover(tree, partner.individual.expression, random)
            parents.append(partner)
            made_by.append("crossover")
        for name in ("subtree_mutation", "node_mutation"):
            random = self._random(index, name, attempt)
            if random.uniform() < rates[name]:
                tree = getattr(variation, name)(tree, random)
                made_by.append(name)
        ids = tuple(member.individual.id for member in parents)
        return Individual(tree, self.generation, index, attempt, ids, tuple(made_by), own_rates)

    def _successes(self, members):
        """Yield the rates of each child that is better than its parent, with its gain.

        The rate of archiving does nothing for the child that it is of. It is successful where the
        archived one has become the partner in a success.
        """
        parents = {member.individual.id: member for member in self.population}
        archived = {member.individual.id: member for member in self.archive}
        for member in members:
            individual = member.individual
            if not individual.parents:
                continue
            gain = _gain(parents[individual.parents[0]], member)
            if gain > 0:
                rates = {name: individual.rates[name] for name in RATES if name != "archive"}
                partner = archived.get(individual.parents[-1])
                if partner is not None:
                    rates["archive"] = self._rate_of_archiving(partner)
                yield Success(rates, gain)

    def _rate_of_archiving(self, member):
        return member.individual.rates.get("archive", self.parameters.archive)

    def _partner(self, index, random, archive_crossover):
        if random.uniform() < archive_crossover and self.archive:
            others = self.archive
        else:
            others = self.population[:index] + self.population[index + 1 :] or self.population
        return others[random.randint(len(others))]

    def _random(self, index, purpose, attempt=0):
        return generator(self.seed, self.generation, index, attempt, purpose)


def _gain(parent, child):
    """Return by how much a child is better: in the first number of the fitness that differs.

    0 if one of them has no fitness.
    """
    pairs = zip(child.evaluation.rank, parent.evaluation.rank, strict=False)
    return next((new - old for new, old in pairs if new != old), 0.0)


def _repeats_last(members):
    """Move members whose formula has come before to the end."""
    seen, repeats = {}, []
    for member in members:
        if seen.setdefault(member.individual.expression, member) is not member:
            repeats.append(member)
    return [*seen.values(), *repeats]

"""The second stage of paper B: CMA-ES tunes the coefficients of a tree.

Every node of the tree is multiplied by a coefficient. All start at 1, and a covariance matrix
adaptation evolution strategy, (μ/μ_w, λ) with rank-μ update and σ = 1.5, improves them. The package
`cma` does the evolution; only this module imports it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.expression.prefix import MAX_CONSTANT
from nglkeras.numbers import convert_whole_numbers, positive
from nglkeras.search.screening import Screening
from nglkeras.search.strategy import Individual, Member, Strategy, best_first, generator
from nglkeras.startup.extras import needed

SIGMA = 1.5
# No check can save a training: coefficients are never the same twice.
SCREENING = Screening(bounds=None, duplicates=False, equals=False, gradients="off", rejection=False)
# Decimal places of a printed coefficient.
DECIMALS = 4


@dataclass(frozen=True)
class CMAParameters:
    """Parameters of the second stage.

    Attributes:
        generations: Number of samples of λ coefficient vectors; the tree with unit coefficients is
            evaluated before them.
        population_size: λ; by default that of `cma`, 4 + 3 log(coefficients). The better half are
            parents. The paper gives neither.
        sigma: Initial standard deviation.
    """

    generations: int = 30
    population_size: int | None = None
    sigma: float = SIGMA

    def __post_init__(self):
        convert_whole_numbers(self, generations=0)
        if self.population_size is not None:
            convert_whole_numbers(self, population_size=2)
        object.__setattr__(self, "sigma", positive("sigma", self.sigma))


class CoefficientSearch(Strategy):
    """CMA-ES over the coefficients of a tree.

    Args:
        expression: The tree. The minus sign of paper B's losses -e has no coefficient.
        seed: Root of all randomness.
        **parameters: See `CMAParameters`.

    Attributes:
        generation: 0 while the tree with unit coefficients is evaluated; then the number of the
            sample.
        population: The best so far and the last sample, best first.
    """

    parameters_class = CMAParameters

    def __init__(self, expression: Expression, seed: int = 0, **parameters):
        with needed():
            import cma

        super().__init__(seed, **parameters)
        if not isinstance(expression, Expression):
            raise UserError(f"{expression!r} is no Expression; make one with Expression.parse")
        self.expression = expression
        count = count_coefficients(expression)
        options = {
            "verbose": -9,
            # With these two, cma neither reads nor sets NumPy's global generator, which the
            # trainings use.
            "seed": np.nan,
            "randn": self._normal,
            # The paper's strategy has weights for parents only: no negative ("active") update.
            "CMA_active": False,
            # `generations` alone decides when the search ends.
            "maxiter": np.inf,
            "tolfun": 0,
            "tolfunhist": 0,
            "tolx": 0,
            "tolstagnation": np.inf,
            "tolflatfitness": np.inf,
        }
        if self.parameters.population_size is not None:
            options["popsize"] = self.parameters.population_size
        self._samples = None
        self._draws = 0
        self._strategy = cma.CMAEvolutionStrategy(np.ones(count), self.parameters.sigma, options)

    def as_seed(self, loss: Expression) -> Expression:
        """Raise a `UserError`: all losses are the one tree with other coefficients."""
        raise UserError("a search of coefficients begins with its own tree and takes no seeds")

    @property
    def settings(self) -> dict:
        """Everything that decides the course of the search, which its length does not."""
        return {**super().settings, "expression": str(self.expression)}

    @classmethod
    def from_settings(cls, settings: dict, generations: int) -> Self:
        """Return a fresh strategy with the settings in a journal."""
        expression = Expression.parse(settings["expression"])
        return cls(expression, seed=settings["seed"], **cls._parameters(settings, generations))

    @property
    def mean(self) -> np.ndarray:
        """Mean of the distribution that the next coefficients are drawn from."""
        return np.array(self._strategy.mean)

    @property
    def rivals(self) -> list[Member]:
        """The best and the last sample; a sample that is stopped gets the cost of the worst."""
        return [member for member in self.population if member.evaluation.rank]

    def propose(self) -> Iterator[Individual]:
        """Yield the tree with unit coefficients in generation 0, and samples in the others."""
        if self.generation == 0:
            yield Individual(self.expression, 0, 0, made_by=("unit coefficients",))
            return
        self._samples = self._strategy.ask()
        for i, sample in enumerate(self._samples):
            tree = with_coefficients(self.expression, sample)
            yield Individual(tree, self.generation, i, parents=("0-0",), made_by=("sampling",))

    def select(self, members: list[Member]) -> list[Member]:
        """Return the best so far and the new sample; update the distribution."""
        # Where a journal is read no samples are drawn, and nothing is learned from them.
        if self._samples is not None:
            self._strategy.tell(self._samples, _costs(members))
        return best_first(self.population[:1] + members)

    def _normal(self, *shape):
        self._draws += 1
        return generator(self.seed, "cma", self._draws).standard_normal(shape)


def _costs(members):
    """Return the costs to minimise; without a fitness it is that of the worst, or at best 0."""
    found = [m.evaluation.rank[0] if m.evaluation.rank else None for m in members]
    worst = min((value for value in found if value is not None), default=0.0)
    return [-(min(worst, 0.0) if value is None else value) for value in found]


def count_coefficients(expression: Expression) -> int:
    """Return the number of nodes, not counting a minus sign at the root."""
    return expression.size - (expression.nodes[0] == "neg")


def with_coefficients(expression: Expression, coefficients: Sequence[float]) -> Expression:
    """Multiply each node of a tree by its coefficient.

    Args:
        expression: The tree.
        coefficients: One for each node in prefix order, without a minus sign at the root. A number
            in the tree becomes its product with the coefficient. What is greater than the greatest
            constant of a formula becomes that.
    """
    nodes = list(expression.nodes)
    prefix = (nodes.pop(0),) if nodes[0] == "neg" else ()
    if len(coefficients) != len(nodes):
        raise UserError(f"{len(coefficients)} coefficients for {len(nodes)} nodes")
    made = []
    for node, coefficient in zip(nodes, map(float, coefficients), strict=True):
        is_number = isinstance(node, float)
        value = node * coefficient if is_number else coefficient
        value = float(np.clip(value, -MAX_CONSTANT, MAX_CONSTANT))
        made += [value] if is_number else ["mul", value, node]
    return Expression((*prefix, *made))


def in_print(expression: Expression) -> Expression:
    """Return an equal tree with as few coefficients as possible, rounded to four decimals.

    Factors are moved up through products, quotients, squares and roots; they stay inside of a
    logarithm, and of what would make them larger than a constant may be. A protected quotient or
    root adds ε to what it is applied to, and moving a factor out of it scales ε too: the printed
    formula equals the evaluated one up to that and to rounding.
    """

    def leaf(node):
        return (node, Expression((1.0,))) if isinstance(node, float) else (1.0, Expression((node,)))

    def branch(name, *arguments):
        (a, x), *others = arguments
        b, y = others[0] if others else (1.0, None)
        if name == "neg":
            return -a, x
        if name == "mul" and abs(a * b) <= MAX_CONSTANT:
            return a * b, _product(x, y)
        if name == "div" and b and abs(a / b) <= MAX_CONSTANT:
            return a / b, x if y.nodes == (1.0,) else Expression(("div", *x.nodes, *y.nodes))
        if name == "square" and a * a <= MAX_CONSTANT:
            return a * a, _applied("square", x)
        if name == "sqrt":
            return float(np.sqrt(abs(a))), _applied("sqrt", x)
        scaled = [_scaled(factor, tree) for factor, tree in arguments]
        return 1.0, Expression((name, *(node for tree in scaled for node in tree.nodes)))

    return _scaled(*expression.fold(leaf, branch))


def _product(x, y):
    if x.nodes == (1.0,):
        return y
    return x if y.nodes == (1.0,) else Expression(("mul", *x.nodes, *y.nodes))


def _applied(name, x):
    return x if x.nodes == (1.0,) else Expression((name, *x.nodes))


def _scaled(factor, tree):
    """Return `factor * tree` with a rounded factor."""
    # A small factor keeps its first digits: rounded to 0 it would remove its tree.
    factor = round(factor, DECIMALS) or float(f"{factor:.{DECIMALS}g}")
    if factor == 1:
        return tree
    if tree.nodes == (1.0,):
        return Expression((factor,))
    return Expression(("neg", *tree.nodes) if factor == -1 else ("mul", factor, *tree.nodes))

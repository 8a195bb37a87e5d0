"""The second stage of paper B: coefficients for a tree, by CMA-ES, as ask and tell.

Every node of the tree is multiplied by a coefficient. They start at 1, and a covariance matrix
adaptation evolution strategy, (μ/μ_w, λ) with rank-μ update and σ = 1.5, looks for better ones.
The `cma` package does the evolution; this is the only module that knows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.search.evolution import Generational, Individual, best_first, generator
from nglkeras.search.screening import Screening
from nglkeras.startup.extras import needed

SIGMA = 1.5
# Coefficients are never the same twice.
SCREENING = Screening(bounds=None, duplicates=False, equals=False, gradients="off", rejection=False)
# Digits after the point of a coefficient in print.
DECIMALS = 4


@dataclass(frozen=True)
class CMAParameters:
    """Parameters of the second stage.

    Attributes:
        generations: Samples of λ coefficient vectors; before them comes the tree as it is.
        population_size: λ; by default cma's 4 + 3 log(coefficients), of which the better half
            are parents (the paper gives neither).
        sigma: Initial standard deviation.
    """

    generations: int = 30
    population_size: int | None = None
    sigma: float = SIGMA

    def __post_init__(self):
        if self.generations < 0:
            raise UserError(f"generations={self.generations} is not a number of at least 0")
        if self.population_size is not None and self.population_size < 2:
            raise UserError(f"population_size={self.population_size}; CMA-ES takes at least 2")
        if not self.sigma > 0:
            raise UserError(f"sigma={self.sigma} is not a positive number")


class CoefficientSearch(Generational):
    """CMA-ES over the coefficients of a tree.

    Args:
        expression: The tree; of paper B's losses -e, whose sign keeps no coefficient.
        seed: Root of all randomness.
        **parameters: See `CMAParameters`.

    Attributes:
        generation: 0 while the tree as it is is evaluated, then the samples.
        population: The best so far, then the others of the last sample, best first.
    """

    def __init__(self, expression: Expression, seed: int = 0, **parameters):
        with needed():
            import cma

        super().__init__(seed, CMAParameters(**parameters))
        self.expression = expression
        count = count_coefficients(expression)
        options = {
            "verbose": -9,
            # Neither reads nor sets NumPy's global generator, which the trainings use.
            "seed": np.nan,
            "randn": self._normal,
            # The paper's strategy weights parents only: no negative ("active") update.
            "CMA_active": False,
            # How long it goes on is for `generations` to say.
            "maxiter": np.inf,
            "tolfun": 0,
            "tolfunhist": 0,
            "tolx": 0,
            "tolstagnation": np.inf,
            "tolflatfitness": np.inf,
        }
        if self.parameters.population_size is not None:
            options["popsize"] = self.parameters.population_size
        self._draws = 0
        self._strategy = cma.CMAEvolutionStrategy(np.ones(count), self.parameters.sigma, options)
        self._samples: list[np.ndarray] = []
        start = Individual(expression, 0, 0, made_by=("unit coefficients",))
        self._begin([start])

    @property
    def settings(self) -> dict:
        """What decides the course of the search; how long it goes on does not."""
        return {**super().settings, "expression": str(self.expression)}

    @property
    def mean(self) -> np.ndarray:
        """The centre of the search."""
        return np.array(self._strategy.mean)

    def _complete(self, members):
        if self._samples:
            self._strategy.tell(self._samples, _costs(members))
        # The best so far stays in view.
        self.population = best_first(self.population[:1] + members)
        self.generation += 1
        self._samples = self._strategy.ask()
        self._begin(self._individual(i, sample) for i, sample in enumerate(self._samples))

    def _individual(self, index, sample):
        return Individual(
            with_coefficients(self.expression, sample),
            self.generation,
            index,
            parents=("0-0",),
            made_by=("sampling",),
        )

    def _normal(self, *shape):
        self._draws += 1
        return generator(self.seed, "cma", self._draws).standard_normal(shape)


def _costs(members):
    """What CMA-ES minimises; whatever has no fitness is as bad as the worst, and 0 at best."""
    found = [m.evaluation.rank[0] if m.evaluation.rank else None for m in members]
    worst = min((value for value in found if value is not None), default=0.0)
    return [-(min(worst, 0.0) if value is None else value) for value in found]


def count_coefficients(expression: Expression) -> int:
    """One for each node but for a minus sign at the root."""
    return expression.size - (expression.nodes[0] == "neg")


def with_coefficients(expression: Expression, coefficients: Sequence[float]) -> Expression:
    """The tree with each node multiplied by its coefficient, in prefix order.

    A number is multiplied as it is read; a minus sign at the root has no coefficient.
    """
    nodes = list(expression.nodes)
    prefix = (nodes.pop(0),) if nodes[0] == "neg" else ()
    if len(coefficients) != len(nodes):
        raise UserError(f"{len(coefficients)} coefficients for {len(nodes)} nodes")
    made = []
    for node, coefficient in zip(nodes, map(float, coefficients), strict=True):
        made += [node * coefficient] if isinstance(node, float) else ["mul", coefficient, node]
    return Expression((*prefix, *made))


def in_print(expression: Expression) -> Expression:
    """The tree with as few coefficients as say the same, rounded to four decimals.

    Factors move up through products, quotients, squares and roots, and out of a logarithm they do
    not. Under a protected quotient or root this shifts ε by the factor, so that the printed
    formula equals the evaluated one up to that and to rounding.
    """

    def leaf(node):
        return (node, Expression((1.0,))) if isinstance(node, float) else (1.0, Expression((node,)))

    def branch(name, *arguments):
        (a, x), *others = arguments
        b, y = others[0] if others else (1.0, None)
        if name == "neg":
            return -a, x
        if name == "mul":
            return a * b, _product(x, y)
        if name == "div" and b:
            return a / b, x if y.nodes == (1.0,) else Expression(("div", *x.nodes, *y.nodes))
        if name == "square":
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
    """`factor * tree`, rounded."""
    # A small factor keeps its first digits: rounded to 0 it would take its tree with it.
    factor = round(factor, DECIMALS) or float(f"{factor:.{DECIMALS}g}")
    if factor == 1:
        return tree
    if tree.nodes == (1.0,):
        return Expression((factor,))
    return Expression(("neg", *tree.nodes) if factor == -1 else ("mul", factor, *tree.nodes))

"""A loss that a search has found, with everything that a user wants of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nglkeras.expression import Expression
from nglkeras.search.presentation import shown
from nglkeras.search.scale import scaled
from nglkeras.search.simplification import simplified
from nglkeras.search.strategy import Member

if TYPE_CHECKING:
    from nglkeras.losses import FormulaLoss


@dataclass(frozen=True, repr=False)
class FoundLoss(Member):
    """A loss that a search has found.

    Attributes:
        class_reduction: "mean" or "sum" over the classes, as it was trained.
        factor: Factor with which it was trained: see `scale`. The formula includes it; the size
            does not.
        options: Options of the loss with which it was trained, such as the head.
    """

    class_reduction: str = "mean"
    factor: float = 1.0
    options: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self):
        return f"<{self.id}: fitness {shown(self.fitness)}, {self.size} nodes, {self.formula}>"

    @property
    def id(self) -> str:
        """Id of the individual."""
        return self.individual.id

    @property
    def expression(self) -> Expression:
        """The loss of one class."""
        return scaled(self.individual.expression, self.factor)

    @property
    def formula(self) -> str:
        """The formula as text."""
        return str(self.expression)

    @property
    def latex(self) -> str:
        """The formula in LaTeX, with t for the label and p for the prediction."""
        return self.expression.to_latex()

    @property
    def simplified(self) -> Expression:
        """The same loss in fewer nodes and digits, verified: see `simplification`."""
        return simplified(self.expression)

    @property
    def size(self) -> int:
        """Number of nodes."""
        return self.individual.expression.size

    @property
    def fitness(self) -> tuple[float, ...]:
        """The fitness; more is better."""
        return self.evaluation.fitness

    @property
    def made_by(self) -> tuple[str, ...]:
        """Operations that made it: see `Individual`."""
        return self.individual.made_by

    def loss(self, **options) -> "FormulaLoss":
        """Return the Keras loss.

        Args:
            **options: Passed to `FormulaLoss`, e.g. `from_logits=True`; by default as it was
                trained.
        """
        own = {"class_reduction": self.class_reduction, **self.options}
        return self.expression.to_loss(**own | options)

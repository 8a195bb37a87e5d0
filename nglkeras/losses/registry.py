"""The losses by the names of their rows in the papers' tables.

A new loss is one `Row` in `ROWS`, with a formula or with Keras classes: every table, figure and
`get` then accept its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras

from nglkeras.errors import UserError, unknown
from nglkeras.expression import Expression
from nglkeras.expression.papers import FORMULAS
from nglkeras.losses.classes import (
    F1,
    F2,
    F3,
    F4,
    NGL,
    Baikal,
    BaikalCMA,
    FormulaLoss,
    SymmetricCrossentropy,
)
from nglkeras.losses.dice import Dice, SparseDice
from nglkeras.losses.zoo import (
    AsymmetricMultiLabel,
    AsymmetricSingleLabel,
    CSEAutolossB,
    GeneralizedCrossentropy,
    MeanAbsoluteError,
    Poly1,
    SparseFocal,
    SparseLSR,
    TaylorGLO,
)

DAGGER = "†"


@dataclass(frozen=True)
class Row:
    """A loss and its place in the papers' tables.

    Attributes:
        name: Name of the row, e.g. `"CE + L2"`.
        make: Builds the Keras loss for one-hot labels; by default the loss of `formula`.
        make_sparse: Builds the Keras loss for class indices, which tables 4 and 5 need, where
            `make(sparse=True)` does not.
        formula: Formula that identifies the loss in a trial: if it is corrected, the networks are
            trained anew. `None` if the name is enough.
        l2: Factor of the L2 penalty on the model's kernels.
        tables: Tables and figures that show the loss by default.
        color: Matplotlib colour in figures; `None` for the next one of the cycle.
        title: Name in print, if it is not `name`.
        aliases: Further names by which users may call the row.
    """

    name: str
    make: Callable[..., keras.losses.Loss] | None = None
    make_sparse: Callable[..., keras.losses.Loss] | None = None
    formula: str | None = None
    l2: float = 0.0
    tables: tuple[str, ...] = ()
    color: str | None = None
    title: str | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self):
        if self.make is None:
            if self.formula is None:
                raise UserError(f"the row {self.name} has neither a formula nor a loss")
            Expression.parse(self.formula)
            object.__setattr__(self, "make", partial(FormulaLoss, self.formula))

    @property
    def reconstructed(self) -> bool:
        """Whether the formula is a guess at an illegible one."""
        return getattr(self.make, "reconstructed", False)

    @property
    def takes_reduction(self) -> bool:
        """Whether the loss can be the sum or the mean over the classes."""
        return "class_reduction" in self.make().get_config()

    @property
    def summed(self) -> tuple[tuple[str, str], ...]:
        """Settings with which the loss is summed over the classes, as pairs of name and value.

        Cross entropy is summed too. The mean is a factor on the learning rate: where that is tuned,
        losses are compared as sums.
        """
        return (("class_reduction", "sum"),) if self.takes_reduction else ()

    @property
    def activation(self) -> str:
        """Activation of the network's last layer that the loss is defined on."""
        return getattr(self.make(), "head", "softmax")

    @property
    def of_trial(self) -> dict:
        """What a trial says of the loss, by the names of the trial's fields."""
        names = ("l2", "formula", "activation")
        return {"loss": self.name} | {name: getattr(self, name) for name in names}

    @property
    def takes_indices(self) -> bool:
        """Whether there is a loss for class indices."""
        if self.make_sparse is not None:
            return True
        return "sparse" in self.make().get_config() and self.activation == "softmax"

    @property
    def label(self) -> str:
        """Name in print, with a dagger on reconstructions."""
        return (self.title or self.name) + (DAGGER if self.reconstructed else "")


_ACCURACY, _SEGMENTATION = ("table2", "table_b22"), ("table4", "table5")
_SPARSE_CE = keras.losses.SparseCategoricalCrossentropy
# Paper A names the L2 row but no factor: 1e-4 is our choice. Focal: γ = 2, α = 0.25 is Keras'
# default and Lin et al.'s.
ROWS = {
    row.name: row
    for row in (
        Row(
            "CE",
            keras.losses.CategoricalCrossentropy,
            _SPARSE_CE,
            tables=(
                *(*_ACCURACY, "table3", *_SEGMENTATION),
                *("glo", "glo_transfer", "learning_rates"),
            ),
            color="tab:gray",
        ),
        Row(
            "SCE",
            SymmetricCrossentropy,
            tables=(*_ACCURACY, "table3", "figure2", "learning_rates"),
            color="tab:green",
        ),
        Row(
            "Focal",
            keras.losses.CategoricalFocalCrossentropy,
            SparseFocal,
            tables=(*_ACCURACY, "table3", "figure2", *_SEGMENTATION, "learning_rates"),
            color="tab:orange",
        ),
        Row("Dice", Dice, SparseDice, tables=_SEGMENTATION),
        Row(
            "CE + L2",
            keras.losses.CategoricalCrossentropy,
            _SPARSE_CE,
            l2=1e-4,
            tables=_ACCURACY,
            color="black",
        ),
        Row("f1", F1, formula=FORMULAS["f1"], tables=_ACCURACY, color="tab:pink"),
        Row("f2", F2, formula=FORMULAS["f2"], tables=_ACCURACY, color="tab:olive"),
        Row("f3", F3, formula=FORMULAS["f3"], tables=_ACCURACY, color="tab:cyan"),
        Row("f4", F4, tables=(*_ACCURACY, "learning_rates"), color="tab:brown"),
        Row(
            "NGL",
            NGL,
            tables=(*_ACCURACY, "table3", "figure2", *_SEGMENTATION, "learning_rates"),
            color="tab:blue",
            title="f5 (NGL)",
            aliases=("f5",),
        ),
        Row("NGL (sigmoid)", partial(NGL, scaling="sigmoid")),
        Row(
            "Baikal",
            Baikal,
            tables=("glo", "glo_transfer", "learning_rates"),
            color="tab:purple",
        ),
        Row("BaikalCMA", BaikalCMA, tables=("glo", "learning_rates"), color="tab:red"),
        # The zoo: no table of the papers shows these.
        Row("Poly-1", Poly1, color="goldenrod", aliases=("Poly1", "PolyLoss")),
        Row("GCE", GeneralizedCrossentropy, color="teal"),
        Row("MAE", MeanAbsoluteError, color="slategray"),
        Row("ASL (single-label)", AsymmetricSingleLabel, color="darkviolet", aliases=("ASL",)),
        Row("ASL (multi-label)", AsymmetricMultiLabel, color="orchid"),
        Row("CSE-Autoloss-B", CSEAutolossB, color="sienna", aliases=("CSE-B",)),
        Row("SparseLSR", SparseLSR, color="limegreen"),
        Row("TaylorGLO", TaylorGLO, color="navy", aliases=("TaylorGLO (MNIST)",)),
        Row(
            "TaylorGLO (LossGA)",
            partial(TaylorGLO, parameters="LossFromOldLossgaTaylor"),
            color="royalblue",
        ),
    )
}


def row(name: str) -> Row:
    """Return the row with this name, title or alias; case and spaces do not matter.

    Raises:
        UserError: If there is no such row; the message lists the names.
    """
    found = _find(name)
    if found is None:
        raise unknown("loss", name, ROWS)
    return found


def _find(name):
    for found in ROWS.values():
        names = (found.name, found.title, *found.aliases)
        if _plain(name) in [_plain(other) for other in names if other]:
            return found
    return None


def _plain(name):
    return str(name).lower().replace(" ", "")


def rows_of(table: str) -> list[str]:
    """Return the names of the losses that a table or figure shows by default.

    Args:
        table: "table2", "table3", "table4", "table5", "table_b22", "figure2", "glo",
            "glo_transfer" or "learning_rates".

    Raises:
        UserError: If there is no such table.
    """
    known = dict.fromkeys(table for row in ROWS.values() for table in row.tables)
    if table not in known:
        raise unknown("table", table, known)
    return [row.name for row in ROWS.values() if table in row.tables]


def label(name: str) -> str:
    """Return the name of a row in print; other names stay as they are."""
    found = _find(name)
    return name if found is None else found.label


def color(name: str) -> str | None:
    """Return the colour of a loss in figures; `None` for the next one of Matplotlib's cycle."""
    found = _find(name)
    return None if found is None else found.color


def is_reconstructed(name: str) -> bool:
    """Return whether this is a row whose formula is a guess at an illegible one."""
    found = _find(name)
    return found is not None and found.reconstructed


def get(name: str, *, sparse: bool = False, **arguments) -> keras.losses.Loss:
    """Build the Keras loss of a row, e.g. `get("NGL")`.

    "CE + L2" is the cross entropy; add its penalty to the model's kernels: see `Row.l2`.

    Args:
        name: "CE", "SCE", "Focal", "Dice", "CE + L2", "f1" to "f4", "NGL" (or "f5 (NGL)"),
            "NGL (sigmoid)" (as in the authors' CIFAR-100 example), "Baikal", "BaikalCMA", or one of
            the zoo: "Poly-1", "GCE", "MAE", "ASL (single-label)", "ASL (multi-label)",
            "CSE-Autoloss-B", "SparseLSR", "TaylorGLO", "TaylorGLO (LossGA)". The prefix "Sparse"
            selects the loss for class indices: `get("SparseNGL")`.
        sparse: Whether the labels are class indices, as in tables 4 and 5, instead of one-hot.
        **arguments: Passed to the constructor of the loss.

    Raises:
        UserError: If there is no such row, or it has no loss for class indices; the message lists
            the valid names.
    """
    # "SparseLSR" is a name.
    if _plain(name).startswith("sparse") and _find(name) is None:
        name, sparse = _plain(name).removeprefix("sparse"), True
    found = row(name)
    if not sparse:
        return found.make(**arguments)
    if not found.takes_indices:
        valid = ", ".join(name for name, row in ROWS.items() if row.takes_indices)
        raise UserError(f"{found.name} has no loss for class indices; choose from: {valid}")
    if found.make_sparse is not None:
        return found.make_sparse(**arguments)
    return found.make(sparse=True, **arguments)

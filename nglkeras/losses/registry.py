"""The losses under the names that their rows have in the papers' tables."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras

from nglkeras.errors import UserError, unknown
from nglkeras.losses.classes import (
    F1,
    F2,
    F3,
    F4,
    NGL,
    Baikal,
    BaikalCMA,
    SparseNGL,
    SymmetricCrossentropy,
)
from nglkeras.losses.dense import Dice, SparseDice, SparseFocal

DAGGER = "†"


@dataclass(frozen=True)
class Row:
    """A loss under the name that its row has in the papers' tables.

    Attributes:
        name: The row, e.g. `"CE + L2"`.
        make: Builds the Keras loss for one-hot labels.
        make_sparse: Builds the Keras loss for class indices, as tables 4 and 5 use it; `None`
            where there is none.
        l2: Factor of the L2 penalty that the model's kernels carry with this row.
    """

    name: str
    make: Callable[..., keras.losses.Loss]
    make_sparse: Callable[..., keras.losses.Loss] | None = None
    l2: float = 0.0

    @property
    def reconstructed(self) -> bool:
        """Whether the formula is a guess at an illegible one."""
        return getattr(self.make, "reconstructed", False)

    @property
    def label(self) -> str:
        """The name in print: "f5 (NGL)" for NGL, a dagger on reconstructions."""
        name = "f5 (NGL)" if self.name == "NGL" else self.name
        return name + (DAGGER if self.reconstructed else "")


_SPARSE_CE = keras.losses.SparseCategoricalCrossentropy
# Paper A names the L2 row but no factor: 1e-4 is our choice. Focal: γ = 2, α = 0.25 is Keras'
# default and Lin et al.'s.
ROWS = {
    row.name: row
    for row in (
        Row("CE", keras.losses.CategoricalCrossentropy, _SPARSE_CE),
        Row("SCE", SymmetricCrossentropy),
        Row("Focal", keras.losses.CategoricalFocalCrossentropy, SparseFocal),
        Row("Dice", Dice, SparseDice),
        Row("CE + L2", keras.losses.CategoricalCrossentropy, _SPARSE_CE, l2=1e-4),
        Row("f1", F1),
        Row("f2", F2),
        Row("f3", F3),
        Row("f4", F4),
        Row("NGL", NGL, SparseNGL),
        Row(
            "NGL (sigmoid)",
            partial(NGL, scaling="sigmoid"),
            partial(SparseNGL, scaling="sigmoid"),
        ),
        Row("Baikal", Baikal),
        Row("BaikalCMA", BaikalCMA),
    )
}
_PLAIN_NAMES = {name.lower().replace(" ", ""): name for name in ROWS} | {
    "f5": "NGL",
    "f5(ngl)": "NGL",
}


def row(name: str) -> Row:
    """The row of a loss by its name in the papers' tables, whatever its case and spaces.

    Raises:
        UserError: If there is no such row; the message lists them.
    """
    plain = str(name).lower().replace(" ", "")
    if plain not in _PLAIN_NAMES:
        raise unknown("loss", name, ROWS)
    return ROWS[_PLAIN_NAMES[plain]]


def label(name: str) -> str:
    """The name of a row in print; a name that is no row of the papers stays as it is."""
    return ROWS[name].label if name in ROWS else name


def is_reconstructed(name: str) -> bool:
    """Whether it is a row whose formula is a guess at an illegible one."""
    return name in ROWS and ROWS[name].reconstructed


def get(name: str, *, sparse: bool = False, **arguments) -> keras.losses.Loss:
    """Build the Keras loss of a row of the papers' tables, e.g. `get("NGL")`.

    "CE + L2" is the cross entropy; its penalty belongs on the model's kernels: see `Row.l2`.

    Args:
        name: "CE", "SCE", "Focal", "Dice", "CE + L2", "f1" to "f4", "NGL" (or "f5 (NGL)"),
            "NGL (sigmoid)" (as in the authors' CIFAR-100 example), "Baikal" or "BaikalCMA".
            "Sparse" before a name asks for class indices: `get("SparseNGL")`.
        sparse: Whether the labels are class indices, as in tables 4 and 5, instead of one-hot.
        **arguments: For the constructor of the loss.

    Raises:
        UserError: If there is no such row, or it has no loss for class indices; the message lists
            those there are.
    """
    plain = str(name).lower().replace(" ", "")
    if plain.startswith("sparse"):
        name, sparse = plain.removeprefix("sparse"), True
    found = row(name)
    if not sparse:
        return found.make(**arguments)
    if found.make_sparse is None:
        valid = ", ".join(name for name, row in ROWS.items() if row.make_sparse)
        raise UserError(f"{found.name} has no loss for class indices; choose from: {valid}")
    return found.make_sparse(**arguments)

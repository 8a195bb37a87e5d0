"""The losses of the two papers, as Keras losses for TensorFlow, JAX and PyTorch.

Each loss is a pure function that returns one value per sample, and a thin Keras class around it;
`get` builds a loss by the name of its row in the papers' tables.

Paper A: Akhmedova and Körber, Next Generation Loss Function for Image Classification (2024),
arXiv 2404.12948. Paper B: Gonzalez and Miikkulainen, Improved Training Speed, Accuracy, and
Data Utilization Through Loss Function Optimization (2020), arXiv 1905.11528.

f1, f2 and f3 are reconstructions, because equations B.1.1 to B.1.3 of paper A are illegible in
every public copy. They have `reconstructed = True`; no other formula is guessed.
"""

from nglkeras.losses.classes import (
    F1,
    F2,
    F3,
    F4,
    NGL,
    Baikal,
    BaikalCMA,
    BinaryNGL,
    FormulaLoss,
    SparseNGL,
    SymmetricCrossentropy,
)
from nglkeras.losses.dice import Dice, SparseDice, dice, sparse_dice
from nglkeras.losses.files import load_loss, save_loss
from nglkeras.losses.formulas import FORMULAS
from nglkeras.losses.functions import (
    ALPHA,
    EPSILON,
    ETA,
    SCALINGS,
    baikal,
    baikal_cma,
    binary_ngl,
    f1,
    f2,
    f3,
    f4,
    formula_loss,
    ngl,
    sparse_ngl,
    symmetric_crossentropy,
)
from nglkeras.losses.options import CLASS_REDUCTIONS, HEADS, balanced
from nglkeras.losses.registry import (
    DAGGER,
    ROWS,
    Row,
    color,
    get,
    is_reconstructed,
    label,
    row,
    rows_of,
)
from nglkeras.losses.zoo.focal import Focal, SparseFocal, focal, sparse_focal

__all__ = [
    "ALPHA",
    "CLASS_REDUCTIONS",
    "DAGGER",
    "EPSILON",
    "ETA",
    "F1",
    "F2",
    "F3",
    "F4",
    "FORMULAS",
    "HEADS",
    "NGL",
    "ROWS",
    "SCALINGS",
    "Baikal",
    "BaikalCMA",
    "BinaryNGL",
    "Dice",
    "Focal",
    "FormulaLoss",
    "Row",
    "SparseDice",
    "SparseFocal",
    "SparseNGL",
    "SymmetricCrossentropy",
    "baikal",
    "baikal_cma",
    "balanced",
    "binary_ngl",
    "color",
    "dice",
    "f1",
    "f2",
    "f3",
    "f4",
    "focal",
    "formula_loss",
    "get",
    "is_reconstructed",
    "label",
    "load_loss",
    "ngl",
    "row",
    "rows_of",
    "save_loss",
    "sparse_dice",
    "sparse_focal",
    "sparse_ngl",
    "symmetric_crossentropy",
]

"""Loss functions that evolution designed, for Keras 3, and the experiments behind them.

    from nglkeras.losses import NGL
    model.compile(loss=NGL())

Everything is imported when it is first used, and the losses as soon as Keras is imported, before
or after this package: saved models find them. What runs experiments needs TensorFlow and more.
"""

from typing import TYPE_CHECKING

from nglkeras import hooks, lazy
from nglkeras.errors import UserError

if TYPE_CHECKING:
    from nglkeras import datasets, executors, losses, models, plots, protocol, search, tables
    from nglkeras.expression import Expression
    from nglkeras.journal import Journal
    from nglkeras.losses import (
        F1,
        F2,
        F3,
        F4,
        NGL,
        Baikal,
        BaikalCMA,
        Dice,
        FormulaLoss,
        SparseDice,
        SparseFocal,
        SparseNGL,
        SymmetricCrossentropy,
        load_loss,
    )
    from nglkeras.runner import run_trials
    from nglkeras.training import run_trial
    from nglkeras.trial import Trial, TrialResult

__version__ = "0.1.0"

__all__ = [
    "F1",
    "F2",
    "F3",
    "F4",
    "NGL",
    "Baikal",
    "BaikalCMA",
    "Dice",
    "Expression",
    "FormulaLoss",
    "Journal",
    "SparseDice",
    "SparseFocal",
    "SparseNGL",
    "SymmetricCrossentropy",
    "Trial",
    "TrialResult",
    "UserError",
    "datasets",
    "executors",
    "load_loss",
    "losses",
    "models",
    "plots",
    "protocol",
    "run_trial",
    "run_trials",
    "search",
    "tables",
]

_LAZY = {
    "expression": ("Expression",),
    "journal": ("Journal",),
    "losses": (
        *("F1", "F2", "F3", "F4", "NGL", "Baikal", "BaikalCMA", "Dice", "FormulaLoss"),
        *("SparseDice", "SparseFocal", "SparseNGL", "SymmetricCrossentropy", "load_loss"),
    ),
    "runner": ("run_trials",),
    "training": ("run_trial",),
    "trial": ("Trial", "TrialResult"),
    # Modules, public ones and those that scripts reach when options are parsed.
    **dict.fromkeys(
        ("benches", "checkpoint", "datasets", "executors", "glo", "imagenet", "models", "plots"), ()
    ),
    **dict.fromkeys(("protocol", "search", "segmentation", "sources", "tables"), ()),
}
__getattr__, __dir__ = lazy.attributes(__name__, _LAZY)

hooks.install()

"""Loss functions that evolution designed, for Keras 3, and the experiments behind them.

    from nglkeras.losses import NGL
    model.compile(loss=NGL())

The losses come with the import, so that saved models find them. Everything that runs
experiments is imported when it is first used: it needs TensorFlow and more.
"""

import importlib

from nglkeras import losses
from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.losses import (
    F1,
    F2,
    F3,
    F4,
    NGL,
    Baikal,
    BaikalCMA,
    FormulaLoss,
    SparseDice,
    SparseFocal,
    SparseNGL,
    SymmetricCrossentropy,
    load_loss,
)

__version__ = "0.1.0"

_LAZY = {
    "Journal": "nglkeras.journal",
    "Trial": "nglkeras.trial",
    "TrialResult": "nglkeras.trial",
    "run_trial": "nglkeras.training",
    "run_trials": "nglkeras.runner",
    "datasets": None,
    "executors": None,
    "models": None,
    "plots": None,
    "protocol": None,
    "search": None,
    "tables": None,
}

__all__ = [
    "F1",
    "F2",
    "F3",
    "F4",
    "NGL",
    "Baikal",
    "BaikalCMA",
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


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _LAZY[name] is None:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__():
    return sorted(__all__)

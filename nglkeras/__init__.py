"""Loss functions that evolution designed, for Keras 3, and the experiments behind them.

    from nglkeras.losses import NGL
    model.compile(loss=NGL())

Everything is imported when it is first used, and the losses as soon as Keras is imported, before
or after this package: saved models find them. Experiments need more packages.
"""

from typing import TYPE_CHECKING

from nglkeras.startup import hooks, lazy

if TYPE_CHECKING:
    from nglkeras import executors, losses, search
    from nglkeras.data import datasets
    from nglkeras.errors import UserError
    from nglkeras.experiments.classification import models, plots, protocol, tables
    from nglkeras.experiments.classification.shared_networks import run_trial
    from nglkeras.experiments.classification.trial import Trial
    from nglkeras.expression import Expression
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
    from nglkeras.runs.journal import Journal
    from nglkeras.runs.runner import run_trials
    from nglkeras.runs.trial import TrialResult

__version__ = "0.1.0"

_CLASSIFICATION = "nglkeras.experiments.classification"
_PUBLIC = {
    "nglkeras.errors": ("UserError",),
    "nglkeras": ("executors", "losses", "search"),
    "nglkeras.losses": (
        *("F1", "F2", "F3", "F4", "NGL", "Baikal", "BaikalCMA", "Dice", "FormulaLoss"),
        *("SparseDice", "SparseFocal", "SparseNGL", "SymmetricCrossentropy", "load_loss"),
    ),
    "nglkeras.data": ("datasets",),
    _CLASSIFICATION: ("models", "plots", "protocol", "tables"),
    f"{_CLASSIFICATION}.shared_networks": ("run_trial",),
    f"{_CLASSIFICATION}.trial": ("Trial",),
    "nglkeras.expression": ("Expression",),
    "nglkeras.runs.journal": ("Journal",),
    "nglkeras.runs.runner": ("run_trials",),
    "nglkeras.runs.trial": ("TrialResult",),
}
__getattr__, __dir__ = lazy.attributes(__name__, _PUBLIC)

__all__ = __dir__()

hooks.install()

"""Search for losses: a strategy proposes them, a fitness evaluates them.

    from nglkeras.search import GeneticProgramming, TrainingFitness, search
    evaluate = TrainingFitness(model_fn, (x, y), (x_validation, y_validation), epochs=3)
    result = search(GeneticProgramming(seed=0, generations=10), evaluate, out="my_search")

Strategies are `GeneticProgramming` (paper A), `GLO` and `CoefficientSearch` (paper B), or your own
`Strategy`. What evaluates losses is a function or a `Fitness`. `screening` finds losses that need
no training; `search` (in `loop`) writes everything to a journal and goes on after an interruption.
"""

from typing import TYPE_CHECKING

from nglkeras.startup import lazy

if TYPE_CHECKING:
    from nglkeras.search.coefficients import CoefficientSearch
    from nglkeras.search.confirmation import confirm
    from nglkeras.search.evolution import GeneticProgramming, Parameters
    from nglkeras.search.fitness import Fitness
    from nglkeras.search.found import FoundLoss
    from nglkeras.search.glo import GLO
    from nglkeras.search.loop import search
    from nglkeras.search.racing import Racing
    from nglkeras.search.records import Generation, Record
    from nglkeras.search.result import Result
    from nglkeras.search.screening import PAPER, Screening
    from nglkeras.search.strategy import (
        Evaluation,
        Individual,
        Member,
        Strategy,
        generator,
    )
    from nglkeras.search.trainer import Measured, Network, Trainer
    from nglkeras.search.training_fitness import TrainingFitness
    from nglkeras.search.variation import Variation
    from nglkeras.search.verdict import Confirmation

_PUBLIC = {
    "nglkeras.search.coefficients": ("CoefficientSearch",),
    "nglkeras.search.confirmation": ("confirm",),
    "nglkeras.search.evolution": ("GeneticProgramming", "Parameters"),
    "nglkeras.search.fitness": ("Fitness",),
    "nglkeras.search.found": ("FoundLoss",),
    "nglkeras.search.glo": ("GLO",),
    "nglkeras.search.loop": ("search",),
    "nglkeras.search.racing": ("Racing",),
    "nglkeras.search.records": ("Generation", "Record"),
    "nglkeras.search.result": ("Result",),
    "nglkeras.search.screening": ("PAPER", "Screening"),
    "nglkeras.search.strategy": (*("Evaluation", "Individual", "Member", "Strategy", "generator"),),
    "nglkeras.search.trainer": ("Measured", "Network", "Trainer"),
    "nglkeras.search.training_fitness": ("TrainingFitness",),
    "nglkeras.search.variation": ("Variation",),
    "nglkeras.search.verdict": ("Confirmation",),
}
__getattr__, __dir__ = lazy.attributes(__name__, _PUBLIC)
__all__ = __dir__()

"""The search for losses: trees that vary, survive, and are trained as rarely as can be.

    from nglkeras.search import GeneticProgramming, TrainingFitness, search
    evaluate = TrainingFitness(model_fn, (x, y), (x_validation, y_validation), epochs=3)
    result = search(GeneticProgramming(seed=0, generations=10), evaluate, out="my_search")

A strategy (`evolution`) proposes trees that `variation` makes; `screening` says which of them
need no training; `fitness` trains the others; `loop` writes everything down and goes on where it
was interrupted.
"""

from typing import TYPE_CHECKING

from nglkeras.startup import lazy

if TYPE_CHECKING:
    from nglkeras.search.coefficients import CoefficientSearch
    from nglkeras.search.evolution import (
        Evaluation,
        GeneticProgramming,
        Individual,
        Member,
        Parameters,
    )
    from nglkeras.search.fitness import Comparison, TrainingFitness
    from nglkeras.search.glo import GLO
    from nglkeras.search.loop import search
    from nglkeras.search.records import Generation, Record, Result
    from nglkeras.search.screening import PAPER, Screening
    from nglkeras.search.variation import Variation

_PUBLIC = {
    "nglkeras.search.coefficients": ("CoefficientSearch",),
    "nglkeras.search.evolution": (
        *("Evaluation", "GeneticProgramming", "Individual", "Member", "Parameters"),
    ),
    "nglkeras.search.fitness": ("Comparison", "TrainingFitness"),
    "nglkeras.search.glo": ("GLO",),
    "nglkeras.search.loop": ("search",),
    "nglkeras.search.records": ("Generation", "Record", "Result"),
    "nglkeras.search.screening": ("PAPER", "Screening"),
    "nglkeras.search.variation": ("Variation",),
}
__getattr__, __dir__ = lazy.attributes(__name__, _PUBLIC)
__all__ = __dir__()

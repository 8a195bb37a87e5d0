"""The search for losses: trees that vary, survive, and are trained as rarely as can be.

    from nglkeras.search import GeneticProgramming, TrainingFitness, search
    evaluate = TrainingFitness(model_fn, (x, y), (x_validation, y_validation), epochs=3)
    result = search(GeneticProgramming(seed=0, generations=10), evaluate, out="my_search")

A strategy (`evolution`) proposes trees that `variation` makes; `screening` says which of them
need no training; `fitness` trains the others; `loop` writes everything down and goes on where it
was interrupted. `protocol` has the paper's five experiments as data.
"""

from typing import TYPE_CHECKING

from nglkeras import lazy

if TYPE_CHECKING:
    from nglkeras.search.coefficients import CoefficientSearch
    from nglkeras.search.evolution import (
        Evaluation,
        GeneticProgramming,
        Individual,
        Member,
        Parameters,
    )
    from nglkeras.search.experiments import ExperimentFitness
    from nglkeras.search.fitness import Comparison, TrainingFitness
    from nglkeras.search.glo import GLO
    from nglkeras.search.loop import search
    from nglkeras.search.protocol import EXPERIMENTS, SCALES, SearchScale
    from nglkeras.search.records import Generation, Record, Result
    from nglkeras.search.screening import PAPER, Screening
    from nglkeras.search.trials import TrialFitness
    from nglkeras.search.variation import Variation

__all__ = [
    "EXPERIMENTS",
    "GLO",
    "PAPER",
    "SCALES",
    "CoefficientSearch",
    "Comparison",
    "Evaluation",
    "ExperimentFitness",
    "Generation",
    "GeneticProgramming",
    "Individual",
    "Member",
    "Parameters",
    "Record",
    "Result",
    "Screening",
    "SearchScale",
    "TrainingFitness",
    "TrialFitness",
    "Variation",
    "search",
]

_LAZY = {
    "coefficients": ("CoefficientSearch",),
    "evolution": ("Evaluation", "GeneticProgramming", "Individual", "Member", "Parameters"),
    "experiments": ("ExperimentFitness",),
    "fitness": ("Comparison", "TrainingFitness"),
    "glo": ("GLO",),
    "loop": ("search",),
    "protocol": ("EXPERIMENTS", "SCALES", "SearchScale"),
    "records": ("Generation", "Record", "Result"),
    "screening": ("PAPER", "Screening"),
    "trials": ("TrialFitness",),
    "variation": ("Variation",),
    "plots": (),
    "report": (),
    "script": (),
}
__getattr__, __dir__ = lazy.attributes(__name__, _LAZY)

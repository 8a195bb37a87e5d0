"""The search for losses: trees that vary, survive, and are trained as rarely as can be.

    from nglkeras.search import GeneticProgramming, TrainingFitness, search
    evaluate = TrainingFitness(model_fn, (x, y), (x_validation, y_validation), epochs=3)
    result = search(GeneticProgramming(seed=0, generations=10), evaluate, out="my_search")

A strategy (`evolution`) proposes trees that `variation` makes; `screening` says which of them
need no training; `fitness` trains the others; `loop` writes everything down and goes on where it
was interrupted. `experiments` has the paper's five as data.
"""

from nglkeras.search.coefficients import CoefficientSearch
from nglkeras.search.evolution import (
    Evaluation,
    GeneticProgramming,
    Individual,
    Member,
    Parameters,
)
from nglkeras.search.experiments import EXPERIMENTS, SCALES, ExperimentFitness, SearchScale
from nglkeras.search.fitness import Comparison, TrainingFitness
from nglkeras.search.glo import GLO
from nglkeras.search.loop import search
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

"""The searches of paper A's five experiments and of paper B, on their data sets."""

from typing import TYPE_CHECKING

from nglkeras.startup import lazy

if TYPE_CHECKING:
    from nglkeras.experiments.discovery.experiments import ExperimentFitness
    from nglkeras.experiments.discovery.fitness import TrialFitness
    from nglkeras.experiments.discovery.protocol import EXPERIMENTS, SCALES, SearchScale

_PUBLIC = {
    "nglkeras.experiments.discovery.experiments": ("ExperimentFitness",),
    "nglkeras.experiments.discovery.fitness": ("TrialFitness",),
    "nglkeras.experiments.discovery.protocol": ("EXPERIMENTS", "SCALES", "SearchScale"),
}
__getattr__, __dir__ = lazy.attributes(__name__, _PUBLIC)
__all__ = __dir__()

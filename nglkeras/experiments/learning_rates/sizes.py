"""The size of each loss's gradient, which plain SGD cannot tell from the learning rate."""

from collections.abc import Sequence

from nglkeras import losses
from nglkeras.experiments.classification.training import loss_of
from nglkeras.losses.curves import size_at_uniform
from nglkeras.runs.trial import Trial


def factors(trials: Sequence[Trial], classes: int) -> dict[str, float]:
    """Return the size of each loss's gradient at uniform predictions; cross entropy's is 1."""
    reference = size_at_uniform(losses.get("CE"), classes)
    firsts = {}
    for trial in trials:
        firsts.setdefault(trial.loss, trial)
    return {
        loss: size_at_uniform(loss_of(trial), classes) / reference for loss, trial in firsts.items()
    }

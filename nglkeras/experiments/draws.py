"""The splits and initial weights of a candidate's networks.

With shared draws, all candidates of a search are trained in the same runs 0, 1, ... With fresh
draws, as in paper A ("drawn at random for every run"), every evaluation has its own split and
weights, even if its formula was evaluated before. A plan marks such trials by a run from `FIRST`
on; `drawn` replaces it by a run that the name of the individual decides. The journal key contains
the run, so an interrupted search finds its rows again.
"""

from collections.abc import Iterable
from dataclasses import replace

from nglkeras.errors import unknown
from nglkeras.experiments.classification.trial import Trial
from nglkeras.seeds import derive_seed

SHARED, FRESH = "shared", "fresh"
DRAWS = (SHARED, FRESH)
# First run number of fresh draws; the last is below 2^31.
FIRST = 2**20


def planned(trials: Iterable[Trial], draws: str) -> list[Trial]:
    """Mark the trials of a plan, whose runs count from 0, as shared or fresh draws.

    Raises:
        UserError: If there is no such kind.
    """
    if draws not in DRAWS:
        raise unknown("draws", draws, DRAWS)
    first = FIRST if draws == FRESH else 0
    return [replace(trial, run=first + trial.run) for trial in trials]


def is_fresh(trial: Trial) -> bool:
    """Return whether the trial is a fresh draw."""
    return trial.run >= FIRST


def drawn(trial: Trial, name: str) -> Trial:
    """Return a planned trial with the run of an individual; shared draws stay as they are."""
    if not is_fresh(trial):
        return trial
    number = derive_seed(trial.seed, f"draw/{name}", trial.run - FIRST)
    return replace(trial, run=FIRST + number % (2**31 - FIRST))

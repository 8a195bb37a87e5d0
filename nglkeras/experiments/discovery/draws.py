"""Which split and which initial weights the networks of a candidate get.

With shared draws, all candidates of a search have those of the same runs: 0, 1, ... With fresh
draws, as in paper A ("drawn at random for every run"), every evaluation has its own, also that of a
formula that has been evaluated before. A plan marks such trials by a run from `FIRST` on; `of`
gives an individual's trials the runs that its name decides, whoever trains them and in whatever
order. Their journal keys differ with the run, so an interrupted search finds each again.
"""

from collections.abc import Iterable
from dataclasses import replace

from nglkeras.errors import unknown
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.earlier import CHANGES, Change
from nglkeras.seeds import derive_seed

SHARED, FRESH = "shared", "fresh"
DRAWS = (SHARED, FRESH)
# Number of the first run of a draw of its own; the last is below 2^31.
FIRST = 2**20


def planned(trials: Iterable[Trial], draws: str) -> list[Trial]:
    """Mark the trials of a plan, whose runs count from 0, with their kind of draws.

    Raises:
        UserError: If there is no such kind.
    """
    if draws not in DRAWS:
        raise unknown("draws", draws, DRAWS)
    first = FIRST if draws == FRESH else 0
    return [replace(trial, run=first + trial.run) for trial in trials]


def is_fresh(trial: Trial) -> bool:
    """Whether the trial has a draw of its own."""
    return trial.run >= FIRST


def of(trial: Trial, name: str) -> Trial:
    """Give a planned trial the run of the individual of that name; shared runs stay."""
    if not is_fresh(trial):
        return trial
    number = derive_seed(trial.seed, f"draw/{name}", trial.run - FIRST)
    return replace(trial, run=FIRST + number % (2**31 - FIRST))


def _shared(trial):
    return replace(trial, run=trial.run - FIRST) if is_fresh(trial) else trial


# What earlier versions of a search did in another way: see `earlier`.
SEARCH_CHANGES = (
    Change("draws", "all candidates share splits and initial weights", _shared),
    *CHANGES,
)

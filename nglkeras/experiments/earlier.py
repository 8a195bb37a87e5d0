"""Go on with a folder whose rows were trained with the settings of an earlier version.

When a version trains another way than the one before, the change is a field whose default is the
old behaviour, so that old rows keep their keys; the plans of today set it. `CHANGES` lists these
fields. A folder that was begun before a change goes on without it: its rows count, nothing is
trained twice, and no table mixes both. `Earlier.notes` says so to the reader.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import nglkeras
from nglkeras.runs.trial import TrialResult

AnyTrial = TypeVar("AnyTrial")


@dataclass(frozen=True)
class Change:
    """A setting of today's trials that earlier versions did not have.

    Attributes:
        name: What callers call it; the name of the option that gives today's setting, if one does.
        note: What earlier versions did, as a part of a sentence.
        undo: Gives a trial as an earlier version planned it; the same trial if nothing differs.
    """

    name: str
    note: str
    undo: Callable[[AnyTrial], AnyTrial]


def _without_formula(trial):
    reconstruction = nglkeras.losses.is_reconstructed(trial.loss)
    return replace(trial, formula=None) if reconstruction else trial


def _on_the_loss(trial):
    plateau = trial.schedule.plateau
    if plateau is None:
        return trial
    plateau = replace(plateau, monitor="val_loss")
    return replace(trial, schedule=replace(trial.schedule, plateau=plateau))


# The latest first.
CHANGES = (
    Change(
        "splits",
        "a test set is the test split that a data set comes with or, without one, may be the same "
        "for all runs, and validation is a tenth of train",
        lambda trial: replace(trial, splits="official", own_validation=False),
    ),
    Change("monitor", "the learning rate falls on a plateau of the validation loss", _on_the_loss),
    Change(
        "reconstructions",
        "the rows of f1 to f3 do not name the formula that they were trained with",
        _without_formula,
    ),
    Change(
        "compile_once",
        "each network is compiled by itself",
        lambda trial: replace(trial, compile_once=False),
    ),
)


@dataclass(frozen=True)
class Earlier:
    """The changes that a folder has not seen; called with a trial, it undoes them.

    Attributes:
        changes: Which.
    """

    changes: tuple[Change, ...] = ()

    def __call__(self, trial: AnyTrial) -> AnyTrial:
        """Give the trial as the folder's version planned it."""
        for change in self.changes:
            trial = change.undo(trial)
        return trial

    @property
    def notes(self) -> list[str]:
        """What must stand under a table of such a folder; nothing where nothing has changed."""
        if not self.changes:
            return []
        what = "; ".join(change.note for change in self.changes)
        return [
            f"This folder was begun with settings of an earlier version and goes on with them: "
            f"{what}. Another --out trains with those of today."
        ]


def settings_of(
    trials: Sequence[AnyTrial],
    keys: Collection[str],
    *,
    chosen: Iterable[str] = (),
    changes: Sequence[Change] = CHANGES,
) -> Earlier:
    """Find the settings that a folder was begun with: those under which most trials are there.

    Args:
        trials: Today's trials, with a `key`.
        keys: Keys of the trials that the folder has.
        chosen: Names of changes that stay, because the user has asked for today's setting.
        changes: The changes that concern these trials, the latest first.
    """
    keys, chosen = set(keys), set(chosen)
    concerned = [
        change
        for change in changes
        if change.name not in chosen and any(change.undo(trial) != trial for trial in trials)
    ]
    best, most = Earlier(), sum(trial.key in keys for trial in trials)
    # Fewer changes first: of two that explain as much, the one nearer to today.
    for count in range(1, len(concerned) + 1):
        for undone in combinations(concerned, count):
            if most == min(len(trials), len(keys)):
                return best
            earlier = Earlier(undone)
            found = sum(earlier(trial).key in keys for trial in trials)
            if found > most:
                best, most = earlier, found
    return best


def on_backend(trials: Sequence[AnyTrial], rows: Iterable[TrialResult]) -> str:
    """Return the Keras backend that a folder's rows name, if it is one; else that of the trials."""
    there = {row.trial.get("backend") for row in rows} - {None}
    return there.pop() if len(there) == 1 else trials[0].backend

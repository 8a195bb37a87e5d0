"""Trials of a race: they carry what their candidate must reach after each epoch."""

from dataclasses import dataclass, fields
from typing import ClassVar

from nglkeras.experiments.classification.trial import Trial


@dataclass(frozen=True, kw_only=True)
class RacedTrial(Trial):
    """A trial that is stopped when it falls behind; its row and its key are those of the trial.

    Attributes:
        bars: See `training.monitor.Monitor`.
    """

    may_stop: ClassVar[bool] = True

    bars: tuple[float, ...] = ()

    @classmethod
    def of(cls, trial: Trial, bars: tuple[float, ...]) -> Trial:
        """Return a trial with bars; as it is if there are none."""
        return cls(**_fields(trial), bars=bars) if bars else trial

    @property
    def trial(self) -> Trial:
        """The trial without bars."""
        return Trial(**_fields(self))

    @property
    def key(self) -> str:
        """The key of the trial: other bars are no other training, and a stopped one is final."""
        return self.trial.key

    @property
    def kind(self) -> Trial:
        """The kind of the trial."""
        return self.trial.kind


def _fields(trial):
    return {field.name: getattr(trial, field.name) for field in fields(Trial)}

"""A journal that discards the checkpoints of finished trials."""

from collections.abc import Callable
from pathlib import Path

from nglkeras.runs.journal import Journal
from nglkeras.runs.trial import TrialResult
from nglkeras.training.checkpoint import Checkpoints
from nglkeras.training.outcome import FINAL_STATUSES


class TidyJournal(Journal):
    """A journal that discards what is kept of a training once its row is on the disk.

    Args:
        path: As `Journal` takes it.
        checkpoints: Of the trainings.
        report: As `Journal` takes it.
    """

    def __init__(
        self, path: str | Path, checkpoints: Checkpoints, report: Callable[[str], None] = print
    ):
        super().__init__(path, report)
        self.checkpoints = checkpoints

    def results(self) -> dict[str, TrialResult]:
        """The rows by their keys; who was killed between row and checkpoint left that behind."""
        found = super().results()
        for row in found.values():
            self._tidy(row)
        return found

    def append(self, row: TrialResult) -> None:
        """Add a row."""
        super().append(row)
        self._tidy(row)

    def _tidy(self, row):
        if row.status in FINAL_STATUSES:
            self.checkpoints.discard(row.key)

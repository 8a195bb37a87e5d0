"""The networks of a confirmation and their journal, `confirm.jsonl`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from tqdm import tqdm

from nglkeras import paths
from nglkeras.executors import Executor, Local
from nglkeras.report.rates import FIRST_NEW, RateCurve, curve_of
from nglkeras.runs.columns import Number
from nglkeras.runs.journal import Records, latest
from nglkeras.runs.live_status import StatusWriter
from nglkeras.search.given_losses import Loss, formula_of
from nglkeras.search.trainer import Network, Trainer, as_measured
from nglkeras.training.outcome import FINAL_STATUSES

JOURNAL = "confirm.jsonl"


@dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """A line of the journal: a network and what it has reached.

    Attributes:
        key: Hash of everything that decides the result; see `Trainer.key`.
        loss: Name of the loss.
        formula: Its formula, or what is printed of it.
        learning_rate: Its learning rate.
        run: Its run; from `FIRST_NEW` on it is tested.
        status: See `Measured`, as the rest.
    """

    key: str
    loss: str
    formula: str
    learning_rate: Number
    run: int
    status: str
    validation: float | None = None
    test: float | None = None
    seconds: Number = 0.0
    message: str = ""
    parts: list[float | None] = field(default_factory=list)

    @classmethod
    def from_json(cls, row: dict) -> "NetworkRow":
        """Return the row of a line; columns that it does not know are ignored.

        Raises:
            ValueError: If a column is missing or holds a value that it cannot hold.
        """
        return msgspec.convert(row, cls)


def rate_curves(rows: Iterable[NetworkRow], chance: float | None = None) -> dict[str, RateCurve]:
    """Return the curve of each loss over the learning rates; new runs do not count.

    Args:
        rows: Networks of any losses.
        chance: As in `RateCurve`.
    """
    outcomes = {}
    for row in rows:
        if row.run < FIRST_NEW:
            rates = outcomes.setdefault(row.loss, {})
            rates.setdefault(row.learning_rate, []).append((row.status, row.validation))
    return {name: curve_of(found, chance) for name, found in outcomes.items()}


class Trainings:
    """Trains the networks that the journal lacks.

    Args:
        trainer: Trains a network.
        losses: Losses by name.
        out: Folder of the journal.
        executor: Trains the networks, unless the trainer has its own.
        quiet: Whether to print no progress.
    """

    def __init__(
        self,
        trainer: Trainer,
        losses: Mapping[str, Loss],
        out: str | Path,
        executor: Executor | None = None,
        quiet: bool = False,
    ):
        self.trainer, self.losses, self.quiet = trainer, losses, quiet
        self.executor = trainer.executor or executor or Local()
        self.journal = Records(Path(paths.expand(out)) / JOURNAL)
        self._rows: dict[str, NetworkRow] = {}

    def read(self) -> None:
        """Read the rows of an interrupted confirmation."""
        self._rows = latest(self.journal.read(NetworkRow.from_json))

    def network(self, name: str, rate: float, run: int) -> Network:
        """Return the network of a loss, by name, at a rate in a run."""
        return Network(name, self.losses[name], rate, run)

    def rows(self, networks: Sequence[Network]) -> list[NetworkRow]:
        """Return the rows of these networks; train those that the journal lacks."""
        keys = [self.trainer.key(network) for network in networks]
        missing = {}
        for key, network in zip(keys, networks, strict=True):
            if key not in self._rows or self._rows[key].status not in FINAL_STATUSES:
                missing.setdefault(key, network)
        if missing:
            self._train(missing)
        # Two names may stand for one loss, whose networks are trained once.
        return [
            replace(self._rows[key], loss=network.name)
            for key, network in zip(keys, networks, strict=True)
        ]

    def _train(self, missing):
        total, seconds = len(missing), []
        keys, networks = list(missing), list(missing.values())

        def summary():
            done = len(seconds)
            left = np.mean(seconds) * (total - done) / self.executor.workers if done else None
            return {"total": total, "done": done, "seconds_left": left}

        bar = tqdm(total=total, unit="network", leave=False, disable=self.quiet, delay=1)
        status = StatusWriter(self.journal.path, self.executor, summary)
        with bar, status, self.executor.reporting_to(None if self.quiet else bar.write):
            for index, measured in self.trainer.each(networks, self.executor):
                key, network = keys[index], networks[index]
                measured = as_measured(measured, network)
                row = NetworkRow(
                    key=key,
                    loss=network.name,
                    formula=formula_of(network.loss),
                    learning_rate=network.learning_rate,
                    run=network.run,
                    **asdict(measured),
                )
                self.journal.append(asdict(row))
                self._rows[key] = row
                seconds.append(measured.seconds)
                bar.set_postfix_str(f"{network.name} at {network.learning_rate:g}")
                bar.update()

"""The records of a search's journal, and the summary of each generation."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.runs.columns import Count, Number
from nglkeras.runs.journal import latest, read_records
from nglkeras.search.strategy import Evaluation, Individual, Member
from nglkeras.training.outcome import STATUSES

# Statuses that the screening gives without a training.
NOT_TRAINED = ("discarded", "rejected")
# Reasons why a training was spared.
SAVED = ("duplicate", "equal", "gradient", "rejected")


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A record in the form of a line of the journal."""

    expression: str
    generation: Count
    index: Count
    attempt: Count
    parents: tuple[str, ...]
    made_by: tuple[str, ...]
    status: Literal[*STATUSES, "discarded"]
    fitness: tuple[Number | None, ...]
    message: str
    details: dict
    seconds: Number
    twin: str
    why: Literal["", *SAVED]
    rates: dict[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """An individual with its evaluation, as the journal records it.

    Attributes:
        individual: The candidate.
        evaluation: Its evaluation.
        twin: Id of the individual whose evaluation it shares; empty if it was evaluated itself.
        why: "duplicate", "equal" or "gradient" for a twin; else empty.
    """

    individual: Individual
    evaluation: Evaluation
    twin: str = ""
    why: str = ""

    @property
    def saved(self) -> str:
        """The reason, one of `SAVED`, why its training was spared; empty if it was not."""
        return "rejected" if self.evaluation.status == "rejected" else self.why

    @property
    def counts(self) -> list[str]:
        """The numbers of a `Generation` that it counts for, by name."""
        if self.evaluation.status == "discarded":
            return ["discarded"]
        counts = ["asked", self.saved or "trained"]
        if self.saved or self.evaluation.status == "ok":
            return counts
        return [*counts, "stopped" if self.evaluation.status == "stopped" else "failed"]

    def to_json(self) -> dict:
        """Return the record as JSON data."""
        individual = asdict(self.individual) | {"expression": str(self.individual.expression)}
        if not individual["rates"]:
            del individual["rates"]
        return {
            "id": self.individual.id,
            **individual,
            **asdict(self.evaluation),
            "twin": self.twin,
            "why": self.why,
        }

    @classmethod
    def from_json(cls, row: dict) -> "Record":
        """Return the record in a row of the journal; columns that it does not know are ignored.

        Raises:
            ValueError: If a column is missing or holds a value that it cannot hold.
        """
        row = msgspec.convert(row, _Row)
        if row.status == "ok" and (not row.fitness or None in row.fitness):
            raise UserError("its status is ok without a fitness")
        return cls(
            Individual(
                Expression.parse(row.expression),
                row.generation,
                row.index,
                row.attempt,
                row.parents,
                row.made_by,
                row.rates,
            ),
            Evaluation(row.status, row.fitness, row.message, row.details, row.seconds),
            row.twin,
            row.why,
        )


@dataclass(frozen=True)
class Generation:
    """Summary of the search up to the end of a generation.

    Attributes:
        number: Number of the generation; 0 is the random population.
        best: Greatest fitness among the survivors.
        mean: Mean fitness of the survivors that have one.
        size: Mean number of nodes of the survivors.
        asked: Evaluations that the strategy has asked for so far, without discarded losses.
        trained: Number of trainings so far.
        saved: Number of trainings that were spared so far, by reason.
        discarded: Number of losses out of bounds so far.
        failed: Number of trainings without a fitness so far.
        stopped: Number of trainings that racing has stopped so far.
    """

    number: int
    best: tuple[float, ...]
    mean: tuple[float, ...]
    size: float
    asked: int
    trained: int
    saved: dict[str, int]
    discarded: int
    failed: int
    stopped: int = 0

    @classmethod
    def of(cls, number: int, population: Sequence[Member], counts: Counter) -> "Generation":
        """Summarise a generation.

        Args:
            number: Its number.
            population: The survivors at its end, best first.
            counts: How often each of `Record.counts` has occurred in the search so far.
        """
        ranks = [member.evaluation.rank for member in population if member.evaluation.rank]
        return cls(
            number,
            max(ranks, default=()),
            tuple(np.mean(ranks, axis=0).tolist()) if ranks else (),
            float(np.mean([member.individual.expression.size for member in population])),
            counts["asked"],
            counts["trained"],
            {kind: counts[kind] for kind in SAVED},
            counts["discarded"],
            counts["failed"],
            counts["stopped"],
        )


def settings_in(folder: Path) -> dict:
    """Return the settings of the search in a folder; empty if there is none."""
    path = folder / "search.jsonl"
    if not path.exists():
        return {}
    rows = read_records(path, header_or_record, lambda message: None)
    return next((row for row in rows if isinstance(row, dict)), {})


def header_or_record(row: dict) -> dict | Record:
    """Convert a line of the journal to settings or a record."""
    if isinstance(row, dict) and "settings" in row:
        return msgspec.convert(row["settings"], dict)
    return Record.from_json(row)


def settings_and_records(
    rows: Iterable[dict | Record], path: Path
) -> tuple[dict | None, list[Record]]:
    """Divide the lines of a search's journal; the settings are `None` if it has no line.

    Raises:
        UserError: If the settings are missing, or are those of two searches.
    """
    settings, records = None, []
    for row in rows:
        if isinstance(row, Record):
            records.append(row)
        elif settings is not None and row != settings:
            raise UserError(f"{path} holds two searches: put each into a folder of its own")
        else:
            settings = row
    if records and settings is None:
        raise UserError(f"{path} has lost its first line, the settings")
    return settings, records


def by_id(records: Iterable[Record]) -> dict[str, Record]:
    """Return the record that counts of each individual, by its id; see `latest`."""
    return latest(records, attrgetter("individual.id"), attrgetter("evaluation.status"))


def as_json(value: object) -> object:
    """Return the value after a round trip through JSON."""
    return json.loads(json.dumps(value))

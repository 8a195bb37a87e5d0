"""What a search leaves behind, as data: its records, its course, its result."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import msgspec

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.runs.columns import Count, Number
from nglkeras.runs.journal import read_records
from nglkeras.search.strategy import Evaluation, Individual, Member
from nglkeras.training.outcome import STATUSES

# Statuses that the screen gives without a training.
NOT_TRAINED = ("discarded", "rejected")
# Ways in which an evaluation need not be made.
SAVED = ("duplicate", "equal", "gradient", "rejected")


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A record as a line of the journal holds it."""

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


@dataclass(frozen=True)
class Record:
    """An individual of the journal.

    Attributes:
        individual: The candidate.
        evaluation: What came of it.
        twin: Id of the individual whose evaluation it shares; empty for its own.
        why: "duplicate", "equal" or "gradient" for a twin.
    """

    individual: Individual
    evaluation: Evaluation
    twin: str = ""
    why: str = ""

    @property
    def saved(self) -> str:
        """Which of `SAVED` spared its training; empty if none."""
        return "rejected" if self.evaluation.status == "rejected" else self.why

    def to_json(self) -> dict:
        """The record as JSON has it."""
        individual = asdict(self.individual) | {"expression": str(self.individual.expression)}
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
            ),
            Evaluation(row.status, row.fitness, row.message, row.details, row.seconds),
            row.twin,
            row.why,
        )


@dataclass(frozen=True)
class Generation:
    """A line of the convergence curve.

    Attributes:
        number: 0 for the random population.
        best: Greatest fitness among the survivors.
        mean: Mean of their fitness, of those that have one.
        size: Mean number of nodes of the survivors.
        asked: Evaluations that the strategy has asked for so far, discarded ones aside.
        trained: Those that were trained.
        saved: How many each check has saved.
        discarded: Losses that left the bounds.
        failed: Trainings without a fitness.
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


@dataclass(frozen=True)
class Result:
    """What a search has found.

    Attributes:
        population: The survivors, best first.
        records: Every individual in the order of the search, by id.
        generations: The course of the search.
        seconds: Wall time of all trainings, of this call and the interrupted ones before it.
    """

    population: tuple[Member, ...]
    records: dict[str, Record]
    generations: tuple[Generation, ...]
    seconds: float

    @property
    def best(self) -> Expression:
        """The loss with the greatest fitness.

        Raises:
            UserError: If no loss has a fitness; it says why.
        """
        if not (self.population and self.population[0].evaluation.rank):
            raise UserError(f"no loss of this search has a fitness: {self._failures() or 'none'}")
        return self.population[0].individual.expression

    def _failures(self):
        """How many candidates ended in which status, with one of its messages each."""
        outcomes = [record.evaluation for record in self.records.values()]
        counts = Counter(outcome.status for outcome in outcomes if not outcome.rank)
        example = {outcome.status: outcome.message for outcome in reversed(outcomes)}
        return "; ".join(
            f"{count} {status}" + (f", such as: {example[status]}" if example[status] else "")
            for status, count in counts.most_common()
        )

    def best_losses(self, count: int = 5) -> list[Member]:
        """The best different losses among all that were evaluated, best first."""
        members = {}
        for record in self.records.values():
            if record.evaluation.rank and not record.twin:
                member = Member(record.individual, record.evaluation)
                formula = str(record.individual.expression)
                # A formula may have been trained more than once: the best counts, as it survives.
                best = members.setdefault(formula, member)
                if member.evaluation.rank > best.evaluation.rank:
                    members[formula] = member
        ranked = sorted(members.values(), key=lambda m: m.evaluation.rank, reverse=True)
        return ranked[:count]

    def ancestors(self, id: str) -> dict[str, Record]:  # noqa: A002
        """The family tree of an individual: itself and all that it descends from, by id."""
        family, open_ids = {}, [id]
        while open_ids:
            current = open_ids.pop()
            if current not in family:
                family[current] = self.records[current]
                open_ids.extend(self.records[current].individual.parents)
        return family


def shown(fitness: Sequence[float]) -> str:
    """A fitness in print."""
    return "/".join(f"{value:.4f}" for value in fitness) or "none"


def settings_in(folder: Path) -> dict:
    """Read the settings of the search that a folder holds; none of a folder without one."""
    path = folder / "search.jsonl"
    if not path.exists():
        return {}
    rows = read_records(path, header_or_record, lambda message: None)
    return next((row for row in rows if isinstance(row, dict)), {})


def header_or_record(row: dict) -> dict | Record:
    """Convert a row of the journal: settings, or a record."""
    if isinstance(row, dict) and "settings" in row:
        return msgspec.convert(row["settings"], dict)
    return Record.from_json(row)


def as_json(value: object) -> object:
    """The value as JSON gives it back."""
    return json.loads(json.dumps(value))

"""The records of a search's journal, the summary of each generation, and the result."""

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
from nglkeras.search.front import pareto_front
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
        return counts if self.saved or self.evaluation.status == "ok" else [*counts, "failed"]

    def to_json(self) -> dict:
        """Return the record as JSON data."""
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
    """The result of a search.

    Attributes:
        population: The survivors, best first.
        records: All records by id of the individual, in the order of the search.
        generations: Summary of each generation.
    """

    population: tuple[Member, ...]
    records: dict[str, Record]
    generations: tuple[Generation, ...]

    @property
    def seconds(self) -> float:
        """Wall time of all trainings, including those of interrupted calls."""
        return sum(one.evaluation.seconds for one in self.records.values() if not one.twin)

    @property
    def best(self) -> Expression:
        """The loss with the greatest fitness.

        Raises:
            UserError: If no loss has a fitness; the message says why.
        """
        if not (self.population and self.population[0].evaluation.rank):
            raise UserError(f"no loss of this search has a fitness: {self._failures() or 'none'}")
        return self.population[0].individual.expression

    def _failures(self):
        """Count the candidates of each status, with an example of its messages."""
        outcomes = [record.evaluation for record in self.records.values()]
        counts = Counter(outcome.status for outcome in outcomes if not outcome.rank)
        example = {outcome.status: outcome.message for outcome in reversed(outcomes)}
        return "; ".join(
            f"{count} {status}" + (f", such as: {example[status]}" if example[status] else "")
            for status, count in counts.most_common()
        )

    def best_losses(self, count: int = 5) -> list[Member]:
        """Return the best losses with different formulas among all evaluated, best first."""
        members = {}
        for record in self.records.values():
            if record.evaluation.rank and not record.twin:
                member = Member(record.individual, record.evaluation)
                formula = str(record.individual.expression)
                # A formula may have been trained more than once: its best fitness counts.
                best = members.setdefault(formula, member)
                if member.evaluation.rank > best.evaluation.rank:
                    members[formula] = member
        ranked = sorted(members.values(), key=lambda m: m.evaluation.rank, reverse=True)
        return ranked[:count]

    @property
    def front(self) -> list[Member]:
        """The Pareto front of fitness and size over the whole search, the smallest loss first."""
        return pareto_front(
            Member(record.individual, record.evaluation) for record in self.records.values()
        )

    def ancestors(self, id: str) -> dict[str, Record]:  # noqa: A002
        """Return the records of an individual and of all its ancestors, by id."""
        family, open_ids = {}, [id]
        while open_ids:
            current = open_ids.pop()
            if current not in family:
                family[current] = self.records[current]
                open_ids.extend(self.records[current].individual.parents)
        return family


def shown(fitness: Sequence[float]) -> str:
    """Return a fitness as text."""
    return "/".join(f"{value:.4f}" for value in fitness) or "none"


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


def as_json(value: object) -> object:
    """Return the value after a round trip through JSON."""
    return json.loads(json.dumps(value))

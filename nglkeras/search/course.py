"""The records of a running search: taken from its journal, written to it, counted."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.report import output
from nglkeras.runs.journal import Records
from nglkeras.search.records import (
    Generation,
    Record,
    as_json,
    by_id,
    header_or_record,
    settings_and_records,
    settings_in,
)
from nglkeras.search.result import Result
from nglkeras.search.strategy import Individual, Member, Strategy
from nglkeras.training.outcome import FINAL_STATUSES

# After so many consecutive crashes and trainings without memory or time the search ends: the
# machine is to blame.
MAX_FAILURES = 8


class Course:
    """Everything that a search has done, which its journal can restore.

    Args:
        out: Folder of the journal `search.jsonl`.

    Attributes:
        journal: The journal.
        settings: Settings of this search.
        known: Records of an interrupted search by the id of their individual.
        records: Records of this search so far, by the id of their individual.
        generations: Summaries of the finished generations.
    """

    def __init__(self, out: str | Path):
        self.journal = Records(paths.expand(out) / "search.jsonl")
        self.settings: dict = {}
        self.known: dict[str, Record] = {}
        self.records: dict[str, Record] = {}
        self.generations: list[Generation] = []
        self._counts = Counter()
        self._failures = 0
        self._fitness_length = 0

    @property
    def begun(self) -> dict:
        """Settings of the search that the folder holds; empty for a new folder."""
        return settings_in(self.journal.path.parent)

    def start(self, settings: dict, *, quiet: bool) -> None:
        """Read the records of an interrupted search, or begin a journal with these settings.

        Raises:
            UserError: If the journal holds a search with other settings.
        """
        self.settings = as_json(settings)
        rows = self.journal.read(header_or_record)
        begun, records = settings_and_records(rows, self.journal.path)
        if begun is None:
            self.journal.append({"settings": self.settings})
        elif begun != self.settings:
            difference = _difference(begun, self.settings)
            if difference.startswith(("evaluate code", "evaluate function")):
                difference = f"another evaluate: {difference.removeprefix('evaluate ')}"
            raise UserError(
                f"{self.journal.path.parent} holds a search with other settings ({difference}); "
                "give another folder"
            )
        self.known = _without_failures(records)
        if self.known and not quiet:
            output.say(f"resumed from {len(self.known)} rows of {self.journal.path}")

    def known_record(self, individual: Individual) -> Record | None:
        """Return the record of an individual in the interrupted search, if it has one.

        Raises:
            UserError: If the interrupted search had another individual with this id.
        """
        known = self.known.get(individual.id)
        if known is not None and not known.individual.agrees_with(individual):
            raise UserError(
                f"{self.journal.path}: individual {individual.id} was made otherwise before: by "
                "another version, or by a strategy whose random numbers are not those of "
                "nglkeras.search.strategy.generator; give another folder"
            )
        return known

    def take(self, record: Record) -> Record:
        """Add a record and, unless the journal has it, write it; return it complete.

        A twin gets the evaluation of the individual that it refers to.

        Raises:
            UserError: If its fitness has another length than those before it: fitnesses are
                compared number by number.
        """
        name, evaluation = record.individual.id, record.evaluation
        length = len(evaluation.rank)
        self._fitness_length = self._fitness_length or length
        if length not in (0, self._fitness_length):
            raise UserError(
                f"{self.journal.path}: the fitness of individual {name} has {length} numbers, "
                f"others have {self._fitness_length}"
            )
        if name not in self.known:
            if record.twin:
                evaluation = replace(self.records[record.twin].evaluation, seconds=0.0)
                record = replace(record, evaluation=evaluation)
            self.journal.append(record.to_json())
        self.records[name] = record
        self._counts.update(record.counts)
        return record

    @property
    def trained(self) -> list[Member]:
        """The losses so far that were trained to their end, in the order of the search."""
        found = (one for one in self.records.values() if one.evaluation.rank and not one.twin)
        ordered = sorted(found, key=lambda one: one.individual.place)
        return [Member(one.individual, one.evaluation) for one in ordered]

    def check_failures(self, record: Record) -> None:
        """Raise a `UserError` after too many consecutive trainings without memory or time."""
        evaluation = record.evaluation
        self._failures = 0 if evaluation.status in FINAL_STATUSES else self._failures + 1
        if self._failures == MAX_FAILURES:
            raise UserError(
                f"{MAX_FAILURES} trainings in a row ended in {evaluation.status} "
                f"({evaluation.message}); when that is mended, the same call goes on"
            )

    def end_generation(self, strategy: Strategy) -> Generation:
        """Summarise the generation that the strategy has just finished."""
        generation = Generation.of(len(self.generations), strategy.population, self._counts)
        self.generations.append(generation)
        return generation

    def result(self, strategy: Strategy, **known) -> Result:
        """Return what the search has found; `known` are further fields of `Result`."""
        generations = tuple(self.generations)
        return Result(tuple(strategy.population), self.records, generations, self.settings, **known)


def _without_failures(records):
    """Drop trainings that memory, time or a crash ended, so that they are tried again.

    Those of earlier generations stay, since others descend from them.
    """
    last = max((record.individual.generation for record in records), default=0)
    final = (*FINAL_STATUSES, "discarded")
    return {
        name: record
        for name, record in by_id(records).items()
        if record.individual.generation < last or record.evaluation.status in final
    }


def _difference(old, new, path=""):
    """Describe the first setting that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                return _difference(old.get(name), new.get(name), f"{path} {name}".strip())
    return f"{path} {old}, not {new}"

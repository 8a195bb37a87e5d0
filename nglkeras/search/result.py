"""The result of a search, which its journal tells."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.numbers import whole_number
from nglkeras.runs.journal import read_records
from nglkeras.search import coefficients, evolution, glo, presentation
from nglkeras.search.found import FoundLoss
from nglkeras.search.front import pareto_front
from nglkeras.search.racing import epochs_of
from nglkeras.search.records import (
    Generation,
    Record,
    by_id,
    header_or_record,
    settings_and_records,
)
from nglkeras.search.scale import FACTOR, factor_of_twin
from nglkeras.search.strategy import Member, Strategy

if TYPE_CHECKING:
    import pandas as pd

# Strategies that a journal may name; those of users are found when their class is imported.
STRATEGIES = (evolution.GeneticProgramming, glo.GLO, coefficients.CoefficientSearch)
_GOES_ON = "the same call of search goes on"


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a search.

    `print(result)` shows a page of the best losses, and so does a notebook.

    Attributes:
        population: The survivors, best first.
        records: All records by id of the individual, in the order of the search.
        generations: Summary of each generation.
        settings: Settings in the journal; empty if they are not known.
        class_reduction: "mean" or "sum" of the losses over the classes.
        ending: Why the search has ended before its last generation; empty if it has not.
    """

    population: tuple[Member, ...]
    records: dict[str, Record]
    generations: tuple[Generation, ...]
    settings: dict = field(default_factory=dict)
    class_reduction: str = "mean"
    ending: str = ""

    @classmethod
    def load(cls, folder: str | Path, strategy: Strategy | None = None) -> "Result":
        """Return the result of a search from its journal; nothing is trained.

        The search may be interrupted or still running: then `ending` says how far it is, and the
        survivors are those of the last whole generation.

        Args:
            folder: Folder of the search, its `out`.
            strategy: A fresh strategy, as for `search`; needed only for one of your own whose
                class has not been imported or takes further arguments.

        Raises:
            UserError: If the folder has no journal, or its strategy is not known.
        """
        path = paths.expand(folder) / "search.jsonl"
        rows = read_records(path, header_or_record, print)
        settings, records = settings_and_records(rows, path)
        if settings is None:
            raise UserError(f"{path} has lost its first line, the settings")
        records = by_id(records)
        if strategy is None:
            last = max((one.individual.generation for one in records.values()), default=0)
            strategy = _strategy_of(settings, last, path)
        generations, ending = _replay(strategy, records)
        best = BestFile.read(path.with_name("best.json"))
        # A search that has found nothing writes no best.json.
        found = any(record.evaluation.rank for record in records.values())
        if not ending and found and best.generation not in (None, len(generations) - 1):
            ending = f"whether the search has ended is not recorded; {_GOES_ON}"
        return cls(
            tuple(strategy.population),
            records,
            tuple(generations),
            settings,
            settings.get("class_reduction", best.class_reduction),
            ending or best.ending,
        )

    def __str__(self):
        return presentation.as_text(self)

    __repr__ = __str__

    def _repr_html_(self):
        return presentation.as_html(self)

    def table(self) -> "pd.DataFrame":
        """Return one row for each loss of the search as a pandas DataFrame.

        The columns are id, generation, fitness (or fitness_1, fitness_2, ... if it has several
        numbers), spread (standard deviation of several accuracies), size, height, formula, status,
        made_by, parents, seconds, twin (the loss whose evaluation it shares), why (the reason why
        its training was spared) and message. Discarded losses are among them.
        """
        return presentation.as_frame(self.records.values())

    @property
    def last_generation(self) -> int:
        """Number of the last whole generation; -1 without any."""
        return len(self.generations) - 1

    @property
    def seconds(self) -> float:
        """Wall time of all trainings, including those of interrupted calls."""
        return sum(one.evaluation.seconds for one in self.records.values() if not one.twin)

    @property
    def epochs(self) -> tuple[int, int]:
        """How many epochs were trained under racing, and how many there would be without it."""
        return epochs_of(one.evaluation for one in self.records.values() if not one.twin)

    @property
    def best(self) -> Expression:
        """The loss with the greatest fitness.

        Raises:
            UserError: If no loss has a fitness; the message says why.
        """
        best = self.best_losses(1)
        if not best:
            raise UserError(f"no loss of this search has a fitness: {self.failures or 'none'}")
        return best[0].expression

    @property
    def failures(self) -> str:
        """How many losses without a fitness have each status, with an example of its messages."""
        return presentation.failures(record.evaluation for record in self.records.values())

    def best_losses(self, count: int = 5) -> list[FoundLoss]:
        """Return the best of all losses of the search, best first.

        Of losses with the same formula or the same evaluation there is one: the best, and of equals
        that which has survived.
        """
        survivors = [self.records[member.individual.id] for member in self.population]
        others = sorted(self.records.values(), key=lambda record: record.individual.place)
        found = {}
        for record in (*survivors, *others):
            if not record.evaluation.rank:
                continue
            first = self.records.get(record.twin, record).individual.expression
            # A formula may have been trained more than once.
            best = found.setdefault(first, record)
            if record.evaluation.rank > best.evaluation.rank:
                found[first] = record
        ranked = sorted(found.values(), key=lambda one: one.evaluation.level, reverse=True)
        return list(map(self._loss, ranked[: whole_number("count", count, 0)]))

    @property
    def front(self) -> list[FoundLoss]:
        """The Pareto front of fitness and size over the whole search, the smallest loss first."""
        return pareto_front(map(self._loss, self.records.values()))

    def _loss(self, record):
        factor = record.evaluation.details.get(FACTOR)
        if record.twin and factor is not None:
            original = self.records[record.twin].individual.expression
            classes = self.settings.get("classes", 10)
            factor = factor_of_twin(factor, original, record.individual.expression, classes)
        evaluate = self.settings.get("evaluate")
        options = evaluate.get("options", {}) if isinstance(evaluate, dict) else {}
        return FoundLoss(
            record.individual, record.evaluation, self.class_reduction, factor or 1.0, options
        )

    def ancestors(self, id: str) -> dict[str, Record]:  # noqa: A002
        """Return the records of an individual and of all its ancestors, by id.

        Raises:
            UserError: If there is no such individual.
        """
        if id not in self.records:
            raise UserError(f"this search has no individual {id!r}; its ids are such as 0-0")
        family, open_ids = {}, [id]
        while open_ids:
            current = open_ids.pop()
            if current not in family:
                family[current] = self.records[current]
                open_ids.extend(self.records[current].individual.parents)
        return family


@dataclass(frozen=True, kw_only=True)
class BestFile:
    """What `best.json` says of the search; -1 stands for a search that has not ended.

    Attributes:
        class_reduction: Of the losses of the search.
        generation: Number of the last generation.
        ending: Why there are no more generations.
        measured: Number of losses with a fitness.
        confirmation: What `confirm` has found.
    """

    class_reduction: Literal["mean", "sum"] = "mean"
    generation: int | None = None
    ending: str = ""
    measured: int | None = None
    confirmation: dict | None = None

    def is_of(self, generation: int, ending: str, measured: int) -> bool:
        """Return whether it is of a search that has ended so; early files do not have all."""
        is_same = (self.generation, self.ending) == (generation, ending)
        return is_same and self.measured in (None, measured)

    def stays(self, generation: int) -> str:
        """Return the line that it is of a longer search than to this generation, else nothing."""
        is_longer = (self.generation or 0) > generation
        return f"best.json stays that of the search to generation {self.generation}" * is_longer

    @classmethod
    def read(cls, path: Path) -> "BestFile":
        """Read the file; one that cannot be read says nothing."""
        try:
            found = msgspec.convert(json.loads(path.read_bytes()), cls)
            if found.generation is None and found.confirmation:
                # A confirmation may have written it before the search has ended.
                return replace(found, generation=-1)
            return found
        except OSError:
            return cls(generation=-1)
        except (ValueError, RecursionError):
            return cls()


def _strategy_of(settings, generations, path):
    """Return a fresh strategy with these settings."""
    name = settings.get("strategy")
    kinds, known = [Strategy], {}
    while kinds:
        kind = kinds.pop()
        known[kind.__name__] = kind
        kinds += kind.__subclasses__()
    try:
        strategy = known[name].from_settings(settings, generations)
        strategy.as_begun(settings)
        return strategy
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the strategy {name} of {path} is not known here; give a fresh one: "
            "Result.load(folder, strategy)"
        ) from error


def _replay(strategy, records):
    """Take the whole generations of a journal; return their summaries, and what is not done."""
    generations, counts = [], Counter()
    by_generation = {}
    for record in sorted(records.values(), key=lambda record: record.individual.place):
        by_generation.setdefault(record.individual.generation, []).append(record)
    for number in range(max(by_generation, default=-1) + 1):
        found = by_generation.get(number)
        if found is None:
            raise UserError(f"the journal has no loss of generation {number}")
        # The last attempt in a place counts.
        places = {record.individual.index: record for record in found}
        if number == max(by_generation):
            wanted = [one.index for one in strategy.ask()]
            done = [
                index
                for index in wanted
                if index in places
                and strategy.remake(places[index].individual, places[index].evaluation) is None
            ]
            if len(done) < len(wanted):
                return generations, (
                    f"unfinished: {len(done)} of {len(wanted)} losses of generation {number} are "
                    f"evaluated; {_GOES_ON}"
                )
        counts.update(name for record in found for name in record.counts)
        members = [Member(record.individual, record.evaluation) for record in places.values()]
        strategy.end_generation(members)
        generations.append(Generation.of(number, strategy.population, counts))
    return generations, ""

"""`search`: asks a strategy for candidates, screens and evaluates them, writes everything down.

The journal `search.jsonl` has one line for the settings and one for each individual that was
evaluated, in the order of the search. Its state is rebuilt by asking the strategy again and
answering from the journal, so the same call goes on where an interrupted one stopped.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from nglkeras import losses, paths
from nglkeras.errors import UserError
from nglkeras.executors import Executor, Local
from nglkeras.expression import Expression
from nglkeras.report import output
from nglkeras.runs.journal import Records
from nglkeras.runs.live_status import StatusWriter, duration
from nglkeras.search.evolution import Evaluation, Individual, Member
from nglkeras.search.functions import FUNCTION_SETTINGS, FunctionEvaluator, normalised
from nglkeras.search.records import (
    NOT_TRAINED,
    SAVED,
    Generation,
    Record,
    Result,
    as_json,
    header_or_record,
    settings_in,
    shown,
)
from nglkeras.search.samples import whole_number
from nglkeras.search.screening import Screen, Screening
from nglkeras.training.outcome import FINAL_STATUSES, STATUSES

# Statuses that another try may better.
TRANSIENT = tuple(status for status in STATUSES if status not in FINAL_STATUSES)
# Settings of the screening that an evaluation may decide.
DECIDED = ("gradients", "bounds")
# Trainings in a row with such a status that end the search: the machine is to blame.
MAX_FAILURES = 8


class Strategy(Protocol):
    """What produces candidates: see `evolution.GeneticProgramming`."""

    generation: int
    population: Sequence[Member]
    settings: dict
    is_done: bool

    def ask(self) -> list[Individual]:
        """The individuals whose evaluation is wanted."""

    def tell(self, individual: Individual, evaluation: Evaluation) -> None:
        """Take the evaluation of one."""


def search(
    strategy: Strategy,
    evaluate: Callable[[Expression], Evaluation | float],
    *,
    out: str | Path,
    screening: Screening | None = None,
    classes: int | None = None,
    order: Callable[[list], list] | None = None,
    on_generation: Callable[[Generation], None] | None = None,
    executor: Executor | None = None,
    quiet: bool = False,
) -> Result:
    """Run a search to its end; the same call goes on with an interrupted one.

    Args:
        strategy: A fresh one, e.g. `GeneticProgramming(seed=0)`.
        evaluate: Gives a loss its fitness, more is better: a number or an `Evaluation`, e.g. a
            `TrainingFitness`. Where it has them, `prepare()` is called before the first new loss
            is looked at, `values`, `classes` and `bounds` serve the screening, `gradients` says
            which twins its optimizer cannot tell apart, `class_reduction` goes into `best.json`,
            and `settings` into the journal.
            A function without `settings` is known by its code and by the values it reads
            (see `identity`): another one in the same folder is another search. Errors it raises
            end the search. A `TrialFitness` has an executor of its own.
        out: Folder of the journal and of `best.json`.
        screening: What need not be trained; by default everything is checked, gradients for
            exact equality unless `evaluate` says that their scale does not matter.
        classes: Number of classes that the checks assume; that of `evaluate`, or 10.
        order: The order in which candidates that wait together are evaluated.
        on_generation: Called after each generation.
        executor: Where losses are evaluated, in this process by default; workers get copies of
            `evaluate`.
        quiet: Show no progress; otherwise a line for each generation and a bar within it.

    Raises:
        UserError: If the folder holds a search with other settings, cannot be written to, or is
            written to by another process.
    """
    if screening is None:
        given = {name: getattr(evaluate, name) for name in DECIDED if hasattr(evaluate, name)}
        screening = Screening(**{"gradients": "exact", **given})
    if strategy.generation or strategy.population:
        raise UserError("the strategy has been used already; give a fresh one")
    if not isinstance(screening, Screening):
        kind = type(screening).__name__
        raise UserError(f"screening is of type {kind}; give a Screening, such as Screening()")
    if classes is not None:
        classes = whole_number("classes", classes, 2)
    if not callable(evaluate):
        raise UserError(f"evaluate is of type {type(evaluate).__name__}; give a function of a loss")
    if executor is not None and hasattr(evaluate, "each"):
        raise UserError("this fitness has an executor of its own; give it the other one instead")
    evaluator = (
        evaluate if hasattr(evaluate, "each") else FunctionEvaluator(evaluate, executor or Local())
    )
    out = paths.expand(out)
    journal = Records(out / "search.jsonl")
    with journal.writing(), getattr(evaluate, "writing", contextlib.nullcontext)():
        run = _Search(strategy, evaluator, journal, screening, classes, quiet)
        with (
            StatusWriter(journal.path, evaluator.executor, run.summary),
            _silence(evaluator, quiet),
        ):
            started, timed = time.perf_counter(), 0
            while not strategy.is_done:
                fresh = run.generation(order or list)
                timed += fresh
                # Generations that came from the journal say nothing of the time that is left.
                run.pace = (time.perf_counter() - started) / timed if timed else None
                if not quiet:
                    left = run.summary()["seconds_left"] if fresh else None
                    output.say(_describe(run.generations[-1], left))
                if on_generation is not None:
                    on_generation(run.generations[-1])
    result = run.result()
    if result.population and result.population[0].evaluation.rank:
        best = result.population[0]
        losses.save_loss(
            out / "best.json",
            str(best.individual.expression),
            class_reduction=getattr(evaluate, "class_reduction", "mean"),
            fitness=list(best.evaluation.fitness),
            id=best.individual.id,
            search=run.settings,
        )
    return result


@contextlib.contextmanager
def _silence(evaluator, quiet):
    """Report lost workers above the progress bar, or not at all if quiet."""
    executor = evaluator.executor
    before = executor.report
    executor.report = (lambda line: None) if quiet else tqdm.write
    try:
        yield
    finally:
        executor.report = before


def _describe(generation, seconds_left):
    saved = ", ".join(f"{count} {kind}" for kind, count in generation.saved.items() if count)
    left = "" if seconds_left is None else f"; {duration(seconds_left)} left"
    return (
        f"generation {generation.number}: best {shown(generation.best)}, "
        f"mean {shown(generation.mean)}, size {generation.size:.1f}; "
        f"{generation.asked} asked, {generation.trained} trained, "
        f"saved {saved or 'none'}, {generation.discarded} discarded{left}"
    )


class _Search:
    """The state of a running search, all of which the journal can rebuild."""

    def __init__(self, strategy, evaluator, journal, screening, classes, quiet):
        self.strategy = strategy
        self.evaluator = evaluator
        self.journal = journal
        self.quiet = quiet
        self.pace = None
        self.prepared = False
        begun = settings_in(journal.path.parent).get("evaluate")
        if isinstance(begun, dict):
            evaluator.as_begun(begun)
        classes = classes or evaluator.classes
        self.screen = Screen(screening, classes, evaluator.values)
        self.settings = {
            **strategy.settings,
            "evaluate": evaluator.settings,
            "screening": asdict(screening),
            "classes": classes,
        }
        # To be compared with what is on disk.
        self.settings = as_json(self.settings)
        self.known = self._replay()
        self.records: dict[str, Record] = {}
        self.generations: list[Generation] = []
        self.counts = Counter()
        self.failures = 0
        self.fitness_length = 0

    def _replay(self):
        """The individuals of an interrupted search, by id."""
        rows = list(self.journal.read(header_or_record))
        headers = [row for row in rows if isinstance(row, dict)]
        if not headers:
            if rows:
                raise UserError(f"{self.journal.path} has lost its first line, the settings")
            self.journal.append({"settings": self.settings})
        elif headers[0] != self.settings:
            difference = _difference(headers[0], self.settings)
            plain = tuple(self.settings["evaluate"]) == FUNCTION_SETTINGS
            if plain and difference.startswith("evaluate "):
                difference = f"another evaluate: {difference.removeprefix('evaluate ')}"
            raise UserError(
                f"{self.journal.path.parent} holds a search with other settings ({difference}); "
                "give another folder"
            )
        known = {row.individual.id: row for row in rows if isinstance(row, Record)}
        known = _without_failures(known)
        if known and not self.quiet:
            output.say(f"resumed from {len(known)} rows of {self.journal.path}")
        return known

    def summary(self):
        """Return the live status of the search."""
        total = getattr(getattr(self.strategy, "parameters", None), "generations", None)
        number = self.strategy.generation
        known = self.pace is not None and total is not None
        return {
            "generation": number,
            "generations": total,
            "seconds_left": self.pace * (total + 1 - number) if known else None,
        }

    def generation(self, order):
        """Evaluate all of a generation; whether anything had to be trained."""
        number, trained = self.strategy.generation, 0
        bar = tqdm(
            total=len(self.strategy.ask()), unit="loss", leave=False, disable=self.quiet, delay=1
        )
        with bar:
            bar.set_description(f"generation {number}")
            plans = {}
            while not self.strategy.is_done and self.strategy.generation == number:
                waiting = self.strategy.ask()
                plans |= self._plans([one for one in waiting if one.id not in plans])
                # What need not be trained makes room for others, to be trained at the same time.
                settled = [plans[one.id] for one in waiting if self._is_settled(plans[one.id])]
                for record in settled:
                    self._take(record, bar)
                if not settled:
                    trained += self._train(order([i for i in waiting if plans[i.id] is None]), bar)
        self._note_generation(number)
        return trained > 0

    def _is_settled(self, record):
        if record is None:
            return False
        return not record.twin or record.individual.id in self.known or record.twin in self.records

    def _train(self, individuals, bar):
        """Evaluate these; each is on the disk before the next is taken."""
        bar.set_postfix_str(str(individuals[0].expression)[:60])
        expressions = [one.expression for one in individuals]
        evaluations = self.evaluator.each(expressions, [one.id for one in individuals])
        for index, outcome in evaluations:
            evaluation = normalised(outcome)
            self._take(Record(individuals[index], evaluation), bar)
            self.failures = self.failures + 1 if evaluation.status in TRANSIENT else 0
            self._check_failures(evaluation)
        return len(individuals)

    def _share(self, record):
        """A twin's record with the evaluation of the individual that it refers to."""
        return replace(
            record, evaluation=replace(self.records[record.twin].evaluation, seconds=0.0)
        )

    def _plans(self, individuals):
        """For each individual its record, where it need not be trained, decided in order.

        Twins within a round refer to the first of them, whichever is evaluated first.
        """
        plans = {}
        for individual in individuals:
            known = self.known.get(individual.id)
            if known is not None and not known.individual.agrees_with(individual):
                raise UserError(
                    f"{self.journal.path}: individual {individual.id} was made otherwise than "
                    "this version makes it; give another folder"
                )
            plans[individual.id] = known or self._plan(individual)
            record = plans[individual.id]
            if record is None or not (record.twin or record.evaluation.status in NOT_TRAINED):
                self.screen.remember(individual.id, individual.expression)
        return plans

    def _plan(self, individual):
        if not self.prepared:
            # Not before: a search that is over is printed where there are no data.
            self.evaluator.prepare()
            self.prepared = True
        verdict = self.screen.judge(individual.expression)
        if verdict.status == "new":
            return None
        if verdict.status == "twin":
            return Record(individual, Evaluation(), verdict.twin, verdict.message)
        return Record(individual, Evaluation(verdict.status, message=verdict.message))

    def _check_failures(self, last):
        if self.failures == MAX_FAILURES:
            raise UserError(
                f"{MAX_FAILURES} trainings in a row ended in {last.status} ({last.message}); when "
                "that is mended, the same call goes on"
            )

    def _take(self, record, bar):
        self._check_length(record)
        if record.individual.id not in self.known:
            record = self._share(record) if record.twin else record
            self.journal.append(record.to_json())
        self.records[record.individual.id] = record
        status = record.evaluation.status
        if status == "discarded":
            self.counts["discarded"] += 1
        else:
            bar.update()
            self.counts["asked"] += 1
            self.counts[record.saved or "trained"] += 1
            if not record.saved and status != "ok":
                self.counts["failed"] += 1
        self.strategy.tell(record.individual, record.evaluation)

    def _check_length(self, record):
        """Fitnesses are compared number by number: all have as many as the first."""
        count = len(record.evaluation.rank)
        self.fitness_length = self.fitness_length or count
        if count not in (0, self.fitness_length):
            raise UserError(
                f"{self.journal.path}: the fitness of individual {record.individual.id} has "
                f"{count} numbers, others have {self.fitness_length}"
            )

    def _note_generation(self, number):
        members = self.strategy.population
        ranks = [member.evaluation.rank for member in members if member.evaluation.rank]
        self.generations.append(
            Generation(
                number,
                ranks[0] if ranks else (),
                tuple(np.mean(ranks, axis=0).tolist()) if ranks else (),
                float(np.mean([member.individual.expression.size for member in members])),
                self.counts["asked"],
                self.counts["trained"],
                {kind: self.counts[kind] for kind in SAVED},
                self.counts["discarded"],
                self.counts["failed"],
            )
        )

    def result(self):
        seconds = sum(r.evaluation.seconds for r in self.records.values() if not r.twin)
        return Result(
            tuple(self.strategy.population), self.records, tuple(self.generations), seconds
        )


def _without_failures(known):
    """Leave out the trainings that memory, time or a crash broke off: they are tried again.

    Those of earlier generations stay, since others descend from them.
    """
    last = max((record.individual.generation for record in known.values()), default=0)
    failed = {
        name
        for name, record in known.items()
        if record.individual.generation == last and record.evaluation.status in TRANSIENT
    }
    return {name: record for name, record in known.items() if name not in failed}


def _difference(old, new, path=""):
    """The first setting that differs, for a message."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                return _difference(old.get(name), new.get(name), f"{path} {name}".strip())
    return f"{path} {old}, not {new}"

"""`search`: asks a strategy for losses, screens them, evaluates them, writes everything down.

The journal `search.jsonl` has one line for the settings and one for each individual, in the order
of the search. The same call goes on where an interrupted one stopped: the strategy is asked again
and answered from the journal.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from nglkeras import losses
from nglkeras.errors import UserError
from nglkeras.executors import Executor, Local
from nglkeras.expression import Expression
from nglkeras.numbers import whole_number
from nglkeras.report import output
from nglkeras.runs.live_status import LiveStatus, StatusWriter, duration
from nglkeras.search.course import Course
from nglkeras.search.fitness import Fitness, as_evaluation, as_fitness, ask
from nglkeras.search.known import known_loss
from nglkeras.search.page import LivePage
from nglkeras.search.presentation import shown
from nglkeras.search.records import NOT_TRAINED, Generation, Record
from nglkeras.search.result import BestFile, Result
from nglkeras.search.screening import Screen, Screening
from nglkeras.search.strategy import SEED, Evaluation, Strategy, level_of


def search(
    strategy: Strategy,
    evaluate: Fitness | Callable[[Expression], Evaluation | float],
    *,
    out: str | Path,
    screening: Screening | None = None,
    on_generation: Callable[[Generation], None] | None = None,
    seeds: Sequence[str | Expression] = (),
    patience: int | None = None,
    executor: Executor | None = None,
    quiet: bool = False,
) -> Result:
    """Run a search to its end; the same call goes on with an interrupted one.

    Args:
        strategy: A new strategy, e.g. `GeneticProgramming(seed=0)`.
        evaluate: A `Fitness`, e.g. a `TrainingFitness`, or a function that maps an expression to a
            number (more is better) or an `Evaluation`. A function is identified by its code and
            the values that it reads: another one in the same folder is another search. Errors that
            it raises end the search.
        out: Folder of the journal, of `best.json`, and of the page `search.html`.
        screening: Checks that spare trainings; by default all, with the `bounds` and `gradients`
            of the fitness.
        on_generation: Called after each generation.
        seeds: Known losses in the places of the first random trees of generation 0: names such as
            "CE", "NGL" and "Baikal", formulas, or expressions. They are evaluated whatever the
            screening says; a search with other ones is another search.
        patience: Number of generations without a greater fitness after which the search ends;
            `None` for all generations. It can be changed from call to call.
        executor: Evaluates the losses; by default this process. Workers get copies of `evaluate`.
        quiet: Whether to show neither a line per generation nor a progress bar.

    Raises:
        KeyboardInterrupt: On Ctrl-C, after a line that says how far the search is.
        UserError: If the folder holds a search with other settings, cannot be written to, or is
            written to by another process.
    """
    fitness = as_fitness(evaluate)
    if not isinstance(strategy, Strategy):
        kind = type(strategy).__name__
        raise UserError(f"strategy is of type {kind}; derive it from nglkeras.search.Strategy")
    if strategy.generation or strategy.population:
        raise UserError("the strategy has been used already; give a fresh one")
    if not isinstance(screening, Screening | None):
        kind = type(screening).__name__
        raise UserError(f"screening is of type {kind}; give a Screening, such as Screening()")
    if on_generation is not None and not callable(on_generation):
        raise UserError(f"on_generation={on_generation!r} is no function")
    if not isinstance(seeds, Iterable):
        raise UserError(f"seeds={seeds!r} are no losses; give a list of names or formulas")
    if executor is not None and not isinstance(executor, Executor):
        raise UserError(f"executor={executor!r} is none of nglkeras.executors, e.g. Processes(2)")
    if executor is not None and fitness.executor is not None:
        raise UserError("this fitness has an executor of its own; give it the other one instead")
    if patience is not None:
        patience = whole_number("patience", patience)
    executor = fitness.executor or executor or Local()
    course = Course(out)
    with course.journal.writing(), fitness.writing():
        run = _Search(strategy, fitness, executor, course, screening, seeds, quiet)
        page = LivePage(course.journal.path.parent, quiet=quiet)
        reports = executor.reporting_to(None if quiet else tqdm.write)
        with StatusWriter(course.journal.path, executor, run.summary), reports:
            try:
                ending = run.run(on_generation, patience, page)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    output.say(f"stopped {run.where}; the same call goes on")
                page.finish(partial(run.result, f"stopped {run.where}"))
                raise
    result = run.result(ending)
    if not result.best_losses(1):
        # Even to those who want it quiet.
        output.say(f"no loss of this search has a fitness: {result.failures}")
    elif not quiet:
        output.say(*_describe_front(result.front))
    path, number = course.journal.path.with_name("best.json"), result.last_generation
    measured = sum(bool(record.evaluation.rank) for record in result.records.values())
    written = BestFile.read(path)
    stays = written.stays(number)
    # The verdict of a confirmation stays where the same search has ended as before.
    is_said = written.confirmation and written.is_of(number, ending, measured)
    if stays and not quiet:
        output.say(stays)
    for best in () if stays or is_said else result.best_losses(1):
        losses.save_loss(
            path,
            best.formula,
            class_reduction=best.class_reduction,
            options=dict(best.options),
            simplified=str(best.simplified),
            fitness=list(best.fitness),
            id=best.id,
            search=course.settings,
            generation=number,
            ending=ending,
            measured=measured,
        )
    page.finish(lambda: result)
    return result


class _Search:
    """A running search: what is planned and evaluated next."""

    def __init__(self, strategy, fitness, executor, course, screening, seeds, quiet):
        self.strategy = strategy
        self.fitness = fitness
        self.executor = executor
        self.course = course
        self.quiet = quiet
        self.seconds_per_generation = None
        self.prepared = self.has_converged = False
        begun = course.begun
        strategy.as_begun(begun)
        if isinstance(begun.get("evaluate"), dict):
            # The copies that workers get are then as begun, too.
            fitness.as_begun(begun["evaluate"])
        # A fitness with an executor of its own answers here and asks its workers itself.
        asked = partial(ask, fitness, Local() if fitness.executor else executor)
        classes, settings, soft_labels, gradients = asked("look", None)
        screening = screening or Screening(fitness.bounds)
        if screening.gradients is None:
            screening = replace(screening, gradients=gradients)
        values = partial(asked, "values") if fitness.values else None
        refuse = partial(asked, "refuse") if fitness.refuse else None
        self.screen = Screen(screening, classes, values, refuse, soft_labels)
        known = [seeds] if isinstance(seeds, str | Expression) else seeds
        if isinstance(known, set | frozenset):
            # Python shuffles strings in a set anew in every process.
            known = sorted(known, key=str)
        strategy.begin_with(known_loss(one, classes, fitness.class_reduction) for one in known)
        settings = {
            **strategy.settings,
            "evaluate": settings,
            "screening": asdict(screening),
            "classes": classes,
        }
        # Early journals do not say it.
        if fitness.class_reduction != "mean" and (not begun or "class_reduction" in begun):
            settings["class_reduction"] = fitness.class_reduction
        course.start(settings, quiet=quiet)
        if fitness.found and not quiet:
            output.say(asked("found", None))

    def run(self, on_generation, patience, page):
        """Evaluate one generation after the other; return why the last ones are left out."""
        started, evaluated = time.perf_counter(), 0
        # Generation 0 has nothing to rise above, also where none of its losses has a fitness.
        best, unchanged = (), -1
        while not self.strategy.is_done:
            fresh = self._evaluate_generation()
            evaluated += fresh
            # A generation that was read from the journal says nothing about the time that is left.
            if evaluated:
                self.seconds_per_generation = (time.perf_counter() - started) / evaluated
            generation = self.course.end_generation(self.strategy)
            self._say(_describe(generation, self.summary()["seconds_left"] if fresh else None))
            self._say(*self._seeds_without_fitness(), *self._convergence())
            if on_generation is not None:
                on_generation(generation)
            if fresh:
                page.update(self.result, lambda: LiveStatus(**self.summary()))
            reached = level_of(generation.best)
            unchanged = 0 if reached > best else unchanged + 1
            best = max(best, reached)
            if patience is not None and unchanged >= patience and not self.strategy.is_done:
                ending = (
                    f"ended after generation {generation.number}: the best fitness has not risen "
                    f"for {patience} generation{'s' * (patience > 1)}"
                )
                self._say(ending)
                return ending
        return ""

    @property
    def where(self):
        """Which generation is being evaluated or was the last."""
        number = len(self.course.generations) - 1
        return "in generation 0" if number < 0 else f"after generation {number}"

    def result(self, ending=""):
        """Return what the search has found so far."""
        reduction = self.fitness.class_reduction
        return self.course.result(self.strategy, class_reduction=reduction, ending=ending)

    def _say(self, *lines):
        if lines and not self.quiet:
            output.say(*lines)

    def _seeds_without_fitness(self):
        """Describe known losses that could not be trained, after generation 0."""
        if self.strategy.generation == 1:
            for name, record in self.course.records.items():
                individual, evaluation = record.individual, record.evaluation
                if individual.made_by == SEED and not evaluation.rank:
                    why = f"{evaluation.status} ({evaluation.message})"
                    yield f"the seed {name}, {individual.expression}, has no fitness: {why}"

    def _convergence(self):
        """Say, once, that all survivors are the same loss."""
        survivors = self.strategy.population
        if self.has_converged or len(survivors) < 2 or not survivors[0].evaluation.rank:
            return
        if self.screen.are_one_function(one.individual.expression for one in survivors):
            self.has_converged = True
            first = survivors[0].individual.id
            yield f"converged: all {len(survivors)} survivors are the same loss, {first}"

    def summary(self):
        """Return the live status of the search."""
        number, total = self.strategy.generation, self.strategy.generations
        pace = self.seconds_per_generation
        return {
            "generation": number,
            "generations": total,
            "seconds_left": None if pace is None else pace * (total + 1 - number),
        }

    def _evaluate_generation(self):
        """Evaluate a whole generation; return whether anything had to be trained."""
        number, trained = self.strategy.generation, False
        self.fitness.begin_generation(self.strategy.rivals, self.course.trained)
        bar = tqdm(
            total=len(self.strategy.ask()), unit="loss", leave=False, disable=self.quiet, delay=1
        )
        with bar:
            bar.set_description(f"generation {number}")
            plans = {}
            while not self.strategy.is_done and self.strategy.generation == number:
                waiting = self.strategy.ask()
                plans |= self._plan_all([one for one in waiting if one.id not in plans])
                settled = [plans[one.id] for one in waiting if self._is_settled(plans[one.id])]
                # Discarded losses are replaced before anything is trained, so that all of a
                # generation can be trained at the same time.
                for record in settled:
                    self._take(record, bar)
                if not settled:
                    self._train([one for one in waiting if plans[one.id] is None], bar)
                    trained = True
        return trained

    def _plan_all(self, individuals):
        """Return a record for each individual that needs no training, and `None` for the others.

        A twin refers to the first individual like it, whichever of them is evaluated first.
        """
        plans = {}
        for individual in individuals:
            record = self.course.known_record(individual) or self._plan(individual)
            plans[individual.id] = record
            if record is None or not (record.twin or record.evaluation.status in NOT_TRAINED):
                self.screen.remember(individual.id, individual.expression)
        return plans

    def _plan(self, individual):
        if not self.prepared:
            # Not earlier: a finished search can be printed where its data are missing.
            self.fitness.prepare()
            self.prepared = True
        verdict = self.screen.judge(individual.expression)
        is_seed = individual.made_by == SEED
        if verdict.status == "new" or (is_seed and verdict.status in NOT_TRAINED):
            return None
        if verdict.status == "twin":
            return Record(individual, Evaluation(), verdict.twin, verdict.message)
        return Record(individual, Evaluation(verdict.status, message=verdict.message))

    def _is_settled(self, record):
        """Return whether a record is complete: a twin waits for the one that it refers to."""
        if record is None:
            return False
        course = self.course
        return (
            not record.twin
            or record.individual.id in course.known
            or (record.twin in course.records)
        )

    def _train(self, individuals, bar):
        """Evaluate these; each is on the disk before the next is taken."""
        bar.set_postfix_str(str(individuals[0].expression)[:60])
        expressions = [one.expression for one in individuals]
        names = [one.id for one in individuals]
        for index, outcome in self.fitness.each(expressions, names, self.executor):
            record = Record(individuals[index], as_evaluation(outcome))
            self._take(record, bar)
            self.course.check_failures(record)

    def _take(self, record, bar):
        record = self.course.take(record)
        bar.update(record.evaluation.status != "discarded")
        self.strategy.tell(record.individual, record.evaluation)


def _describe_front(front):
    lines = ["the front of fitness and size: nodes, fitness, id, simplified"] if front else []
    lines += [f"{one.size:5}  {shown(one.fitness)}  {one.id}  {one.simplified}" for one in front]
    return lines


def _describe(generation, seconds_left):
    saved = ", ".join(f"{count} {kind}" for kind, count in generation.saved.items() if count)
    stopped = f" ({generation.stopped} stopped early)" if generation.stopped else ""
    left = "" if seconds_left is None else f"; {duration(seconds_left)} left"
    return (
        f"generation {generation.number}: best {shown(generation.best)}, "
        f"mean {shown(generation.mean)}, size {generation.size:.1f}; "
        f"{generation.asked} asked, {generation.trained} trained{stopped}, "
        f"saved {saved or 'none'}, {generation.discarded} discarded{left}"
    )

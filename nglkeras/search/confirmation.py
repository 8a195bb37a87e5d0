"""Is the winner of a search better than cross entropy at its own best learning rate?

A search compares losses at one learning rate by few networks: its winner may have won by chance, or
because its gradient happens to suit that rate. `confirm` trains the best losses and others beside
them, each at rates half a decade apart (and at more while the best one lies at an edge), chooses
each loss's rate by validation, and compares the losses on new runs: new initial weights, new
divisions into train and validation, and test data that the search never saw.
"""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from nglkeras import losses as keras_losses
from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.expression import Expression
from nglkeras.numbers import positive, whole_number
from nglkeras.report import output
from nglkeras.report.rates import FIRST_NEW, MAX_ADDED, rates_around
from nglkeras.runs.journal import finite
from nglkeras.runs.live_status import duration
from nglkeras.search.budget import Plan, affordable, fitting
from nglkeras.search.conclusion import concluded
from nglkeras.search.fitness import Fitness, as_fitness
from nglkeras.search.given_losses import named
from nglkeras.search.known import is_cross_entropy
from nglkeras.search.page import LivePage
from nglkeras.search.result import BestFile, Result
from nglkeras.search.simplification import simplified
from nglkeras.search.trainer import Trainer
from nglkeras.search.trainings import Trainings, rate_curves
from nglkeras.search.verdict import REFERENCE, Confirmation

HEADING = "## Is the winner better?"


def confirm(
    found: Result | Mapping[str, object] | Sequence[object],
    fitness: Fitness | Trainer,
    test: object = None,
    *,
    out: str | Path,
    contenders: Mapping[str, object] | Sequence[object] = ("CE", "NGL", "Baikal"),
    best: int = 3,
    rates: int | Sequence[float] = 5,
    rate_runs: int = 2,
    new_runs: int = 10,
    minutes: float | None = None,
    max_added: int = MAX_ADDED,
    executor: Executor | None = None,
    quiet: bool = False,
) -> Confirmation:
    """Say whether the best loss of a search is better than cross entropy at its own best rate.

    Each loss is trained at `rates` learning rates, and at more while its best one is the least or
    the greatest. Validation chooses its rate. Then `new_runs` networks of each loss are tested that
    nothing was chosen by: those of a run share new initial weights and a new division of train and
    validation data, so that losses are compared in pairs.

    What is corrected for: the losses are chosen before the new runs, and the one that the verdict
    is about is that candidate which validates best at its own rate, chosen before them too. Since
    the tests of several losses are looked at together, p is corrected by Holm's method for all
    differences to cross entropy in the table. Intervals and p cover other runs (initial weights,
    divisions) and other test data, which ten parts of them tell; where a `Trainer` gives no parts,
    they are about these test data alone. A network that diverged counts as a guess. One that timed
    out, ran out of memory or crashed says nothing of its loss: it does not count for its rate, a
    new run is left out of the loss's mean, and the pair that it belongs to out of the difference.
    The same call tries it again.

    Every network is on the disk before the next one, in `confirm.jsonl`; the same call goes on with
    an interrupted confirmation. The result is written to best.md and to best.json, as
    "confirmation", beside the formula of the loss that the verdict is about. If that loss has no
    formula, or there was no time for a verdict, best.json keeps the formula that it has; where
    there is none, no such file is written. What a longer search in the folder has written stays.

    Args:
        found: The result of a search, or losses by name: formulas, names or Keras losses. Of a
            list, a loss is named after its row or formula.
        fitness: The fitness of the search, or a `Trainer`.
        test: Data that the search has not seen, as the fitness takes them. Without them a part of
            the fitness's own data is held out, which the search has seen; the result says so.
        out: Folder of the journal and the other files, usually that of the search.
        contenders: Losses that the candidates are compared with, as in `found`. Cross entropy, CE,
            is always among them.
        best: Number of losses of a result that are candidates; cross entropy is none, unless the
            search has found nothing else.
        rates: Number of learning rates around the fitness's own, or the rates; five or more.
        rate_runs: Networks for each loss and rate.
        new_runs: Tested networks for each loss.
        minutes: Time budget of the whole, with what an interrupted call has trained. It cuts new
            runs first, down to five, then contenders, then candidates, then networks for each rate;
            the result says what was cut.
        max_added: How many rates are added at each end, at most.
        executor: Trains the networks, unless the fitness has its own.
        quiet: Whether to print neither cost, progress nor result.

    Raises:
        UserError: If something cannot be trained or compared, or the folder cannot be written to.
    """
    candidates = _candidates(found, whole_number("best", best))
    cross_entropy = named([REFERENCE])
    against = cross_entropy | named(contenders)
    if against[REFERENCE] != cross_entropy[REFERENCE]:
        raise UserError(f"{REFERENCE} is the name of cross entropy; give the contender another one")
    for name in candidates.keys() & against.keys():
        raise UserError(f"{name} is a candidate and a contender; give it another name")
    same = _same(candidates, against)
    against = {name: loss for name, loss in against.items() if name not in same}
    if not isinstance(fitness, Trainer):
        trainer = as_fitness(fitness).trainer(candidates | against, test)
    elif test is None:
        trainer = fitness
    else:
        raise UserError("a Trainer has test data of its own: give no others")
    plan = Plan(
        tuple(candidates),
        tuple(against),
        _rates(rates, trainer.rate),
        whole_number("rate_runs", rate_runs),
        whole_number("new_runs", new_runs, 2),
    )
    budget = None if minutes is None else 60 * positive("minutes", minutes)
    work = Trainings(trainer, candidates | against, out, executor, quiet)
    with work.journal.writing():
        work.read()
        _read_best(work.journal.path.parent)
        seconds = _seconds_each(found, trainer)
        result = _carried_out(work, plan, budget, seconds, whole_number("max_added", max_added, 0))
    notes = [f"{name} is the candidate {candidate}." for name, candidate in same.items()]
    result = replace(result, notes=(*notes, *result.notes))
    _write(result, work, found)
    if isinstance(found, Result):
        LivePage(work.journal.path.parent, quiet=quiet).finish(lambda: found)
    if not quiet:
        output.say("", str(result))
    return result


def _carried_out(work, plan, budget, seconds, max_added):
    """Train everything in stages; each decision follows from the journals alone."""
    workers = work.executor.workers
    if seconds is None:
        # The second training tells: the first one compiles.
        first = [work.network(REFERENCE, rate, 0) for rate in plan.rates[:2]]
        seconds = work.rows(first)[-1].seconds
    asked = plan
    plan, notes = fitting(plan, seconds / workers, budget)
    cost = plan.networks * seconds / workers
    said = f"Confirmation: {plan}, about {seconds:.2g} s each: {duration(cost)}"
    said += "; more where a best rate lies at an edge."
    if not work.quiet:
        output.say(f"\n{said}", *notes)
    if budget is not None and cost > budget:
        notes = [f"It takes at least {duration(cost)}; {duration(budget)} were given."]
        return Confirmation(asked.candidates, asked.contenders, notes=(*notes, *work.trainer.notes))

    rows = _rate_rows(work, plan, dict.fromkeys(plan.losses, plan.rates))
    while True:
        spent = sum(row.seconds for row in rows) / workers
        seconds = _typical(rows, seconds)
        curves = rate_curves(rows, work.trainer.chance)
        wanted = {name: curve.wanted(plan.rates, max_added) for name, curve in curves.items()}
        more = sum(map(len, wanted.values())) * plan.rate_runs
        rest = (more + len(plan.losses) * plan.least) * seconds / workers
        if not more or (budget is not None and spent + rest > budget):
            break
        rows += _rate_rows(work, plan, wanted)
    if more:
        notes.append("No time was left to add rates where a best one lies at an edge.")
    runs = plan.new_runs
    if budget is not None:
        offered = replace(plan, new_runs=asked.new_runs)
        runs = affordable(offered, seconds / workers, budget - spent, rates_done=True)
        if runs != plan.new_runs:
            took = "longer than" if runs < plan.new_runs else "less time than"
            notes.append(f"{runs} new runs: the rates took {took} expected.")
    new = [
        work.network(name, curve.best, FIRST_NEW + run)
        for run in range(runs)
        for name, curve in curves.items()
        if curve.best is not None
    ]
    tested = work.rows(new)
    return concluded(plan, curves, rows, tested, work, notes)


def _rate_rows(work, plan, rates):
    """Return the rows of the networks that choose a rate, run by run; `rates` are by loss."""
    return work.rows(
        [
            work.network(name, rate, run)
            for run in range(plan.rate_runs)
            for name in rates
            for rate in rates[name]
        ]
    )


def _typical(rows, otherwise):
    """Return the median seconds of finished networks, which a compilation does not move."""
    seconds = [row.seconds for row in rows if row.status == "ok"]
    return float(np.median(seconds)) if seconds else otherwise


def _candidates(found, count):
    """Return the losses to be confirmed by name."""
    if not isinstance(found, Result):
        losses = named(found)
        if not losses:
            raise UserError("no loss to confirm is given")
        return losses
    _ = found.best  # it raises an error that says why there is none
    # The front rises with the size.
    ranked = [*reversed(found.front), *found.best_losses(len(found.population))]
    # Cross entropy, which may have begun the search, is what they are compared with.
    others = [loss for loss in ranked if not is_cross_entropy(loss.expression)]
    chosen = {}
    for loss in others or ranked:
        if len(chosen) < count and loss.expression not in chosen.values():
            chosen[loss.id] = loss.expression
    return chosen


def _same(candidates, contenders):
    """Return the contenders that a search began with and found again, with the candidate's name."""
    of = {loss: name for name, loss in candidates.items() if isinstance(loss, Expression)}
    formulas = {
        name: keras_losses.FORMULAS.get(loss.name)
        for name, loss in contenders.items()
        if isinstance(loss, keras_losses.Row)
    }
    known = {name: Expression.parse(text) for name, text in formulas.items() if text}
    return {name: of[expression] for name, expression in known.items() if expression in of}


def _rates(rates, own):
    if isinstance(rates, numbers.Real):
        return rates_around(own, whole_number("rates", rates, 5))
    found = tuple(sorted({positive("rates", rate) for rate in rates}))
    if len(found) < 5:
        raise UserError(f"{len(found)} learning rates; wanted are at least five")
    return found


def _seconds_each(found, trainer):
    """Return the seconds of a network in a search's records; `None` without any."""
    if not isinstance(found, Result):
        return None
    seconds = [
        record.evaluation.seconds / trainer.searched_runs
        for record in found.records.values()
        if record.evaluation.status == "ok" and not record.twin and record.evaluation.seconds
    ]
    return float(np.median(seconds)) if seconds else None


def _read_best(folder):
    """Return the content of best.json; an error is better raised before anything is trained."""
    path = folder / "best.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict) if path.exists() else {}
    except (OSError, msgspec.DecodeError) as error:
        raise UserError(f"cannot read {path}: {error}; mend or remove it") from error


def _write(result, work, found):
    """Write the result to best.md, and to best.json if a formula is there.

    What best.json has of a longer search stays, as it does when a shorter search ends.
    """
    folder = work.journal.path.parent
    # The search may have gone on meanwhile.
    there = _read_best(folder)
    best = work.losses.get(result.best)
    path = folder / "best.json"
    is_searched = isinstance(found, Result)
    stays = BestFile.read(path).stays(found.last_generation) if is_searched else ""
    with output.writing_to(folder):
        # The result of an earlier confirmation must not stay, whatever this one has found.
        there.pop("confirmation", None)
        if isinstance(best, Expression):
            there = _with_formula(there, best, result, work.trainer)
        if stays and not work.quiet:
            output.say(stays)
        if "formula" in there and not stays:
            keras_losses.save_loss(path, **there, confirmation=finite(result.to_json()))
        _set_section(folder / "best.md", result.to_markdown())


def _with_formula(there, expression, result, trainer):
    """Return the content of best.json with this formula."""
    formula = str(expression)
    if there.get("formula") != formula:
        # The search's own order was another one.
        there.pop("fitness", None)
        there |= {"id": result.best, "simplified": str(simplified(expression))}
    there.pop("latex", None)
    reduction = trainer.class_reduction
    return there | {"formula": formula, "class_reduction": reduction, "options": trainer.options}


def _set_section(path, text):
    """Put the confirmation at the end of a Markdown file, in the place of an earlier one."""
    before = path.read_text(encoding="utf-8") if path.exists() else "# The best losses of a search"
    before, _, earlier = before.partition(f"\n{HEADING}\n")
    # What the user has written below the earlier one.
    _, heading, after = earlier.partition("\n## ")
    text = f"{before.rstrip()}\n\n{HEADING}\n\n{text}\n{heading}{after}"
    with paths.replacing(path) as file:
        file.write(text)

"""Trials in, rows out: what the journal has is taken from it, the rest is run and appended."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from tqdm import tqdm

from nglkeras.executors import Executor, Local
from nglkeras.runs.journal import Journal
from nglkeras.runs.live_status import Board, seconds_left
from nglkeras.runs.trial import Trial, TrialResult


def run_trials(
    trials: Sequence[Trial],
    journal: Journal,
    run: Callable[..., TrialResult] | None = None,
    *,
    executor: Executor | None = None,
    quiet: bool = False,
) -> dict[str, TrialResult]:
    """Run the trials that the journal does not have; show each result and a progress bar.

    A row that ended in a timeout, a crash or without memory is tried again; later rows replace
    earlier ones.

    Args:
        trials: What is wanted.
        journal: What is there, and where new rows go.
        run: Turns a trial into a row; it is also given `on_epoch`. `training.run_trial` by
            default.
        executor: Where trials run; in this process by default.
        quiet: Show nothing.

    Returns:
        The row of each trial by its key.

    Raises:
        UserError: If another process writes this journal, or it cannot be written.
    """
    if run is None:
        from nglkeras.experiments.classification.training import run_trial as run

    executor = executor or Local()
    wanted = {trial.key: trial for trial in trials}
    results = _rows_there(journal, wanted)
    if not pending(trials, results):
        return results
    with journal.writing():
        # Once more: whoever held the journal until now may have added to it.
        results = _rows_there(journal, wanted)
        _run_missing(wanted, results, journal, run, executor, quiet)
    return results


def _rows_there(journal, wanted):
    return {key: row for key, row in journal.results().items() if key in wanted}


def _run_missing(wanted, results, journal, run, executor, quiet):
    """Run what has no row yet, and add its rows to the results."""
    missing = pending(list(wanted.values()), results)
    left = {trial.key: trial for trial in missing}

    def summary():
        return {
            "total": len(wanted),
            "done": len(wanted) - len(left),
            "seconds_left": seconds_left(list(left.values()), results, executor),
        }

    with (
        Board(journal.path, executor, summary),
        tqdm(
            total=len(wanted),
            initial=len(wanted) - len(missing),
            unit="trial",
            disable=quiet,
            smoothing=0,
        ) as bar,
        _reporting(executor, bar, quiet),
    ):
        for trial, result in rows(missing, journal, run, executor, _show_epoch(bar)):
            results[trial.key] = result
            left.pop(trial.key)
            if not quiet:
                bar.write(_describe(trial, result))
            bar.update()


def rows(
    trials: Iterable[Trial],
    journal: Journal,
    run: Callable[..., TrialResult],
    executor: Executor,
    on_epoch: Callable | None = None,
) -> Iterator[tuple[Trial, TrialResult]]:
    """Run trials; each row is in the journal before it is handed on.

    Args:
        trials: What to run.
        journal: Where the rows go.
        run: Turns a trial into a row.
        executor: Where trials run.
        on_epoch: Called with a trial, an epoch's number and its row of the history; not with every
            epoch where trials run elsewhere.
    """
    outcomes = executor.run(run, trials, on_progress=on_epoch, affinity=_affinity)
    with contextlib.closing(outcomes):
        yield from _written(outcomes, journal)


def _written(outcomes, journal):
    """Trials and rows of outcomes, each on the disk before it is handed on."""
    from nglkeras.runs.attempt import make_row

    for outcome in outcomes:
        row = outcome.result
        if outcome.failure is not None:
            failure = outcome.failure
            # No worker has said where; to ask for this process' devices would touch them.
            row = make_row(outcome.task, here=False, status=failure.status, message=failure.message)
        if outcome.attempts > 1:
            row = replace(row, attempts=outcome.attempts)
        journal.append(row)
        yield outcome.task, row


def _affinity(trial):
    """What trials share that one worker had better do: a compiled network, and a run's data."""
    return trial.kind, trial.run


def pending(trials: Sequence[Trial], results: dict[str, TrialResult]) -> list[Trial]:
    """The trials that have no row yet, or one that another try may better."""
    unique = {trial.key: trial for trial in trials}
    return [
        trial
        for key, trial in unique.items()
        if key not in results or not results[key].answers(trial)
    ]


@contextlib.contextmanager
def _reporting(executor, bar, quiet):
    """Lines of the executor go past the bar."""
    before, executor.report = executor.report, (lambda line: None) if quiet else bar.write
    try:
        yield
    finally:
        executor.report = before


def _show_epoch(bar):
    def show(trial, epoch, row):
        text = f"{trial}: epoch {epoch}/{trial.schedule.epochs}"
        # Some trainings are looked at when they are over.
        part = "test" if trial.monitored == "test" else "val"
        found = row.get(f"{part}_{trial.measure}")
        if found is not None:
            text += f", {trial.monitored} {trial.measure.replace('_', ' ')} {found:.3f}"
        bar.set_postfix_str(text)

    return show


def _describe(trial, result):
    found = result.metrics.get(trial.measure, result.accuracy)
    outcome = result.status if found is None else f"{100 * found:.2f} %"
    if result.message:
        outcome += f" ({result.message.splitlines()[0]})"
    return f"{trial}: {outcome} in {result.seconds:.0f} s"

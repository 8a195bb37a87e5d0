"""Run the trials that a journal lacks, and append their rows to it."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from tqdm import tqdm

# `attempt` needs Keras and is imported when a row is built here: see `startup.lazy`.
from nglkeras import runs
from nglkeras.executors import Executor, Local
from nglkeras.runs.journal import Journal
from nglkeras.runs.live_status import StatusWriter, seconds_left
from nglkeras.runs.trial import Trial, TrialResult


def run_missing(
    trials: Sequence[Trial],
    journal: Journal,
    make_run: Callable[[list[Trial]], Callable[..., TrialResult]],
    *,
    executor: Executor,
    prepare: Callable[[list[Trial]], None] | None = None,
    results: dict[str, TrialResult] | None = None,
) -> dict[str, TrialResult]:
    """Return the row of each trial by its key; run the trials that the journal lacks.

    The journal is read once before and, if something is missing, once more under its lock.

    Args:
        trials: The trials of a table or figure.
        journal: Holds the rows and takes the new ones.
        make_run: Takes the missing trials and returns the function that turns one of them into a
            row; see `run_trials`.
        executor: Runs the trials.
        prepare: Called with the missing trials before any of them runs, e.g. to download data.
        results: Rows of the journal by key, if the caller has read them already.

    Raises:
        UserError: If another process writes this journal, or it cannot be written.
    """
    results = _only(trials, journal.results() if results is None else results)
    missing = pending(trials, results)
    if not missing:
        return results
    if prepare is not None:
        prepare(missing)
    total = len({trial.key for trial in trials})
    print(f"{len(missing)} of {total} trials to run; rows go to {journal.path}", flush=True)
    return _run_under_lock(trials, journal, make_run(missing), executor, quiet=False)


def run_trials(
    trials: Sequence[Trial],
    journal: Journal,
    run: Callable[..., TrialResult],
    *,
    executor: Executor | None = None,
    quiet: bool = False,
) -> dict[str, TrialResult]:
    """Return the row of each trial by its key; run the trials that the journal lacks.

    A trial that ended in a timeout, a crash or without memory runs again; its later row replaces
    the earlier one.

    Args:
        trials: The trials.
        journal: Holds the rows and takes the new ones.
        run: Turns a trial into a row, e.g. `nglkeras.run_trial`; it also gets `on_epoch`.
        executor: Runs the trials; by default one after the other in this process.
        quiet: Whether to show neither results nor a progress bar.

    Raises:
        UserError: If another process writes this journal, or it cannot be written.
    """
    results = _only(trials, journal.results())
    if not pending(trials, results):
        return results
    return _run_under_lock(trials, journal, run, executor or Local(), quiet)


def _only(trials, results):
    keys = {trial.key for trial in trials}
    return {key: row for key, row in results.items() if key in keys}


def _run_under_lock(trials, journal, run, executor, quiet):
    with journal.writing():
        # The process that held the lock until now may have added rows.
        results = _only(trials, journal.results())
        missing = pending(trials, results)
        total = len({trial.key for trial in trials})
        left = {trial.key: trial for trial in missing}

        def summary():
            return {
                "total": total,
                "done": total - len(left),
                "seconds_left": seconds_left(list(left.values()), results, executor),
            }

        with (
            StatusWriter(journal.path, executor, summary),
            tqdm(
                total=total,
                initial=total - len(missing),
                unit="trial",
                disable=quiet,
                smoothing=0,
            ) as bar,
            executor.reporting_to(None if quiet else bar.write),
        ):
            for trial, result in rows(missing, journal, run, executor, _show_epoch(bar)):
                results[trial.key] = result
                left.pop(trial.key)
                if not quiet:
                    bar.write(_describe(trial, result))
                bar.update()
    return results


def rows(
    trials: Iterable[Trial],
    journal: Journal,
    run: Callable[..., TrialResult],
    executor: Executor,
    on_epoch: Callable | None = None,
) -> Iterator[tuple[Trial, TrialResult]]:
    """Run trials; yield each trial with its row, which is in the journal by then.

    Args:
        trials: The trials.
        journal: Takes the rows.
        run: Turns a trial into a row.
        executor: Runs the trials.
        on_epoch: Called with a trial, the number of an epoch and its row of the history. Where
            trials run in other processes, some epochs are left out.
    """
    outcomes = executor.run(run, trials, on_progress=on_epoch, affinity=_affinity)
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            row = outcome.result
            if outcome.failure is not None:
                row = runs.attempt.make_row(
                    outcome.task,
                    # A lost worker has not told its environment, and asking for this process'
                    # devices would take memory on them.
                    here=False,
                    status=outcome.failure.status,
                    message=outcome.failure.message,
                )
            if outcome.attempts > 1:
                row = replace(row, attempts=outcome.attempts)
            journal.append(row)
            yield outcome.task, row


def _affinity(trial):
    """Trials that share a compiled network and a run's data."""
    return trial.kind, trial.run


def pending(trials: Sequence[Trial], results: dict[str, TrialResult]) -> list[Trial]:
    """Return the trials without a row, and those whose row another attempt may improve."""
    unique = {trial.key: trial for trial in trials}
    return [
        trial
        for key, trial in unique.items()
        if key not in results or not results[key].answers(trial)
    ]


def _show_epoch(bar):
    def show(trial, epoch, row):
        text = f"{trial}: {trial.progress(epoch)}"
        # A training without validation reports its measure at the end only.
        part = "test" if trial.monitored == "test" else "val"
        found = row.get(f"{part}_{trial.measure}")
        if found is not None:
            text += f", {trial.monitored} {trial.measure.replace('_', ' ')} {found:.3f}"
        bar.set_postfix_str(text)

    return show


def _describe(trial, result):
    if trial.test:
        found, part = result.metrics.get(trial.measure, result.accuracy), ""
    else:
        found, part = result.validation_accuracy, " of the validation images"
    outcome = result.status if found is None else f"{100 * found:.2f} %{part}"
    if result.message:
        outcome += f" ({result.message.splitlines()[0]})"
    return f"{trial}: {outcome} in {result.seconds:.0f} s"

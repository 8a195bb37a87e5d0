"""Trials in, rows out: what the journal has is taken from it, the rest is run and appended."""

from collections.abc import Callable, Sequence

from tqdm import tqdm

from nglkeras.journal import Journal
from nglkeras.trial import FINAL_STATUSES, Trial, TrialResult


def run_trials(
    trials: Sequence[Trial],
    journal: Journal,
    run: Callable[..., TrialResult] | None = None,
    *,
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
        quiet: Show nothing.

    Returns:
        The row of each trial by its key.
    """
    if run is None:
        from nglkeras.training import run_trial as run

    wanted = {trial.key: trial for trial in trials}
    results = {key: row for key, row in journal.results().items() if key in wanted}
    missing = pending(trials, results)
    if not missing:
        return results
    done = len(wanted) - len(missing)
    with tqdm(total=len(wanted), initial=done, unit="trial", disable=quiet, smoothing=0) as bar:
        for trial in missing:
            result = run(trial, on_epoch=_show_epoch(bar, trial))
            journal.append(result)
            results[trial.key] = result
            if not quiet:
                bar.write(_describe(trial, result))
            bar.update()
    return results


def pending(trials: Sequence[Trial], results: dict[str, TrialResult]) -> list[Trial]:
    """The trials that have no row yet, or one that another try may better."""
    unique = {trial.key: trial for trial in trials}
    return [
        trial
        for key, trial in unique.items()
        if key not in results or results[key].status not in FINAL_STATUSES
    ]


def _show_epoch(bar, trial):
    def show(epoch, row):
        part = "test" if trial.monitored == "test" else "val"
        accuracy = f"{trial.monitored} accuracy {row[f'{part}_accuracy']:.3f}"
        bar.set_postfix_str(f"{trial}: epoch {epoch}/{trial.schedule.epochs}, {accuracy}")

    return show


def _describe(trial, result):
    outcome = result.status if result.accuracy is None else f"{100 * result.accuracy:.2f} %"
    if result.message:
        outcome += f" ({result.message.splitlines()[0]})"
    return f"{trial}: {outcome} in {result.seconds:.0f} s"

"""How far a driver carries: what a trial costs it, trials an hour, and a thousand workers.

Measured are the driver's seconds for a trial (handing it out, taking the row, having it on the
disk) with trials that take no time, and trials an hour with one and two worker processes. Beyond
that is arithmetic: with N workers, trials of T seconds and d seconds of the driver for each, at
most min(N / (T + d), 1 / d) trials are done a second. The simulation lets N workers and one driver
take turns; durations are log-normal.
"""

import heapq
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nglkeras import executors
from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.shared_networks import SharedNetworks
from nglkeras.experiments.classification.trial import Trial, plan
from nglkeras.report.figures import styled
from nglkeras.report.tables import as_text
from nglkeras.runs import runner
from nglkeras.runs.attempt import make_row
from nglkeras.runs.environment import environment
from nglkeras.runs.journal import Journal
from nglkeras.runs.trial import TrialResult

# Trials without a training, for the driver's own time.
TRIVIAL = 2_000
# Of the networks that are trained.
EPOCHS = 8
# Workers of the curve, and durations of a trial in seconds.
WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
DURATIONS = (1.0, 10.0, 60.0, 600.0)
# Spread of durations: of the logarithm.
SPREAD = 0.3
TRIALS = 10_000


@dataclass(frozen=True)
class Row:
    """A line of the CSV.

    Attributes:
        what: "driver", "throughput" or "simulated".
        executor: Where trials ran.
        workers: How many.
        trial_seconds: Of a trial on its worker; of a simulated one its mean.
        trials: How many there were.
        seconds: From the first to the last.
        trials_an_hour: What follows.
        driver_seconds: Of the driver for each trial.
    """

    what: str
    executor: str
    workers: int
    trial_seconds: float
    trials: int
    seconds: float
    trials_an_hour: float
    driver_seconds: float


class Nothing:
    """Makes the row of a trial, with a history as long as a real one, without training it."""

    def __call__(self, trial: Trial, *, on_epoch=None) -> TrialResult:
        """The row."""
        epoch = {"accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 1.0}
        return make_row(trial, status="ok", accuracy=0.5, history=[epoch] * trial.schedule.epochs)


def measure(count: int) -> list[Row]:
    """Everything that is measured and simulated.

    Args:
        count: Networks for each number of workers.
    """
    drivers = [*_driver("processes"), *_driver("ray")]
    # A thousand workers are a cluster's: the last one measured is Ray's, where Ray is installed.
    curve = [simulated(n, seconds, drivers[-1]) for seconds in DURATIONS for n in WORKERS]
    return [*drivers, *_throughput(count), *curve]


def _driver(name):
    """What a trial costs the driver, with workers that answer at once."""
    trials = plan(replace(TABLE2_SCALES["demo"], runs=TRIVIAL), ["CE"])
    for workers in (1, 2):
        try:
            executor = executors.make(name, workers=workers)
        except UserError as error:
            print(f"{name} is left out: {error}")
            return
        with executor:
            list(executor.run(Nothing(), trials[:20]))
            seconds, _ = _run(trials, Nothing(), executor)
        # All of the wall time counts, though the driver shares two cores with its workers.
        count = len(trials)
        yield Row(
            "driver", name, workers, 0.0, count, seconds, 3600 * count / seconds, seconds / count
        )


def _run(trials: Sequence[Trial], work, executor: Executor) -> tuple[float, float]:
    """Wall time of trials, and the processor time of this process."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        started, used = time.perf_counter(), time.process_time()
        runner.run_trials(trials, journal, work, executor=executor, quiet=True)
        return time.perf_counter() - started, time.process_time() - used


def _throughput(count):
    """Real trials an hour with one worker process and with two, each warm."""
    scale = replace(TABLE2_SCALES["demo"], epochs=EPOCHS, runs=count + 4)
    trials = plan(scale, ["CE"])
    for workers in (1, 2):
        with executors.make("processes", workers=workers) as executor:
            work = SharedNetworks(trials)
            warm = [trial for trial in trials if trial.run >= count]
            list(executor.run(work, warm))
            rest = trials[:count]
            seconds, processor = _run(rest, work, executor)
        yield Row(
            "throughput",
            "processes",
            workers,
            seconds * workers / count,
            count,
            seconds,
            3600 * count / seconds,
            processor / count,
        )


def simulated(workers: int, duration: float, driver: Row, trials: int = TRIALS) -> Row:
    """Trials with so many workers and one driver, which serves them one after the other.

    Args:
        workers: How many.
        duration: Mean of a trial's seconds on its worker.
        driver: What a trial costs the driver.
        trials: How many are done.
    """
    random = np.random.default_rng(0)
    spread = random.lognormal(-(SPREAD**2) / 2, SPREAD, trials) * duration
    free = [0.0] * workers
    clock = last = 0.0
    for seconds in spread:
        # The driver turns to whoever waits for it longest, as soon as it is free itself.
        clock = max(clock, heapq.heappop(free)) + driver.driver_seconds
        heapq.heappush(free, clock + seconds)
        last = max(last, clock + seconds)
    return Row(
        "simulated",
        driver.executor,
        workers,
        duration,
        trials,
        last,
        3600 * trials / last,
        driver.driver_seconds,
    )


def report(rows: Sequence[Row], title: str, path: Path, save: Callable[..., list[Path]]) -> None:
    """Print a table, write it as CSV with hardware, versions and date, and draw it.

    The arguments are those of `measure.report`.
    """
    found = pd.DataFrame(rows)
    shown = found.assign(
        trial_seconds=found["trial_seconds"].map("{:.3g}".format),
        trials_an_hour=found["trials_an_hour"].map("{:,.0f}".format),
        driver=(1e3 * found["driver_seconds"]).map("{:.2f} ms".format),
    )[["what", "executor", "workers", "trial_seconds", "trials_an_hour", "driver"]]
    print("", title, "", as_text([list(shown), *shown.astype(str).to_numpy().tolist()]))
    where = environment() | {"gpus": "; ".join(environment()["gpus"])}
    found = found.assign(date=time.strftime("%Y-%m-%d"), **where)
    found.to_csv(path.with_suffix(".csv"), index=False)
    files = [path.with_suffix(".csv"), *save(partial(draw, found, title), path.parent, path.name)]
    print("written:", *files)


@styled
def draw(found: pd.DataFrame, title: str) -> Figure:
    """Simulated trials an hour by the number of workers, and the limit that the driver sets."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.add_subplot()
    simulations = found[found["what"] == "simulated"]
    for duration, rows in simulations.groupby("trial_seconds"):
        label = f"trials of {duration:g} s"
        axis.plot(rows["workers"], rows["trials_an_hour"], marker=".", label=label)
    driver = simulations["driver_seconds"].iloc[0]
    axis.axhline(3600 / driver, color="grey", linestyle="--", linewidth=0.8)
    text = f"the driver's limit: {1e3 * driver:.1f} ms a trial ({simulations['executor'].iloc[0]})"
    axis.annotate(text, (1, 3600 / driver), (0, 3), textcoords="offset points", fontsize="small")
    axis.set(xscale="log", yscale="log", xlabel="workers", ylabel="trials an hour, simulated")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    figure.suptitle(title)
    return figure

"""What a trial costs the driver, trials an hour, and a simulation of up to a thousand workers.

Two things are measured: the driver's seconds for a trial (handing it out, taking its result and
writing that to the disk), with trials that take no time; and trials an hour with one and two worker
processes. The rest is arithmetic: with N workers, trials of T seconds and d seconds of the driver
for each, at most min(N / (T + d), 1 / d) trials finish a second. In the simulation N workers and
one driver take turns; durations are log-normal.
"""

import heapq
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark import measure as harness
from nglkeras import executors
from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.shared_networks import SharedNetworks
from nglkeras.experiments.classification.trial import Trial, plan
from nglkeras.report.figures import styled
from nglkeras.runs import runner
from nglkeras.runs.attempt import make_row
from nglkeras.runs.journal import Journal
from nglkeras.runs.trial import TrialResult

# Trials without a training, to measure the driver.
TRIVIAL = 2_000
# Epochs of the networks that are trained.
EPOCHS = 8
# What is simulated: numbers of workers, mean seconds of a trial, and number of trials.
WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
DURATIONS = (1.0, 10.0, 60.0, 600.0)
TRIALS = 10_000
# Standard deviation of the logarithm of durations.
SPREAD = 0.3


@dataclass(frozen=True)
class Row:
    """Trials an hour, measured or simulated.

    Attributes:
        what: "driver", "throughput" or "simulated".
        executor: Name of the executor.
        workers: Number of workers.
        trial_seconds: Mean seconds of a trial on its worker.
        trials: Number of trials.
        seconds: Seconds for all of them.
        trials_an_hour: Trials an hour at that rate.
        driver_seconds: The driver's seconds for a trial.
    """

    what: str
    executor: str
    workers: int
    trial_seconds: float
    trials: int
    seconds: float
    trials_an_hour: float
    driver_seconds: float

    @classmethod
    def of(cls, what, executor, workers, trial_seconds, trials, seconds, driver_seconds) -> "Row":
        """Make a row; its trials an hour follow from the others."""
        rate = 3600 * trials / seconds
        return cls(what, executor, workers, trial_seconds, trials, seconds, rate, driver_seconds)


def no_training(trial: Trial, *, on_epoch=None) -> TrialResult:
    """Make the result of a trial without training it, with a history of a real one's length."""
    epoch = {"accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 1.0}
    return make_row(trial, status="ok", accuracy=0.5, history=[epoch] * trial.schedule.epochs)


def measure(rounds: int) -> list[Row]:
    """Measure and simulate; `rounds` networks are trained for each number of workers."""
    drivers = [*_driver("processes"), *_driver("ray")]
    # A thousand workers need a cluster: the last driver is Ray's, where Ray is installed.
    curve = [simulated(n, seconds, drivers[-1]) for seconds in DURATIONS for n in WORKERS]
    return [*drivers, *_throughput(rounds), *curve]


def _driver(name) -> Iterator[Row]:
    """Measure what a trial costs the driver, with workers that answer at once."""
    trials = plan(replace(TABLE2_SCALES["demo"], runs=TRIVIAL), ["CE"])
    for workers in (1, 2):
        try:
            executor = executors.make(name, workers=workers)
        except UserError as error:
            print(f"{name} is left out: {error}")
            return
        with executor:
            list(executor.run(no_training, trials[:20]))
            seconds, _ = _run(trials, no_training, executor)
        # All wall time counts as the driver's, though it shares two cores with its workers.
        yield Row.of("driver", name, workers, 0.0, TRIVIAL, seconds, seconds / TRIVIAL)


def _run(trials: Sequence[Trial], work, executor: Executor) -> tuple[float, float]:
    """Return the wall time of trials and the processor time of this process."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        journal = Journal(Path(folder) / "journal.jsonl")
        started, used = time.perf_counter(), time.process_time()
        runner.run_trials(trials, journal, work, executor=executor, quiet=True)
        return time.perf_counter() - started, time.process_time() - used


def _throughput(count) -> Iterator[Row]:
    """Measure trials an hour with one warm worker process and with two."""
    trials = plan(replace(TABLE2_SCALES["demo"], epochs=EPOCHS, runs=count + 4), ["CE"])
    for workers in (1, 2):
        with executors.make("processes", workers=workers) as executor:
            work = SharedNetworks(trials)
            list(executor.run(work, trials[count:]))
            seconds, processor = _run(trials[:count], work, executor)
        each = seconds * workers / count
        yield Row.of("throughput", "processes", workers, each, count, seconds, processor / count)


def simulated(workers: int, duration: float, driver: Row, trials: int = TRIALS) -> Row:
    """Simulate workers and one driver, which serves them one after the other."""
    random = np.random.default_rng(0)
    spread = random.lognormal(-(SPREAD**2) / 2, SPREAD, trials) * duration
    free = [0.0] * workers
    clock = last = 0.0
    for seconds in spread:
        # As soon as it is free, the driver serves the worker that has waited longest.
        clock = max(clock, heapq.heappop(free)) + driver.driver_seconds
        heapq.heappush(free, clock + seconds)
        last = max(last, clock + seconds)
    own = driver.driver_seconds
    return Row.of("simulated", driver.executor, workers, duration, trials, last, own)


@styled
def draw(found: pd.DataFrame, title: str) -> Figure:
    """Draw simulated trials an hour by the number of workers, and the limit set by the driver."""
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


COLUMNS = {
    "what": lambda row: row.what,
    "executor": lambda row: row.executor,
    "workers": lambda row: str(row.workers),
    "trial_seconds": lambda row: f"{row.trial_seconds:.3g}",
    "trials_an_hour": lambda row: f"{row.trials_an_hour:,.0f}",
    "driver": lambda row: f"{1e3 * row.driver_seconds:.2f} ms",
}
report = partial(harness.report, columns=COLUMNS, draw=draw, update=None)

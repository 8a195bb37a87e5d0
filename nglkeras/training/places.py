"""Trainings side by side: one program trains an epoch of each, and a new one takes a free place.

What trains is told by a course: a generator that yields the arguments of `CompiledNetwork.train`,
is sent the `Training`, and returns a result. `Places` follows many courses at once; without it one
training comes after the other.
"""

import math
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from nglkeras.training.monitor import Monitor
from nglkeras.training.one_program import OneProgram
from nglkeras.training.outcome import ONE_PROGRAM, Training
from nglkeras.training.program import AT_THE_LEAST, OUTPUTS, Part

# Share of the free memory that trainings side by side may take, and their greatest number.
SHARE, MOST = 0.5, 64

Course = Generator[dict, Training, Any]


@dataclass
class _Training:
    """A training at a place."""

    index: int
    course: Course
    monitor: Monitor
    seconds: float = 0.0


class Places:
    """Places on the device, each for one training at a time.

    The data of all runs must be the same but for their order.

    Args:
        ours: The program.
        count: Number of places.
        runs: Function that returns a run's start and data; see `OneProgram.run`.
        bound: As in `CompiledNetwork`.
    """

    def __init__(self, ours: OneProgram, count: int, runs, bound: float):
        self.ours, self.count, self.runs, self.bound = ours, count, runs, bound
        self._busy: dict[int, _Training] = {}
        self._all = None
        shared = Part(None, None, 0, None)
        program = ours.program
        self._epoch = jax.jit(jax.vmap(program._epoch, (0, shared, None, 0)))
        self._judged = jax.jit(jax.vmap(program._judged))
        self._both = jax.jit(jax.vmap(self._trained, (0, shared, None, 0)))
        self._is_compiled = False

    def _trained(self, course, train, held, terms):
        course, _ = self.ours.program._epoch(course, train, held, terms)
        return self.ours.program._judged(course, terms)

    def follow(self, courses: Iterable[Course]) -> Iterator[tuple[int, Any]]:
        """Yield the index of each course and its result, as they end."""
        waiting = enumerate(courses)
        self._busy.clear()
        while True:
            for place in sorted(set(range(self.count)) - set(self._busy)):
                for index, course in waiting:
                    ended = self._begin(place, index, course, None)
                    if ended is None:
                        break
                    yield index, ended[0]
            if not self._busy:
                # What comes next may need the room, e.g. a confirmation.
                self.clear()
                return
            for place, training in self._an_epoch():
                one = self._busy.pop(place)
                ended = self._begin(place, one.index, one.course, training)
                if ended is not None:
                    yield one.index, ended[0]

    def clear(self) -> None:
        """Free what the trainings have on the device."""
        self._busy.clear()
        self._all = None

    def _begin(self, place, index, course, training):
        """Begin the next training of a course; return its result in a tuple if there is none."""
        try:
            wanted = dict(course.send(training))
        except StopIteration as end:
            return (end.value,)
        loss, run, timeout = wanted.pop("loss"), wanted.pop("run"), wanted.pop("timeout", None)
        deadline = math.inf if timeout is None else time.perf_counter() + timeout
        monitor = Monitor(deadline, bound=self.bound, bars=wanted.pop("bars", ()))
        start, train, self._held, self._truth = self.runs(run)
        program = self.ours.program
        own = (
            program.begin(start, loss),
            train.order,
            program.terms(self.ours.schedule.learning_rate, monitor.bars, self.bound),
        )
        if self._all is None:
            self._train = train
            self._all = jax.tree.map(lambda a: jnp.stack([jnp.asarray(a)] * self.count), own)
        self._all = _put(self._all, own, place)
        self._busy[place] = _Training(index, course, monitor)
        return None

    def _an_epoch(self):
        """Train an epoch everywhere; yield the places that are free then, with their trainings."""
        started = time.perf_counter()
        course, order, terms = self._all
        train = self._train._replace(order=order)
        found = {}
        if OUTPUTS in self.ours.program.validated:
            course, outputs = self._epoch(course, train, self._held, terms)
            measured = np.full(self.count, np.nan, "float32")
            for place in self._busy:
                measured[place] = found[place] = self.ours.measured(outputs[place], self._truth)
            course = self._judged(course, terms, measured)
        else:
            course = self._both(course, train, self._held, terms)
        self._all = course, order, terms
        epochs, end, rows = jax.device_get((course.epoch, course.end, course.rows))
        seconds = time.perf_counter() - started
        if not self._is_compiled:
            # It takes all of them as long as one, and none would have time left for itself.
            for one in self._busy.values():
                one.monitor.deadline += seconds
            self._is_compiled = True
        seconds /= len(self._busy)
        for place, one in list(self._busy.items()):
            epoch = int(epochs[place]) - 1
            own = {name: values[place] for name, values in rows.items()}
            row = self.ours.program.row(own, epoch, round(seconds, 4))
            if place in found:
                row["val_accuracy"] = found[place]
            one.seconds += seconds
            one.monitor.judge(epoch, row, self.ours.program.epochs)
            is_last = epoch + 1 == self.ours.program.epochs or end[place] == AT_THE_LEAST
            if is_last or one.monitor.status != "ok":
                yield place, self._outcome(place, one)

    def _outcome(self, place, one):
        monitor, accuracy = one.monitor, None
        if monitor.status == "ok":
            state = _taken(self._all[0].state, place)
            accuracy = self.ours.accuracy(state, monitor.history, self._held, self._truth)
        return Training(
            monitor.status,
            validation_accuracy=accuracy,
            message=monitor.message,
            history=monitor.history,
            seconds=round(one.seconds, 4),
            path=ONE_PROGRAM,
        )


def room(ours: OneProgram, run: tuple) -> int:
    """Return how many trainings the device has room for.

    It is one where the device does not tell its memory, as on CPUs: there, sixteen dense networks
    side by side took 0.8 times as long as one after the other, and convolutions 1.7 times.
    """
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return 1
    start, train, held, _ = run
    terms = ours.program.terms(0.0 if ours.program.follows_schedule else 1.0, (), math.inf)
    beginning = ours.program.begin(start)
    lowered = ours.program.epoch.lower(beginning, train, held, terms)
    needed = lowered.compile().memory_analysis()
    # What an epoch makes lies beside what it began with.
    each = needed.temp_size_in_bytes + 2 * needed.output_size_in_bytes
    free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return int(np.clip(SHARE * free // each, 1, MOST))


@jax.jit
def _put(everything, own, place):
    return jax.tree.map(lambda a, one: a.at[place].set(one), everything, own)


@jax.jit
def _taken(everything, place):
    return jax.tree.map(lambda a: a[place], everything)

"""Train networks with a `Program`: when that is possible and faster, and what the host does then.

Between calls of the program the host reports epochs, looks at the clock, and measures what only it
can measure. Small epochs are trained several at a time: a call costs as much as some steps.
"""

import math
import time
from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

import jax
import keras
import numpy as np

from nglkeras.training import program
from nglkeras.training.batches import Batches
from nglkeras.training.monitor import Monitor
from nglkeras.training.optimizer import averages
from nglkeras.training.program import AT_THE_LEAST, KERAS, OUTPUTS, RIGHT, Part, Program
from nglkeras.training.schedule import Schedule
from nglkeras.training.streams import Streams

# Steps after which the host looks whether it was interrupted.
STEPS_AHEAD = 2000
# Bytes of data up to which they are put on a device whose memory is not known, and the share of a
# known memory.
ROOM, SHARE = 2**31, 0.25

Measure = Callable[[Iterator[tuple[np.ndarray, np.ndarray]]], float]


class OneProgram:
    """The trainings of a compiled network, each as one program.

    Args:
        model: The compiled model, with its network in `network` and the memory of its loss in
            `memory`.
        slots: Initial values of the optimizer's variables.
        streams: Data of any run.
        schedule: How it is trained.
        validated: How to validate after each epoch; see `Program`.
        measure: As in `CompiledNetwork`.
    """

    def __init__(
        self,
        model: keras.Model,
        slots: list[np.ndarray],
        streams: Streams,
        schedule: Schedule,
        validated: tuple[str, ...],
        measure: Measure | None,
    ):
        self.measure, self._slots = measure, slots
        self.model, self.schedule = model, schedule
        self.program = Program(
            model,
            model.memory,
            streams.train[0],
            epochs=schedule.epochs,
            steps=streams.steps * schedule.accumulation,
            classes=streams.train.classes,
            plateau=schedule.plateau,
            validated=validated,
        )
        self._known = [id(v) for v in (*model.network.variables, *model.optimizer.variables)]
        # On the device, by the training data of a run.
        self._runs = WeakKeyDictionary()
        # Samples on the device, by their batches.
        self._parts = WeakKeyDictionary()

    def run(self, values: list[np.ndarray], streams: Streams) -> tuple:
        """Return the start and the data of a run, on the device."""
        if streams.train not in self._runs:
            start = self.program.start(dict(zip(self._known, [*values, *self._slots], strict=True)))
            parts = self._part(streams.train), self._part(streams.validation)
            self._runs[streams.train] = start, *parts, self._truth(streams.validation)
        return self._runs[streams.train]

    def _part(self, batches):
        """Put samples on the device; runs that have the same inputs share them."""
        if batches not in self._parts:
            same = (part for one, part in self._parts.items() if _have_same_inputs(one, batches))
            self._parts[batches] = program.part(batches, next(same, None))
        return self._parts[batches]

    def _truth(self, batches):
        """Return the labels of each batch, and how many count; nothing where only Keras measures.

        One-hot, the labels of maps may take more room than all else.
        """
        if self.measure is None:
            return [], []
        pairs = [(y, np.count_nonzero(weights)) for _, y, weights in batches]
        return tuple(zip(*pairs, strict=True))

    def train(self, run: tuple, loss: object, monitor: Monitor, rate: float | None = None) -> float:
        """Train with a loss; return the validation accuracy, or what `measure` returns.

        The model then has the variables of the training's end. There is no accuracy, but NaN, if
        the training failed.
        """
        start, train, held, truth = run
        ours, epochs = self.program, self.program.epochs
        course = ours.begin(start, loss)
        rate = self.schedule.learning_rate if rate is None else rate
        terms = ours.terms(rate, monitor.bars, monitor.bound)
        is_watched = monitor.on_epoch is not None or math.isfinite(monitor.deadline)
        ahead = 1 if is_watched else max(1, STEPS_AHEAD // ours.steps)
        done, found = 0, {}
        monitor.look_at_the_clock()
        while monitor.status == "ok" and done < epochs:
            started = time.perf_counter()
            if OUTPUTS in ours.validated:
                course, outputs = ours.epoch(course, train, held, terms)
                found = {"val_accuracy": self.measured(outputs, truth)}
                course = ours.judged(course, terms, np.float32(found["val_accuracy"]))
            else:
                course = ours.run(course, np.int32(min(done + ahead, epochs)), train, held, terms)
            reached, end, rows = jax.device_get((course.epoch, course.end, course.rows))
            seconds = round((time.perf_counter() - started) / int(reached - done), 4)
            for epoch in range(done, reached):
                if monitor.status == "ok":
                    monitor.judge(epoch, ours.row(rows, epoch, seconds) | found, epochs)
            done = int(reached)
            if end == AT_THE_LEAST:
                break
            # Where the program has judged otherwise, by a rounding, it goes on.
            course = course._replace(end=np.int32(0))
        if done:
            # Keras may take what it is given for itself: not the start, which is kept.
            ours.store(course.state)
        if monitor.status != "ok":
            return math.nan
        return self.accuracy(course.state, monitor.history, held, truth)

    def accuracy(self, state: tuple, history: list[dict], held: Part, truth: tuple) -> float:
        """Return the validation accuracy at the end of a training, or what `measure` returns."""
        if self.program.validated:
            return history[-1]["val_accuracy"]
        if self.measure is not None:
            return self.measured(self.program.outputs(state, held), truth)
        return float(self.program.evaluated(state, held)[0]["accuracy"])

    def measured(self, outputs: jax.Array, truth: tuple[list, list]) -> float:
        """Return what `measure` returns for the outputs on the validation data."""
        outputs = np.asarray(outputs)
        batches = zip(*truth, outputs, strict=True)
        return self.measure((y[:count], p[:count]) for y, count, p in batches if count)


def make(
    model: keras.Model,
    slots: list[np.ndarray],
    streams: Streams,
    schedule: Schedule,
    validate: bool,
    measure_epochs: bool,
    measure: Measure | None,
    *,
    wanted: bool = False,
) -> OneProgram | None:
    """Return what trains a network as one program, where that is possible and faster.

    Args:
        model: See `OneProgram`.
        slots: See `OneProgram`.
        streams: See `OneProgram`.
        schedule: See `OneProgram`.
        validate: See `CompiledNetwork`.
        measure_epochs: See `CompiledNetwork`.
        measure: See `CompiledNetwork`.
        wanted: Whether it need not be faster.
    """
    validated = (KERAS,) if validate else ()
    if measure is not None:
        validated += (OUTPUTS,) if validate or measure_epochs else ()
    elif measure_epochs and not validate:
        validated = (RIGHT,)
    possible = not averages(model.optimizer) and _is_plain(schedule, measure) and _fits(streams)
    if not possible or not (wanted or _is_faster(model, streams.train[0][0])):
        return None
    return OneProgram(model, slots, streams, schedule, validated, measure)


def _have_same_inputs(one, other):
    leaves = keras.tree.flatten(one.x), keras.tree.flatten(other.x)
    return one.finish is other.finish and list(map(id, leaves[0])) == list(map(id, leaves[1]))


def _is_plain(schedule, measure):
    """Return whether a program can do what a schedule wants on a plateau."""
    if schedule.plateau is None:
        return True
    # Keras fails on a plateau of a schedule's rate. A measure takes the place of the accuracy.
    found = {"loss", "val_loss", "val_accuracy"} | (set() if measure else {"accuracy"})
    return not isinstance(schedule.learning_rate, dict) and schedule.plateau.monitor in found


def _fits(streams):
    """Return whether the data of a run are arrays that the device has room for."""
    parts = streams.train, streams.validation
    if not all(isinstance(one, Batches) and one.change is None for one in parts):
        return False
    x = streams.train[0][0]
    if any(np.asarray(leaf).dtype.kind not in "biuf" for leaf in keras.tree.flatten(x)):
        return False
    sizes = [
        len(one.y) * sum(leaf[:1].nbytes for leaf in keras.tree.flatten(one[0][0])) + one.y.nbytes
        for one in parts
    ]
    stats = jax.devices()[0].memory_stats() or {}
    room = stats.get("bytes_limit")
    return sum(sizes) <= (ROOM if room is None else SHARE * room)


def _is_faster(model, example):
    """Return whether one program trains a network faster than `fit`.

    On CPUs XLA's convolutions lose their threads inside a loop: two convolutions on 8 x 8 images
    took 8 ms a step there, and 1 ms in `fit`. The 64-32-10 network on digits took 7 ms for 200
    steps, and 100 ms in `fit`.
    """
    if jax.default_backend() != "cpu":
        return True
    call = jax.make_jaxpr(lambda x: model.network(x, training=False))
    return "conv_general_dilated" not in str(call(example))

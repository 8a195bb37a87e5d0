"""Compile a network once and train it with many losses, each time from the same start.

Everything that training changes is reset before each training: weights, BatchNormalization's
averages, the optimizer's slots, iterations and learning rate, and the seeds of dropout. A loss thus
gives the same result to the last bit, whether it comes first or fortieth.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from weakref import WeakKeyDictionary

import keras
import numpy as np

from nglkeras import training as training_room
from nglkeras.errors import UserError
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.training import accumulation, subsets
from nglkeras.training.devices import distribution
from nglkeras.training.measuring import Measuring, accuracy, is_right
from nglkeras.training.monitor import Monitor, rate_callbacks
from nglkeras.training.optimizer import averages, make_optimizer
from nglkeras.training.outcome import COMPILED_EPOCHS, FIT, ONE_PROGRAM, Training
from nglkeras.training.schedule import Schedule
from nglkeras.training.streams import Streams, in_parts, size

STEPS_PER_EXECUTION = 8
MAX_STEPS_PER_EXECUTION = 32
# Bytes up to which the batches of an evaluation are kept: to make an iterator over small ones takes
# longer than the network's predictions.
KEPT = 2**26


def steps_per_execution(steps: int | None, replicas: int) -> int:
    """Return how many steps a compiled call makes: returning to Python costs more than small steps.

    The result divides the steps of an epoch, since the stream goes on after it; they are `None` for
    streams that end with an epoch.
    """
    # Keras 3.15 has one step at a time on PyTorch, and crashes with more under MirroredStrategy.
    if keras.backend.backend() == "torch" or replicas > 1:
        return 1
    if steps is None:
        return STEPS_PER_EXECUTION
    return max(n for n in range(1, MAX_STEPS_PER_EXECUTION + 1) if steps % n == 0)


class _Network(keras.Model):
    """A network with the memory of its loss, so that both are variables of the compiled model."""

    def __init__(self, network, memory):
        super().__init__(name=f"{network.name}_compiled")
        self.network = network
        self.memory = memory
        self.built = True

    def call(self, x, training=None):
        return self.network(x, training=training)


class CompiledNetwork:
    """A network that is compiled once and trained with any number of losses.

    Its `model` and `loss` are `None` before the first training.

    Args:
        build: Builds the uncompiled network of a run, given the run's number. The networks of all
            runs differ in their initial weights only.
        streams: Returns the data of a run; batches of all runs have the same shapes.
        schedule: Epochs, batches and optimizer of each training.
        make_loss: Builds the loss that can become each of the losses to come: an
            `InterpretedLoss` for expressions, a `SwitchedLoss` for losses of Keras.
        replicas: Number of devices that share each batch.
        validate: Whether to validate after every epoch; otherwise once, at the end. A schedule
            with a plateau always does.
        measure_epochs: Whether to measure the accuracy after every epoch, without the loss. Where
            epochs are small it takes a fraction of the time of a validation.
        bound: A mean loss beyond it stops a training as "exploded".
        one_program: Whether a training on JAX is one program: wherever it can be (`True`), nowhere
            (`False`), or where that is faster ("auto"). It cannot be where data are streamed or
            change at random, the rate falls, devices share batches, or callbacks look on. Time
            limits hold from epoch to epoch. Its results are those of `fit` to float32's rounding.
            On TensorFlow `True` trains by `compiled_epochs`, "auto" with `fit`, as ever.
    """

    def __init__(
        self,
        build: Callable[[int], keras.Model],
        streams: Callable[[int], Streams],
        schedule: Schedule,
        make_loss: Callable[[], keras.losses.Loss] = InterpretedLoss,
        *,
        replicas: int = 1,
        validate: bool = False,
        measure_epochs: bool = False,
        bound: float = np.inf,
        one_program: bool | str = "auto",
    ):
        self.build, self.streams, self.make_loss = build, streams, make_loss
        self.schedule = self._asked = schedule
        self.replicas, self.bound = replicas, bound
        self.validate = validate or schedule.plateau is not None
        self.measure_epochs = measure_epochs
        self.one_program = one_program
        # Maps labels and outputs of batches to a number that stands for the accuracy, and which the
        # history has as "val_accuracy"; `None` for the accuracy itself.
        self.measure: Callable[[Iterator[tuple[np.ndarray, np.ndarray]]], float] | None = None
        self.model = self.loss = self._ours = self._epochs = None
        # The initial values of a run's variables, and its data.
        self._starts: dict[int, tuple[list[np.ndarray], Streams]] = {}
        self._places = {}
        self._fresh: tuple[np.ndarray, np.ndarray] | None = None
        # Batches of small streams.
        self._kept = WeakKeyDictionary()

    def train(
        self,
        loss: Hashable,
        run: int = 0,
        *,
        learning_rate: float | None = None,
        timeout: float | None = None,
        on_epoch: Callable[[int, dict], None] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        bars: Sequence[float] = (),
    ) -> Training:
        """Train from the start of a run with an expression, or the name of a loss.

        It begins with `learning_rate`, by default the schedule's. After `timeout` seconds, all
        tries together, it stops with status "timeout".
        `on_epoch` is called after each epoch with its number, from 1, and its row of the history.
        `bars` stop it as "stopped": see `Monitor`. They need `measure_epochs` or `validate`.
        """
        if bars and not (self.validate or self.measure_epochs):
            raise ValueError("bars need measure_epochs=True")
        deadline = math.inf if timeout is None else time.perf_counter() + timeout

        def attempt(schedule):
            for callback in callbacks:
                # It would keep the network of the previous attempt in memory.
                keras.callbacks.Callback.set_model(callback, None)
            self._adopt(schedule)
            return self._train(loss, run, learning_rate, deadline, on_epoch, callbacks, bars)

        training = accumulation.with_room(attempt, self.schedule, self.replicas)
        if training.status == "out_of_memory":
            # Another loss may need less.
            self._adopt(self._asked)
        return training

    def _adopt(self, schedule):
        if schedule == self.schedule:
            return
        self.schedule = schedule
        self.model = self.loss = self._ours = self._epochs = None
        self._starts.clear()
        self._places.clear()
        accumulation.release()

    def _train(self, loss, run, learning_rate, deadline, on_epoch, callbacks, bars):
        started = time.perf_counter()
        monitor = Monitor(deadline, on_epoch, bound=self.bound, bars=bars)
        outcome = {}
        try:
            values, streams = self._start(run)
            ours = None if callbacks else self._one_program(streams)
            if ours is None:
                epochs = None if callbacks else self._compiled_epochs()
                outcome["path"] = FIT if epochs is None else COMPILED_EPOCHS
                self._fit(loss, run, learning_rate, monitor, callbacks, epochs)
            else:
                outcome["path"] = ONE_PROGRAM
                found = ours.train(ours.run(values, streams), loss, monitor, learning_rate)
            outcome["sizes"] = streams.sizes
            if monitor.status == "ok":
                if ours is None:
                    found = self._validated(monitor.history, streams, callbacks)
                outcome["validation_accuracy"] = found
                if streams.test is not None:
                    outcome["accuracy"] = self.measured(streams.test)
        except UserError:
            raise
        # Whatever a loss does to the network, the next loss is trained all the same.
        except Exception as error:
            monitor.fail(error)
        return Training(
            monitor.status,
            message=monitor.message,
            history=monitor.history,
            seconds=round(time.perf_counter() - started, 3),
            accumulation=self.schedule.accumulation,
            **outcome,
        )

    def _fit(self, loss, run, learning_rate, monitor, callbacks, epochs):
        """Train with Keras' `fit`, or by epochs that XLA compiles."""
        streams = self.reset(loss, run)
        measuring = []
        # Where Keras validates it measures the accuracy, too.
        if self.measure is not None if self.validate else self.measure_epochs:
            measuring = [Measuring(lambda: self._measured(streams.validation))]
        rates = rate_callbacks(self.schedule)
        with self._scope():
            if learning_rate is not None:
                self.model.optimizer.learning_rate = learning_rate
            settings = {
                "epochs": self.schedule.epochs,
                "steps_per_epoch": streams.steps * self.schedule.accumulation,
                "callbacks": [*measuring, monitor, *_seeding(run), *rates, *callbacks],
            }
            if epochs is not None:
                epochs.fit(streams.train, **settings)
                return
            held = streams.validation if self.validate else None
            self.model.fit(
                streams.train, **settings, validation_data=held, shuffle=False, verbose=0
            )

    def _validated(self, history, streams, callbacks):
        # Callbacks may have restored other weights at the end, and averages have taken their place.
        is_changed = callbacks or averages(self.model.optimizer)
        if (self.validate or self.measure_epochs) and not is_changed:
            return history[-1]["val_accuracy"]
        return self.measured(streams.validation)

    def _one_program(self, streams):
        """Return what trains as one program; `None` where `fit` trains."""
        is_possible = keras.backend.backend() == "jax" and not self.schedule.cosine
        if self._ours is None and self.one_program and is_possible and self.replicas == 1:
            # It needs JAX.
            from nglkeras.training import one_program

            how = self.validate, self.measure_epochs, self.measure
            made = self.model, self._optimizer_values, streams, self.schedule
            self._ours = one_program.make(*made, *how, wanted=self.one_program is True) or False
        return self._ours or None

    def _compiled_epochs(self):
        """Return what trains by epochs that XLA compiles; `None` where `fit` does."""
        is_wanted = self.one_program is True and keras.backend.backend() == "tensorflow"
        if not is_wanted or self.validate or max(self.replicas, self.schedule.accumulation) > 1:
            return None
        if self._epochs is None:
            self._epochs = training_room.compiled_epochs.CompiledEpochs(self.model)
        return self._epochs

    def reset(self, loss: Hashable, run: int = 0) -> Streams:
        """Reset everything to the start of a run, set the loss, and return the run's data."""
        streams = self._restore(run)
        with self._scope():
            self.loss.memory.store(loss)
        return streams

    def _restore(self, run):
        values, streams = self._start(run)
        with self._scope():
            variables = [*self.model.network.variables, *self.model.optimizer.variables]
            for variable, value in zip(variables, values + self._optimizer_values, strict=True):
                variable.assign(value)
        self.model.stop_training = False
        return streams

    def evaluate(self, data) -> dict[str, float]:
        """Return the loss and accuracy of the network on a stream of `streams.evaluation`."""
        with self._scope():
            return self.model.evaluate(data, verbose=0, return_dict=True)

    def measured(self, data) -> float:
        """Return the accuracy on a stream of `streams.evaluation`, or what `measure` returns."""
        if self.measure is None and self._compiled_epochs() is None:
            return self.evaluate(data)["accuracy"]
        return self._measured(data)

    def _measured(self, data):
        """Return the same without Keras, whose evaluation costs as much as a small epoch."""
        with self._scope():
            return (self.measure or accuracy)(self._predictions(data))

    def tested_in_parts(self, run: int, count: int) -> list[float]:
        """Return the accuracy, or what `measure` returns, on parts of a run's test data.

        The network is as its last training has left it. The parts are drawn at random, always the
        same ones; there are fewer if a part would have less than two samples, or none of a class
        that a `measure` may need.

        Args:
            run: The run, which has test data.
            count: Number of parts.
        """
        test = self._starts[run][1].test
        with self._scope():
            labels, outputs = map(np.concatenate, zip(*self._predictions(test), strict=True))
        if self.measure is None:
            right = is_right(labels, outputs)
            return [float(right[rows].mean()) for rows in subsets.random(len(labels), count)]
        parts = subsets.with_all_classes(labels, count) or subsets.random(len(labels), count)
        return [float(self.measure([(labels[rows], outputs[rows])])) for rows in parts]

    def _predictions(self, data):
        """Yield the labels and the network's outputs of each batch, without padding."""
        for (_, y, weights), outputs in self._predicted(data):
            count = np.count_nonzero(weights)
            if count:
                yield y[:count], outputs[:count]

    def _predicted(self, data):
        batches, epochs = self._batches(data), self._compiled_epochs()
        if epochs is not None and isinstance(batches, list):
            return zip(batches, epochs.outputs(data, batches), strict=True)
        return ((batch, _value(self.model.predict_on_batch(batch[0]))) for batch in batches)

    def _batches(self, data):
        """Return the batches as arrays; those of small data are kept."""
        if data not in self._kept:
            if size(data) > KEPT:
                return data.as_numpy_iterator()
            self._kept[data] = list(data.as_numpy_iterator())
        return self._kept[data]

    def fresh_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and the untrained network's outputs on the first training batch."""
        if self._fresh is None:
            streams = self._restore(0)
            batches = islice(streams.train.as_numpy_iterator(), self.schedule.accumulation)
            parts = [(y, _value(self.model.network(x, training=False))) for x, y in batches]
            y, p = (np.concatenate(part) for part in zip(*parts, strict=True))
            self._fresh = y, p
        return self._fresh

    def places(self, count: int | str):
        """Return `Places` for this many trainings at once; `None` where they train one by one.

        The data of all runs must be the same but for their order. "auto" is as many as the device
        has room for.
        """
        start = self._start(0)
        ours = self._one_program(start[1])
        if ours is not None and count not in self._places:
            from nglkeras.training import places

            found = places.room(ours, ours.run(*start)) if count == "auto" else count
            how = lambda run: ours.run(*self._start(run)), self.bound
            self._places[count] = places.Places(ours, found, *how) if found > 1 else None
        return self._places.get(count)

    def forget_others(self, run: int) -> None:
        """Free the weights and data of all other runs; they are built again when needed."""
        for other in set(self._starts) - {run}:
            del self._starts[other]

    def _scope(self):
        return distribution(self.replicas, self.schedule)

    def _start(self, run):
        if run not in self._starts:
            with self._scope():
                network = self.build(run)
                values = [_value(variable) for variable in network.variables]
                streams = in_parts(self.streams(run), self.schedule)
                if self.model is None:
                    self._compile(network, streams.steps * self.schedule.accumulation)
            self._starts[run] = values, streams
        return self._starts[run]

    def _compile(self, network, steps):
        self.loss = self.make_loss()
        model = _Network(network, self.loss.memory)
        optimizer = make_optimizer(self.schedule, self.replicas)
        model.compile(
            optimizer=optimizer,
            loss=self.loss,
            weighted_metrics=["accuracy"] if self.measure is None else None,
            steps_per_execution=steps_per_execution(steps, self.replicas),
        )
        # An optimizer that is built inside `fit` makes TensorFlow trace the step twice.
        # Under mixed_float16 it is not the given one, but one that scales the loss for it.
        model.optimizer.build(model.trainable_variables)
        self._optimizer_values = [_value(variable) for variable in model.optimizer.variables]
        self.model = model


def _seeding(run):
    """Return callbacks that seed PyTorch, whose dropout draws from a global generator.

    So does the first `fit` before it trains. Elsewhere dropout has its own seeds, and seeding would
    discard the step that TensorFlow has prepared, which takes longer than a short training.
    """
    if keras.backend.backend() != "torch":
        return []
    seed = keras.utils.set_random_seed
    return [keras.callbacks.LambdaCallback(on_train_begin=lambda logs: seed(run))]


def _value(variable):
    # A copy: on JAX and PyTorch it may otherwise share the variable's memory.
    return np.array(keras.ops.convert_to_numpy(variable))

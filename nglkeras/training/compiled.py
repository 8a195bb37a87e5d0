"""A network that is compiled once and trained with many losses, from the same start each time.

Before each training everything that training changes is put back: weights, BatchNormalization's
averages, the optimizer's slots, iterations and learning rate, and the seeds of dropout. The same
loss then gives the same result to the last bit, whether it comes first or fortieth.
"""

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from nglkeras.errors import UserError
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.training import accumulation
from nglkeras.training.devices import distribution
from nglkeras.training.monitor import Monitor, plateau_callbacks
from nglkeras.training.optimizer import make_optimizer
from nglkeras.training.outcome import Training
from nglkeras.training.schedule import Schedule
from nglkeras.training.steps import steps_per_execution
from nglkeras.training.streams import Streams, in_parts


class _Network(keras.Model):
    """The network and the memory of its loss, which must travel with the weights."""

    def __init__(self, network, memory):
        super().__init__(name=f"{network.name}_compiled")
        self.network = network
        self.memory = accumulation
        self.built = True

    def call(self, x, training=None):
        return self.network(x, training=training)


@dataclass(frozen=True)
class _Start:
    """Where the trainings of a run begin, and what they see."""

    values: list[np.ndarray]
    streams: Streams


class CompiledNetwork:
    """Trains one network with any number of losses.

    Args:
        build: Builds the network of a run, uncompiled, with the run's own initial weights. The
            networks of all runs are alike but for these.
        streams: The data of a run; batches of all runs have the same shapes.
        schedule: How the network is trained.
        make_loss: Builds the loss that can be any of those that are to come: an `InterpretedLoss`
            for expressions, a `SwitchedLoss` for losses of Keras.
        replicas: Devices that share each batch.
        validate: Whether to validate after every epoch; a plateau needs it. Otherwise once, at the
            end.
        bound: A mean loss beyond it ends a training as "exploded".
        accumulate: Whether to try again with batches in parts when memory has no room for them;
            later trainings then begin with as many.

    Attributes:
        model: The compiled model; `None` before the first training.
        loss: Its loss.
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
        bound: float = np.inf,
        accumulate: bool = True,
    ):
        self.build = build
        self.streams = streams
        self.schedule = schedule
        self.make_loss = make_loss
        self.replicas = replicas
        self.validate = validate or schedule.plateau is not None
        self.bound = bound
        self.accumulate = accumulate
        self.model = None
        self.loss = None
        self._asked = schedule
        self._starts: dict[int, _Start] = {}
        self._fresh: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def train(
        self,
        loss: Hashable,
        run: int = 0,
        *,
        timeout: float | None = None,
        on_epoch: Callable[[int, dict], None] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> Training:
        """Train from the start of a run with this loss.

        Args:
            loss: What the memory of the loss stores: an expression, or the name of a loss.
            run: Which repetition.
            timeout: Seconds after which training stops with status "timeout", all tries
                together.
            on_epoch: Called after each epoch with its number, from 1, and its row of the history.
            callbacks: Of Keras.

        Raises:
            UserError: If network or data cannot be had.
        """
        deadline = math.inf if timeout is None else time.perf_counter() + timeout

        def attempt(schedule):
            for callback in callbacks:
                # It would hold on to the network of the attempt before.
                keras.callbacks.Callback.set_model(callback, None)
            self._adopt(schedule)
            return self._train(loss, run, deadline, on_epoch, callbacks)

        if not self.accumulate:
            return attempt(self.schedule)
        training = accumulation.with_room(attempt, self.schedule, self.replicas)
        if training.status == "out_of_memory":
            # Another loss may need less.
            self._adopt(self._asked)
        return training

    def _adopt(self, schedule):
        if schedule == self.schedule:
            return
        self.schedule = schedule
        self.model = self.loss = None
        self._starts.clear()
        accumulation.release()

    def _train(self, loss, run, deadline, on_epoch, callbacks):
        started = time.perf_counter()
        monitor = Monitor(deadline, on_epoch, bound=self.bound)
        outcome = {}
        try:
            streams = self.reset(loss, run)
            with self._scope():
                self.model.fit(
                    streams.train,
                    epochs=self.schedule.epochs,
                    steps_per_epoch=streams.steps * self.schedule.accumulation,
                    validation_data=streams.validation if self.validate else None,
                    callbacks=[
                        monitor,
                        *_seeding(run),
                        *plateau_callbacks(self.schedule),
                        *callbacks,
                    ],
                    shuffle=False,
                    verbose=0,
                )
            outcome["sizes"] = streams.sizes
            if monitor.status == "ok":
                outcome |= self._accuracies(monitor.history, streams)
        except UserError:
            raise
        # Whatever a loss does to a network, the next must have its turn.
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

    def _accuracies(self, history, streams):
        found = {
            "validation_accuracy": history[-1]["val_accuracy"]
            if self.validate
            else self.evaluate(streams.validation)["accuracy"]
        }
        if streams.test is not None:
            found["accuracy"] = self.evaluate(streams.test)["accuracy"]
        return found

    def reset(self, loss: Hashable, run: int = 0) -> Streams:
        """Put everything back to the start of a run, and make this the loss."""
        streams = self._restore(run)
        with self._scope():
            self.loss.memory.store(loss)
        return streams

    def _restore(self, run):
        start = self._start(run)
        with self._scope():
            for variable, value in zip(self.model.network.variables, start.values, strict=True):
                variable.assign(value)
            for variable, value in zip(
                self.model.optimizer.variables, self._optimizer_values, strict=True
            ):
                variable.assign(value)
        self.model.stop_training = False
        return start.streams

    def evaluate(self, data) -> dict[str, float]:
        """Loss and accuracy of the network as it is, on a stream of `streams.evaluation`."""
        with self._scope():
            return self.model.evaluate(data, verbose=0, return_dict=True)

    def fresh_batch(self, run: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Labels and softmax outputs of the untrained network on its first training batch."""
        if run not in self._fresh:
            streams = self._restore(run)
            parts = [
                (y, _value(self.model.network(x, training=False)))
                for x, y in streams.train.take(self.schedule.accumulation).as_numpy_iterator()
            ]
            y, p = (np.concatenate(part) for part in zip(*parts, strict=True))
            self._fresh[run] = y, p
        return self._fresh[run]

    def forget_others(self, run: int) -> None:
        """Free weights and data of all runs but this; whoever comes back to one builds it anew."""
        for other in set(self._starts) - {run}:
            del self._starts[other]

    def _scope(self):
        return distribution(self.replicas, self.schedule)

    def _start(self, run):
        if run not in self._starts:
            with self._scope():
                network = self.build(run)
                values = [_value(variable) for variable in network.variables]
                start = _Start(values, in_parts(self.streams(run), self.schedule))
                if self.model is None:
                    self._compile(network, start.streams.steps * self.schedule.accumulation)
            self._starts[run] = start
        return self._starts[run]

    def _compile(self, network, steps):
        self.loss = self.make_loss()
        model = _Network(network, self.loss.memory)
        optimizer = make_optimizer(self.schedule, self.replicas)
        model.compile(
            optimizer=optimizer,
            loss=self.loss,
            weighted_metrics=["accuracy"],
            steps_per_execution=steps_per_execution(steps, self.replicas),
        )
        # An optimizer that is built inside `fit` makes TensorFlow trace the step twice.
        # Under mixed_float16 it is not the given one, but one that scales the loss for it.
        model.optimizer.build(model.trainable_variables)
        self._optimizer_values = [_value(variable) for variable in model.optimizer.variables]
        self.model = model


def _seeding(run):
    """On PyTorch dropout draws from the global generator, as does the first `fit` before it trains.

    Elsewhere dropout has its own seeds, and seeding would throw away what TensorFlow has prepared
    of the compiled step, which takes it longer than a short training.
    """
    if keras.backend.backend() != "torch":
        return []
    return [
        keras.callbacks.LambdaCallback(on_train_begin=lambda logs: keras.utils.set_random_seed(run))
    ]


def _value(variable):
    # A copy: on JAX and PyTorch it may otherwise share the variable's memory.
    return np.array(keras.ops.convert_to_numpy(variable))

"""A network that is compiled once and trained with many losses, from the same start each time.

Before each training everything that training changes is put back: weights, BatchNormalization's
averages, the optimizer's slots, iterations and learning rate, and the seeds of dropout. The same
loss then gives the same result to the last bit, whether it comes first or fortieth.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np

from nglkeras.devices import distribution
from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.interpreter import InterpretedLoss, Memory
from nglkeras.protocol import Schedule
from nglkeras.streams import Streams
from nglkeras.training import (
    Monitor,
    make_optimizer,
    plateau_callbacks,
    steps_per_execution,
)


@dataclass(frozen=True)
class Training:
    """What came of training with one loss.

    Attributes:
        status: One of `trial.STATUSES`.
        validation_accuracy: After the last epoch, in [0, 1]; `None` if it was not reached.
        message: What went wrong.
        history: A row for each finished epoch.
        seconds: Wall time.
    """

    status: str
    validation_accuracy: float | None = None
    message: str = ""
    history: list[dict] = field(default_factory=list)
    seconds: float = 0.0


class _Network(keras.Model):
    """The network and the program of its loss, which must travel with the weights."""

    def __init__(self, network, memory):
        super().__init__(name=f"{network.name}_workbench")
        self.network = network
        self.memory = memory
        self.built = True

    def call(self, x, training=None):
        return self.network(x, training=training)


@dataclass(frozen=True)
class _Start:
    """Where the trainings of a run begin, and what they see."""

    values: list[np.ndarray]
    streams: Streams


class Workbench:
    """Trains one network with any number of losses.

    Args:
        build: Builds the network of a run, uncompiled, with the run's own initial weights. The
            networks of all runs are alike but for these.
        streams: The data of a run; batches of all runs have the same shapes.
        schedule: How the network is trained. Without a plateau, it is validated at the end only.
        replicas: Devices that share each batch, under `tf.distribute.MirroredStrategy`.
        class_reduction: `"mean"` or `"sum"` of the loss over the classes.
        bound: A mean loss beyond it ends a training as "exploded".

    Attributes:
        model: The compiled model; `None` before the first training.
        loss: Its loss.
    """

    def __init__(
        self,
        build: Callable[[int], keras.Model],
        streams: Callable[[int], Streams],
        schedule: Schedule,
        *,
        replicas: int = 1,
        class_reduction: str = "mean",
        bound: float = np.inf,
    ):
        self.build = build
        self.streams = streams
        self.schedule = schedule
        self.replicas = replicas
        self.class_reduction = class_reduction
        self.bound = bound
        self.model = None
        self.loss = None
        self._starts: dict[int, _Start] = {}
        self._fresh: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def train(
        self,
        expression: Expression,
        run: int = 0,
        *,
        timeout: float | None = None,
    ) -> Training:
        """Train from the start of a run with this loss.

        Args:
            expression: The loss per class.
            run: Which repetition.
            timeout: Seconds after which training stops with status "timeout".

        Raises:
            UserError: If network or data cannot be had.
        """
        started = time.perf_counter()
        monitor = Monitor(started, timeout, bound=self.bound)
        accuracy = None
        try:
            streams = self.reset(expression, run)
            each_epoch = self.schedule.plateau is not None
            self.model.fit(
                streams.train,
                epochs=self.schedule.epochs,
                steps_per_epoch=streams.steps,
                validation_data=streams.validation if each_epoch else None,
                callbacks=[monitor, *_seeding(run), *plateau_callbacks(self.schedule)],
                shuffle=False,
                verbose=0,
            )
            if monitor.status == "ok":
                row = monitor.history[-1] if each_epoch else self.evaluate(streams.validation)
                accuracy = row["val_accuracy" if each_epoch else "accuracy"]
        except UserError:
            raise
        # Whatever a loss does to a network, the next must have its turn.
        except Exception as error:
            monitor.fail(error)
        return Training(
            monitor.status,
            accuracy,
            monitor.message,
            monitor.history,
            round(time.perf_counter() - started, 3),
        )

    def reset(self, expression: Expression, run: int = 0) -> Streams:
        """Put everything back to the start of a run, and make this the loss."""
        start = self._start(run)
        with self._scope():
            self.model.memory.store(expression)
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
        return self.model.evaluate(data, verbose=0, return_dict=True)

    def fresh_batch(self, run: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Labels and softmax outputs of the untrained network on its first training batch."""
        if run not in self._fresh:
            streams = self.reset(Expression(("y_pred",)), run)
            x, y = next(iter(streams.train.take(1).as_numpy_iterator()))
            self._fresh[run] = y, _value(self.model.network(x, training=False))
        return self._fresh[run]

    def _scope(self):
        return distribution(self.replicas, self.schedule.batch_size)

    def _start(self, run):
        if run not in self._starts:
            with self._scope():
                network = self.build(run)
                values = [_value(variable) for variable in network.variables]
                start = _Start(values, self.streams(run))
                if self.model is None:
                    self._compile(network, start.streams.steps)
            self._starts[run] = start
        return self._starts[run]

    def _compile(self, network, steps):
        model = _Network(network, Memory(name="program"))
        self.loss = InterpretedLoss(model.memory, self.class_reduction)
        optimizer = make_optimizer(self.schedule)
        model.compile(
            optimizer=optimizer,
            loss=self.loss,
            weighted_metrics=["accuracy"],
            steps_per_execution=steps_per_execution(steps, self.replicas),
        )
        # An optimizer that is built inside `fit` makes TensorFlow trace the step twice.
        optimizer.build(model.trainable_variables)
        self._optimizer_values = [_value(variable) for variable in optimizer.variables]
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

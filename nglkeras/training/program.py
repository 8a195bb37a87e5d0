"""A training as one program of JAX: its steps, validations, plateau and early end.

Keras' own steps (`train_step`, `test_step`) are pure functions of variables on JAX. Here they are
the body of a loop inside the compiled program, where `fit` calls them from Python: a step of a
small network takes less time than that call. Data, weights and the loss, which is data too, stay on
the device.

The program judges each epoch in float32, as `Monitor` does on the host, which decides in the end:
where the program stops and `Monitor` does not, it goes on.
"""

from typing import NamedTuple

import jax
import keras
import numpy as np
from jax import lax
from jax import numpy as jnp

from nglkeras.training.batches import Batches
from nglkeras.training.measuring import is_right
from nglkeras.training.schedule import Plateau

# Ways to validate after an epoch: as Keras does; by the share of right outputs alone; on the host,
# from the outputs.
KERAS, RIGHT, OUTPUTS = "keras", "right", "outputs"
# Why a training has ended before its last epoch: losses or bars, or a plateau at the least rate.
JUDGED, AT_THE_LEAST = 1, 2
# What Keras' callback counts as an improvement.
MIN_DELTA = 1e-4


class Part(NamedTuple):
    """Samples on the device.

    Attributes:
        x: Inputs.
        y: Labels.
        order: The samples' numbers, `[batches, batch_size]`.
        weights: Their weights, or `None`.
    """

    x: object
    y: jax.Array
    order: jax.Array
    weights: jax.Array | None


class Terms(NamedTuple):
    """What a training is told beside its data.

    Attributes:
        rates: The learning rate, and what a plateau makes of it, step by step.
        bars: The least best validation accuracy after each epoch.
        bound: Greatest absolute value of a mean loss.
    """

    rates: np.ndarray
    bars: np.ndarray
    bound: np.ndarray


class Course(NamedTuple):
    """How far a training is.

    Attributes:
        epoch: Number of finished epochs.
        state: Trainable, other and optimizer's variables.
        rows: What each epoch has measured, by name.
        best: The plateau's best value.
        wait: Epochs since then.
        reduced: How often the rate was reduced.
        top: Best validation accuracy.
        end: `JUDGED`, `AT_THE_LEAST`, or 0 while it goes on.
    """

    epoch: jax.Array
    state: tuple
    rows: dict
    best: jax.Array
    wait: jax.Array
    reduced: jax.Array
    top: jax.Array
    end: jax.Array


class Program:
    """The compiled training of a model.

    Args:
        model: A compiled model with a built optimizer.
        memory: The layer that holds its loss.
        example: A batch of its training, from which Keras builds the metrics.
        epochs: Number of epochs.
        steps: Steps of an epoch.
        classes: Number of classes of labels that are made one-hot batch by batch, or `None`.
        plateau: What happens on a plateau, or `None`.
        validated: How to validate after an epoch: some of `KERAS`, `RIGHT` and `OUTPUTS`.
    """

    def __init__(
        self,
        model: keras.Model,
        memory: keras.layers.Layer,
        example: tuple,
        *,
        epochs: int,
        steps: int,
        classes: int | None = None,
        plateau: Plateau | None = None,
        validated: tuple[str, ...] = (),
    ):
        self.model, self.memory = model, memory
        self.epochs, self.steps, self.classes = epochs, steps, classes
        self.plateau, self.validated = plateau, validated
        model._symbolic_build(data_batch=example)
        model.reset_metrics()
        # Keras collects these anew whenever it is asked.
        self._variables = (
            list(model.trainable_variables),
            list(model.non_trainable_variables),
            list(model.optimizer.variables),
        )
        self._metrics = [jnp.asarray(variable.value) for variable in model.metrics_variables]
        self._metrics_variables = list(model.metrics_variables)
        names = sorted(model.get_metrics_result())
        self.names = list(names)
        if KERAS in validated:
            self.names += [f"val_{name}" for name in names]
        if (RIGHT in validated or OUTPUTS in validated) and "val_accuracy" not in self.names:
            self.names.append("val_accuracy")
        self.follows_schedule = _follows_schedule(model.optimizer)
        self.run = jax.jit(self._run)
        self.epoch = jax.jit(self._epoch)
        self.judged = jax.jit(self._judged)
        self.evaluated = jax.jit(self._evaluated)
        self.outputs = jax.jit(self._outputs)

    def start(self, values: dict[int, np.ndarray]) -> tuple:
        """Return the state in which trainings begin, on the device, but for the loss.

        Args:
            values: Values of variables by `id`.
        """
        return tuple(
            [jnp.asarray(values[id(one)]) if id(one) in values else None for one in kind]
            for kind in self._variables
        )

    def begin(self, start: tuple, loss: object = None) -> Course:
        """Return the beginning of a training with a loss, by default with that of the model."""
        content = [v.value for v in self.memory.variables]
        if loss is not None:
            content = self.memory.content(loss)
        held = {id(v): value for v, value in zip(self.memory.variables, content, strict=True)}
        trainable, other, slots = start
        other = [held.get(id(v), x) for v, x in zip(self._variables[1], other, strict=True)]
        least, zero = np.float32(-np.inf), np.int32(0)
        rows = {name: np.zeros(self.epochs, "float32") for name in self._columns}
        return Course(zero, (trainable, other, slots), rows, least, zero, zero, least, zero)

    def row(self, rows: dict[str, np.ndarray], epoch: int, seconds: float) -> dict:
        """Return the row of an epoch, as `Monitor` has it; training and validation are one."""
        row = {name: float(rows[name][epoch]) for name in self._columns}
        return row | {"seconds": seconds, "training_seconds": seconds}

    @property
    def _columns(self):
        return [*self.names, "learning_rate"]

    def store(self, state: tuple) -> None:
        """Give the model the variables of a state."""
        for variables, values in zip(self._variables, state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def terms(self, rate: float, bars: tuple[float, ...], bound: float) -> Terms:
        """Return the terms of a training; after the last epoch there is no bar."""
        limits = np.full(self.epochs, -np.inf, "float32")
        count = min(len(bars), self.epochs - 1)
        limits[:count] = bars[:count]
        rates = np.zeros(1) if self.follows_schedule else _rates(rate, self.plateau, self.epochs)
        return Terms(rates.astype("float32"), limits, np.float32(bound))

    def _run(self, course, until, train, held, terms):
        """Train to the end of an epoch."""

        def goes_on(course):
            return (course.epoch < until) & (course.end == 0)

        def body(course):
            course, _ = self._epoch(course, train, held, terms)
            return self._judged(course, terms)

        return lax.while_loop(goes_on, body, course)

    def _epoch(self, course, train, held, terms):
        """Train an epoch and validate; return what follows from it, and the network's outputs."""
        trainable, other, slots = course.state
        if not self.follows_schedule:
            slots = self._with_rate(slots, terms.rates[course.reduced])
        order = lax.dynamic_slice_in_dim(train.order, course.epoch * self.steps, self.steps)

        def step(state, rows):
            return self.model.train_step(state, self._batch(train, rows))[1], None

        state = trainable, other, slots, self._metrics
        (*state, metrics), _ = lax.scan(step, _settled(state), order)
        found = self._logs(metrics) | {"learning_rate": self._rate(state[2])}
        outputs = None
        if KERAS in self.validated:
            logs, state = self._evaluated(state, held)
            found |= {f"val_{name}": value for name, value in logs.items()}
        if RIGHT in self.validated or OUTPUTS in self.validated:
            outputs = self._outputs(state, held)
        if RIGHT in self.validated:
            right = is_right(held.y[held.order], outputs)
            counts = held.weights > 0
            found["val_accuracy"] = (right & counts).sum() / counts.sum()
        rows = dict(course.rows)
        for name, value in found.items():
            rows[name] = rows[name].at[course.epoch].set(value)
        return course._replace(state=tuple(state), rows=rows), outputs

    def _judged(self, course, terms, measured=None):
        """Count an epoch; decide on the rate and whether the training goes on."""
        epoch, rows = course.epoch, dict(course.rows)
        if measured is not None:
            rows["val_accuracy"] = rows["val_accuracy"].at[epoch].set(measured)
        row = {name: values[epoch] for name, values in rows.items()}
        losses = jnp.stack([row[name] for name in ("loss", "val_loss") if name in row])
        good = (jnp.isfinite(losses) & (jnp.abs(losses) <= terms.bound)).all()
        top = course.top
        if "val_accuracy" in row:
            top = jnp.where(row["val_accuracy"] > top, row["val_accuracy"], top)
            good &= ~(top < terms.bars[epoch])
        end = jnp.where(good, 0, JUDGED)
        course = course._replace(epoch=epoch + 1, rows=rows, top=top, end=end.astype("int32"))
        return course if self.plateau is None else self._on_plateau(course, row, terms)

    def _on_plateau(self, course, row, terms):
        """Do as `monitor.ReduceOrStop` does."""
        plateau, sign = self.plateau, 1 if self.plateau.mode == "max" else -1
        value = sign * row[plateau.monitor]
        # The difference of like numbers is exact, and the callback's sum nearly: in the other order
        # a sample more of ten thousand would be an improvement there, and by a rounding not here.
        improved = (value - course.best > MIN_DELTA) | (course.epoch == 1)
        best = jnp.where(improved, value, course.best)
        wait = jnp.where(improved, 0, course.wait + 1)
        least = np.float32(plateau.min_learning_rate)
        reduces = ~improved & (wait >= plateau.patience) & (terms.rates[course.reduced] > least)
        reduced = course.reduced + reduces
        wait = jnp.where(reduces, 0, wait)
        end = course.end
        if plateau.stop_after is not None:
            done = (terms.rates[reduced] <= least) & (wait >= plateau.stop_after)
            end = jnp.where((end == 0) & done, AT_THE_LEAST, end)
        return course._replace(best=best, wait=wait, reduced=reduced, end=end)

    def _evaluated(self, state, held):
        """Return what Keras' `evaluate` returns, and the state after it."""
        trainable, other, slots = state

        def step(carry, rows):
            other, metrics = carry
            _, (_, *carry) = self.model.test_step(
                (trainable, other, metrics), self._batch(held, *rows)
            )
            return tuple(carry), None

        (other, metrics), _ = lax.scan(
            step, _settled((other, self._metrics)), (held.order, held.weights)
        )
        return self._logs(metrics), (trainable, other, slots)

    def _outputs(self, state, held):
        """Return the network's outputs, `[batches, batch_size, ...]`."""

        def outputs(rows):
            x, *_ = self._batch(held, rows)
            return self.model.stateless_call(state[0], state[1], x, training=False)[0]

        return lax.map(outputs, held.order)

    def _batch(self, part, rows, weights=None):
        x, y = jax.tree.map(lambda array: array[rows], (part.x, part.y))
        if self.classes is not None:
            y = jax.nn.one_hot(y, self.classes)
        return (x, y) if weights is None else (x, y, weights)

    def _logs(self, metrics):
        with keras.StatelessScope(list(zip(self._metrics_variables, metrics, strict=True))):
            return self.model.get_metrics_result()

    def _rate(self, slots):
        with self._of_optimizer(slots):
            return jnp.asarray(self.model.optimizer.learning_rate)

    def _with_rate(self, slots, rate):
        with self._of_optimizer(slots) as scope:
            self.model.optimizer.learning_rate = rate
        return [scope.get_current_value(variable) for variable in self._variables[2]]

    def _of_optimizer(self, slots):
        return keras.StatelessScope(list(zip(self._variables[2], slots, strict=True)))


def _settled(state):
    """Return arrays whose types do not change from step to step."""
    return jax.tree.map(jnp.asarray, tuple(state))


def _follows_schedule(optimizer):
    schedule = keras.optimizers.schedules.LearningRateSchedule
    own = getattr(optimizer, "inner_optimizer", optimizer)
    return isinstance(own._learning_rate, schedule)


def _rates(rate, plateau, epochs):
    """Return the rate, and what it becomes whenever Keras' callback reduces it."""
    rates = [np.float32(rate)]
    while len(rates) <= epochs:
        reduced = rates[-1]
        if plateau is not None and reduced > np.float32(plateau.min_learning_rate):
            reduced = max(float(reduced) * plateau.factor, plateau.min_learning_rate)
        rates.append(np.float32(reduced))
    return np.array(rates)


def part(batches: Batches, like: Part | None = None) -> Part:
    """Put samples on the device; inputs are those of a part that is `like` them."""
    if like is not None:
        x = like.x
    else:
        x = batches.x if batches.finish is None else batches.finish(batches.x)
    y = batches.y.astype("float32" if batches.classes is None else "int32")
    order = batches.order.reshape(-1, batches.order.shape[1] // batches.parts).astype("int32")
    weights = batches.weights
    if weights is not None:
        weights = jnp.asarray(weights.reshape(order.shape), "float32")
    return Part(jax.tree.map(jnp.asarray, x), jnp.asarray(y), jnp.asarray(order), weights)

"""Fitness of a loss: train a network with it, look at its validation accuracy.

`TrainingFitness` takes a model and data of one's own; `trials.TrialFitness` takes trials, such as
those of paper A's five experiments or of paper B. Both are functions of an individual's
expression; neither ever sees a test set.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import keras
import numpy as np

from nglkeras import streams
from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.protocol import Schedule, derive_seed
from nglkeras.search.evolution import Evaluation
from nglkeras.search.screening import BOUNDS
from nglkeras.workbench import Workbench

SCALE_FREE = ("adam", "adamax", "adamw", "nadam", "rmsprop")


@dataclass(frozen=True)
class Comparison:
    """Accuracies of some losses on data that the search has not seen.

    Attributes:
        name: Of the loss.
        formula: Of the loss.
        accuracies: One for each repetition, in [0, 1].
    """

    name: str
    formula: str
    accuracies: tuple[float, ...]


class TrainingFitness:
    """Validation accuracy of one's own network after training on one's own data.

    The network is compiled once, whatever the number of losses. Sent to a worker it begins there
    anew, with the same data.

    Args:
        model_fn: Builds the uncompiled network; it ends in a softmax over the classes.
        train: (x, y): inputs, and labels as class indices `[n]` or one-hot `[n, classes]`.
        validation: (x, y) alike.
        epochs: Passes over the training data for each candidate.
        batch_size: Samples a step.
        optimizer: A Keras optimizer by name.
        learning_rate: Of the optimizer.
        runs: Networks for each candidate; the fitness is their mean accuracy.
        seed: Of initial weights and orders.
        replicas: Devices that share each batch.
        timeout: Seconds after which the training of a network stops.

    Raises:
        UserError: If inputs and labels do not fit each other.
    """

    def __init__(
        self,
        model_fn: Callable[[], keras.Model],
        train: tuple[np.ndarray, np.ndarray],
        validation: tuple[np.ndarray, np.ndarray],
        *,
        epochs: int = 3,
        batch_size: int = 32,
        optimizer: str = "Adam",
        learning_rate: float = 1e-3,
        runs: int = 1,
        seed: int = 0,
        replicas: int = 1,
        timeout: float | None = None,
    ):
        self._arguments = (
            (model_fn, train, validation),
            {
                "epochs": epochs,
                "batch_size": batch_size,
                "optimizer": optimizer,
                "learning_rate": learning_rate,
                "runs": runs,
                "seed": seed,
                "replicas": replicas,
                "timeout": timeout,
            },
        )
        self.classes = _classes(train[1])
        x, y = _checked("train", train, self.classes)
        validation = _checked("validation", validation, self.classes)
        self.runs = runs
        self.timeout = timeout
        # Optimizers that divide a gradient by its own size do not see its scale.
        self.gradients = "scaled" if optimizer.lower() in SCALE_FREE else "exact"
        self._data = _digest(x, y, *validation)

        def build(run):
            keras.utils.set_random_seed(derive_seed(seed, "model", run))
            return model_fn()

        def make_streams(run):
            data, steps = streams.training(
                x, y, batch_size=batch_size, epochs=epochs, seed=derive_seed(seed, "run", run)
            )
            held = streams.evaluation(*validation, batch_size=batch_size)
            return streams.Streams(data, held, steps)

        schedule = Schedule(
            epochs,
            batch_size,
            optimizer=optimizer,
            optimizer_settings=(),
            learning_rate=learning_rate,
            plateau=None,
        )
        self.workbench = Workbench(
            build, make_streams, schedule, replicas=replicas, bound=BOUNDS[1]
        )

    def __reduce__(self):
        # Compiled networks do not travel.
        positional, named = self._arguments
        return partial(type(self), **named), positional

    @cached_property
    def settings(self) -> dict:
        """What decides the fitness, as JSON has it; to tell it, the model is built once."""
        model_fn = self._arguments[0][0]
        # A timeout decides nothing that counts: another may be tried on what it has ended.
        named = {name: value for name, value in self._arguments[1].items() if name != "timeout"}
        return {
            "fitness": type(self).__name__,
            "model": _digest_model(model_fn()),
            "data": self._data,
            **named,
            "backend": keras.backend.backend(),
        }

    def values(self, expression: Expression) -> np.ndarray:
        """Loss of each sample of a batch of the freshly initialised model."""
        return fresh_values(self.workbench, expression)

    def __call__(self, expression: Expression) -> Evaluation:
        """Train with this loss; its fitness is the mean validation accuracy over the runs."""
        accuracies, seconds = [], 0.0
        for run in range(self.runs):
            training = self.workbench.train(expression, run, timeout=self.timeout)
            seconds += training.seconds
            if training.status != "ok":
                return Evaluation(training.status, message=training.message, seconds=seconds)
            accuracies.append(training.validation_accuracy)
        details = {"accuracies": accuracies}
        return Evaluation("ok", (float(np.mean(accuracies)),), details=details, seconds=seconds)

    def compare(
        self, losses: dict[str, Expression], test: tuple[np.ndarray, np.ndarray], runs: int = 5
    ) -> list[Comparison]:
        """Accuracy of some losses on held-out data, over repetitions with new initial weights.

        Args:
            losses: By name.
            test: (x, y), as in `train`.
            runs: Repetitions; numbered on from those of the search.
        """
        x, y = _checked("test", test, self.classes)
        held = streams.evaluation(x, y, batch_size=self.workbench.schedule.part_size)
        results = []
        for name, expression in losses.items():
            accuracies = []
            for run in range(self.runs, self.runs + runs):
                if self.workbench.train(expression, run).status == "ok":
                    accuracies.append(self.workbench.evaluate(held)["accuracy"])
            results.append(Comparison(name, str(expression), tuple(accuracies)))
        return results


def fresh_values(workbench: Workbench, expression: Expression) -> np.ndarray:
    """Loss of each sample of the first training batch under the untrained network."""
    y_true, y_pred = workbench.fresh_batch()
    return expression(y_true, y_pred).mean(axis=-1)


def cross_entropy(classes: int, class_reduction: str = "mean") -> Expression:
    """The cross entropy as an expression: the sum over the classes of -t log p.

    With the mean over N classes it takes a factor of N.
    """
    if class_reduction == "sum":
        return Expression.parse("-(y_true*log(y_pred))")
    return Expression.parse(f"-{classes}*(y_true*log(y_pred))")


def _digest(*arrays):
    """A hash of what the arrays hold."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(
            f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()
        )
    return digest.hexdigest()[:16]


def _digest_model(model):
    """A hash of a model's architecture: Keras numbers names, which says nothing of it."""
    text = json.dumps(model.get_config(), sort_keys=True, default=str)
    return hashlib.sha256(re.sub(r"_\d+", "", text).encode()).hexdigest()[:16]


def _classes(y):
    y = np.asarray(y)
    return y.shape[1] if y.ndim == 2 else int(y.max()) + 1


def _checked(name, data, classes):
    x, y = (np.asarray(part) for part in data)
    if y.ndim == 1:
        if not (np.issubdtype(y.dtype, np.integer) and y.min() >= 0 and y.max() < classes):
            raise UserError(f"the labels of {name} are not class indices below {classes}")
        y = keras.utils.to_categorical(y, classes)
    if len(x) != len(y) or y.ndim != 2 or y.shape[1] != classes:
        raise UserError(
            f"{name} has inputs of shape {x.shape} and labels of shape {y.shape}; wanted are as "
            f"many labels, class indices or one-hot over {classes} classes"
        )
    return x, y

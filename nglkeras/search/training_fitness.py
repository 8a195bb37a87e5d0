"""The fitness of a loss as the validation accuracy of your own network on your own data."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import keras
import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.losses import heads
from nglkeras.search import optimizers, samples
from nglkeras.search.fitness import Fitness
from nglkeras.search.identity import fingerprint
from nglkeras.search.numbers import positive, whole_number
from nglkeras.search.redivided import RedividedTrainer
from nglkeras.search.scale import measure, scaled
from nglkeras.search.screening import BOUNDS, check_bounds
from nglkeras.search.strategy import Evaluation
from nglkeras.search.trainer import Loss
from nglkeras.seeds import derive_seed
from nglkeras.training import streams
from nglkeras.training.compiled import CompiledNetwork
from nglkeras.training.schedule import Schedule

# Optimizers that divide a gradient by its own size, so that its scale does not matter.
SCALE_FREE = ("adam", "adamax", "adamw", "nadam", "rmsprop")
# Settings with which the scale of a gradient matters to every optimizer.
_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


@dataclass(frozen=True)
class Comparison:
    """Accuracies of a loss on data that the search has not seen.

    Attributes:
        name: Name of the loss.
        formula: Formula of the loss.
        accuracies: Accuracy of each network, in [0, 1].
        runs: The run of each network; losses share initial weights in runs of the same number.
    """

    name: str
    formula: str
    accuracies: tuple[float, ...]
    runs: tuple[int, ...] = ()


class TrainingFitness(Fitness):
    """Validation accuracy of your network after training with a loss on your data.

    The network is compiled once for all losses. Each worker compiles its own copy. Data and
    settings are checked at once; the model and its output on one batch are checked before the
    first training, in the process that trains.

    Args:
        model_fn: Function that builds the network. The network ends in a softmax with one output
            per class.
        train: (x, y): inputs, and labels as class indices `[n]` or `[n, 1]`, or one-hot
            `[n, classes]`. x is an array, or a dict or list of arrays for a model with several
            inputs. A finite `tf.data.Dataset` or `keras.utils.PyDataset` of such batches is read
            into memory, up to `samples.MAX_GATHERED` bytes.
        validation: Samples in the same form, to measure the accuracy with.
        epochs: Passes over the training data for each candidate.
        batch_size: Samples per step.
        optimizer: A Keras optimizer: its name, or the optimizer with its settings.
        learning_rate: A number or a Keras schedule; by default that of the optimizer, and 1e-3
            for an optimizer given by its name.
        runs: Networks for each candidate; the fitness is their mean accuracy.
        seed: Seed of initial weights and of the order of samples.
        replicas: Devices that share each batch.
        timeout: Seconds after which the training of a network stops.
        bounds: As in `Screening`; a training ends when its mean loss exceeds the upper bound.
        scale_free: Whether each loss is brought to cross entropy's size first: see `scale`.

    Raises:
        UserError: If data, model and settings do not fit each other.
    """

    def __init__(
        self,
        model_fn: Callable[[], keras.Model],
        train: tuple[np.ndarray, np.ndarray],
        validation: tuple[np.ndarray, np.ndarray],
        *,
        epochs: int = 3,
        batch_size: int = 32,
        optimizer: str | keras.optimizers.Optimizer = "Adam",
        learning_rate: float | None = None,
        runs: int = 1,
        seed: int = 0,
        replicas: int = 1,
        timeout: float | None = None,
        bounds: tuple[float, float] | None = BOUNDS,
        scale_free: bool = False,
    ):
        parts = {"train": train, "validation": validation}
        self._parts = {name: samples.read(name, data) for name, data in parts.items()}
        self._arguments = {
            "epochs": whole_number("epochs", epochs),
            "batch_size": whole_number("batch_size", batch_size),
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "runs": whole_number("runs", runs),
            "seed": whole_number("seed", seed, None),
            "replicas": whole_number("replicas", replicas),
            "timeout": None if timeout is None else positive("timeout", timeout),
            "bounds": check_bounds(bounds),
            "scale_free": scale_free,
        }
        count = len(self._parts["train"][1])
        if batch_size > count:
            raise UserError(f"{count} training samples do not fill a batch of {batch_size}")
        name, config, rate = optimizers.read(optimizer, learning_rate)
        self._optimizer = name, config, rate
        self.model_fn = model_fn
        self.runs = self._arguments["runs"]
        self.seed = self._arguments["seed"]
        self.timeout = timeout
        self.bounds = self._arguments["bounds"]
        divides = name.lower() in SCALE_FREE and not any(map(config.get, _CLIPPING))
        self.gradients = "scaled" if divides or scale_free else "exact"
        self.scale_free = scale_free
        if scale_free:
            self.refuse = self._problem

        def build(run):
            keras.utils.set_random_seed(derive_seed(seed, "model", run))
            return self.build()

        def make_streams(run):
            data, steps = streams.training(
                *self.one_hot("train"),
                batch_size=self._arguments["batch_size"],
                epochs=self._arguments["epochs"],
                seed=derive_seed(seed, "run", run),
            )
            held = streams.evaluation(*self.one_hot("validation"), batch_size=batch_size)
            return streams.Streams(data, held, steps)

        schedule = Schedule(
            self._arguments["epochs"],
            self._arguments["batch_size"],
            optimizer=name,
            optimizer_settings=tuple(config.items()),
            learning_rate=rate,
            plateau=None,
        )
        self.compiled = CompiledNetwork(
            build,
            make_streams,
            schedule,
            replicas=self._arguments["replicas"],
            bound=np.inf if self.bounds is None else self.bounds[1],
        )

    def __reduce__(self):
        # A compiled network cannot be pickled: the copy compiles its own.
        return partial(type(self), **self._arguments), (self.model_fn, *self._parts.values())

    @property
    def classes(self) -> int:
        """Number of the model's outputs."""
        return self._look[0]

    def check(self) -> None:
        """Build the model and check its output on one batch, once.

        Raises:
            UserError: If the model does not end in a softmax, or labels do not fit it.
        """
        _ = self._look

    @cached_property
    def _look(self):
        """Number of classes and hash of the model."""
        model = self.build()
        for name, (x, y) in self._parts.items():
            classes = samples.count_classes(model, heads.first(x))
            samples.one_hot(name, y, classes)
        return classes, _digest_model(model, self.model_fn)

    def build(self) -> keras.Model:
        """Return a new network."""
        return samples.build(self.model_fn, heads.first(self._parts["train"][0]))

    def one_hot(self, name: str) -> tuple[object, np.ndarray]:
        """Return inputs and one-hot labels of "train" or "validation"."""
        x, y = self._parts[name]
        return x, samples.one_hot(name, y, self.classes)

    @cached_property
    def settings(self) -> dict:
        """Everything that decides the fitness, as JSON data; reading it builds the model."""
        # Not the timeout: trainings that it has ended may be tried again with a longer one.
        named = {name: value for name, value in self._arguments.items() if name != "timeout"}
        if named["bounds"] == BOUNDS:
            # Journals from before bounds could be chosen do not have them.
            del named["bounds"]
        if not self.scale_free:
            del named["scale_free"]
        name, config, named["learning_rate"] = self._optimizer
        named["optimizer"] = {name: config} if config else name
        parts = [part for name in self._parts for part in self.one_hot(name)]
        return {
            "fitness": type(self).__name__,
            "model": self._look[1],
            "data": samples.digest(*parts),
            **named,
            "backend": keras.backend.backend(),
        }

    def values(self, expression: Expression) -> np.ndarray:
        """Return the loss of each sample of the first batch under the untrained model."""
        self.check()
        return fresh_values(self.compiled, expression)

    def _scale(self, expression):
        self.check()
        return measure(expression, *self.compiled.fresh_batch(), self.class_reduction)

    def _problem(self, expression):
        return self._scale(expression).problem

    def __call__(self, expression: Expression) -> Evaluation:
        """Train with this loss; the fitness is the mean validation accuracy over the runs."""
        self.check()
        accuracies, seconds, details = [], 0.0, {}
        if self.scale_free:
            scale = self._scale(expression)
            if scale.problem:
                return Evaluation("non_finite", message=scale.problem)
            expression, details = scaled(expression, scale.factor), scale.details
        for run in range(self.runs):
            training = self.compiled.train(expression, run, timeout=self.timeout)
            seconds += training.seconds
            if training.status != "ok":
                return Evaluation(training.status, message=training.message, seconds=seconds)
            accuracies.append(training.validation_accuracy)
        details = {"accuracies": accuracies} | details
        return Evaluation("ok", (float(np.mean(accuracies)),), details=details, seconds=seconds)

    def trainer(self, losses: Mapping[str, Loss], test: object = None) -> RedividedTrainer:
        """Return what trains the networks of a confirmation; see `confirm`."""
        return RedividedTrainer(self, losses, test)

    def compare(
        self, losses: dict[str, Expression], test: tuple[np.ndarray, np.ndarray], runs: int = 5
    ) -> list[Comparison]:
        """Measure the accuracy of losses on held-out data.

        Args:
            losses: Losses by name.
            test: Samples in the same form as `train`.
            runs: Networks for each loss, with other initial weights than those of the search.
        """
        x, y = samples.read("test", test)
        y = samples.one_hot("test", y, self.classes)
        held = streams.evaluation(x, y, batch_size=self.compiled.schedule.part_size)
        results = []
        for name, expression in losses.items():
            found = {}
            for run in range(self.runs, self.runs + runs):
                if self.compiled.train(expression, run).status == "ok":
                    found[run] = self.compiled.evaluate(held)["accuracy"]
            results.append(Comparison(name, str(expression), (*found.values(),), (*found,)))
        return results


def fresh_values(compiled: CompiledNetwork, expression: Expression) -> np.ndarray:
    """Return the loss of each sample of the first training batch under the untrained network."""
    y_true, y_pred = compiled.fresh_batch()
    return expression(y_true, y_pred).mean(axis=-1)


def cross_entropy(classes: int, class_reduction: str = "mean") -> Expression:
    """Return the cross entropy, the sum over the classes of -t log p, as an expression.

    As the mean over N classes it has a factor of N.
    """
    if class_reduction == "sum":
        return Expression.parse("-(y_true*log(y_pred))")
    return Expression.parse(f"-{classes}*(y_true*log(y_pred))")


def _digest_model(model, model_fn):
    """Hash a model's architecture, without the numbers that Keras adds to names."""
    try:
        config = model.get_config()
    # Keras cannot make a config of every subclass.
    except (NotImplementedError, TypeError, ValueError):
        config = {}
    if "layers" not in config:
        # The config of a subclass does not name its layers; its code does.
        return fingerprint(model_fn)
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(re.sub(r"_\d+", "", text).encode()).hexdigest()[:16]

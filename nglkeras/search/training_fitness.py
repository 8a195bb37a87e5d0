"""The fitness of a loss as the accuracy, or any metric, of your own network on your own data."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import keras
import numpy as np

from nglkeras.errors import UserError
from nglkeras.executors import Executor
from nglkeras.expression import Expression
from nglkeras.losses import heads
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.losses.labels import check_ignore_class
from nglkeras.numbers import positive, whole_number
from nglkeras.search import measures, optimizers, samples, scale, side_by_side, ways
from nglkeras.search import racing as races
from nglkeras.search.digests import check_callbacks, digest_callbacks, digest_model
from nglkeras.search.fitness import Fitness
from nglkeras.search.given_losses import Loss
from nglkeras.search.racing import CURVES, Bars, Entrant, Racing
from nglkeras.search.redivided import RedividedTrainer
from nglkeras.search.screening import BOUNDS, check_bounds
from nglkeras.search.side_by_side import Group
from nglkeras.search.strategy import Evaluation, Member
from nglkeras.search.task import Task, has_penalty, look, weighted
from nglkeras.seeds import derive_seed
from nglkeras.training import streams
from nglkeras.training.compiled import CompiledNetwork
from nglkeras.training.outcome import FIT
from nglkeras.training.schedule import Schedule

# Most samples or pixels of the first batch that losses are screened with.
_SCREENED = 4096
# Arguments that stand in the settings under their names. Not the timeout: trainings that it has
# ended may be tried again with a longer one.
_SETTINGS = ("epochs", "batch_size", "optimizer", "learning_rate", "runs", "seed", "replicas")
_SETTINGS += ("bounds", "scale_free")


class _Look(NamedTuple):
    """What the user's network is, which only a built one tells."""

    task: Task
    digest: str
    has_penalty: bool


class TrainingFitness(Fitness):
    """Validation accuracy, or another metric, of your network after training on your data.

    The network is compiled once for all losses. Each worker compiles its own copy. Data and
    settings are checked at once; the model and its output on one batch are checked before the
    first training, in the process that trains. `search` prints what they are taken for; `task` has
    it.

    Args:
        model_fn: Function that builds the network. It has one output: a softmax over the classes,
            sigmoids (one or several, a label each), or the logits of either. Several logits are
            taken for a softmax's if labels are class indices or rows that sum to 1.
        train: (x, y): inputs, and labels. These are class indices `[n]` or `[n, 1]`, one-hot
            `[n, classes]`, 0 and 1 for each sigmoid, or the same for each pixel, e.g.
            `[n, height, width]`. x is an array, or a dict or list of arrays for a model with
            several inputs. A finite `tf.data.Dataset` or `keras.utils.PyDataset` of such batches is
            read into memory, up to `samples.MAX_GATHERED` bytes. Or a function that returns any of
            these.
        validation: Samples in the same form, to measure the fitness with.
        epochs: Passes over the training data for each candidate.
        batch_size: Samples per step.
        optimizer: A Keras optimizer: its name, the optimizer with its settings, or a function that
            makes one.
        learning_rate: A number or a Keras schedule; by default that of the optimizer, and 1e-3
            for an optimizer given by its name.
        runs: Networks for each candidate; the fitness is their mean.
        seed: Seed of initial weights and of the order of samples.
        replicas: Devices that share each batch.
        timeout: Seconds after which the training of a network stops; where it is one program, at
            the end of an epoch.
        bounds: As in `Screening`; a training ends when its mean loss exceeds the upper bound.
        scale_free: Whether each loss is brought to cross entropy's size first: see `scale`.
        metric: What the fitness is on the validation data: "accuracy", "balanced_accuracy", "f1"
            (macro), "auc" (macro) or "mean_iou"; a metric of Keras, its name, or a function that
            makes one; or a function of (y_true, y_pred). A function gets all labels as they were
            given. Every metric gets probabilities, whatever the network ends in.
        mode: "max" or "min", for a metric that does not tell whether more or less of it is better.
        class_weights: A number for each class (a pair for sigmoids), or "balanced", counted from
            the training labels; see `losses.balanced`.
        ignore_class: Label that does not count, such as 255 for void pixels.
        callbacks: Keras callbacks of each training, or a function that makes them. They find the
            fitness as "val_accuracy" in the logs of each epoch; more of it is better.
        racing: Whether trainings that fall behind the survivors are stopped: `True`, or a `Racing`
            with its settings. Each network is then measured after every epoch.
        one_program: Whether trainings are compiled as a whole instead of step by step. By default
            they are where that is faster; on TensorFlow that is a rule for small dense networks,
            whose results it changes by rounding: see `training.compiled_epochs`.
        together: Networks that train at once in one program, on JAX: as many as the device has
            room for with "auto". A timeout counts from the beginning of each of them.

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
        metric: object = "accuracy",
        mode: str | None = None,
        class_weights: Sequence | Mapping | str | None = None,
        ignore_class: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | Callable[[], Sequence] = (),
        racing: bool | Racing | None = None,
        one_program: bool | None = None,
        together: int | str = 1,
    ):
        self.measure = measures.as_measure(metric, mode)
        self.ignore_class = check_ignore_class(ignore_class)
        parts = {"train": train, "validation": validation}
        self._parts = {
            name: samples.as_arrays(name, data, self.ignore_class) for name, data in parts.items()
        }
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
            "metric": metric,
            "mode": mode,
            "class_weights": class_weights,
            "ignore_class": self.ignore_class,
            "callbacks": callbacks,
        }
        lengths = {name: self._arguments[name] for name in ("runs", "epochs")}
        self._arguments["racing"] = self.racing = races.as_racing(racing, **lengths)
        self.together = ways.check_together(
            one_program, together, replicas=replicas, callbacks=bool(callbacks)
        )
        self._arguments |= {"one_program": one_program, "together": self.together}
        self._bars = Bars()
        self.callbacks()
        count = len(self._parts["train"][1])
        if batch_size > count:
            raise UserError(f"{count} training samples do not fill a batch of {batch_size}")
        name, config, rate = optimizers.settings_of(optimizer, learning_rate)
        self._optimizer = name, config, rate
        self.model_fn = model_fn
        self.runs = self._arguments["runs"]
        self.seed = self._arguments["seed"]
        self.timeout = self._arguments["timeout"]
        self.bounds = self._arguments["bounds"]
        self.scale_free = scale_free
        if scale_free:
            self.refuse = self._problem

        def build(run):
            keras.utils.set_random_seed(derive_seed(seed, "model", run))
            return self.build()

        def make_streams(run):
            data, steps = streams.training(
                *self.targets("train"),
                batch_size=self._arguments["batch_size"],
                epochs=self._arguments["epochs"],
                seed=derive_seed(seed, "run", run),
                classes=self.task.one_hot_classes,
            )
            return streams.Streams(data, self.held(*self.targets("validation")), steps)

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
            lambda: InterpretedLoss(**self.task.options),
            replicas=self._arguments["replicas"],
            validate=bool(callbacks),
            measure_epochs=self.racing is not None,
            bound=np.inf if self.bounds is None else self.bounds[1],
        )

    def __reduce__(self):
        # A compiled network cannot be pickled: the copy compiles its own.
        return partial(type(self), **self._arguments), (self.model_fn, *self._parts.values())

    @property
    def classes(self) -> int:
        """Number of classes that exclude each other: two for each sigmoid."""
        return self.task.classes

    @property
    def soft_labels(self) -> bool:
        """Whether some labels are neither 0 nor 1."""
        return self.task.soft_labels

    @property
    def depends_on_size(self) -> bool:
        """Whether a factor on the loss is more than one on the rate, as beside a penalty."""
        return self._look.has_penalty or optimizers.depends_on_size(*self._optimizer[:2])

    @property
    def gradients(self) -> str:
        """Which gradients train alike, as in `Screening`."""
        ignores = optimizers.ignores_scale(*self._optimizer[:2]) and not self._look.has_penalty
        return "scaled" if ignores or self.scale_free else "exact"

    @property
    def task(self) -> Task:
        """What outputs and labels are."""
        return self._look.task

    @property
    def chance(self) -> float | None:
        """Fitness of a guess; `None` where it is not known."""
        return self.measure.chance(self.task)

    def found(self, _: object = None) -> str:
        """Return in a line what the network and the data are taken for."""
        return f"{self.task}; the fitness is {self.measure}"

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Return the callbacks of one training."""
        given = self._arguments["callbacks"]
        # A callback remembers its training.
        return check_callbacks(given() if callable(given) else copy.deepcopy(given))

    def check(self) -> None:
        """Build the model and check its output on one batch, once.

        Raises:
            UserError: If model, labels and metric do not fit each other.
        """
        _ = self._look

    @cached_property
    def _look(self) -> _Look:
        model = self.build()
        x, y = self._parts["train"]
        task = look(model, heads.first(x), y, self.ignore_class)
        task = weighted(task, self._arguments["class_weights"], task.targets("train", y))
        x, y = self._parts["validation"]
        size = self._arguments["batch_size"]
        measures.try_on(self.measure, task, model, x, task.targets("validation", y), size)
        if self.measure.settings != "accuracy" or not task.is_plain:
            self.compiled.measure = partial(self.measure, task)
        how = self._arguments
        self.compiled.one_program = ways.one_program(
            how["one_program"],
            self.together,
            model,
            how["epochs"] * (len(self._parts["train"][1]) // how["batch_size"]),
            replicas=how["replicas"],
            callbacks=bool(how["callbacks"]),
        )
        return _Look(task, digest_model(model, self.model_fn), has_penalty(model))

    def as_begun(self, settings: dict) -> None:
        """Train as the search in the folder does, which an earlier version may have begun."""
        if self._arguments["one_program"] is None and keras.backend.backend() == "tensorflow":
            self._arguments["one_program"] = settings.get("one_program") is True
            for cached in ("_look", "settings"):
                vars(self).pop(cached, None)

    def build(self) -> keras.Model:
        """Return a new network."""
        return samples.build(self.model_fn, heads.first(self._parts["train"][0]))

    def targets(self, name: str) -> tuple[object, np.ndarray]:
        """Return inputs and labels of "train" or "validation", as streams take them."""
        x, y = self._parts[name]
        return x, self.task.targets(name, y)

    def read(self, name: str, data: object) -> tuple[object, np.ndarray]:
        """Return inputs and labels of further data, as streams take them."""
        x, y = samples.as_arrays(name, data, self.ignore_class)
        return x, self.task.targets(name, y)

    def held(self, x: object, y: np.ndarray) -> object:
        """Return the stream of data that is measured and not trained on."""
        size, classes = self._arguments["batch_size"], self.task.one_hot_classes
        return streams.evaluation(x, y, batch_size=size, classes=classes)

    @cached_property
    def settings(self) -> dict:
        """Everything that decides the fitness, as JSON data; reading it builds the model."""
        named = {name: value for name, value in self._arguments.items() if name in _SETTINGS}
        if named["bounds"] == BOUNDS:
            # Journals from before bounds could be chosen do not have them.
            del named["bounds"]
        if not self.scale_free:
            del named["scale_free"]
        name, config, named["learning_rate"] = self._optimizer
        named["optimizer"] = {name: config} if config else name
        # Journals from before there was a choice have none of these.
        if self.task.options:
            named["options"] = self.task.options
        if self.measure.settings != "accuracy":
            named |= {"metric": self.measure.settings, "mode": self.measure.mode}
        if self._arguments["callbacks"]:
            named["callbacks"] = digest_callbacks(self._arguments["callbacks"])
        if self.racing is not None:
            named |= self.racing.settings
        if self.compiled.one_program is True and keras.backend.backend() == "tensorflow":
            named["one_program"] = True
        parts = [part for name in self._parts for part in self.targets(name)]
        return {
            "fitness": type(self).__name__,
            "model": self._look.digest,
            "data": samples.digest(*parts),
            **named,
            "backend": keras.backend.backend(),
        }

    def values(self, expression: Expression) -> np.ndarray:
        """Return the loss of each sample of the first batch under the untrained model."""
        return expression.of_samples(*self._fresh)

    @cached_property
    def _fresh(self):
        """Labels and probabilities of the classes in the first batch under the untrained model."""
        self.check()
        labels, outputs = self.compiled.fresh_batch()
        t, p = self.task.of_classes(labels, self.task.probabilities(outputs))
        if len(self.task.shape) == 1 or len(t) <= _SCREENED:
            return t, p
        some = np.linspace(0, len(t) - 1, _SCREENED).astype(int)
        return t[some], p[some]

    def _scale(self, expression):
        return scale.measure(expression, *self._fresh, self.class_reduction)

    def _problem(self, expression):
        return self._scale(expression).problem

    def begin_generation(self, rivals: Sequence[Member], trained: Sequence[Member]) -> None:
        """Set the bars of racing for the generation that begins."""
        if self.racing is not None:
            self._bars = races.bars(self.racing, rivals, trained, races.curves_and_means)

    def each(
        self, expressions: Sequence[Expression], names: Sequence[str], executor: Executor
    ) -> Iterator[tuple[int, Evaluation]]:
        """Yield the index and the evaluation of each loss, as they finish."""
        # Workers have copies of this object, which do not hear of a new generation.
        tasks = [Entrant(one, self._bars) for one in expressions] if self.racing else expressions
        if self.together == 1:
            return super().each(tasks, names, executor)
        return side_by_side.each(self, tasks, executor)

    def __call__(self, task: Expression | Entrant | Group) -> Evaluation | list[Evaluation]:
        """Train with this loss; the fitness is the mean over the runs."""
        self.check()
        if isinstance(task, Group):
            found = dict(side_by_side.evaluations(self, task.tasks))
            return [found[index] for index in range(len(task.tasks))]
        return side_by_side.alone(self.compiled, self.course(task))

    def places(self) -> object | None:
        """Return what trains several networks at once; `None` if they train one by one."""
        self.check()
        return self.compiled.places(self.together)

    def course(self, task: Expression | Entrant) -> Iterator[dict]:
        """Yield the arguments of each training, be sent what it came to, return the evaluation."""
        expression, limits, details = task, Bars(), {}
        if isinstance(task, Entrant):
            expression, limits = task.expression, task.bars
        if self.scale_free:
            found = self._scale(expression)
            if found.problem:
                return Evaluation("non_finite", message=found.problem)
            expression, details = scale.scaled(expression, found.factor), found.details
        trainings, settings = [], {"loss": expression, "timeout": self.timeout}
        for run in range(self.runs):
            settings |= {"callbacks": self.callbacks(), "bars": limits.in_run(run)}
            trainings.append((yield {"run": run, **settings}))
            evaluation = limits.judged(self._evaluation(trainings, details), run)
            if evaluation.status != "ok":
                break
        if self.racing:
            return races.with_epochs(evaluation, self.runs * self._arguments["epochs"])
        return evaluation

    def _evaluation(self, trainings, details):
        accuracies = [one.validation_accuracy for one in trainings if one.status == "ok"]
        details = {"accuracies": accuracies} | details
        if trainings[-1].path != FIT:
            details["path"] = trainings[-1].path
        parts = max(one.accumulation for one in trainings)
        if parts > 1:
            details["accumulation"] = parts
        if self.racing:
            details[CURVES] = [races.curve_of(one.history) for one in trainings]
        return races.evaluation_of(trainings, details, lambda: (float(np.mean(accuracies)),))

    def trainer(self, losses: Mapping[str, Loss], test: object = None) -> RedividedTrainer:
        """Return what trains the networks of a confirmation; see `confirm`."""
        trainer = RedividedTrainer(self, losses, test)
        trainer.check_test()
        return trainer

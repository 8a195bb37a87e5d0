"""What the fitness of a network is: accuracy, another measure, or any metric of Keras.

A measure sees labels and predictions batch by batch. Predictions are probabilities, whatever the
network ends in. Measures with a name here are exact, take class indices and one-hot labels alike,
and leave ignored labels out.
"""

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.losses import heads
from nglkeras.search import samples
from nglkeras.search.digests import arguments_of
from nglkeras.search.identity import fingerprint, name_of
from nglkeras.search.task import Task

MODES = ("max", "min")
# Samples that a metric is tried with before the first training.
TRIED = 1024


class Measure(ABC):
    """A measure of predictions; more is better, whatever the metric's own direction.

    Attributes:
        name: Name of the metric.
        mode: "max" if the metric should rise, else "min": then the measure is the negative metric.
        settings: What identifies it, as JSON data.
    """

    name: str
    mode: str
    settings: object

    def __call__(self, task: Task, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
        """Return the measure; NaN if a prediction is not finite.

        Args:
            task: What labels and outputs are.
            batches: Labels as the losses take them, and outputs of the network.
        """
        is_finite = True

        def finite():
            nonlocal is_finite
            for labels, outputs in batches:
                is_finite = is_finite and np.isfinite(outputs).all()
                yield labels, task.probabilities(outputs)

        value = self.value(task, finite())
        if not is_finite:
            return float("nan")
        return value if self.mode == "max" else -value

    @property
    def is_share(self) -> bool:
        """Whether it is taken for a share in [0, 1], as long as none of its values lies beyond."""
        return self.mode == "max"

    def __str__(self):
        return self.name if self.mode == "max" else f"the negative {self.name}"

    @abstractmethod
    def value(self, task: Task, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
        """Return the value of the metric for labels and probabilities."""

    def chance(self, task: Task) -> float | None:
        """Return the measure of a guess; `None` where it is not known."""
        return None

    def check(
        self, task: Task, labels: np.ndarray, outputs: np.ndarray, all_labels: np.ndarray
    ) -> None:
        """Raise a `UserError` if the metric cannot be computed of such labels and outputs.

        NaN is one thing for an untrained network, and another if right predictions give it too.
        """
        try:
            is_nan = np.isnan(self(task, [(labels, outputs)]))
            if is_nan and np.isnan(self.value(task, iter([(all_labels, all_labels)]))):
                raise UserError(
                    f"the metric {self.name} of the validation data is NaN, even if all "
                    "predictions are right: does a class have no sample there?"
                )
        except UserError:
            raise
        # A metric of a user may raise anything.
        except Exception as error:
            reason = heads.reason(error)
            raise UserError(f"the metric {self.name} cannot be computed: {reason}") from error


class _Own(Measure):
    """A measure of this module."""

    mode = "max"

    def __init__(self, name: str):
        self.name = self.settings = name

    def chance(self, task):
        if self.name in ("accuracy", "balanced_accuracy"):
            return 1 / task.classes
        return 0.5 if self.name == "auc" else None

    def value(self, task, batches):
        rows = (task.rows(*batch) for batch in batches)
        if self.name == "auc":
            return _mean_auc(task, list(rows))
        confusion = np.asarray(sum(_confusion(task, *one) for one in rows), float)
        # Right, true and found samples of each class: `[tables, classes]`.
        counts = np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(2), confusion.sum(1)
        if self.name == "f1" and task.head == "sigmoid":
            # Of sigmoids only the label 1 is something that is found.
            counts = [part[:, 1:] for part in counts]
        return float(_OF_COUNTS[self.name](*counts))


def _confusion(task, t, p, valid):
    """Return one table of truth and prediction for all classes, or one for each output."""
    classes = task.classes
    if task.head == "softmax":
        truth, found, outputs = t.argmax(axis=-1)[valid], p.argmax(axis=-1)[valid], 0
    else:
        outputs = np.nonzero(valid)[1]
        truth, found = (t[valid] >= 0.5).astype(int), (p[valid] >= 0.5).astype(int)
    tables = 1 if task.head == "softmax" else task.outputs
    cells = (outputs * classes + truth) * classes + found
    return np.bincount(cells, minlength=tables * classes**2).reshape(tables, classes, classes)


def _mean_ratio(right, total):
    """Return the mean of ratios over those whose total is not zero."""
    with np.errstate(invalid="ignore"):
        return np.nanmean(np.where(total > 0, right / total, np.nan))


_OF_COUNTS = {
    "accuracy": lambda right, true, found: right.sum() / true.sum(),
    "balanced_accuracy": lambda right, true, found: _mean_ratio(right, true),
    "f1": lambda right, true, found: _mean_ratio(2 * right, true + found),
    "mean_iou": lambda right, true, found: _mean_ratio(right, true + found - right),
}
NAMES = (*_OF_COUNTS, "auc")
_ALIASES = {"f1_score": "f1", "F1Score": "f1", "AUC": "auc", "MeanIoU": "mean_iou"}


def _mean_auc(task, rows):
    """Return the mean area under the ROC curves: of each output, or of each class against others.

    It is NaN if no output has both labels.
    """
    t, p, valid = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    if task.head == "softmax":
        t, p = t[valid], p[valid]
        # The two curves of two classes are the same.
        columns = range(task.classes) if task.classes > 2 else [1]
        found = [_auc(t[:, i] >= 0.5, p[:, i]) for i in columns]
    else:
        kept = [(valid[:, i], i) for i in range(task.outputs)]
        found = [_auc(t[rows, i] >= 0.5, p[rows, i]) for rows, i in kept]
    found = [one for one in found if one is not None]
    return float(np.mean(found)) if found else float("nan")


def _auc(truth, p):
    """Return the share of pairs of a true and a false sample that p orders rightly."""
    ones = int(truth.sum())
    zeros = len(truth) - ones
    if not ones or not zeros:
        return None
    # Mann and Whitney's statistic; equal predictions share their mean rank.
    _, groups, counts = np.unique(p, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return (ranks[groups.reshape(-1)][truth].sum() - ones * (ones + 1) / 2) / (ones * zeros)


class _OfKeras(Measure):
    """A metric object, made anew for each measurement."""

    def __init__(self, metric: keras.metrics.Metric, mode: str | None):
        self._kind, self._config = type(metric), metric.get_config()
        self._is_of_keras = self._kind.__module__.split(".")[0] == "keras"
        # Keras numbers the names of its objects.
        self.name = self._kind.__name__
        if not self._is_of_keras and arguments_of(self._anew()) != arguments_of(metric):
            raise UserError(
                f"the metric {self.name} has arguments that its get_config lacks: add them"
            )
        if self._config.get("from_logits") or getattr(metric, "_from_logits", False):
            raise UserError(
                f"the metric {self.name} has from_logits=True, and gets probabilities: leave it out"
            )
        self.mode = _mode(mode, self.name, getattr(metric, "_direction", None))
        config = {name: str(value) for name, value in self._config.items() if name != "name"}
        code = [] if self._is_of_keras else [fingerprint(self._kind)]
        self.settings = [self.name, config, *code]
        self._wants_indices = self._kind.__name__.startswith("Sparse")

    def _anew(self):
        return self._kind.from_config(self._config)

    def value(self, task, batches):
        metric = self._anew()
        for labels, p in batches:
            metric.update_state(*self._arguments(task, metric, labels, p))
        found = metric.result()
        if isinstance(found, dict):
            # The first of several results is the fitness.
            found = next(iter(found.values()))
        return _number(self.name, keras.ops.convert_to_numpy(found))

    def _arguments(self, task, metric, labels, p):
        if not self._is_of_keras:
            return task.given(labels), p
        t, p, valid = task.rows(labels, p)
        # Some compare indices of classes, and would take probabilities for the class 0.
        wants_found = getattr(metric, "sparse_y_pred", False)
        if task.head == "sigmoid":
            kept = valid.all(axis=-1)
            has_threshold = not wants_found or hasattr(metric, "threshold")
            return t[kept], p[kept] if has_threshold else p[kept] >= 0.5
        t, p = t[valid], p[valid]
        wants_indices = getattr(metric, "sparse_y_true", self._wants_indices)
        return t.argmax(axis=-1) if wants_indices else t, p.argmax(axis=-1) if wants_found else p


class _OfFunction(Measure):
    """A function of all labels, as the user gave them, and all predictions."""

    def __init__(self, function: Callable, mode: str | None):
        self._function, self.name = function, name_of(function)
        self.mode = _mode(mode, self.name, None)
        self.settings = [self.name, fingerprint(function)]

    def value(self, task, batches):
        labels, p = zip(*batches, strict=True)
        given = task.given(np.concatenate(labels))
        p = np.concatenate(p)
        if task.outputs == 1:
            p = p.reshape(given.shape)
        return _number(self.name, self._function(given, p))


def _number(name, found):
    found = np.asarray(found)
    if found.ndim and found.size != 1:
        raise UserError(
            f"the metric {name} gives values of shape {found.shape}; give one that is a single "
            "number, e.g. with average='macro'"
        )
    return float(found.reshape(()))


def _mode(mode, name, direction):
    known = {"up": "max", "down": "min"}.get(direction)
    if mode is None and known is None:
        raise UserError(
            f"whether the metric {name} should rise or fall is not known: give mode='max' or "
            "mode='min'"
        )
    return mode or known


def try_on(
    measure: Measure,
    task: Task,
    model: keras.Model,
    x: object,
    y: np.ndarray,
    batch_size: int,
) -> None:
    """Measure an untrained network on a few samples.

    Args:
        measure: What `as_measure` returns.
        task: The `Task`.
        model: The network.
        x: Inputs.
        y: Labels, as `Task.targets` gives them.
        batch_size: Samples at a time.

    Raises:
        UserError: If the metric cannot measure this network on these labels.
    """
    some = np.unique(np.linspace(0, len(y) - 1, TRIED).astype(int))
    x = keras.tree.map_structure(lambda array: array[some], x)
    outputs, all_labels, y = samples.outputs(model, x, batch_size), y, y[some]
    if task.one_hot_classes is not None:
        # PyTorch's one_hot takes no label beyond the classes, such as 255.
        y = all_labels = (y[..., None] == np.arange(task.outputs)).astype("float32")
    measure.check(task, y, outputs, all_labels)


def as_measure(metric: object, mode: str | None = None) -> Measure:
    """Return the measure of a metric.

    Args:
        metric: A name of `NAMES` or of `keras.metrics`; a Keras metric, its class, or a function
            that makes one; or a function of (y_true, y_pred).
        mode: "max" or "min"; `None` where the metric tells.

    Raises:
        UserError: If it is no metric, or its direction is not known.
    """
    if mode is not None and mode not in MODES:
        raise unknown("mode", mode, MODES)
    if isinstance(metric, str):
        name = _ALIASES.get(metric, metric)
        if name in NAMES:
            if mode == "min":
                raise UserError(f"more of {name} is better: leave out mode='min'")
            return _Own(name)
        metric = _kind(metric)
    made = metric
    if callable(metric) and not isinstance(metric, keras.metrics.Metric):
        if not isinstance(metric, type) and _takes(metric, 2):
            return _OfFunction(metric, mode)
        if _takes(metric, 0):
            made = metric()
    if type(made) is keras.metrics.Accuracy:
        # Keras' class asks whether a probability is the label itself.
        return as_measure("accuracy", mode)
    if isinstance(made, keras.metrics.Metric):
        return _OfKeras(made, mode)
    raise UserError(
        f"metric={metric!r} is no metric: give one of {', '.join(NAMES)}, a metric of Keras or its "
        "name, or a function of (y_true, y_pred)"
    )


def _kind(name):
    """Return the class of Keras' metric with this name."""
    kinds = {
        key: kind
        for key, kind in vars(keras.metrics).items()
        if isinstance(kind, type) and issubclass(kind, keras.metrics.Metric)
    }
    wanted = name.replace("_", "").lower()
    found = next((kind for key, kind in kinds.items() if key.lower() == wanted), None)
    if found is None:
        near = ", ".join(difflib.get_close_matches(name, kinds, cutoff=0.5))
        keras_s = f"a metric of Keras, such as {near}" if near else "a metric of Keras"
        raise unknown("metric", name, (*NAMES, keras_s))
    if not _takes(found, 0):
        raise UserError(f"the metric {name} has arguments: give the object, keras.metrics.{name}()")
    return found


def _takes(function, count):
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True

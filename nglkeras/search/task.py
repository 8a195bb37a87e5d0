"""What the user's network predicts: found from its outputs and the labels, before any training.

A network ends in a softmax, in sigmoids or in logits. Which classes logits stand for follows from
the labels: class indices and rows that sum to 1 are classes that exclude each other, other rows are
labels of their own.
"""

from dataclasses import dataclass, replace

import keras
import numpy as np
from keras.src.backend import get_keras_mask

from nglkeras.errors import UserError
from nglkeras.losses import balanced, heads
from nglkeras.losses.options import Options, check_class_weights, check_length

# Greatest deviation of a label row's sum from 1.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Task:
    """What outputs and labels are.

    Attributes:
        shape: Shape of the output without the batch; the last axis has the classes or the labels.
        head: "softmax" or "sigmoid".
        from_logits: Whether the outputs are logits.
        has_indices: Whether the user's labels have no axis of outputs: class indices, or the labels
            of a single unit.
        ignore_class: Label that does not count; `None` without one.
        class_weights: Weights of the classes, as losses take them.
        soft_labels: Whether some labels for training are neither 0 nor 1.
    """

    shape: tuple[int, ...]
    head: str = "softmax"
    from_logits: bool = False
    has_indices: bool = True
    ignore_class: int | None = None
    class_weights: tuple | None = None
    soft_labels: bool = False

    @property
    def outputs(self) -> int:
        """Number of outputs on the last axis."""
        return self.shape[-1]

    @property
    def classes(self) -> int:
        """Number of classes that exclude each other: two for each sigmoid."""
        return self.outputs if self.head == "softmax" else 2

    @property
    def options(self) -> dict:
        """The options of a loss for this task that are not default, as JSON data."""
        named = {
            "head": self.head,
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "class_weights": self.class_weights,
        }
        plain = Options()
        return {name: value for name, value in named.items() if value != getattr(plain, name)}

    @property
    def is_plain(self) -> bool:
        """Whether samples are in classes that exclude each other, and all of them count."""
        return self.head == "softmax" and len(self.shape) == 1 and self.ignore_class is None

    @property
    def one_hot_classes(self) -> int | None:
        """Number of classes of label maps, which are made one-hot batch by batch."""
        is_map = self.head == "softmax" and self.has_indices and len(self.shape) > 1
        return self.outputs if is_map else None

    def __str__(self):
        ends = heads.NAMES["logits"] if self.from_logits else f"a {self.head}"
        whole, what = self.outputs, "each pixel" if len(self.shape) > 2 else "each position"
        if self.head == "softmax":
            text = f"{whole} classes that exclude each other"
        else:
            kind = "a number from 0 to 1" if self.soft_labels else "yes or no"
            text = f"one label, {kind}" if whole == 1 else f"{whole} labels, each {kind}"
        text = f"{text}; the network ends in {ends}"
        if len(self.shape) > 1:
            text += f" for {what} of {self.shape[:-1]}"
        if self.ignore_class is not None:
            text += f"; the label {self.ignore_class} is ignored"
        if self.class_weights is not None:
            weights = ", ".join(f"{one:.3g}" for one in np.ravel(self.class_weights)[:10])
            text += f"; class weights {weights}{', ...' * (np.size(self.class_weights) > 10)}"
        return text

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the network's outputs as probabilities, float32."""
        x = np.asarray(outputs, "float32")
        if not self.from_logits:
            return x
        with np.errstate(all="ignore"):
            if self.head == "sigmoid":
                # As a tanh it does not overflow.
                return 0.5 + 0.5 * np.tanh(0.5 * x)
            odds = np.exp(x - x.max(axis=-1, keepdims=True))
            return odds / odds.sum(axis=-1, keepdims=True)

    def rows(self, labels: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return one row for each sample or position, and what counts of it.

        Args:
            labels: Labels as the losses take them.
            p: Probabilities.

        Returns:
            Labels and probabilities `[rows, outputs]`; a boolean for each row of a softmax, or for
            each output of sigmoids.
        """
        t, p = (np.reshape(x, (-1, self.outputs)) for x in (labels, p))
        if self.head == "sigmoid":
            kept = np.ones(t.shape, bool) if self.ignore_class is None else t != self.ignore_class
            return t, p, kept
        kept = t.any(axis=-1)
        if self.ignore_class is not None and 0 <= self.ignore_class < self.outputs:
            kept = kept & (t[:, self.ignore_class] < 1)
        return t, p, kept

    def of_classes(self, labels: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and probabilities of what counts, `[rows, classes]`."""
        t, p, kept = self.rows(labels, p)
        t, p = t[kept], p[kept]
        return (t, p) if self.head == "softmax" else tuple(np.stack([1 - x, x], -1) for x in (t, p))

    def given(self, labels: np.ndarray) -> np.ndarray:
        """Return labels in the form in which the user gave them."""
        if not self.has_indices:
            return labels
        if self.head == "sigmoid":
            labels = labels.reshape(labels.shape[:-1])
            return labels if (labels % 1).any() else labels.astype("int64")
        indices = labels.argmax(axis=-1)
        if self.ignore_class is None:
            return indices
        return np.where(labels.any(axis=-1), indices, self.ignore_class)

    def targets(self, name: str, y: np.ndarray) -> np.ndarray:
        """Return labels as the losses take them; maps of class indices stay as they are.

        Raises:
            UserError: If they are not labels of this task.
        """
        count, where = len(y), f"the labels of {name}"
        wanted = _forms(self.shape) if self.has_indices else (self.shape,)
        if y.shape[1:] not in wanted:
            raise UserError(
                f"{where} have shape {y.shape}; wanted are those of train, {(count, *wanted[0])}"
            )
        kept = y[y != self.ignore_class] if self.ignore_class is not None else y
        if self.head == "sigmoid":
            _check_binary(where, kept, self)
            return np.reshape(y, (count, *self.shape)).astype("float32")
        if not self.has_indices:
            _check_rows(where, y, self)
            return y.astype("float32") if y.dtype == bool else y
        _check_indices(where, kept, self)
        if len(self.shape) == 1:
            return _one_hot(y, self)
        return np.reshape(y, (count, *self.shape[:-1]))


def _one_hot(y, task):
    if task.ignore_class is None:
        return keras.utils.to_categorical(y, task.outputs)
    return (y[:, None] == np.arange(task.outputs)).astype("float32")


def _check_binary(where, kept, task):
    if kept.size and (kept.min() < 0 or kept.max() > 1):
        bad = kept[(kept < 0) | (kept > 1)].flat[0]
        if task.outputs == 1:
            raise UserError(
                f"the model ends in one unit, whose labels are 0 and 1, and {where} include "
                f"{bad:g}: end it in an output for each class, e.g. Dense(n, activation='softmax')"
                "; regression is not possible here"
            )
        raise UserError(f"{where} include {bad:g}; the labels of sigmoids are 0 and 1")


def _check_rows(where, y, task):
    flat = y.reshape(-1, task.outputs)
    sums = flat.sum(axis=1, dtype="float64")
    if task.ignore_class is not None:
        sums = np.where(flat.any(axis=1), sums, 1.0)
    if flat.size and (flat.min() < 0 or flat.max() > 1 or np.abs(sums - 1).max() > TOLERANCE):
        raise UserError(
            f"the rows of {where}, of shape {y.shape}, are not one-hot: each must have values from "
            "0 to 1 that sum to 1 (one class a sample, not several labels; for those end the model "
            "in sigmoids)"
        )


def _check_indices(where, kept, task):
    if kept.size and kept.dtype.kind == "f" and (kept % 1).any():
        raise UserError(f"{where} are no class indices, such as {kept[kept % 1 > 0].flat[0]:g}")
    if kept.size and kept.max() >= task.outputs:
        advice = " (ignore_class leaves out void labels)" if task.ignore_class is None else ""
        raise UserError(
            f"{where} include {kept.max():g}, and the model has {task.outputs} outputs: they are "
            f"not class indices from 0 to {task.outputs - 1}{advice}"
        )


def look(model: keras.Model, x: object, y: np.ndarray, ignore_class: int | None = None) -> Task:
    """Return the task of a model.

    Args:
        model: The model, built.
        x: A few inputs.
        y: All labels for training.
        ignore_class: Label that does not count.

    Raises:
        UserError: If its output and the labels are not those of a classification.
    """
    output, shape = _output(model, x)
    if ignore_class is None and get_keras_mask(output) is not None:
        raise UserError(
            "the model masks positions, e.g. by Embedding(mask_zero=True), and the fitness would "
            "count them: give them a label of their own, such as -1, and pass ignore_class=-1"
        )
    if not np.isfinite(heads.rows(output)).all():
        raise UserError("the untrained model's output is not finite on the first samples")
    noisy = heads.with_noise(model, x)
    kind = heads.kind([output] if noisy is None else [output, noisy])
    if kind == "logits":
        cut = heads.cut_off([heads.with_noise(model, x, noise) for noise in heads.FAR])
        if cut:
            raise UserError(cut)
    outputs, labels = shape[-1], tuple(y.shape[1:])
    has_indices = labels in _forms(shape)
    if not has_indices and not (outputs > 1 and labels == shape):
        raise UserError(_misfit(y, shape))
    if outputs == 1:
        if kind == "softmax":
            raise UserError(
                "the model's only output is always 1: end it in Dense(1, activation='sigmoid'), or "
                "in a softmax with an output for each class"
            )
        head = "sigmoid"
    elif kind != "logits":
        head = kind
    else:
        head = "softmax" if has_indices or _sum_to_1(y, ignore_class) else "sigmoid"
    if head == "sigmoid" and has_indices and outputs > 1:
        raise UserError(heads.not_softmax(model, x, output))
    counted = y if ignore_class is None else y[y != ignore_class]
    has_rows = head == "sigmoid" or not has_indices
    is_soft = has_rows and not np.isin(counted, (0, 1)).all()
    return Task(shape, head, kind == "logits", has_indices, ignore_class, soft_labels=is_soft)


def has_penalty(model: keras.Model) -> bool:
    """Return whether a model that was called adds something to the loss, as regularizers do."""
    return bool(model.losses) or any(
        layer.activity_regularizer is not None for layer in model._flatten_layers()
    )


def _output(model, x):
    """Return the model's only output and its shape without the batch."""
    batch = len(keras.tree.flatten(x)[0])
    output = heads.outputs(model, x)
    if isinstance(output, list | tuple | dict):
        raise UserError(
            f"the model has {len(keras.tree.flatten(output))} outputs in a "
            f"{type(output).__name__}; give one with a single output"
        )
    shape = tuple(output.shape)
    if len(shape) < 2 or shape[0] != batch:
        raise UserError(
            f"the model's output has shape {shape} for {batch} samples; wanted is "
            f"[{batch}, ..., classes]"
        )
    return output, shape[1:]


def _forms(shape):
    """Return the shapes of labels without an axis of outputs."""
    return shape[:-1], (*shape[:-1], 1)


def _misfit(y, shape):
    said = f"the labels of train have shape {y.shape}"
    whole = f"[{len(y)}, {', '.join(map(str, shape))}]"
    if len(shape) == 1 and y.ndim == 2:
        outputs = f"{shape[0]} output{'s' * (shape[0] > 1)}"
        return f"{said}: they are one-hot over {y.shape[1]} classes, and the model has {outputs}"
    return (
        f"{said}, and the model's output has shape {whole}; wanted are class indices, a label for "
        "each row of the output, or labels of the output's shape"
    )


def _sum_to_1(y, ignore_class):
    sums = y.sum(axis=-1, dtype="float64")
    if ignore_class is not None:
        sums = np.where((y == ignore_class).any(axis=-1) | ~y.any(axis=-1), 1.0, sums)
    return bool(np.abs(sums - 1).max() <= TOLERANCE)


def weighted(task: Task, weights: object, targets: np.ndarray) -> Task:
    """Return the task with class weights.

    Args:
        task: The task.
        weights: As `TrainingFitness` takes them; "balanced" counts the labels.
        targets: The training labels.

    Raises:
        UserError: If the weights are not those of the task's classes.
    """
    if isinstance(weights, str) and weights == "balanced":
        weights = _balanced(task, targets)
    weights = check_class_weights(weights, task.head)
    if weights is not None and (task.head == "softmax" or np.ndim(weights) == 2):
        check_length(weights, task.outputs)
    return replace(task, class_weights=weights)


def _balanced(task, targets):
    if task.one_hot_classes is not None:
        kept = targets if task.ignore_class is None else targets[targets != task.ignore_class]
        return balanced(np.bincount(kept.reshape(-1).astype("int64"), minlength=task.outputs))
    t, _, kept = task.rows(targets, targets)
    if task.head == "softmax":
        return balanced(t[kept].sum(axis=0))
    ones = np.where(kept, t, 0.0).sum(axis=0)
    pairs = [balanced(pair) for pair in np.stack([kept.sum(axis=0) - ones, ones], axis=-1)]
    return pairs[0] if len(pairs) == 1 else tuple(pairs)

"""Mistakes in shapes, outputs, labels and class weights for a loss, each as a sentence.

The functions yield what is wrong, and nothing where all is right. Predictions and labels come in
rows, one for each sample or pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nglkeras.errors import UserError
from nglkeras.losses.checking.traits import Traits
from nglkeras.losses.heads import NAMES
from nglkeras.losses.labels import (
    NOT_SPARSE,
    SPARSE,
    TO_INDICES,
    TO_ONE_HOT,
    TOLERANCE,
    binary_labels,
    class_indices,
    one_hot_labels,
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Labels in rows.

    Attributes:
        t: Class indices `[rows]`, or labels `[rows, classes]`.
        kept: Which of them are not left out by `ignore_class`: `[rows]`, and `[rows, classes]` with
            a sigmoid head.
        classes: Number of classes or outputs.
    """

    t: np.ndarray
    kept: np.ndarray
    classes: int

    @classmethod
    def of(
        cls, expected: Traits, labels: np.ndarray, outputs: tuple[int, ...], axis: int
    ) -> "Rows":
        """Return labels in rows.

        Args:
            expected: What the loss expects.
            labels: Labels whose shape fits the outputs.
            outputs: Shape of the outputs.
            axis: Axis of the classes.
        """
        ignored, classes = expected.ignore_class, outputs[axis]
        if expected.sparse:
            t = labels.reshape(-1)
        elif labels.ndim == len(outputs):
            t = np.moveaxis(labels, axis, -1).reshape(-1, classes)
        else:
            t = labels.reshape(-1, 1)
        t = t.astype("float64")
        kept = np.ones(t.shape[: 1 if expected.head == "softmax" else 2], bool)
        if ignored is not None and (expected.sparse or expected.head == "sigmoid"):
            kept = t != ignored
        elif ignored is not None:
            kept = (t != (np.arange(classes) == ignored)).any(axis=1)
        return cls(t, kept, classes)

    @property
    def several(self) -> bool:
        """Whether there are samples with several labels, or none."""
        return self.t.ndim == 2 and not np.allclose(self.one_hot().sum(axis=1), 1, atol=TOLERANCE)

    def one_hot(self) -> np.ndarray:
        """Return the labels as `[rows, classes]`, with zeros for those that are left out."""
        if self.t.ndim == 2:
            return np.where(self.kept if self.kept.ndim == 2 else self.kept[:, None], self.t, 0.0)
        t = np.zeros((len(self.t), self.classes))
        t[self.kept, self.t[self.kept].astype(int)] = 1
        return t

    def counts(self, head: str) -> np.ndarray:
        """Return how often each class occurs; for sigmoids 0 and 1 in a row for each output."""
        if self.t.ndim == 1:
            return np.bincount(self.t[self.kept].astype(int), minlength=self.classes)
        ones = self.one_hot().sum(axis=0)
        return ones if head == "softmax" else np.stack([self.kept.sum(axis=0) - ones, ones], axis=1)


def of_shapes(expected: Traits, labels: np.ndarray, output: object) -> Iterator[str]:
    """Yield what is wrong with type and shape of the labels for an output, a tensor."""
    axis, shape = expected.axis, tuple(output.shape)
    if labels.dtype.kind not in "biuf":
        yield f"the labels are of type {labels.dtype}; give numbers"
    elif expected.head == "softmax" and -len(shape) <= axis < len(shape) and shape[axis] == 1:
        yield (
            f"the model ends in one unit, and {expected.name} needs an output for each class: end "
            f"it in Dense(2, activation='softmax'); for one sigmoid {_sigmoid(expected)}"
        )
    elif expected.head is not None:
        is_ours = "class_weights" in expected.options
        try:
            if expected.sparse:
                advice = NOT_SPARSE if is_ours else TO_INDICES
                class_indices(labels, output, axis=axis, for_one_hot=advice)
            elif expected.head == "softmax":
                advice = SPARSE if is_ours else TO_ONE_HOT
                one_hot_labels(labels, output, axis, for_indices=advice)
            else:
                binary_labels(labels, output, axis)
        except UserError as error:
            yield f"{error}{_hint(labels.shape, shape, axis % len(shape), expected.sparse)}"


def _sigmoid(expected):
    """Return how to take independent outputs."""
    return "give the loss head='sigmoid'" if "head" in expected.options else "use a binary loss"


def _hint(labels, outputs, axis, sparse):
    """Return how to make the shape of labels fit the outputs, if that can be seen."""
    wanted = outputs[:axis] + outputs[axis + 1 :] if sparse else outputs
    if len(labels) != len(wanted) or labels == wanted:
        return ""
    if sorted(labels) == sorted(wanted):
        order, left = [], list(range(len(labels)))
        for size in wanted:
            order.append(next(i for i in left if labels[i] == size))
            left.remove(order[-1])
        return f": axes are swapped; give numpy.transpose(y, {tuple(order)})"
    if not sparse and labels[:axis] == wanted[:axis] and labels[axis + 1 :] == wanted[axis + 1 :]:
        return f": {labels[axis]} classes in the labels, {wanted[axis]} in the model"
    return ""


def of_head(
    expected: Traits, found: str, p: np.ndarray, several: bool, other_axis: int | None
) -> Iterator[str]:
    """Yield what is wrong with the kind of the outputs.

    Args:
        expected: What the loss expects.
        found: Kind of the outputs, as `heads.kind` returns it.
        p: Outputs `[rows, classes]`.
        several: Whether there are samples with several labels, or none.
        other_axis: Axis over which the outputs are a softmax, if it is not the loss's.
    """
    name, wanted = expected.name, expected.head
    if p.shape[1] == 1 and found == "softmax":
        yield (
            "the only output is 1 for every sample: a softmax over one unit is constant; use "
            "activation='sigmoid'"
        )
    elif expected.from_logits:
        if found != "logits":
            instead = "from_logits=True, or " if found == wanted else ""
            yield (
                f"the outputs are {NAMES[found]} ({_range(p)}), and {name} with from_logits=True "
                f"takes logits: drop {instead}the activation of the last layer"
            )
    elif found == "logits":
        instead = ", or give the loss from_logits=True" * ("from_logits" in expected.options)
        yield (
            f"the outputs are logits ({_range(p)}), and {name} takes probabilities: end the model "
            f"in a {wanted or 'softmax or in sigmoids'}{instead}"
        )
    elif found == "sigmoid" and wanted == "softmax":
        if other_axis is not None:
            yield (
                f"the outputs are a softmax over axis {other_axis}, and {name} takes classes from "
                f"axis {expected.axis}: give it axis={other_axis}"
            )
            return
        yield (
            f"the outputs are {NAMES[found]} ({_range(p)}), and {name} is over classes of which "
            f"one is right: end the model in a softmax, or {_sigmoid(expected)}"
        )
    elif found == "softmax" and wanted == "sigmoid" and several:
        yield (
            f"the outputs are {NAMES[found]}, of which one is right, and samples have several "
            "labels or none: end the model in activation='sigmoid'"
        )


def _range(p):
    text = f"{p.min():.3g} to {p.max():.3g}"
    sums = p.sum(axis=1)
    return text if p.shape[1] == 1 else f"{text}, sums {sums.min():.3g} to {sums.max():.3g}"


def of_labels(expected: Traits, rows: Rows) -> Iterator[str]:
    """Yield what is wrong with the values of labels."""
    t = rows.t[rows.kept]
    if not t.size:
        yield f"all labels are left out by ignore_class={expected.ignore_class}"
        return
    bad = ~np.isfinite(t)
    if bad.any():
        yield f"{bad.sum()} of {t.size} labels are NaN or infinite"
    elif expected.sparse:
        yield from _of_indices(expected, t, rows.classes)
    elif t.min() < -TOLERANCE or t.max() > 1 + TOLERANCE:
        values = np.unique(t)
        text = f"the labels go from {t.min():g} to {t.max():g}, and {expected.name} takes 0 to 1"
        others = values[(values != 0) & (values != 1)]
        if len(values) == 2:
            text += f": give numpy.where(y == {values[1]:g}, 1, 0)"
        elif len(values) == 3 and len(others) == 1:
            text += f": if {others[0]:g} stands for void, give the loss ignore_class={others[0]:g}"
        yield text
    elif expected.head == "softmax":
        sums = t.sum(axis=1)
        wrong = np.abs(sums - 1) > TOLERANCE
        if wrong.any():
            yield (
                f"{wrong.sum()} of {len(t)} label rows sum to {sums[wrong].min():g} to "
                f"{sums[wrong].max():g}, not to 1: one-hot rows have one 1; for several labels a "
                "sample use sigmoids, for void samples ignore_class"
            )


def _of_indices(expected, t, classes):
    bad = t[(t < 0) | (t >= classes) | (t != np.floor(t))]
    if not bad.size:
        return
    values = np.unique(bad)
    shown = ", ".join(f"{value:g}" for value in values[:4]) + ", ..." * (len(values) > 4)
    text = f"{bad.size} of {t.size} labels are {shown}: classes are 0 to {classes - 1}"
    if (values != np.floor(values)).any():
        yield f"{text}, whole numbers"
    elif t.min() == 1 and t.max() == classes:
        yield f"{text}, and the labels count from 1; subtract 1"
    elif len(values) == 1 and expected.ignore_class is None:
        yield f"{text}; if {shown} stands for void, give the loss ignore_class={shown}"
    else:
        yield f"{text}, one for each output of the model"


def of_weights(expected: Traits, counts: np.ndarray) -> Iterator[str]:
    """Yield what is wrong with `class_weights`, given the counts of `Rows.counts`."""
    if expected.class_weights is None:
        return
    weights = np.asarray(expected.class_weights)
    if weights.shape not in (counts.shape, counts.shape[1:]):
        # The loss itself says so.
        return
    lost = np.argwhere((np.broadcast_to(weights, counts.shape) == 0) & (counts > 0))
    if len(lost):
        names = ", ".join(map(str, sorted({int(index[-1]) for index in lost})))
        yield f"class_weights are 0 for {names}, which occurs in the labels: it is never learnt"

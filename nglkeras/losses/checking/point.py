"""A loss at the outputs of a model: its value, and its gradient by the logits."""

from collections.abc import Iterator
from functools import cached_property

import keras
import numpy as np

from nglkeras.losses.checking.mistakes import Rows
from nglkeras.losses.checking.traits import Traits
from nglkeras.losses.curves import value_and_gradient

# A sample is saturated if its gradient is below this share of the largest.
SATURATED = 1e-6
# Share of samples that are saturated and wrong, from which on it is a problem.
_STUCK = 0.1
# A prediction is wrong if a probability differs from its label by more.
_WRONG = 0.5
# Worth a note are gradients so many times larger or smaller than cross entropy's, and a value that
# perfect predictions lower by a smaller share.
_OTHER_SIZE, _HARDLY = 3.0, 0.25
# Probabilities are kept so far from 0 that their logarithm is finite.
_LEAST, _PERFECT = 1e-37, 1e-6


class Point:
    """A loss at the outputs of a model.

    Probabilities are turned into the logits that give them, so that gradients are those that the
    layers before the softmax or the sigmoid get.

    Args:
        expected: What the loss expects.
        p: Outputs `[rows, classes]`.
        shape: Shape of the model's output.
        axis: Axis of the classes.
        kind: "softmax", "sigmoid" or "logits".
        labels: Labels as the model's user gives them.
        rows: The same labels in rows; `None` for a loss that is not over classes.
    """

    def __init__(
        self,
        expected: Traits,
        p: np.ndarray,
        shape: tuple[int, ...],
        axis: int,
        kind: str,
        labels: np.ndarray,
        rows: Rows | None,
    ):
        self.expected, self._axis = expected, axis
        # Shape of the outputs with the classes on the last axis.
        self._layout = (*np.delete(shape, axis), shape[axis])
        self._labels, self._rows = labels, rows
        self._kind = "logits" if expected.from_logits else kind
        self._is_sigmoid = (expected.head if self._kind == "logits" else kind) == "sigmoid"
        self._z = self._logits(p, _LEAST)
        self._values, self._gradient = self._at(self._z)

    def _logits(self, p, least):
        if self._kind == "softmax":
            return np.log(np.maximum(p, least))
        if self._kind == "sigmoid":
            return np.log(np.maximum(p, least)) - np.log(np.maximum(1 - p, least))
        return p

    def _at(self, z):
        """Return values, and gradients in rows, for logits in rows."""
        z = np.moveaxis(z.reshape(self._layout), -1, self._axis).astype("float32")

        def function(z):
            if self._kind == "softmax":
                z = keras.activations.softmax(z, axis=self._axis)
            elif self._kind == "sigmoid":
                z = keras.activations.sigmoid(z)
            return self.expected.values(self._labels, z)

        values, gradient = value_and_gradient(function, z)
        gradient = np.moveaxis(gradient.astype("float64"), self._axis, -1)
        return values, gradient.reshape(-1, gradient.shape[-1])

    @cached_property
    def _kept(self):
        """Rows that are not left out."""
        if self._rows is None:
            return np.ones(len(self._z), bool)
        return self._rows.kept if self._rows.kept.ndim == 1 else self._rows.kept.any(axis=1)

    def _mean(self, values):
        """Return the mean value of what counts, as Keras shows it."""
        values = np.ravel(values)
        return float(np.mean(values[self._kept] if len(values) == len(self._kept) else values))

    @cached_property
    def _errors(self):
        """Differences of probabilities and labels: the gradient of the cross entropy."""
        kept = self._rows.kept
        if self._is_sigmoid:
            p = np.exp(-np.logaddexp(0, -self._z))
        else:
            p = np.exp(self._z - np.logaddexp.reduce(self._z, axis=1, keepdims=True))
        errors = p - self._rows.one_hot()
        return np.where(kept if kept.ndim == 2 else kept[:, None], errors, 0)

    @cached_property
    def _is_saturated(self):
        sizes = np.linalg.norm(self._gradient, axis=1)
        _, even = self._at(np.zeros_like(self._z))
        largest = max(sizes.max(), np.nan_to_num(np.linalg.norm(even, axis=1)).max())
        return (sizes <= SATURATED * largest)[self._kept]

    @property
    def saturated(self) -> float:
        """Share of samples without gradient."""
        return float(self._is_saturated.mean())

    @cached_property
    def ratio(self) -> float | None:
        """Size of the gradient against cross entropy's."""
        if self._rows is None:
            return None
        kept = int(self._kept.sum())
        # Dice has a value for each image, not for each pixel.
        count = kept if np.size(self._values) == len(self._z) else np.size(self._values)
        count = 1 if self.expected.reduction == "sum" else count
        errors = self._errors
        if self._is_sigmoid:
            errors = errors / np.maximum(self._rows.kept.sum(axis=1, keepdims=True), 1)
        other = np.linalg.norm(errors) / kept
        return float(np.linalg.norm(self._gradient) / count / other) if other else None

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with value and gradient."""
        bad = int((~np.isfinite(self._values)).sum())
        if bad:
            count = self._values.size
            yield f"{self.expected.name} is NaN or infinite for {bad} of {count} samples"
            return
        if not np.isfinite(self._gradient).all():
            yield f"the gradient of {self.expected.name} is NaN or infinite"
            return
        stuck = self._is_saturated
        if self._rows is not None:
            stuck = stuck & (np.abs(self._errors[self._kept]).max(axis=1) > _WRONG)
        if stuck.mean() > _STUCK:
            yield (
                f"{stuck.mean():.0%} of the predictions are wrong and without gradient (below "
                f"{SATURATED:g} of the largest): the outputs are saturated, with logits from "
                f"{self._z.min():.3g} to {self._z.max():.3g}; scale down inputs or initial weights"
            )

    def notes(self) -> Iterator[str]:
        """Yield advice on the size of gradient and value."""
        expected = self.expected
        if self.ratio and not 1 / _OTHER_SIZE < self.ratio < _OTHER_SIZE:
            classes = self._z.shape[1]
            text = (
                f"the gradient of {expected.name} is {self.ratio:.2g} times that of cross entropy "
                f"here: with SGD, take {1 / self.ratio:.2g} times cross entropy's learning rate "
                "(with Adam and its like the same)"
            )
            if expected.class_reduction == "mean" and expected.head == "softmax" and self.ratio < 1:
                text += (
                    f"; class_reduction='sum', which does not divide by the number of classes, "
                    f"makes it {classes} times larger"
                )
            yield text
        if self._rows is None:
            return
        now, best = map(self._mean, (self._values, self._at(self._best())[0]))
        if np.isfinite(best) and now - best < _HARDLY * abs(now):
            yield (
                f"the value of {expected.name} is {now:.4g} now and {best:.4g} for perfect "
                "predictions: it says little about progress; watch val_accuracy, e.g. "
                "EarlyStopping(monitor='val_accuracy')"
            )

    def _best(self):
        """Return the logits of predictions that equal the labels."""
        t = np.clip(self._rows.one_hot(), _PERFECT, 1 - _PERFECT)
        return np.log(t) - np.log(1 - t) if self._is_sigmoid else np.log(t)

"""Measure a network in training without Keras' evaluation."""

from collections.abc import Callable, Iterable

import keras
import numpy as np


class Measuring(keras.callbacks.Callback):
    """Add the measure to what callbacks see after each epoch.

    Args:
        measured: Returns the measure.
    """

    def __init__(self, measured: Callable[[], float]):
        super().__init__()
        self.measured = measured

    def on_epoch_end(self, epoch, logs=None):
        """Keras' hook."""
        logs["val_accuracy"] = self.measured()


def is_right(labels, outputs):
    """Return for each sample, as a bool, whether its greatest output is its label's.

    A single output is a probability, and right on the label's side of one half. Arrays are
    NumPy's or JAX's, `[..., outputs]`.
    """
    if labels.shape[-1] == 1:
        return ((outputs > 0.5) == (labels > 0.5))[..., 0]
    return labels.argmax(axis=-1) == outputs.argmax(axis=-1)


def accuracy(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the share of samples that are right, as `is_right` says.

    Args:
        batches: Labels and outputs.
    """
    right, total = 0, 0
    for labels, outputs in batches:
        right += np.count_nonzero(is_right(labels, outputs))
        total += len(labels)
    return right / total

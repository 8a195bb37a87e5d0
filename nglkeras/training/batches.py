"""Batches of arrays in memory, made with NumPy, for JAX and PyTorch without TensorFlow."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import keras
import numpy as np


@dataclass(eq=False)
class Batches(keras.utils.PyDataset):
    """Batches of arrays in memory, in an order that is fixed beforehand.

    Reading it again gives the same batches. Keras' `fit`, given the steps of an epoch, goes on in
    it from epoch to epoch.

    Attributes:
        x: Inputs `[samples, ...]`; a dict or tuple of such arrays for several inputs.
        y: Labels `[samples, ...]`, one-hot, or class indices where `classes` is given.
        order: The samples' numbers, `[batches, batch_size]`.
        weights: Their weights, of the same shape; 0 for padding. `None` for batches without.
        classes: Number of classes of labels that are made one-hot batch by batch; a label that is
            no class becomes a row of zeros.
        seeds: One number a batch, from which its random changes follow.
        change: Function of a batch's inputs and its number of `seeds` that returns the inputs with
            random changes.
        finish: Function that is applied to the inputs at last.
        parts: Number of equal parts that each batch is divided into, which come one by one.
    """

    x: object
    y: np.ndarray
    order: np.ndarray
    weights: np.ndarray | None = None
    classes: int | None = None
    seeds: np.ndarray | None = None
    change: Callable | None = None
    finish: Callable | None = None
    parts: int = 1
    # The batch of which parts are being read, and its number.
    _last: tuple = field(default=(None, None), init=False, repr=False)

    def __post_init__(self):
        super().__init__()

    def __len__(self):
        return len(self.order) * self.parts

    def __getitem__(self, index: int) -> tuple:
        """Return the inputs, labels and, where there are any, weights of a batch."""
        if self.parts == 1:
            return self._batch(index)
        number, part = divmod(index, self.parts)
        if self._last[0] != number:
            self._last = number, self._batch(number)
        size = self.order.shape[1] // self.parts
        rows = slice(part * size, (part + 1) * size)
        return keras.tree.map_structure(lambda array: array[rows], self._last[1])

    def as_numpy_iterator(self) -> Iterator[tuple]:
        """Yield the batches, as a `tf.data.Dataset` does."""
        return iter(self)

    @property
    def nbytes(self) -> int:
        """Size of all batches together."""
        return len(self) * sum(array.nbytes for array in keras.tree.flatten(self[0]))

    def _batch(self, number):
        rows = self.order[number]
        x = keras.tree.map_structure(lambda array: array[rows], self.x)
        if self.change is not None:
            x = self.change(x, self.seeds[number])
        if self.finish is not None:
            x = self.finish(x)
        batch = x, self._labels(rows)
        return batch if self.weights is None else (*batch, self.weights[number])

    def _labels(self, rows):
        y = self.y[rows]
        if self.classes is None:
            return y.astype("float32")
        return (y.astype("int32")[..., None] == np.arange(self.classes)).astype("float32")

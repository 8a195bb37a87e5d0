"""Arrays as streams of batches that begin alike every time they are read.

`tf.data` shuffles anew whenever a stream is read again. Here the order of all epochs is fixed
beforehand, so that the fortieth training on a stream sees what the first has seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from nglkeras.errors import UserError
from nglkeras.protocol import derive_seed

# Batches that are made at a time, and ahead.
PARALLEL, PREFETCH = 4, 8


@dataclass(frozen=True)
class Streams:
    """What one training needs.

    Attributes:
        train: (x, one-hot y), whole batches of all epochs, one epoch after the other.
        validation: (x, one-hot y, weight), the last batch filled up with weight zero.
        steps: Batches of an epoch.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    steps: int


def training(
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    augment: Callable | None = None,
    finish: Callable | None = None,
) -> tuple[tf.data.Dataset, int]:
    """All epochs of a training, one after the other, and the number of steps of each.

    Args:
        x: Inputs, first axis the samples.
        y: One-hot labels `[samples, classes]`.
        batch_size: Samples a step; what does not fill a batch is left out of an epoch.
        epochs: Passes over the samples, each in its own order.
        seed: Decides the orders, and the changes that `augment` makes.
        augment: A function of a batch of inputs and a seed.
        finish: A function of a batch of inputs.

    Raises:
        UserError: If the samples do not fill a batch.
    """
    steps = len(x) // batch_size
    if steps == 0:
        raise UserError(f"{len(x)} training samples do not fill a batch of {batch_size}")
    random = np.random.default_rng(derive_seed(seed, "order"))
    order = np.stack([random.permutation(len(x))[: steps * batch_size] for _ in range(epochs)])
    order = order.reshape(epochs * steps, batch_size).astype("int32")
    seeds = random.integers(0, 2**31, epochs * steps)
    x, y = tf.constant(x), tf.constant(y, tf.float32)

    def batch(rows, batch_seed):
        inputs = tf.gather(x, rows)
        if augment is not None:
            inputs = augment(inputs, batch_seed)
        return inputs if finish is None else finish(inputs), tf.gather(y, rows)

    # Augmentation keeps its seeds in variables: one call at a time.
    calls = None if augment is not None else PARALLEL
    data = tf.data.Dataset.from_tensor_slices((order, seeds)).map(batch, num_parallel_calls=calls)
    return _settled(data), steps


def _settled(data):
    """Prefetching without autotuning, whose thread now and then holds up an end by a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(PREFETCH).with_options(options)


def evaluation(
    x: np.ndarray, y: np.ndarray, *, batch_size: int, finish: Callable | None = None
) -> tf.data.Dataset:
    """The samples in order, in batches of one size, as (inputs, labels, weight).

    Keras divides a batch's loss by its size, padding included; the weight of a real sample makes
    up for it.
    """
    batches = -(-len(x) // batch_size)
    rows = np.arange(batches * batch_size)
    weights = np.where(rows < len(x), batches * batch_size / len(x), 0.0).astype("float32")
    rows = np.where(rows < len(x), rows, 0).astype("int32")
    x, y = tf.constant(x), tf.constant(y, tf.float32)

    def batch(rows, weights):
        inputs = tf.gather(x, rows)
        return inputs if finish is None else finish(inputs), tf.gather(y, rows), weights

    shape = (batches, batch_size)
    data = tf.data.Dataset.from_tensor_slices((rows.reshape(shape), weights.reshape(shape)))
    return _settled(data.map(batch, num_parallel_calls=PARALLEL))

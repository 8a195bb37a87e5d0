"""The batches of `streams` as `tf.data.Dataset`s; imported on the TensorFlow backend only."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from nglkeras.data.augmentation import Augmentation
from nglkeras.data.tensorflow_changes import augmented

# Number of batches that are made at a time, and ahead.
PARALLEL, PREFETCH = 4, 8


def training(
    x: object,
    y: np.ndarray,
    order: np.ndarray,
    *,
    classes: int | None,
    seeds: np.ndarray,
    augmentation: Augmentation | None,
    seed: int,
    finish: Callable,
) -> tf.data.Dataset:
    """Return training batches; arguments are those of `Batches` and of `streams.training`."""
    x, labels_of = keras.tree.map_structure(tf.constant, x), _labels(y, classes)

    def gathered(rows):
        return _gathered(x, rows), labels_of(rows)

    def finished(inputs, labels):
        return finish(inputs), labels

    data = tf.data.Dataset.from_tensor_slices(order)
    if augmentation is None:
        data = data.map(lambda rows: finished(*gathered(rows)), PARALLEL)
    else:
        data = tf.data.Dataset.zip(
            data.map(gathered, PARALLEL), tf.data.Dataset.from_tensor_slices(seeds)
        )
        data = augmented(data, augmentation, seed).map(finished, PARALLEL)
    return settled(data)


def evaluation(
    x: object,
    y: np.ndarray,
    order: np.ndarray,
    weights: np.ndarray,
    *,
    classes: int | None,
    finish: Callable,
) -> tf.data.Dataset:
    """Return the batches of an evaluation; arguments are those of `Batches`."""
    x, labels_of = keras.tree.map_structure(tf.constant, x), _labels(y, classes)

    def batch(rows, weights):
        return finish(_gathered(x, rows)), labels_of(rows), weights

    data = tf.data.Dataset.from_tensor_slices((order, weights))
    return settled(data.map(batch, num_parallel_calls=PARALLEL))


def settled(data: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch without autotuning, whose thread sometimes delays the end by a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(PREFETCH).with_options(options)


def _gathered(x, rows):
    return keras.tree.map_structure(lambda array: tf.gather(array, rows), x)


def _labels(y, classes):
    """Return a function that returns the labels of rows."""
    if classes is None:
        y = tf.constant(y, tf.float32)
        return lambda rows: tf.gather(y, rows)
    # As the user's data have them: one-hot they may not fit into memory.
    y = tf.constant(y)
    return lambda rows: tf.one_hot(tf.cast(tf.gather(y, rows), tf.int32), classes)


def cut(data: tf.data.Dataset, size: int, parts: int) -> tf.data.Dataset:
    """Return a stream with each batch divided into `parts` of a size."""
    batches = data.cardinality()
    data = data.rebatch(size, drop_remainder=True)
    if batches > 0:
        # Rebatching forgets it.
        data = data.apply(tf.data.experimental.assert_cardinality(batches * parts))
    return data.prefetch(PREFETCH)


def size(data: tf.data.Dataset) -> float:
    """Return the bytes of all batches; infinity where they are not known in advance."""
    specs, count = keras.tree.flatten(data.element_spec), int(data.cardinality())
    sizes = [(one.shape.num_elements() or np.inf) * one.dtype.size for one in specs]
    return np.inf if count < 0 else count * sum(sizes)

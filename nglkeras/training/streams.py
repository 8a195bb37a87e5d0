"""Make streams of batches from arrays that give the same batches every time they are read.

`tf.data` shuffles anew whenever a stream is read again. Here the order of all epochs is fixed
beforehand, so that the fortieth training on a stream sees what the first has seen.

If an epoch is a number of steps, it makes as many passes over the samples as these need, each in
another order. Without augmentation, a shorter training sees the beginning of what a longer one
sees.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from nglkeras.data.augment import augmented
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.datasets import Arrays, Splits, finish, padded
from nglkeras.errors import UserError
from nglkeras.seeds import derive_seed
from nglkeras.training.schedule import Schedule

# Number of batches that are made at a time, and ahead.
PARALLEL, PREFETCH = 4, 8

Parts = TypeVar("Parts", "Streams", Splits)


@dataclass(frozen=True)
class Streams:
    """The data of one training.

    Attributes:
        train: Whole batches (x, one-hot y) of all epochs, one epoch after the other.
        validation: Batches (x, one-hot y, weight), as `datasets.padded` makes them.
        steps: Number of batches in an epoch.
        test: As `validation`, if it was asked for.
        sizes: Number of images in train, validation and test, where they come from a data set.
        paths: Files that are read during the training; none, since the data are in memory.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    steps: int
    test: tf.data.Dataset | None = None
    sizes: tuple[int, int, int] | None = None
    paths: tuple[bytes, ...] = ()


def of_arrays(
    arrays: Arrays, schedule: Schedule, seed: int, augmentation: Augmentation | None = None
) -> Streams:
    """Return the streams of a data set in memory.

    Args:
        arrays: The data set.
        schedule: Epochs and batches.
        seed: Decides order and augmentation.
        augmentation: Random changes to the training images; none by default.

    Raises:
        UserError: If the images do not fill a batch.
    """

    def finished(images):
        return finish(images, arrays.size)

    def one_hot(part):
        return part[0], keras.utils.to_categorical(part[1], arrays.classes)

    train, steps = training(
        *one_hot(arrays.train),
        batch_size=schedule.batch_size,
        epochs=schedule.epochs,
        steps_per_epoch=schedule.steps_per_epoch,
        seed=seed,
        augmentation=augmentation,
        finish=finished,
    )
    held = [
        None
        if part is None
        else evaluation(*one_hot(part), batch_size=schedule.batch_size, finish=finished)
        for part in (arrays.validation, arrays.test)
    ]
    parts = (arrays.train, arrays.validation, arrays.test)
    sizes = tuple(0 if part is None else len(part[1]) for part in parts)
    return Streams(train, held[0], steps, held[1], sizes)


def training(
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    steps_per_epoch: int | None = None,
    augmentation: Augmentation | None = None,
    finish: Callable | None = None,
) -> tuple[tf.data.Dataset, int]:
    """Return the batches of all epochs, one epoch after the other, and the steps of an epoch.

    Args:
        x: Inputs `[samples, ...]`; a dict or tuple of such arrays for several inputs.
        y: One-hot labels `[samples, classes]`.
        batch_size: Samples per step; what does not fill a batch is left out of a pass.
        epochs: Number of epochs.
        seed: Decides the orders and the augmentation.
        steps_per_epoch: Steps of an epoch; by default one pass over the samples.
        augmentation: Random changes to inputs that are images; none by default.
        finish: A function that is applied to each batch of inputs.

    Raises:
        UserError: If the samples do not fill a batch.
    """
    steps_per_pass = len(y) // batch_size
    if steps_per_pass == 0:
        raise UserError(f"{len(y)} training samples do not fill a batch of {batch_size}")
    steps = steps_per_epoch or steps_per_pass
    passes = -(-epochs * steps // steps_per_pass)
    random = np.random.default_rng(derive_seed(seed, "order"))
    used = steps_per_pass * batch_size
    order = np.concatenate([random.permutation(len(y))[:used] for _ in range(passes)])
    order = order.astype("int32").reshape(-1, batch_size)[: epochs * steps]
    seeds = random.integers(0, 2**31, epochs * steps)
    x, y = _constants(x), tf.constant(y, tf.float32)

    def gathered(rows):
        return _gathered(x, rows), tf.gather(y, rows)

    def finished(inputs, labels):
        return inputs if finish is None else finish(inputs), labels

    data = tf.data.Dataset.from_tensor_slices(order)
    if augmentation is None:
        data = data.map(lambda rows: finished(*gathered(rows)), PARALLEL)
    else:
        data = tf.data.Dataset.zip(
            data.map(gathered, PARALLEL), tf.data.Dataset.from_tensor_slices(seeds)
        )
        data = augmented(data, augmentation, seed).map(finished, PARALLEL)
    return settled(data), steps


def settled(data):
    """Prefetch without autotuning, whose thread sometimes delays the end by a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(PREFETCH).with_options(options)


def evaluation(
    x: np.ndarray, y: np.ndarray, *, batch_size: int, finish: Callable | None = None
) -> tf.data.Dataset:
    """Return the samples in order, in batches of one size; see `datasets.padded`."""
    x, y = _constants(x), np.asarray(y, "float32")
    rows = tf.data.Dataset.from_tensor_slices((np.arange(len(y)), y)).batch(batch_size)
    # The rows are padded instead of the inputs, and only once: a search evaluates very often.
    rows = padded(rows, len(y), batch_size).batch(len(y)).get_single_element()

    def batch(rows, labels, weights):
        inputs = _gathered(x, rows)
        return inputs if finish is None else finish(inputs), labels, weights

    data = tf.data.Dataset.from_tensor_slices(rows)
    return settled(data.map(batch, num_parallel_calls=PARALLEL))


def _constants(x):
    return keras.tree.map_structure(tf.constant, x)


def _gathered(x, rows):
    return keras.tree.map_structure(lambda array: tf.gather(array, rows), x)


def in_parts(whole: Parts, schedule: Schedule) -> Parts:
    """Return streams with each batch divided into the parts of a schedule.

    Args:
        whole: Streams of whole batches.
        schedule: Size of a batch and number of its parts.

    Raises:
        UserError: If the batches do not divide into the parts.
    """
    if schedule.accumulation == 1:
        return whole
    streams = {name: getattr(whole, name) for name in ("train", "validation", "test")}
    cut = {name: _cut(data, schedule) for name, data in streams.items() if data is not None}
    return replace(whole, **cut)


def _cut(data, schedule):
    batches = data.cardinality()
    data = data.rebatch(schedule.part_size, drop_remainder=True)
    if batches > 0:
        # Rebatching forgets it.
        parts = batches * schedule.accumulation
        data = data.apply(tf.data.experimental.assert_cardinality(parts))
    return data.prefetch(PREFETCH)

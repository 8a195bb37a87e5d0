"""Make streams of batches from arrays that give the same batches every time they are read.

`tf.data` shuffles anew whenever a stream is read again. Here the order of all epochs is fixed
beforehand. Without augmentation, a shorter training sees the beginning of what a longer one sees.
"""

from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from nglkeras.data.augment import augmented
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.datasets import Arrays, Streams, finish, padded
from nglkeras.errors import UserError
from nglkeras.seeds import derive_seed
from nglkeras.training.schedule import Schedule

# Number of batches that are made at a time, and ahead.
PARALLEL, PREFETCH = 4, 8


def of_arrays(
    arrays: Arrays, schedule: Schedule, seed: int, augmentation: Augmentation | None = None
) -> Streams:
    """Return the streams of a data set in memory; `seed` decides order and augmentation."""

    def make(stream, part, **settings):
        return stream(
            part[0],
            keras.utils.to_categorical(part[1], arrays.classes),
            batch_size=schedule.batch_size,
            finish=lambda images: finish(images, arrays.size),
            **settings,
        )

    train, steps = make(
        training,
        arrays.train,
        epochs=schedule.epochs,
        steps_per_epoch=schedule.steps_per_epoch,
        seed=seed,
        augmentation=augmentation,
    )
    validation = make(evaluation, arrays.validation)
    test = None if arrays.test is None else make(evaluation, arrays.test)
    tests = 0 if arrays.test is None else len(arrays.test[1])
    sizes = (len(arrays.train[1]), len(arrays.validation[1]), tests)
    return Streams(train, validation, steps, test, sizes)


def training(
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    steps_per_epoch: int | None = None,
    augmentation: Augmentation | None = None,
    finish: Callable = lambda inputs: inputs,
    classes: int | None = None,
) -> tuple[tf.data.Dataset, int]:
    """Return the batches of all epochs, one epoch after the other, and the steps of an epoch.

    Args:
        x: Inputs `[samples, ...]`; a dict or tuple of such arrays for several inputs.
        y: Labels `[samples, ...]`, one-hot if there are classes.
        batch_size: Samples per step; what does not fill a batch is left out of a pass.
        epochs: Number of epochs.
        seed: Decides the orders and the augmentation.
        steps_per_epoch: Steps of an epoch; by default one pass over the samples.
        augmentation: Random changes to inputs that are images; none by default.
        finish: A function that is applied to each batch of inputs.
        classes: Number of classes of label maps, which are made one-hot batch by batch; a label
            that is no class becomes a row of zeros. `None` for other labels.
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
    return settled(data), steps


def settled(data):
    """Prefetch without autotuning, whose thread sometimes delays the end by a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(PREFETCH).with_options(options)


def evaluation(
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    finish: Callable = lambda inputs: inputs,
    classes: int | None = None,
) -> tf.data.Dataset:
    """Return the samples in order, in batches of one size; see `datasets.padded` and `training`."""
    x, labels_of = keras.tree.map_structure(tf.constant, x), _labels(y, classes)
    numbers = np.arange(len(y))
    rows = tf.data.Dataset.from_tensor_slices((numbers, numbers)).batch(batch_size)
    # The rows are padded instead of the inputs, and only once: a search evaluates very often.
    rows = padded(rows, len(y), batch_size).batch(len(y)).get_single_element()

    def batch(rows, _, weights):
        # Padding repeats the first sample: a row of zeros is no label of any class.
        return finish(_gathered(x, rows)), labels_of(rows), weights

    data = tf.data.Dataset.from_tensor_slices(rows)
    return settled(data.map(batch, num_parallel_calls=PARALLEL))


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


def in_parts(whole: Streams, schedule: Schedule) -> Streams:
    """Return streams with each batch divided into the parts of a schedule."""
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

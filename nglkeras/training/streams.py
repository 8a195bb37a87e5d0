"""Make streams of batches from arrays that give the same batches every time they are read.

The order of all epochs is fixed beforehand. Without augmentation, a shorter training sees the
beginning of what a longer one sees. The streams are a `tf.data.Dataset` on the TensorFlow backend
and `Batches`, which need no TensorFlow, on the others.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import keras
import numpy as np

from nglkeras import data as data_room
from nglkeras import training as training_room
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.changes import changed
from nglkeras.data.datasets import Arrays, Streams
from nglkeras.errors import UserError
from nglkeras.seeds import derive_seed
from nglkeras.training.batches import Batches
from nglkeras.training.schedule import Schedule


def of_arrays(
    arrays: Arrays, schedule: Schedule, seed: int, augmentation: Augmentation | None = None
) -> Streams:
    """Return the streams of a data set in memory; `seed` decides order and augmentation."""
    finish = data_room.pipeline.finish if _on_tensorflow() else data_room.images.finish

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
) -> tuple[object, int]:
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
    how = {
        "classes": classes,
        "seeds": random.integers(0, 2**31, epochs * steps),
        "finish": finish,
    }
    if _on_tensorflow():
        how |= {"augmentation": augmentation, "seed": seed}
        return training_room.tensorflow_streams.training(x, y, order, **how), steps
    change = None if augmentation is None else partial(changed, augmentation)
    return Batches(x, y, order, change=change, **how), steps


def evaluation(
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    finish: Callable = lambda inputs: inputs,
    classes: int | None = None,
) -> object:
    """Return the samples in order, in batches of one size, with weights; see `training`.

    The last batch is filled with repetitions of the first sample, of weight zero: a row of zeros is
    no label of any class. The other weights make up for them in Keras' means.
    """
    count = len(y)
    whole = -(-count // batch_size)
    order = np.zeros((whole, batch_size), "int32")
    weights = np.zeros((whole, batch_size), "float32")
    order.flat[:count] = np.arange(count)
    weights.flat[:count] = whole * batch_size / max(count, 1)
    make = training_room.tensorflow_streams.evaluation if _on_tensorflow() else Batches
    return make(x, y, order, weights, classes=classes, finish=finish)


def in_parts(whole: Streams, schedule: Schedule) -> Streams:
    """Return streams with each batch divided into the parts of a schedule."""
    if schedule.accumulation == 1:
        return whole
    streams = {name: getattr(whole, name) for name in ("train", "validation", "test")}
    cut = {name: _cut(data, schedule) for name, data in streams.items() if data is not None}
    return replace(whole, **cut)


def _cut(data, schedule):
    if isinstance(data, Batches):
        return replace(data, parts=schedule.batch_size // schedule.part_size)
    return training_room.tensorflow_streams.cut(data, schedule.part_size, schedule.accumulation)


def size(data: object) -> float:
    """Return the bytes of all batches of a stream; infinity where they are not known."""
    return data.nbytes if isinstance(data, Batches) else training_room.tensorflow_streams.size(data)


def _on_tensorflow():
    return keras.backend.backend() == "tensorflow"

"""Streams for trainings of days: a stream that begins at a later step gives the same batches.

The seed and an epoch's number decide the order of the epoch, the seed and an image's number what
happens to the image, the seed and a step's number what happens to the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from nglkeras.data.catalog import MEMORY_BYTES
from nglkeras.data.pipeline import padded
from nglkeras.errors import UserError
from nglkeras.experiments.imagenet import augmentation, sources
from nglkeras.experiments.imagenet.protocol import ImageNetTrial, Policy
from nglkeras.experiments.imagenet.sources import Examples
from nglkeras.seeds import derive_seed

PREFETCH = 4


@dataclass(frozen=True)
class Streams:
    """The data of a training.

    Attributes:
        batches: Returns the training batches (images, labels) from a step on; images are float32
            RGB from 0 to 255, labels one-hot or mixed. Each part of a batch is a step.
        steps: Number of steps in an epoch.
        evaluation: Batches (images, labels, weights) in a fixed order, as `padded` makes them.
        sizes: Number of images in train, validation (none) and test.
        paths: The files that are read, where the data set is a folder.
    """

    batches: Callable[[int], tf.data.Dataset]
    steps: int
    evaluation: tf.data.Dataset
    sizes: tuple[int, int, int]
    classes: int
    paths: tuple[bytes, ...] = ()


def streams_of(trial: ImageNetTrial, data_dir=None) -> Streams:
    """Return the data of a trial: its run decides order and changes, its seed what is left out."""
    limits = {name: getattr(trial, name) for name in ("train_images", "evaluation_images")}
    source = sources.load(trial.dataset, data_dir, seed=trial.seed, **limits)
    recipe = trial.schedule
    batches, steps = training(
        source.train,
        source.classes,
        size=trial.image_size,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        policy=recipe.policy,
        seed=derive_seed(trial.run_seed, "data"),
        parts=recipe.accumulation,
    )
    return Streams(
        batches,
        steps,
        evaluation(source.evaluation, source.classes, trial.image_size, recipe.part_size),
        (source.train.count, 0, source.evaluation.count),
        source.classes,
        source.train.paths + source.evaluation.paths,
    )


def training(
    examples: Examples,
    classes: int,
    *,
    size: int,
    batch_size: int,
    epochs: int,
    policy: Policy,
    seed: int,
    parts: int = 1,
) -> tuple[Callable[[int], tf.data.Dataset], int]:
    """Return a function that gives the batches from a step on, and the steps of an epoch.

    What does not fill a batch is left out of an epoch. Batches are divided into `parts` once they
    are mixed; each part is a step.
    """
    steps = examples.count // batch_size
    if not steps:
        raise UserError(f"{examples.count} training images do not fill a batch of {batch_size}")
    order, window, image, batch = (
        derive_seed(seed, what) for what in ("order", "window", "image", "batch")
    )
    # Traced once, wherever a stream begins.
    change_image = tf.function(augmentation.train_image(policy, size), autograph=False)
    change_batch = tf.function(augmentation.train_batch(policy), autograph=False)

    def prepared(example, number):
        encoded, label = example
        pixels = _rgb(examples.decode(encoded))
        pixels = change_image(pixels, _numbered(image, number))
        return tf.ensure_shape(pixels, (size, size, 3)), tf.one_hot(label, classes)

    def changed(both, step):
        return change_batch(*both, _numbered(batch, step))

    def batches(first):
        first, first_part = divmod(first, parts)
        # tf.data mixes TensorFlow's global seed, whatever it is by now, into a window's.
        tf.random.set_seed(window)
        begun, within = divmod(first, steps)

        def epoch(number):
            data = examples.shuffled(tf.stack([tf.constant(order, tf.int64), number]))
            done = tf.where(number == begun, within, 0)
            return data.take(steps * batch_size).skip(tf.cast(done * batch_size, tf.int64))

        data = tf.data.Dataset.range(begun, epochs).flat_map(epoch)
        numbers = tf.data.Dataset.range(first * batch_size, 2**62)
        data = tf.data.Dataset.zip(data, numbers).map(prepared, num_parallel_calls=tf.data.AUTOTUNE)
        data = data.batch(batch_size, drop_remainder=True)
        data = tf.data.Dataset.zip(data, tf.data.Dataset.range(first, 2**62))
        data = data.map(changed, num_parallel_calls=PREFETCH)
        if parts > 1:
            data = data.rebatch(batch_size // parts, drop_remainder=True).skip(first_part)
        return data.prefetch(PREFETCH)

    return batches, steps * parts


def _numbered(seed, number):
    """Return the seed of an image or a step, whose numbers may go beyond 32 bits."""
    high, low = tf.unstack(tf.cast(tf.stack([number // 2**31, number % 2**31]), tf.int32))
    return augmentation.descend(augmentation.descend([seed, 0], high), low)


def _rgb(image):
    return tf.image.grayscale_to_rgb(image) if image.shape[-1] == 1 else image


def evaluation(examples: Examples, classes: int, size: int, batch_size: int) -> tf.data.Dataset:
    """Return the middles of images, in order, in batches (images, labels, weights)."""

    def prepared(encoded, label):
        image = augmentation.evaluation_image(_rgb(examples.decode(encoded)), size)
        return image, tf.one_hot(label, classes)

    data = examples.in_order().map(prepared, num_parallel_calls=tf.data.AUTOTUNE)
    if examples.count * size * size * 3 * 4 <= MEMORY_BYTES // 4:
        data = data.cache()
    return padded(data.batch(batch_size), examples.count, batch_size).prefetch(PREFETCH)

"""Streams for trainings of days: they can begin at any step, and go on as if they had not.

The order of an epoch is decided by the seed and the epoch's number, what happens to an image by
the seed and the image's number, what happens to a batch by the seed and the step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from nglkeras.data.catalog import MEMORY_BYTES
from nglkeras.errors import UserError
from nglkeras.experiments.imagenet import augmentation, sources
from nglkeras.experiments.imagenet.protocol import ImageNetTrial, Policy
from nglkeras.experiments.imagenet.sources import Examples
from nglkeras.seeds import derive_seed

PREFETCH = 4

if keras.backend.backend() != "tensorflow":
    # TensorFlow only reads the data then: the GPU's memory belongs to the other backend.
    tf.config.set_visible_devices([], "GPU")


@dataclass(frozen=True)
class Streams:
    """The data of a training.

    Attributes:
        batches: Gives the training's batches (images, labels) from a step on; images are float32
            RGB from 0 to 255, labels one-hot or mixed. A batch in parts counts as many steps.
        steps: Of an epoch.
        evaluation: (images, labels, weights) in a fixed order; the last batch is filled up with
            images of weight zero.
        sizes: Images in train, validation (none) and test.
        classes: Number of classes.
        paths: The files that are read, if they are images of a folder.
    """

    batches: Callable[[int], tf.data.Dataset]
    steps: int
    evaluation: tf.data.Dataset
    sizes: tuple[int, int, int]
    classes: int
    paths: tuple[bytes, ...] = ()


def streams_of(trial: ImageNetTrial, data_dir=None) -> Streams:
    """The data of a trial; its run decides order and augmentation, its seed what is left out.

    Raises:
        UserError: If the data set is not there, or its images do not fill a batch.
    """
    source = sources.load(
        trial.dataset,
        data_dir,
        seed=trial.seed,
        train_images=trial.train_images,
        evaluation_images=trial.evaluation_images,
    )
    recipe, parts = trial.schedule, trial.schedule.accumulation
    batches, steps = training(
        source.train,
        source.classes,
        size=trial.image_size,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        policy=recipe.policy,
        seed=derive_seed(derive_seed(trial.seed, "run", trial.run), "data"),
    )
    return Streams(
        in_parts(batches, recipe.part_size, parts),
        steps * parts,
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
) -> tuple[Callable[[int], tf.data.Dataset], int]:
    """What gives the batches of a training from a step on, and the steps of an epoch.

    Args:
        examples: The images.
        classes: Number of classes.
        size: Height and width that the images shall have.
        batch_size: Images a step; what does not fill a batch is left out of an epoch.
        epochs: How many.
        policy: What may happen to images and labels.
        seed: Of everything.

    Raises:
        UserError: If the images do not fill a batch.
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
        return data.map(changed, num_parallel_calls=PREFETCH).prefetch(PREFETCH)

    return batches, steps


def _numbered(seed, number):
    """The seed of an image or a step, whose numbers may go beyond 32 bits."""
    high, low = tf.unstack(tf.cast(tf.stack([number // 2**31, number % 2**31]), tf.int32))
    return augmentation.descend(augmentation.descend([seed, 0], high), low)


def _rgb(image):
    return tf.image.grayscale_to_rgb(image) if image.shape[-1] == 1 else image


def in_parts(
    batches: Callable[[int], tf.data.Dataset], part_size: int, parts: int
) -> Callable[[int], tf.data.Dataset]:
    """The same images in the same order, mixed as a batch, a part of a batch at a time."""
    if parts == 1:
        return batches

    def divided(first):
        data = batches(first // parts).rebatch(part_size, drop_remainder=True)
        return data.skip(first % parts)

    return divided


def evaluation(examples: Examples, classes: int, size: int, batch_size: int) -> tf.data.Dataset:
    """The middle of each image, in order, in batches of one size: (images, labels, weights).

    Keras divides a batch's loss by its size, padding included; the weight of a real image makes up
    for it.
    """
    count = examples.count
    batches = -(-count // batch_size)
    missing = batches * batch_size - count

    def prepared(encoded, label):
        image = augmentation.evaluation_image(_rgb(examples.decode(encoded)), size)
        return image, tf.one_hot(label, classes), batches * batch_size / count

    data = examples.in_order().map(prepared, num_parallel_calls=tf.data.AUTOTUNE)
    if missing:
        empty = (tf.zeros([size, size, 3]), tf.zeros([classes]), 0.0)
        data = data.concatenate(tf.data.Dataset.from_tensors(empty).repeat(missing))
    if count * size * size * 3 * 4 <= MEMORY_BYTES // 4:
        data = data.cache()
    data = data.batch(batch_size, drop_remainder=True)
    data = data.apply(tf.data.experimental.assert_cardinality(batches))
    return data.prefetch(PREFETCH)

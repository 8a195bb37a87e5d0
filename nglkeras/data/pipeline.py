"""Stream data sets from disk with `tf.data`, or read them into memory with it."""

import functools
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from nglkeras.data import decoding
from nglkeras.data.catalog import MEMORY_BYTES, Info
from nglkeras.data.division import TRAIN, splits_with
from nglkeras.data.sources import Source
from nglkeras.data.tensorflow_changes import augmented
from nglkeras.seeds import derive_seed

# Enough to mix what is streamed: TFDS has shuffled the examples when it wrote them.
STREAM_SHUFFLE = 10_000
# Images a step when a data set is read into memory.
READ_BATCH = 1_000
# Batches that are made at a time.
PARALLEL = 4

if keras.backend.backend() != "tensorflow":
    # TensorFlow only reads the data then: the GPU's memory belongs to the other backend.
    tf.config.set_visible_devices([], "GPU")


def padded(batches: tf.data.Dataset, count: int, batch_size: int) -> tf.data.Dataset:
    """Fill the last batch with zeros of weight zero, so that all batches have one size.

    Keras divides a batch's loss by its size, padding included. The weight of a real sample makes up
    for it: weighted losses and metrics are exact means over the real samples. Batches are (inputs,
    labels), of `count` samples together, and become (inputs, labels, weights).
    """
    whole = -(-count // batch_size)
    weight = whole * batch_size / max(count, 1)

    def pad(inputs, labels):
        missing = batch_size - tf.shape(labels)[0]

        def fill(values):
            values = tf.pad(values, [[0, missing]] + [[0, 0]] * (len(values.shape) - 1))
            return tf.ensure_shape(values, (batch_size, *values.shape[1:]))

        weights = tf.fill([tf.shape(labels)[0]], weight)
        return keras.tree.map_structure(fill, (inputs, labels, weights))

    data = batches.map(pad, num_parallel_calls=PARALLEL)
    return data.apply(tf.data.experimental.assert_cardinality(whole))


@dataclass(frozen=True)
class Pipeline:
    """The way from examples on disk to batches."""

    source: Source
    info: Info
    parts: dict[str, np.ndarray]
    size: tuple[int, int]
    batch_size: int = READ_BATCH

    def count(self, part):
        """Return the number of images in a part."""
        return sum(int((members == part).sum()) for members in self.parts.values())

    def training(self, augmentation, seed):
        """Shuffled, augmented, in whole batches: under tf.distribute a rest would weigh wrongly."""
        shuffle_seed, count = derive_seed(seed, "shuffle"), self.count(TRAIN)
        # tf.data mixes TensorFlow's global seed, whatever it is by now, into every seed.
        tf.random.set_seed(derive_seed(seed, "tf.data"))
        if self._fits_in_memory(count):
            data = self._decode(self._examples(TRAIN)).cache().shuffle(count, seed=shuffle_seed)
        else:
            # A folder is sorted by class, and its examples are mere paths.
            window = count if self.source.paths else min(count, STREAM_SHUFFLE)
            data = self._decode(self._mixed(TRAIN, seed).shuffle(window, seed=shuffle_seed))
        data = self._batch(data, drop_remainder=True)
        if augmentation is not None:
            seeds = tf.data.Dataset.random(
                derive_seed(seed, "augmentation"), rerandomize_each_iteration=True
            )
            data = augmented(tf.data.Dataset.zip(data, seeds), augmentation, seed)
        data = data.map(self._finish)
        data = data.apply(tf.data.experimental.assert_cardinality(count // self.batch_size))
        return data.prefetch(tf.data.AUTOTUNE)

    def evaluation(self, part):
        """In order; the last batch is padded, so that every batch divides by the replicas."""
        count = self.count(part)
        data = self._decode(self._examples(part))
        data = data.cache() if self._fits_in_memory(count) else data
        data = padded(self._batch(data).map(self._finish), count, self.batch_size)
        return data.prefetch(tf.data.AUTOTUNE)

    def in_memory(self, part):
        """Return the images of a part, as `Reader` does."""
        with decoding.naming_files(self.source.paths):
            batches = list(self._batch(self._decode(self._examples(part))).as_numpy_iterator())
        images, labels = zip(*batches, strict=True)
        return np.concatenate(images), np.concatenate(labels)

    def _batch(self, data, drop_remainder=False):
        """Batch images at one size: the smaller of their own and the wanted one."""
        height, width, _ = self.info.image_size
        if height is None:
            data = data.map(self._resize, num_parallel_calls=tf.data.AUTOTUNE)
        data = data.batch(self.batch_size, drop_remainder=drop_remainder)
        if height is not None and height * width > self.size[0] * self.size[1]:
            data = data.map(self._resize)
        return data

    def _finish(self, images, labels):
        return finish(images, self.size), tf.one_hot(labels, self.info.classes)

    def _fits_in_memory(self, count):
        height, width, channels = self.info.image_size
        return height is not None and count * height * width * channels <= MEMORY_BYTES

    def _examples(self, part):
        """Return the examples of a part, one split on disk after the other."""
        splits = [self._of(split, part) for split in splits_with(part, self.parts)]
        return functools.reduce(tf.data.Dataset.concatenate, splits)

    def _of(self, split, part):
        membership = tf.constant(self.parts[split])
        stream = self.source.read(split).enumerate()
        return stream.filter(lambda i, _: tf.gather(membership, i) == part).map(lambda _, e: e)

    def _mixed(self, part, seed):
        """Return the examples of a part with those of several splits mixed."""
        splits = splits_with(part, self.parts)
        return tf.data.Dataset.sample_from_datasets(
            [self._of(split, part) for split in splits],
            [float(np.count_nonzero(self.parts[split] == part)) for split in splits],
            seed=derive_seed(seed, "mix"),
            rerandomize_each_iteration=True,
        )

    def _decode(self, data):
        def decode(image, label):
            return self.source.decode(image), label

        return data.map(decode, num_parallel_calls=tf.data.AUTOTUNE)

    def _resize(self, images, labels):
        return _resize(images, self.size), labels


def finish(images, size: tuple[int, int]):
    """Make images float32 RGB of a size; done last, so that augmentation has less to do."""
    images = _resize(images, size)
    return tf.image.grayscale_to_rgb(images) if images.shape[-1] == 1 else images


def _resize(images, size):
    images = tf.cast(images, tf.float32)
    return images if tuple(images.shape[-3:-1]) == size else tf.image.resize(images, size)

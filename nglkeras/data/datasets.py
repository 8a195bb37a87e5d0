"""Load data sets by name: `load` returns streams of batches, `load_arrays` arrays in memory.

Streams have float32 RGB images from 0 to 255 and one-hot labels: each model does its own
preprocessing.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nglkeras.data import class_folders, sources
from nglkeras.data.augment import augmented
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.catalog import MEMORY_BYTES, Info, data_directory, get_info
from nglkeras.data.division import TEST, TRAIN, VALIDATION, Division, splits_with
from nglkeras.data.sources import Source
from nglkeras.errors import UserError
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


@dataclass(frozen=True)
class Streams:
    """The data of one training, as streams of (inputs, one-hot labels[, sample weights]).

    Attributes:
        train: Whole training batches, in another order every epoch.
        validation: Validation batches in a fixed order, as `padded` makes them.
        steps: Batches in an epoch, where `train` has those of all epochs.
        test: As `validation`; `None` unless it was asked for.
        sizes: Images in train, validation and test, where they come from a data set.
        image_shape: (height, width, 3).
        classes: Number of classes.
        paths: The files that are read, where the data set is a folder.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    steps: int | None = None
    test: tf.data.Dataset | None = None
    sizes: tuple[int, int, int] | None = None
    image_shape: tuple[int, int, int] | None = None
    classes: int | None = None
    paths: tuple[bytes, ...] = ()


def load(
    name: str,
    seed: int = 0,
    *,
    batch_size: int = 128,
    image_size: int | None = None,
    augmentation: Augmentation | None = None,
    data_dir: str | Path | None = None,
    **division,
) -> Streams:
    """Return training, validation and test batches of a data set.

    Args:
        name: A key of `catalog.INFO`, or "folder".
        seed: Decides the split, the order of training and the augmentation; TensorFlow's global
            seed is set from it.
        batch_size: Images a batch.
        image_size: Height and width in pixels to resize to (bilinear); by default the images' own,
            which Malaria, Caltech 101 and folders do not have.
        augmentation: Random changes to the training images; none by default.
        data_dir: The folder, or where TFDS keeps its data; by default `TFDS_DATA_DIR`, else
            `~/tensorflow_datasets`.
        **division: How the images are divided; see `Division`.

    Raises:
        UserError: If there is no such data set or kind of splits, if the data set can neither be
            found nor downloaded, or if too few training images are left for a batch.
    """
    pipeline = _pipeline(name, seed, image_size, data_dir, division, batch_size=batch_size)
    sizes = tuple(map(pipeline.count, (TRAIN, VALIDATION, TEST)))
    if sizes[0] < batch_size:
        raise UserError(f"{sizes[0]} training images of {name} do not fill a batch of {batch_size}")
    # tf.data mixes TensorFlow's global seed, whatever it is by now, into every seed it is given.
    tf.random.set_seed(derive_seed(seed, "tf.data"))
    return Streams(
        pipeline.training(augmentation, seed),
        pipeline.evaluation(VALIDATION),
        test=pipeline.evaluation(TEST),
        sizes=sizes,
        image_shape=(*pipeline.size, 3),
        classes=pipeline.info.classes,
        paths=pipeline.source.paths,
    )


@dataclass(frozen=True)
class Arrays:
    """Parts of a data set in memory, each (images as they lie on disk, integer labels).

    Attributes:
        train: For training.
        validation: For validation.
        test: For the end; `None` unless it was asked for.
        size: Height and width that the images shall have, in pixels.
        classes: Number of classes.
    """

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray] | None
    size: tuple[int, int]
    classes: int


def load_arrays(
    name: str,
    seed: int = 0,
    *,
    image_size: int | None = None,
    test: bool = False,
    test_seed: int | None = None,
    data_dir: str | Path | None = None,
    **division,
) -> Arrays:
    """Return the images that `load` would draw for this seed, in memory.

    Args:
        name: As in `load`.
        seed: As in `load`.
        image_size: As in `load`.
        test: Whether the test set is wanted too; a search must not look at it.
        test_seed: Decides the test set instead of `seed`, where splits are official and the data
            set has no test split: one test set beside all the splits that seeds make of the rest.
        data_dir: As in `load`.
        **division: As in `load`.

    Raises:
        UserError: If there is no such data set, it can neither be found nor downloaded, or a file
            of a folder cannot be read.
    """
    pipeline = _pipeline(name, seed, image_size, data_dir, division, test_seed)
    info, size, parts = pipeline.info, pipeline.size, pipeline.parts

    def in_memory(part):
        if info.image_size[0] is None or not info.fits_in_memory():
            return pipeline.in_memory(part)
        found = []
        for split in splits_with(part, parts):
            images, labels = _whole_split(name, data_directory(data_dir), split, size)
            found.append((images[parts[split] == part], labels[parts[split] == part]))
        images, labels = zip(*found, strict=True)
        return np.concatenate(images), np.concatenate(labels)

    test_part = in_memory(TEST) if test else None
    return Arrays(in_memory(TRAIN), in_memory(VALIDATION), test_part, size, info.classes)


def _pipeline(name, seed, image_size, data_dir, division, test_seed=None, batch_size=READ_BATCH):
    """Return the pipeline of a data set with its examples divided."""
    division = Division(**division)
    info = get_info(name, data_dir)
    height, width, _ = info.image_size
    if image_size is None and height is None:
        raise UserError(f"the images of {name} differ in size: give image_size")
    source = sources.source(name, data_dir)
    parts = division.parts(source.sizes, seed, test_seed)
    size = (image_size, image_size) if image_size else (height, width)
    return _Pipeline(source, info, parts, batch_size, size)


@functools.lru_cache(maxsize=2)
def _whole_split(name, data_dir, split, size):
    """Return a whole split, cached: decoding it takes longer than a short training."""
    source = sources.source(name, data_dir)
    parts = {split: np.full(source.sizes[split], TRAIN, "int8")}
    return _Pipeline(source, get_info(name), parts, READ_BATCH, size).in_memory(TRAIN)


def class_counts(name: str, data_dir: str | Path | None = None) -> np.ndarray:
    """Count the images of each class in all splits; reads the whole data set once."""
    source = sources.source(name, data_dir)
    counts = np.zeros(get_info(name, data_dir).classes, int)
    for split in source.sizes:
        for labels in source.read(split).map(lambda _, label: label).batch(10_000):
            counts += np.bincount(labels, minlength=len(counts))
    return counts


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
class _Pipeline:
    """The way from examples on disk to batches."""

    source: Source
    info: Info
    parts: dict[str, np.ndarray]
    batch_size: int
    size: tuple[int, int]

    def count(self, part):
        return sum(int((members == part).sum()) for members in self.parts.values())

    def training(self, augmentation, seed):
        """Shuffled, augmented, in whole batches: under tf.distribute a rest would weigh wrongly."""
        shuffle_seed, count = derive_seed(seed, "shuffle"), self.count(TRAIN)
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
        with class_folders.naming_files(self.source.paths):
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

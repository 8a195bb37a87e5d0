"""Data sets by name, as streams of batches: `load(name, seed)` gives train, validation, test.

The digits come with scikit-learn and need no download; everything else goes through
tensorflow-datasets (TFDS), which downloads what is missing. `division` says which images are for
what. Images leave here as float32 RGB from 0 to 255, labels one-hot: each model does its own
preprocessing.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nglkeras.data import sources
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

if keras.backend.backend() != "tensorflow":
    # TensorFlow only reads the data then: the GPU's memory belongs to the other backend.
    tf.config.set_visible_devices([], "GPU")


@dataclass(frozen=True)
class Splits:
    """The three streams of a data set, each of (images, one-hot labels[, sample weights]).

    Attributes:
        train: Shuffled anew every epoch, whole batches only.
        validation: In a fixed order; the last batch is filled up with images of weight zero.
        test: As `validation`.
        sizes: Images in train, validation and test.
        image_shape: (height, width, 3).
        classes: Number of classes.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    test: tf.data.Dataset
    sizes: tuple[int, int, int]
    image_shape: tuple[int, int, int]
    classes: int


def load(
    name: str,
    seed: int = 0,
    *,
    batch_size: int = 128,
    image_size: int | None = None,
    augmentation: Augmentation | None = None,
    train_images: int | None = None,
    evaluation_images: int | None = None,
    validation_images: int | None = None,
    splits: str = "official",
    own_validation: bool = False,
    data_dir: str | Path | None = None,
) -> Splits:
    """Training, validation and test batches of a data set.

    Args:
        name: One of `catalog.INFO`.
        seed: Decides the split, the order of training and the augmentation; TensorFlow's global
            seed is set from it.
        batch_size: Images a batch.
        image_size: Height and width to resize to (bilinear); by default the images' own, which
            Malaria and Caltech 101 do not have.
        augmentation: Random changes to the training images; none by default.
        train_images: Keep at most so many of them, drawn by the seed.
        evaluation_images: The same for validation and for test.
        validation_images: Set so many aside for validation instead of a tenth of the train split.
        splits: "official", to test on the data set's own test split, or "random", to divide all of
            its images 80/10/10 by the seed.
        own_validation: Whether to validate on the data set's own validation split where splits are
            official; otherwise that split is not used.
        data_dir: Where TFDS keeps its data; by default `TFDS_DATA_DIR`, else
            `~/tensorflow_datasets`.

    Raises:
        UserError: If there is no such data set or kind of splits, if the data set can neither be
            found nor downloaded, or if too few training images are left for a batch.
    """
    info = get_info(name)
    source = sources.source(name, data_dir)
    height, width, _ = info.image_size
    if image_size is None and height is None:
        raise UserError(f"the images of {name} differ in size: give image_size")
    height, width = (image_size, image_size) if image_size else (height, width)

    division = Division(splits, own_validation, train_images, evaluation_images, validation_images)
    parts = division.parts(source.sizes, seed)
    sizes = tuple(
        sum(int((p == k).sum()) for p in parts.values()) for k in (TRAIN, VALIDATION, TEST)
    )
    if sizes[TRAIN] < batch_size:
        raise UserError(
            f"{sizes[TRAIN]} training images of {name} do not fill a batch of {batch_size}"
        )

    # tf.data mixes TensorFlow's global seed, whatever it is by now, into every seed it is given.
    tf.random.set_seed(derive_seed(seed, "tf.data"))
    pipeline = _Pipeline(source, info, parts, batch_size, (height, width))
    return Splits(
        pipeline.training(sizes[TRAIN], augmentation, seed),
        pipeline.evaluation(VALIDATION, sizes[VALIDATION]),
        pipeline.evaluation(TEST, sizes[TEST]),
        sizes,
        (height, width, 3),
        info.classes,
    )


@dataclass(frozen=True)
class Arrays:
    """Parts of a data set in memory: (images as they lie on disk, integer labels).

    Attributes:
        train: For training.
        validation: For validation.
        test: For the end; `None` unless it was asked for.
        size: Height and width that the images shall have.
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
    train_images: int | None = None,
    evaluation_images: int | None = None,
    validation_images: int | None = None,
    splits: str = "official",
    own_validation: bool = False,
    test: bool = False,
    test_seed: int | None = None,
    data_dir: str | Path | None = None,
) -> Arrays:
    """The images that `load` would draw for this seed, in memory.

    Args:
        name: As in `load`.
        seed: As in `load`.
        image_size: As in `load`.
        train_images: As in `load`.
        evaluation_images: As in `load`.
        validation_images: As in `load`.
        splits: As in `load`.
        own_validation: As in `load`.
        test: Whether the test set is wanted too; a search must not look at it.
        test_seed: Decides the test set instead of `seed`, where splits are official and the data
            set has no test split: one test set beside all the splits that seeds make of the rest.
        data_dir: As in `load`.

    Raises:
        UserError: If there is no such data set or it can neither be found nor downloaded.
    """
    info = get_info(name)
    height, width, _ = info.image_size
    if image_size is None and height is None:
        raise UserError(f"the images of {name} differ in size: give image_size")
    size = (image_size, image_size) if image_size else (height, width)
    source = sources.source(name, data_dir)
    division = Division(splits, own_validation, train_images, evaluation_images, validation_images)
    parts = division.parts(source.sizes, seed, test_seed)

    def in_memory(part):
        if height is None or not info.fits_in_memory():
            return _Pipeline(source, info, parts, READ_BATCH, size).in_memory(part)
        found = []
        for split in splits_with(part, parts):
            images, labels = _whole_split(name, data_directory(data_dir), split, size)
            found.append((images[parts[split] == part], labels[parts[split] == part]))
        images, labels = zip(*found, strict=True)
        return np.concatenate(images), np.concatenate(labels)

    test_part = in_memory(TEST) if test else None
    return Arrays(in_memory(TRAIN), in_memory(VALIDATION), test_part, size, info.classes)


@lru_cache(maxsize=2)
def _whole_split(name, data_dir, split, size):
    """All images and labels of a split: decoding them takes longer than a short training."""
    source = sources.source(name, data_dir)
    parts = {split: np.full(source.sizes[split], TRAIN, "int8")}
    return _Pipeline(source, get_info(name), parts, READ_BATCH, size).in_memory(TRAIN)


def class_counts(name: str, data_dir: str | Path | None = None) -> np.ndarray:
    """Count the images of each class in all splits; reads the whole data set once."""
    source = sources.source(name, data_dir)
    counts = np.zeros(get_info(name).classes, int)
    for split in source.sizes:
        for labels in source.read(split).map(lambda _, label: label).batch(10_000):
            counts += np.bincount(labels, minlength=len(counts))
    return counts


@dataclass(frozen=True)
class _Pipeline:
    """From examples on disk to batches."""

    source: Source
    info: Info
    parts: dict[str, np.ndarray]
    batch_size: int
    size: tuple[int, int]

    def training(self, count, augmentation, seed):
        """Shuffled, augmented, in whole batches: under tf.distribute a rest would weigh wrongly."""
        shuffle_seed = derive_seed(seed, "shuffle")
        if self._fits_in_memory(count):
            data = self._decode(self._examples(TRAIN)).cache().shuffle(count, seed=shuffle_seed)
        else:
            data = self._mixed(TRAIN, seed).shuffle(min(count, STREAM_SHUFFLE), seed=shuffle_seed)
            data = self._decode(data)
        data = self._batch(data, drop_remainder=True)
        if augmentation is not None:
            seeds = tf.data.Dataset.random(
                derive_seed(seed, "augmentation"), rerandomize_each_iteration=True
            )
            data = augmented(tf.data.Dataset.zip(data, seeds), augmentation, seed)
        data = data.map(self._finish)
        data = data.apply(tf.data.experimental.assert_cardinality(count // self.batch_size))
        return data.prefetch(tf.data.AUTOTUNE)

    def evaluation(self, part, count):
        """In order; the last batch is padded, so that every batch divides by the replicas."""
        batches = -(-count // self.batch_size)
        # Keras divides a batch's loss by its size, padding included. The weight of a real image
        # makes up for it: weighted losses and metrics are then exact means over the real images.
        weight = batches * self.batch_size / max(count, 1)

        def pad(images, labels):
            missing = self.batch_size - tf.shape(images)[0]
            weights = tf.pad(tf.fill([tf.shape(images)[0]], weight), [[0, missing]])
            images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
            labels = tf.pad(labels, [[0, missing], [0, 0]])
            images.set_shape([self.batch_size, *self.size, 3])
            labels.set_shape([self.batch_size, self.info.classes])
            return images, labels, weights

        data = self._decode(self._examples(part))
        if self._fits_in_memory(count):
            data = data.cache()
        data = self._batch(data).map(self._finish).map(pad)
        data = data.apply(tf.data.experimental.assert_cardinality(batches))
        return data.prefetch(tf.data.AUTOTUNE)

    def in_memory(self, part):
        """All images and labels of a part."""
        batches = list(self._batch(self._decode(self._examples(part))).as_numpy_iterator())
        images, labels = zip(*batches, strict=True)
        return np.concatenate(images), np.concatenate(labels)

    def _batch(self, data, drop_remainder=False):
        """Batches of images of one size: the smaller of their own and the one that is wanted."""
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
        """The examples of a part, those of one split on disk after those of the other."""
        first, *others = (self._of(split, part) for split in splits_with(part, self.parts))
        for other in others:
            first = first.concatenate(other)
        return first

    def _of(self, split, part):
        membership = tf.constant(self.parts[split])
        stream = self.source.read(split).enumerate()
        return stream.filter(lambda i, _: tf.gather(membership, i) == part).map(lambda _, e: e)

    def _mixed(self, part, seed):
        """As `_examples`, but with the examples of several splits among each other."""
        splits = splits_with(part, self.parts)
        if len(splits) == 1:
            return self._examples(part)
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
    """float32 RGB of that size; done last, so that augmentation has less to do."""
    images = _resize(images, size)
    return tf.image.grayscale_to_rgb(images) if images.shape[-1] == 1 else images


def _resize(images, size):
    images = tf.cast(images, tf.float32)
    return images if tuple(images.shape[-3:-1]) == size else tf.image.resize(images, size)

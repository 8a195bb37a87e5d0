"""Load labelled images by name: the bundled digits, a folder, or any TFDS image data set.

TFDS cannot download imagenet2012, whose makers ask for a registration at image-net.org: put
ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar into TFDS_DATA_DIR/downloads/manual.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from nglkeras.data import class_folders, decoding
from nglkeras.data import sources as common
from nglkeras.data.catalog import FOLDER, MEMORY_BYTES
from nglkeras.errors import UserError
from nglkeras.seeds import derive_seed
from nglkeras.startup.extras import needed

# The first of these TFDS splits that exists is evaluated. ImageNet's test split has no labels.
_EVALUATION = ("validation", "test")
# TFDS has shuffled the examples when it wrote them: reading several files at a time, in random
# order, and shuffling a window of examples mix them enough.
FILES_AT_A_TIME = 16
WINDOW = 10_000


@dataclass(frozen=True)
class Examples:
    """The encoded images of a part of a data set, with their labels.

    Attributes:
        in_order: Returns (encoded image, label) of all, in an order that never changes.
        shuffled: Returns the same in an order that a seed (int64 tensor `[2]`) decides.
        decode: Makes a uint8 image `[height, width, 1 or 3]` of an encoded one.
        paths: The files of a folder, which are its encoded images.
    """

    count: int
    in_order: Callable[[], tf.data.Dataset]
    shuffled: Callable[[tf.Tensor], tf.data.Dataset]
    decode: Callable
    paths: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Source:
    """A data set: images to train on, images for the reported accuracy, and the number of classes.

    `folder` is the folder that it was read from, if it was.
    """

    train: Examples
    evaluation: Examples
    classes: int
    folder: class_folders.Folder | None = None


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    seed: int = 0,
    train_images: int | None = None,
    evaluation_images: int | None = None,
) -> Source:
    """Load "digits", "folder", or a TFDS data set such as "imagenet2012" by name.

    `data_dir` is the folder, or where TFDS keeps its data. `seed` decides which of the digits are
    for evaluation, and which files of a folder are kept under a limit on the number of images; of
    TFDS' files the first examples are kept.
    """
    limits = {"train": train_images, "evaluation": evaluation_images}
    if name == "digits":
        return _digits(seed, limits)
    if name == FOLDER:
        return _folder(data_dir, seed, limits)
    return _tfds(name, data_dir, limits)


def describe(name: str, data_dir: str | Path | None = None) -> tuple[int, str]:
    """Return the number of classes and the hash of a folder's files; TFDS' data are not read."""
    if name not in ("digits", FOLDER):
        return _builder(name, data_dir).info.features["label"].num_classes, ""
    source = load(name, data_dir)
    return source.classes, source.folder.digest if source.folder else ""


def survey(
    name: str,
    data_dir: str | Path | None = None,
    *,
    seconds: float = class_folders.SURVEY_SECONDS,
    **settings,
) -> tuple[str, list[str]]:
    """Return one line that says what a training will read, and warnings.

    The files of a folder are looked at for some seconds. `settings` are `load`'s.
    """
    source = load(name, data_dir, **settings)
    counts = f"{source.train.count:,} images to train, {source.evaluation.count:,} to evaluate"
    if source.folder is None:
        return f"{name}: {source.classes:,} classes, {counts}", []
    paths = source.train.paths + source.evaluation.paths
    line = class_folders.survey(data_dir, source.folder.classes, counts, paths, seconds)
    return line, source.folder.notes


def prepare(name: str, data_dir: str | Path | None = None) -> None:
    """Download a data set unless it is there; raise `UserError` with advice if that fails."""
    if name not in ("digits", FOLDER):
        _prepared(name, data_dir)


def _indexed(images, labels, decode):
    """Return examples in memory, or files: they can be read in any order."""
    images, labels = tf.constant(images), tf.constant(labels, tf.int64)
    count = len(labels)

    def taken(order):
        data = tf.data.Dataset.from_tensor_slices(order)
        return data.map(lambda i: (tf.gather(images, i), tf.gather(labels, i)))

    return Examples(
        count,
        lambda: taken(tf.range(count)),
        lambda seed: taken(tf.random.experimental.stateless_shuffle(tf.range(count), seed)),
        decode,
    )


def _digits(seed, limits):
    source = common.source("digits")
    images, labels = map(np.array, zip(*source.read("train").as_numpy_iterator(), strict=True))
    order = np.random.default_rng(derive_seed(seed, "digits")).permutation(len(labels))
    fifth = len(order) // 5
    train, held = order[fifth:][: limits["train"]], order[:fifth][: limits["evaluation"]]
    parts = (_indexed(images[rows], labels[rows], source.decode) for rows in (train, held))
    return Source(*parts, classes=10)


def _folder(folder, seed, limits):
    found = class_folders.read_folder(folder, {"train": "train", "evaluation": "val"})
    parts = {}
    for part, paths in found.paths.items():
        order = np.random.default_rng(derive_seed(seed, part)).permutation(len(paths))
        kept = sorted(order[: limits[part]])
        # File names are bytes: some are no text.
        names = tuple(os.fsencode(paths[i]) for i in kept)
        labels = [found.labels[part][i] for i in kept]
        parts[part] = replace(_indexed(names, labels, decoding.decode), paths=names)
    return Source(**parts, classes=len(found.classes), folder=found)


def _builder(name, data_dir):
    """Return TFDS' builder of a data set of labelled images, prepared or not."""
    try:
        builder = common.find_builder(name, data_dir)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"unknown data set {name!r}; choose from: digits, folder, or a TFDS image data set "
            "such as imagenet2012, imagenette/160px-v2 or cifar10"
        ) from error
    if not {"image", "label"} <= set(getattr(builder.info.features, "keys", list)()):
        raise UserError(f"{name} does not hold labelled images")
    return builder


@lru_cache(maxsize=4)
def _prepared(name, data_dir):
    _builder(name, data_dir)
    return common.prepared(name, data_dir)


def _tfds(name, data_dir, limits):
    builder = _prepared(name, data_dir)
    splits = builder.info.splits
    evaluation = next((split for split in _EVALUATION if split in splits), None)
    if "train" not in splits or evaluation is None:
        raise UserError(f"{name} has no splits named train and validation, or test")
    train = _split(builder, "train", limits["train"])
    held = _split(builder, evaluation, limits["evaluation"])
    return Source(train, held, builder.info.features["label"].num_classes)


def _split(builder, split, limit):
    """Keep a small split in memory; stream a large one from whole files within the limit."""
    info = builder.info.splits[split]
    decode = builder.info.features["image"].decode_example
    count = info.num_examples if limit is None else min(limit, info.num_examples)
    lengths = np.cumsum(info.shard_lengths)
    files = int((lengths <= count).sum())
    if not files or info.num_bytes * count / info.num_examples <= MEMORY_BYTES:
        return _indexed(*_in_memory(builder, split, count), decode)
    return _streamed(_paths(builder, split)[:files], int(lengths[files - 1]), builder, decode)


@lru_cache(maxsize=4)
def _in_memory(builder, split, count):
    data = _parsed(builder, tf.data.TFRecordDataset(_paths(builder, split)).take(count))
    images, labels = zip(*data.as_numpy_iterator(), strict=True)
    return np.array(images, object), np.array(labels)


def _streamed(paths, count, builder, decode):
    paths = tf.constant(paths)

    def shuffled(seed):
        order = tf.random.experimental.stateless_shuffle(paths, seed)
        data = tf.data.Dataset.from_tensor_slices(order).interleave(
            tf.data.TFRecordDataset,
            FILES_AT_A_TIME,
            block_length=16,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return _parsed(builder, data.shuffle(WINDOW, seed[1], reshuffle_each_iteration=False))

    def in_order():
        return _parsed(builder, tf.data.TFRecordDataset(paths))

    return Examples(count, in_order, shuffled, decode)


def _paths(builder, split):
    kind = str(getattr(builder.info.file_format, "value", "tfrecord"))
    if kind != "tfrecord":
        raise UserError(f"{builder.name} is prepared as {kind}; wanted are TFDS' tfrecord files")
    return [str(path) for path in builder.info.splits[split].filepaths]


@needed()
def _parsed(builder, records):
    import tensorflow_datasets as tfds

    features = builder.info.features
    skipped = {"image": tfds.decode.SkipDecoding()}

    def parse(record):
        example = features.deserialize_example(record, decoders=skipped)
        return example["image"], example["label"]

    return records.map(parse, num_parallel_calls=tf.data.AUTOTUNE)

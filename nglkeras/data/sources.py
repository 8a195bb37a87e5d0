"""Where the examples of a data set come from: scikit-learn, a user's folder, or TFDS' files."""

import logging
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np

from nglkeras import data
from nglkeras.data import catalog, class_folders, image_files
from nglkeras.data.catalog import BUNDLED, FOLDER, data_directory, get_info, manual_directory
from nglkeras.errors import UserError
from nglkeras.startup.extras import needed


@dataclass(frozen=True)
class Source:
    """A data set as it lies on disk.

    Attributes:
        sizes: Number of examples of each split that the data set comes with.
        read: Returns (encoded image, label) of a split as a `tf.data.Dataset`, in an order that
            never changes.
        decode: Makes a uint8 image of an encoded one, with TensorFlow.
        examples: Yields (uint8 image, label) of the given rows of a split, which ascend, without
            TensorFlow.
        paths: The files of a folder, which are its encoded images.
    """

    sizes: dict[str, int]
    read: Callable[[str], object]
    decode: Callable
    examples: Callable[[str, np.ndarray], Iterator[tuple[np.ndarray, int]]]
    paths: tuple[bytes, ...] = ()


def source(name: str, data_dir: str | Path | None = None) -> Source:
    """Return the examples of a data set; raise `UserError` if it cannot be found or made."""
    if name in BUNDLED:
        return _digits(turned=name == "digits_turned")
    return _folder(data_dir) if name == FOLDER else _tfds(name, data_dir)


@needed()
def _digits(turned):
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Scans of 0 to 16; every other data set has 0 to 255.
    images = np.round(digits.images[..., None] * (255 / 16)).astype("uint8")
    labels = digits.target.astype("int64")
    if turned:
        labels = np.arange(len(images)) % 4
        images = np.stack([np.rot90(image, k) for image, k in zip(images, labels, strict=True)])

    def examples(split, rows):
        return zip(images[rows], labels[rows], strict=True)

    sizes = {"train": len(images)}
    return Source(sizes, lambda split: _sliced(images, labels), lambda image: image, examples)


@needed()
def _sliced(*arrays):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays)


def _folder(data_dir):
    found = class_folders.read_folder(data_dir)
    # File names are bytes: some are no text.
    paths = {split: list(map(os.fsencode, files)) for split, files in found.paths.items()}

    def read(split):
        return _sliced(paths[split], np.array(found.labels[split], "int64"))

    def decode(path):
        return data.decoding.decode(path)

    def examples(split, rows):
        for row in rows:
            yield image_files.read_rgb(found.paths[split][row]), found.labels[split][row]

    sizes = {split: len(files) for split, files in paths.items()}
    return Source(sizes, read, decode, examples, tuple(chain(*paths.values())))


@needed()
def find_builder(name: str, data_dir: str | Path | None = None):
    """Return TFDS' builder of a data set, prepared or not."""
    import tensorflow_datasets as tfds

    # It warns of each data set that is not there; `prepared` tells those who ask for one.
    logging.getLogger("absl").addFilter(_is_news)
    try:
        builder = tfds.builder(name, data_dir=data_directory(data_dir))
    except tfds.core.registered.DatasetNotFoundError as error:
        # Whoever takes any data set of TFDS by name has a better answer.
        if name not in catalog.INFO:
            raise
        raise UserError(f"tensorflow-datasets has no data set {name!r}") from error
    if name in catalog.INFO:
        _check_entry(name, builder.info.features)
    return builder


def _check_entry(name, features):
    """Raise `UserError` if an entry of the catalogue says something else than TFDS."""
    info, shape = get_info(name), tuple(features["image"].shape)
    for what, ours, theirs in (
        ("classes", info.classes, features["label"].num_classes),
        ("image_size", tuple(info.image_size), shape),
    ):
        if ours != theirs and not (what == "image_size" and None in shape):
            raise UserError(f"the catalogue's {what} of {name} is {ours}, that of TFDS {theirs}")


def _is_news(record):
    return not record.getMessage().startswith(("Variant folder", "OpenCV is not installed"))


@needed()
def prepared(name: str, data_dir: str | Path | None = None):
    """Return TFDS' builder of any of its data sets, after the download unless it is there.

    Raises `UserError`, which says what the user can do, if it cannot be found or made.
    """
    import requests
    import tensorflow_datasets as tfds

    builder = find_builder(name, data_dir)
    if name in catalog.INFO:
        address, advice = get_info(name).source, catalog.advice(name, data_dir)
    else:
        by_hand = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
        address = None if by_hand else "https://storage.googleapis.com/tfds-data"
        advice = f"put a prepared copy into {data_directory(data_dir) / name}, or set TFDS_DATA_DIR"
        advice += f"; by hand: {by_hand}" if by_hand else ""
    if not builder.is_prepared() and find_spec("tensorflow") is None:
        raise UserError(
            f"data set {name} is not at {data_directory(data_dir)}, and tensorflow-datasets "
            f"prepares it with TensorFlow: pip install 'nglkeras[tensorflow]' once, or put a "
            f"prepared copy into {data_directory(data_dir) / name}"
        )
    try:
        if not builder.is_prepared():
            manual = manual_directory(name, data_dir)
            manual = manual if manual.is_dir() else None
            if manual is None and address is not None:
                # Without a network TFDS would retry for many minutes.
                requests.head(address, timeout=10)
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(manual_dir=manual)
            )
    # TFDS fails in as many ways as there are hosts and archives; the advice is the same.
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0][:200]
        raise UserError(
            f"data set {name} is not at {data_directory(data_dir)} and could not be made there "
            f"({reason}): {advice}"
        ) from error
    return builder


@needed()
def _tfds(name, data_dir):
    import tensorflow_datasets as tfds

    builder = prepared(name, data_dir)

    def read(split):
        return builder.as_dataset(
            split=split,
            as_supervised=True,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )

    def examples(split, rows):
        for example in _without_tensorflow(builder, split, rows):
            yield example["image"], example["label"]

    splits = get_info(name).splits
    sizes = {split: builder.info.splits[split].num_examples for split in splits}
    return Source(sizes, read, builder.info.features["image"].decode_example, examples)


def _without_tensorflow(builder, split, rows):
    """Yield rows of a split of TFDS, which ascend."""
    if builder.info.file_format.value == "array_record":
        found = builder.as_data_source(split=split)
        yield from (found[int(row)] for row in rows)
        return
    # TFDS has no other way to its default format than TensorFlow, but parses its records alone.
    wanted = iter(rows)
    row = next(wanted, None)
    for number, record in enumerate(chain(*map(_records, builder.info.splits[split].filepaths))):
        if row is None:
            return
        if number == row:
            yield builder.info.features.deserialize_example_np(record)
            row = next(wanted, None)


def _records(path):
    """Yield the records of a TFRecord file: length, checksum, content, checksum."""
    with Path(path).open("rb") as file:
        while header := file.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            yield file.read(length)
            file.seek(4, os.SEEK_CUR)


def is_ready(name: str, data_dir: str | Path | None = None) -> bool:
    """Return whether a data set can be loaded without a download."""
    return name in (*BUNDLED, FOLDER) or find_builder(name, data_dir).is_prepared()


def prepare(name: str, data_dir: str | Path | None = None) -> None:
    """Download a data set unless it is there; raise `UserError` with advice if that fails."""
    get_info(name, data_dir)
    if not is_ready(name, data_dir):
        prepared(name, data_dir)


def survey(
    data_dir: str | Path | None, seconds: float = class_folders.SURVEY_SECONDS
) -> tuple[str, list[str]]:
    """Return one line that says what a training will read of a folder, and warnings.

    Raises `UserError` if the folder is none of labelled images, or an image cannot be read.
    """
    found = class_folders.read_folder(data_dir)
    counts = ", ".join(f"{len(paths):,} {split}" for split, paths in found.paths.items())
    files = list(chain(*found.paths.values()))
    line = class_folders.survey(data_dir, found.classes, f"images: {counts}", files, seconds)
    return line, found.notes

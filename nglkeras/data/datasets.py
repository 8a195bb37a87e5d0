"""Load data sets by name: `load` returns streams of batches, `load_arrays` arrays in memory.

Streams have float32 RGB images from 0 to 255 and one-hot labels: each model does its own
preprocessing.
"""

import functools
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from nglkeras import data
from nglkeras.data import sources
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.catalog import data_directory, get_info
from nglkeras.data.division import TEST, TRAIN, UNUSED, VALIDATION, Division, splits_with
from nglkeras.errors import UserError, unknown
from nglkeras.numbers import whole_number


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

    train: object
    validation: object
    steps: int | None = None
    test: object | None = None
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
    batch_size = whole_number("batch_size", batch_size)
    source, info, parts, size = _divided(name, seed, image_size, data_dir, division)
    if find_spec("tensorflow") is None:
        raise UserError(
            f"{name} is streamed from disk, which needs TensorFlow on every backend: "
            "pip install 'nglkeras[tensorflow]'"
        )
    pipeline = data.pipeline.Pipeline(source, info, parts, size, batch_size)
    sizes = tuple(map(pipeline.count, (TRAIN, VALIDATION, TEST)))
    if sizes[0] < batch_size:
        raise UserError(f"{sizes[0]} training images of {name} do not fill a batch of {batch_size}")
    return Streams(
        pipeline.training(augmentation, seed),
        pipeline.evaluation(VALIDATION),
        test=pipeline.evaluation(TEST),
        sizes=sizes,
        image_shape=(*size, 3),
        classes=info.classes,
        paths=source.paths,
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
    source, info, parts, size = _divided(
        name, seed, image_size, data_dir, division, test_seed, test
    )

    def in_memory(part):
        if info.image_size[0] is None or not info.fits_in_memory():
            return _reader()(source, info, parts, size).in_memory(part)
        found = []
        for split in splits_with(part, parts):
            images, labels = _whole_split(name, data_directory(data_dir), split, size)
            found.append((images[parts[split] == part], labels[parts[split] == part]))
        images, labels = zip(*found, strict=True)
        return np.concatenate(images), np.concatenate(labels)

    test_part = in_memory(TEST) if test else None
    return Arrays(in_memory(TRAIN), in_memory(VALIDATION), test_part, size, info.classes)


def _divided(name, seed, image_size, data_dir, division, test_seed=None, test=True):
    """Return a data set with the parts and the size of its images; none of the parts is empty."""
    for setting in division:
        if setting not in (known := [one.name for one in fields(Division)]):
            raise unknown("setting of the division", setting, known)
    division, seed = Division(**division), whole_number("seed", seed, None)
    if image_size is not None:
        image_size = whole_number("image_size", image_size)
    if test_seed is not None:
        test_seed = whole_number("test_seed", test_seed, 0)
    info = get_info(name, data_dir)
    height, width, _ = info.image_size
    if image_size is None and height is None:
        raise UserError(f"the images of {name} differ in size: give image_size")
    source = sources.source(name, data_dir)
    parts = division.parts(source.sizes, seed, test_seed)
    counts = np.bincount(np.concatenate([*parts.values()]), minlength=UNUSED)[:UNUSED].tolist()
    if not all(counts if test else counts[:TEST]):
        raise UserError(
            f"the {sum(source.sizes.values()):,} images of {name} cannot be divided: {counts[0]} "
            f"would be for training, {counts[1]} for validation, {counts[2]} for the test"
        )
    size = (image_size, image_size) if image_size else (height, width)
    return source, info, parts, size


def _reader():
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return data.pipeline.Pipeline if on_tensorflow else data.reader.Reader


@functools.lru_cache(maxsize=2)
def _whole_split(name, data_dir, split, size):
    """Return a whole split, cached: decoding it takes longer than a short training."""
    source = sources.source(name, data_dir)
    parts = {split: np.full(source.sizes[split], TRAIN, "int8")}
    return _reader()(source, get_info(name), parts, size).in_memory(TRAIN)


def class_counts(name: str, data_dir: str | Path | None = None) -> np.ndarray:
    """Count the images of each class in all splits; reads the whole data set once."""
    source = sources.source(name, data_dir)
    counts = np.zeros(get_info(name, data_dir).classes, int)
    for split, size in source.sizes.items():
        if keras.backend.backend() == "tensorflow":
            # Without decoding the images.
            labels = list(source.read(split).map(lambda _, label: label).as_numpy_iterator())
        else:
            labels = [label for _, label in source.examples(split, np.arange(size))]
        counts += np.bincount(labels, minlength=len(counts))
    return counts

"""Where the examples of a data set come from: scikit-learn, or tensorflow-datasets' files."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from nglkeras.data.catalog import BUNDLED, advice, data_directory, get_info, manual_directory
from nglkeras.errors import UserError
from nglkeras.startup.extras import needed


@dataclass(frozen=True)
class Source:
    """A data set as it lies on disk.

    Attributes:
        sizes: Examples of each split that the data set comes with.
        read: Gives (encoded image, label) of a split, in an order that never changes.
        decode: Makes a uint8 image of an encoded one.
    """

    sizes: dict[str, int]
    read: Callable[[str], tf.data.Dataset]
    decode: Callable


def source(name: str, data_dir: str | Path | None = None) -> Source:
    """Where the examples of a data set come from.

    Raises:
        UserError: If it can neither be found nor downloaded.
    """
    return _digits(turned=name == "digits_turned") if name in BUNDLED else _tfds(name, data_dir)


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
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    return Source({"train": len(images)}, lambda split: data, lambda image: image)


@needed()
def find_builder(name: str, data_dir: str | Path | None = None):
    """Return TFDS' builder of a data set, prepared or not."""
    import tensorflow_datasets as tfds

    # It warns of each data set that is not there: those who ask for one learn it from us.
    logging.getLogger("absl").addFilter(_is_news)
    return tfds.builder(name, data_dir=data_directory(data_dir))


def _is_news(record):
    return not record.getMessage().startswith("Variant folder")


@needed()
def download(builder, name: str, data_dir: str | Path | None, address: str | None, advice: str):
    """Prepare a TFDS data set unless it is there; return its builder.

    Args:
        builder: As `find_builder` returns it.
        name: Name of the data set.
        data_dir: Where TFDS keeps its data.
        address: What must answer before TFDS tries, which without a network would retry for many
            minutes; `None` if the user downloads the files.
        advice: What the user can do if it fails.

    Raises:
        UserError: If it can neither be found nor made.
    """
    import requests
    import tensorflow_datasets as tfds

    try:
        if not builder.is_prepared():
            manual = manual_directory(name, data_dir)
            manual = manual if manual.is_dir() else None
            if manual is None and address is not None:
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


def _prepared(name, data_dir):
    builder = find_builder(name, data_dir)
    return download(builder, name, data_dir, get_info(name).source, advice(name, data_dir))


@needed()
def _tfds(name, data_dir):
    import tensorflow_datasets as tfds

    builder = _prepared(name, data_dir)

    def read(split):
        return builder.as_dataset(
            split=split,
            as_supervised=True,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )

    splits = get_info(name).splits
    sizes = {split: builder.info.splits[split].num_examples for split in splits}
    return Source(sizes, read, builder.info.features["image"].decode_example)


def is_ready(name: str, data_dir: str | Path | None = None) -> bool:
    """Whether a data set can be loaded without a download."""
    return name in BUNDLED or find_builder(name, data_dir).is_prepared()


def prepare(name: str, data_dir: str | Path | None = None) -> None:
    """Download a data set unless it is there; raises `UserError` with advice if that fails."""
    get_info(name)
    if name not in BUNDLED:
        _prepared(name, data_dir)

"""The data sets of the accuracy tables: classes, size, terms, and how to get each.

A new TFDS data set needs an entry of `INFO`; `protocol.SETTINGS` may give it a recipe of its own.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from nglkeras import data, paths
from nglkeras.errors import unknown

# Data sets up to this size are kept in memory; larger ones are read anew every epoch.
MEMORY_BYTES = 2**30
# The name that stands for a user's own folder of labelled images; see `class_folders`.
FOLDER = "folder"
# Inside scikit-learn: no download, no TFDS.
BUNDLED = ("digits", "digits_turned")


@dataclass(frozen=True)
class Info:
    """Facts about a data set that are known without reading it.

    Attributes:
        title: Name in the papers' tables.
        classes: Number of classes.
        images: Number of images in all splits.
        image_size: (height, width, channels); height and width are `None` where images differ.
        has_test: Whether it comes with a test split.
        download: Size of the download.
        terms: Licence or terms of use, as its makers state them.
        source: Address that TFDS downloads it from.
        files: Names of the files to fetch by hand where TFDS' download fails.
        advice: Known trouble with the download.
        has_validation: Whether it comes with a validation split.
    """

    title: str
    classes: int
    images: int
    image_size: tuple[int | None, int | None, int]
    has_test: bool
    download: str
    terms: str
    source: str = ""
    files: str = ""
    advice: str = ""
    has_validation: bool = False

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that it comes with, by TFDS' names."""
        there = {"train": True, "validation": self.has_validation, "test": self.has_test}
        return tuple(split for split in there if there[split])

    def fits_in_memory(self, image_size: int | None = None) -> bool:
        """Return whether all images may be kept in memory, resized to a size if theirs differ."""
        height, width, channels = self.image_size
        # Images that had to be resized are float32.
        size = height * width if height else 4 * image_size**2
        return self.images * size * channels <= MEMORY_BYTES


# One entry each: name, classes, images, size, test split, download, terms, address, files.
# fmt: off
_IDX = "{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"
_CIFAR = "none stated; cite Krizhevsky 2009", "https://www.cs.toronto.edu/~kriz"
INFO = {
    "digits": Info(
        "Digits", 10, 1_797, (8, 8, 1), False, "none", "CC BY 4.0 (UCI), inside scikit-learn"),
    "digits_turned": Info(
        "Digits, turned", 4, 1_797, (8, 8, 1), False, "none",
        "the digits, to pre-train on: the label is the number of quarter turns"),
    "mnist": Info(
        "MNIST", 10, 70_000, (28, 28, 1), True, "11 MiB", "none stated by its makers",
        "https://storage.googleapis.com/cvdf-datasets/mnist", _IDX),
    "fashion_mnist": Info(
        "Fashion-MNIST", 10, 70_000, (28, 28, 1), True, "30 MiB", "MIT",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com", _IDX),
    "cifar10": Info(
        "CIFAR-10", 10, 60_000, (32, 32, 3), True, "162 MiB", *_CIFAR, "cifar-10-binary.tar.gz"),
    "cifar100": Info(
        "CIFAR-100", 100, 60_000, (32, 32, 3), True, "161 MiB", *_CIFAR, "cifar-100-binary.tar.gz"),
    "malaria": Info(
        "Malaria", 2, 27_558, (None, None, 3), False, "337 MiB",
        "US National Library of Medicine; cite Rajaraman et al. 2018",
        "https://data.lhncbc.nlm.nih.gov/public/Malaria", "cell_images.zip",
        "the archive has moved several times: older releases of tensorflow-datasets look for it "
        "in vain"),
    "patch_camelyon": Info(
        "PCam", 2, 327_680, (96, 96, 3), True, "7.5 GiB", "CC0",
        "https://zenodo.org/record/2546921",
        "camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5.gz",
        "the download is long and often cut off, which shows as a wrong checksum: fetch the "
        "files with a tool that resumes", has_validation=True),
    "colorectal_histology": Info(
        "Colorectal Histology", 8, 5_000, (150, 150, 3), False, "246 MiB", "CC BY 4.0",
        "https://zenodo.org/record/53169", "Kather_texture_2016_image_tiles_5000.zip"),
    "caltech101": Info(
        "Caltech 101", 102, 9_144, (None, None, 3), True, "131 MiB", "CC BY 4.0",
        "https://data.caltech.edu/records/mzrjq-6wc02", "caltech-101.zip",
        "its address and checksum have changed several times: with a wrong checksum, upgrade "
        "tensorflow-datasets"),
}
# fmt: on
_FOLDER = Info("Folder", 0, 0, (None, None, 3), True, "none", "the user's own")


def get_info(name: str, data_dir: str | Path | None = None) -> Info:
    """Return what is known of a data set, a key of `INFO` or "folder".

    `data_dir` is the folder, which is listed; without it only the title of "folder" is known.
    """
    if name in INFO:
        return INFO[name]
    if name != FOLDER:
        raise unknown("data set", name, [*INFO, FOLDER])
    if data_dir is None:
        return _FOLDER
    found = data.class_folders.read_folder(data_dir)
    return replace(
        _FOLDER,
        classes=len(found.classes),
        images=sum(map(len, found.paths.values())),
        has_test="test" in found.paths,
        has_validation="validation" in found.paths,
    )


def files_sha256(name: str, data_dir: str | Path | None = None) -> str:
    """Return a hash of the list of files of a "folder"; "" for a data set that its name defines."""
    return data.class_folders.read_folder(data_dir).digest if name == FOLDER else ""


def data_directory(data_dir: str | Path | None = None) -> Path:
    """Return the folder where TFDS keeps its data."""
    return paths.expand(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def manual_directory(name: str, data_dir: str | Path | None = None) -> Path:
    """Return the folder for files fetched by hand: one each, since some data sets share names."""
    return data_directory(data_dir) / "downloads" / "manual" / name


def advice(name: str, data_dir: str | Path | None = None) -> str:
    """Say in one line how to get a data set, and what to do if its download fails."""
    info = get_info(name)
    if name in (*BUNDLED, FOLDER):
        return "nothing to do"
    where, manual = data_directory(data_dir), manual_directory(name, data_dir)
    known = f" (known trouble: {info.advice})" if info.advice else ""
    return (
        f"with a network, any script downloads it ({info.download}) to {where}; without, put "
        f"{info.files} from {info.source} into {manual}, or a prepared copy into {where}/{name}, "
        f"or set TFDS_DATA_DIR{known}"
    )

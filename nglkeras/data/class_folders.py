"""Folders of labelled images, `train/CLASS/*` and `val/CLASS/*`: list, decode and check them."""

import contextlib
import hashlib
import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from nglkeras.data import image_files
from nglkeras.errors import UserError

PARTS = {"train": "train", "evaluation": "val"}
# Bytes at the beginning of a file in which EXIF data are looked for: the standard has them first.
_HEADER = 2**14
# What TensorFlow decodes, several times as fast as it can ask Python: JPEG and 8-bit PNG without
# EXIF data. RE2 takes text for UTF-8; \C is any byte.
_PNG = r"\CPNG\r\n\x1a\n\C{16}\x08\C*"
_EXIF = r"\C*[Ee][Xx][Ii][Ff]\C*"
_FAILED = "cannot decode"
# What is in TensorFlow's errors of files that it cannot read.
_READING = ("decode", "pyfunc", "readfile")


@dataclass(frozen=True)
class Folder:
    """The images of a folder.

    Attributes:
        paths: Files of each part, sorted.
        labels: The class of each, by number.
        classes: Names of the classes: folders in `train`, sorted.
        digest: Hash of the files' names and sizes.
        notes: What the user should know of the folder, a line each.
    """

    paths: dict[str, list[Path]]
    labels: dict[str, list[int]]
    classes: list[str]
    digest: str
    notes: list[str]


def read_folder(root: Path) -> Folder:
    """List a folder of labelled images. Folders inside a class folder belong to that class.

    Raises:
        UserError: If `train` or `val` is missing, if a class has no image to train on, if `val` has
            a class that `train` has not, if there are fewer than two classes, or if a file is
            empty.
    """
    notes, found = [], {}
    for part, name in PARTS.items():
        found[part] = _classes(root / name, notes)
    classes = sorted(found["train"])
    for name in classes:
        if not found["train"][name]:
            folder = root / PARTS["train"] / name
            others = image_files.list_folder(folder).others
            what = f" ({image_files.some_of('files of other kinds', others)})" if others else ""
            raise UserError(
                f"{folder} has no image that can be read{what}: without it the labels of other "
                "classes would move; add images or remove the folder"
            )
    for name, paths in found["evaluation"].items():
        if name not in classes and paths:
            raise UserError(
                f"{root / PARTS['evaluation'] / name}: there is no class {name} in train"
                + _near(name, classes)
            )
    if len(classes) < 2:
        raise UserError(f"{root / 'train'} has one class, {classes[0]}; wanted are two or more")
    notes += _notes_of_classes(classes, found["evaluation"])
    number = {name: i for i, name in enumerate(classes)}
    paths, labels = {}, {}
    for part, by_class in found.items():
        paths[part] = [path for name in sorted(by_class) for path in by_class[name]]
        labels[part] = [number[name] for name in sorted(by_class) for _ in by_class[name]]
        if not paths[part]:
            raise UserError(f"{root / PARTS[part]} has no images in folders CLASS/")
    digest = _digest(root, [*paths["train"], *paths["evaluation"]])
    return Folder(paths, labels, classes, digest, notes)


def _classes(folder, notes):
    """The images of each class folder, by its name."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; wanted are train/CLASS/* and val/CLASS/*")
    listing = image_files.list_folder(folder)
    if not listing.folders:
        raise UserError(f"{folder} has no folders CLASS/ with images in them")
    if listing.images:
        what = image_files.some_of(f"images of {folder} in no class folder", listing.images)
        notes.append(f"passed over {what}")
    others, nested, found = listing.others, [], {}
    for path in listing.folders:
        found[path.name] = sorted(_images(path, others, nested, {os.path.realpath(path)}))
    if nested:
        what = image_files.some_of(f"folders inside class folders of {folder}", nested)
        notes.append(f"{what}; their images belong to the class folder that they are in")
    if others:
        notes.append(
            f"passed over {image_files.some_of(f'files of {folder} of other kinds', others)}"
        )
    return found


def _images(folder, others, nested, above):
    """The images in a folder and in the folders below it."""
    listing = image_files.list_folder(folder)
    others += listing.others
    images = listing.images
    for path in listing.folders:
        real = os.path.realpath(path)
        if real in above:
            raise UserError(f"{path} is a link to a folder that it is in")
        below = _images(path, others, nested, above | {real})
        nested += [path] if below else []
        images = images + below
    return images


def _notes_of_classes(classes, evaluation):
    unmeasured = [name for name in classes if not evaluation.get(name)]
    if unmeasured:
        names = ", ".join(unmeasured[:10]) + (", ..." if len(unmeasured) > 10 else "")
        yield f"val has no images of {len(unmeasured):,} of the {len(classes):,} classes: {names}"
    by_look = {}
    for name in classes:
        by_look.setdefault(_look(name), []).append(name)
    for names in by_look.values():
        if len(names) > 1:
            yield f"{' and '.join(names)} are different classes: their names look alike"


def _look(name):
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _near(name, classes):
    alike = [other for other in classes if _look(other) == _look(name)]
    return f"; there is {alike[0]}, written otherwise" if alike else ""


def _digest(root, paths):
    lines = []
    for path in paths:
        size = path.stat().st_size
        if not size:
            raise UserError(f"cannot read {path}: it is empty")
        lines.append(f"{path.relative_to(root)} {size}")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def decode(path: tf.Tensor) -> tf.Tensor:
    """Read an image file in a graph, upright, as uint8 RGB `[height, width, 3]`.

    TensorFlow decodes plain JPEGs and PNGs, `image_files.read_rgb` everything else. A file that
    cannot be read ends in an error of TensorFlow's without its name; see `naming_files`.
    """
    data = tf.io.read_file(path)
    header = tf.strings.substr(data, 0, _HEADER)
    is_jpeg = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
    is_plain = tf.logical_and(
        tf.logical_or(is_jpeg, tf.strings.regex_full_match(header, _PNG)),
        tf.logical_not(tf.strings.regex_full_match(header, _EXIF)),
    )

    def decoded_elsewhere():
        image = tf.numpy_function(_read, [path], tf.uint8)
        with tf.control_dependencies([tf.debugging.Assert(tf.size(image) > 0, [_FAILED, path])]):
            return tf.identity(image)

    image = tf.cond(
        is_plain,
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
        decoded_elsewhere,
    )
    return tf.ensure_shape(image, (None, None, 3))


def _read(path):
    """Read an image; an empty one stands for an error, of which TensorFlow would print a page."""
    try:
        # Outside of graphs TensorFlow gives an array.
        return image_files.read_rgb(os.fsdecode(np.asarray(path).item()))
    except UserError:
        return np.zeros((0, 0, 3), "uint8")


@cache
def _traced():
    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def check(paths: Sequence[str | bytes], seconds: float = float("inf")) -> int:
    """Read images.

    Args:
        paths: The files.
        seconds: No further files are begun after this time.

    Returns:
        Number of files that were read.

    Raises:
        UserError: If any of them cannot be read; it names them.
    """
    return _check(lambda i: image_files.read_rgb(os.fsdecode(paths[i])), len(paths), seconds)


def _check(read, count, seconds=float("inf")):
    def attempt(i):
        # What is read is not kept.
        read(i)

    found, errors = image_files.read_some(attempt, count, seconds)
    image_files.raise_all(errors)
    return len(found)


@contextlib.contextmanager
def naming_files(paths: Sequence[str | bytes]) -> Iterator[None]:
    """Name the file where TensorFlow fails to read one: its own message does not.

    Args:
        paths: The files that are read; they are read again to find the one.

    Raises:
        UserError: Instead of TensorFlow's error, if any of them cannot be read.
    """
    try:
        yield
    except tf.errors.OpError as error:
        text = str(error).lower()
        if paths and any(word in text for word in _READING):
            # Pillow says in words what is wrong, unless it is TensorFlow alone that fails.
            check(paths)
            _check(lambda i: _decode_alone(paths[i]), len(paths))
        raise


def _decode_alone(path):
    try:
        with tf.device("cpu"):
            _traced()(path)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise UserError(f"cannot read {os.fsdecode(path)}: {reason}") from error

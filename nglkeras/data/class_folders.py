"""List, decode and check folders of labelled images: `train/CLASS/*`, `val/CLASS/*` and so on."""

import contextlib
import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import tensorflow as tf

from nglkeras.data import image_files
from nglkeras.errors import UserError
from nglkeras.paths import expand

# Seconds for which images of a folder are looked at before a training.
SURVEY_SECONDS = 20.0
# Bytes at the beginning of a file in which EXIF data are looked for: the standard has them first.
_HEADER = 2**14
# TensorFlow itself decodes JPEG and 8-bit PNG without EXIF data, several times as fast as through
# Python. RE2 takes text for UTF-8; \C is any byte.
_PNG = r"\CPNG\r\n\x1a\n\C{16}\x08\C*"
_EXIF = r"\C*[Ee][Xx][Ii][Ff]\C*"
_FAILED = "cannot decode"
# Words in TensorFlow's errors about files that it cannot read.
_READING = ("decode", "pyfunc", "readfile")


@dataclass(frozen=True)
class Folder:
    """A listed folder: files and class numbers by split, sorted class names.

    `digest` is a hash of the files' names and sizes, `notes` are warnings, one line each.
    """

    paths: dict[str, list[Path]]
    labels: dict[str, list[int]]
    classes: list[str]
    digest: str
    notes: list[str]


def find_splits(root: Path) -> dict[str, str]:
    """Return the folder of each split; `train` alone must exist.

    `val` or `validation` is the validation split; without `test` the test split, as in table 3.
    """
    found = [name for name in ("val", "validation", "test") if (root / name).is_dir()]
    if len(found) > 1 and found[1] == "validation":
        raise UserError(f"{root} has val and validation: keep one of them")
    splits = ("test",) if len(found) == 1 else ("validation", "test")
    return {"train": "train", **dict(zip(splits, found, strict=False))}


def read_folder(root: str | Path | None, splits: Mapping[str, str] | None = None) -> Folder:
    """List a folder of labelled images. Folders inside a class folder belong to that class.

    `splits` has the folder of each split, by default as `find_splits` finds them.

    Raises:
        UserError: If no folder is given, a split's folder is missing, a class has no training
            image, another split has a class that the training split has not, there are fewer than
            two classes, or a file is empty.
    """
    if root is None:
        raise UserError("data set folder: say which with --data-dir")
    root, notes = expand(root), []
    splits = splits or find_splits(root)
    found = {split: _classes(root / name, splits, notes) for split, name in splits.items()}
    train = root / splits["train"]
    classes = sorted(found["train"])
    for name in classes:
        if not found["train"][name]:
            others = image_files.list_folder(train / name).others
            what = f" ({image_files.some_of('files of other kinds', others)})" if others else ""
            raise UserError(
                f"{train / name} has no image that can be read{what}: without it the labels of "
                "other classes would move; add images or remove the folder"
            )
    if len(classes) < 2:
        raise UserError(f"{train} has one class, {classes[0]}; wanted are two or more")
    number = {name: i for i, name in enumerate(classes)}
    paths, labels = {}, {}
    for split, by_class in found.items():
        for name, images in by_class.items():
            if images and name not in number:
                raise UserError(
                    f"{root / splits[split] / name}: there is no class {name} in train"
                    + _near(name, classes)
                )
        missing = [name for name in classes if not by_class.get(name)]
        if missing:
            share = f"{len(missing):,} of the {len(classes):,} classes"
            notes.append(f"{splits[split]} has no images of {share}: {_first(missing)}")
        paths[split] = [path for name in sorted(by_class) for path in by_class[name]]
        labels[split] = [number[name] for name in sorted(by_class) for _ in by_class[name]]
        if not paths[split]:
            raise UserError(f"{root / splits[split]} has no images in folders CLASS/")
    notes += _alike(classes)
    digest = _digest(root, chain(*paths.values()))
    return Folder(paths, labels, classes, digest, notes)


def survey(
    root: str | Path,
    classes: Sequence[str],
    counts: str,
    paths: Sequence[str | bytes],
    seconds: float = SURVEY_SECONDS,
) -> str:
    """Look at the images of a folder and say in one line what a training will read.

    Damage in a file that is not looked at within `seconds` is found when a training reads it.
    `counts` says in words how many images there are. Raises `UserError` if one cannot be read.
    """
    done = check(paths, seconds)
    looked = f"; {done:,} of them looked at" if done < len(paths) else ""
    return f"{root}: {len(classes):,} classes ({_first(classes)}), {counts}{looked}"


def _first(names):
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


def _classes(folder, splits, notes):
    """Return the images of each class folder, by its name."""
    if not folder.is_dir():
        wanted = " and ".join(f"{name}/CLASS/*" for name in splits.values())
        raise UserError(f"there is no folder {folder}; wanted are {wanted}")
    listing = image_files.list_folder(folder)
    if not listing.folders:
        raise UserError(f"{folder} has no folders CLASS/ with images in them")
    notes += image_files.passed_over(f"images of {folder} in no class folder", listing.images)
    others, nested, found = listing.others, [], {}
    for path in listing.folders:
        found[path.name] = sorted(_images(path, others, nested, {os.path.realpath(path)}))
    if nested:
        what = image_files.some_of(f"folders inside class folders of {folder}", nested)
        notes.append(f"{what}; their images belong to the class folder that they are in")
    notes += image_files.passed_over(f"files of {folder} of other kinds", others)
    return found


def _images(folder, others, nested, above):
    """Return the images in a folder and in the folders below it."""
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


def _alike(classes):
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

    TensorFlow decodes plain JPEGs and PNGs, `image_files.read_rgb` everything else. TensorFlow's
    error for a file that cannot be read lacks the file's name; see `naming_files`.
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
    """Read an image; return an empty one on an error, of which TensorFlow would print a page."""
    try:
        # Outside of graphs TensorFlow gives an array.
        return image_files.read_rgb(os.fsdecode(np.asarray(path).item()))
    except UserError:
        return np.zeros((0, 0, 3), "uint8")


@cache
def _traced():
    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def check(paths: Sequence[str | bytes], seconds: float = float("inf")) -> int:
    """Read images, begin none after `seconds`, and return how many were read.

    Raises `UserError`, which names the file, if one cannot be read.
    """
    return _check(lambda i: image_files.read_rgb(os.fsdecode(paths[i])), len(paths), seconds)


def _check(read, count, seconds=float("inf")):
    # What is read is not kept.
    found, errors = image_files.read_some(lambda i: read(i) is None, count, seconds)
    image_files.raise_all(errors)
    return len(found)


@contextlib.contextmanager
def naming_files(paths: Sequence[str | bytes]) -> Iterator[None]:
    """Turn TensorFlow's error about an unreadable file into a `UserError` that names the file.

    The files are read again to find the damaged one.
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

"""List, decode and check folders of labelled images: `train/CLASS/*`, `val/CLASS/*` and so on."""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from nglkeras.data import image_files
from nglkeras.errors import UserError
from nglkeras.paths import expand

# Names of folders, in small letters, that mean a split.
_LIKE_SPLITS = ("val", "valid", "validation", "dev", "test", "tests", "testing")
# Seconds for which images of a folder are looked at before a training.
SURVEY_SECONDS = 20.0


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
    # Passed over in silence, their images would be drawn from the training images instead.
    for path in image_files.list_folder(root).folders if root.is_dir() else ():
        if path.name not in found and path.name.lower() in _LIKE_SPLITS:
            raise UserError(f"{path}: call it val, validation or test, or move it away")
    if len(found) > 1 and found[1] == "validation":
        raise UserError(f"{root} has val and validation: keep one of them")
    splits = ("test",) if len(found) == 1 else ("validation", "test")
    return {"train": "train", **dict(zip(splits, found, strict=False))}


def read_folder(root: str | Path | None, splits: Mapping[str, str] | None = None) -> Folder:
    """List a folder of labelled images. Folders inside a class folder belong to that class.

    `splits` has the folder of each split, by default as `find_splits` finds them.

    Raises:
        UserError: If no folder is given, a split's folder is missing or that of another split, a
            class has no training image, another split has a class that the training split has not,
            there are fewer than two classes, or a file is empty.
    """
    if root is None:
        raise UserError("data set folder: say which with --data-dir")
    root, notes = expand(root), []
    splits = splits or find_splits(root)
    folders = {}
    for name in splits.values():
        other = folders.setdefault((root / name).resolve(), name)
        if other != name:
            raise UserError(f"{root / name} and {root / other} are the same folder")
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


def check(paths: Sequence[str | bytes], seconds: float = float("inf")) -> int:
    """Read images, begin none after `seconds`, and return how many were read.

    Raises `UserError`, which names the file, if one cannot be read.
    """
    return check_each(lambda i: image_files.read_rgb(os.fsdecode(paths[i])), len(paths), seconds)


def check_each(read: Callable[[int], object], count: int, seconds: float = float("inf")) -> int:
    """Call `read` with the numbers of files, as `check` reads images."""
    # What is read is not kept.
    found, errors = image_files.read_some(lambda i: read(i) is None, count, seconds)
    image_files.raise_all(errors)
    return len(found)

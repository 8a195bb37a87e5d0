"""Read images with masks from disk: a plain folder, VOC's archive, COCO-Stuff, or bundled scenes.

`Examples` have our labels and 255 for void. The test set is the published val of VOC and
COCO-Stuff, whose own test sets have no public masks; validation images are set aside from train.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nglkeras.data import image_files
from nglkeras.errors import UserError
from nglkeras.experiments.segmentation import VOID
from nglkeras.experiments.segmentation.catalog import INVALID, Info, get_info
from nglkeras.experiments.segmentation.scenes import scenes
from nglkeras.paths import expand

# Time to look at the files of each split before a training.
SECONDS = {"train": 10.0, "val": 5.0, "test": 5.0}
# Number of classes whose pixels are shown.
_SHOWN = 25

# Folders of images and of masks, by layout and split.
_PLACES = {
    "folder": {part: (f"{part}/images", f"{part}/masks") for part in ("train", "val", "test")},
    "coco": {
        split: (f"images/{part}", f"annotations/{part}")
        for split, part in (("train", "train2017"), ("test", "val2017"))
    },
}


@dataclass(frozen=True, eq=False)
class Examples:
    """Images and masks of a split, in files in the same order; `notes` are warnings about them."""

    images: Sequence[Path]
    masks: Sequence[Path]
    info: Info | None = None
    notes: Sequence[str] = ()

    def __len__(self):
        return len(self.images)

    def read(self, i: int, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return an image `[height, width, 3]` and its mask `[height, width]`, both uint8.

        Both are resized to a height and width, if one is given. Raises `UserError` if they cannot
        be read, differ in size, or a label is no class.
        """
        upright = self.info.upright
        image = image_files.read_rgb(self.images[i], upright)
        mask = image_files.read_labels(self.masks[i], upright)
        if image.shape[:2] != mask.shape:
            (height, width), (rows, columns) = image.shape[:2], mask.shape
            is_turned = upright and image_files.is_turned(self.images[i])
            turned = " (turned as its EXIF orientation says)" if is_turned else ""
            raise UserError(
                f"{self.images[i]} is {width} x {height} pixels{turned}, its mask {self.masks[i]} "
                f"{columns} x {rows}"
            )
        labels = self._labels(mask, self.masks[i])
        return (image, labels) if size is None else _resized(image, labels, size)

    def _labels(self, mask, path):
        """Translate a mask's pixels to our labels, uint8."""
        table = self.info.table
        known = table != INVALID
        is_known = (mask >= 0) & (mask < len(known))
        is_known &= known[np.where(is_known, mask, 0)]
        if not is_known.all():
            raise UserError(
                f"{path} has label {mask[~is_known].min()}, which is none of the "
                f"{len(self.info.classes)} classes of {self.info.title}, nor void"
            )
        return table.astype("uint8")[mask]

    def size(self, i: int) -> tuple[int, int]:
        """Return height and width without reading the pixels."""
        return image_files.read_size(self.images[i], self.info.upright)


class Arrays(Examples):
    """Images `[n, height, width, 3]` and masks `[n, height, width]` in memory, both uint8."""

    def read(self, i, size=None):
        """Return an image and its mask."""
        if size in (None, self.images.shape[1]):
            return self.images[i], self.masks[i]
        return _resized(self.images[i], self.masks[i], size)

    def size(self, i):
        """Return height and width."""
        return self.masks.shape[1:]


def _resized(image, mask, size):
    """Resize an image and its mask; labels are not mixed."""
    image = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    mask = Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(image), np.asarray(mask)


def load(name: str, data_dir: str | Path | None = None) -> dict[str, Examples]:
    """Return the examples of each split of a data set: train, val if it has its own, and test.

    `data_dir` is its folder, or the one above. Raises `UserError` if it is not there, or an image
    has no mask.
    """
    info = get_info(name, data_dir)
    if info.layout == "bundled":
        return {split: Arrays(*pair) for split, pair in scenes().items()}
    if data_dir is None:
        raise UserError(f"data set {name} wants --data-dir: {info.advice}")
    if info.layout == "voc":
        return _voc(name, expand(data_dir), info)
    places = _PLACES[info.layout]
    root = _root(name, expand(data_dir), info, places["train"][0], ("", name))
    folders = [(root / images).resolve() for images, _ in places.values()]
    for folder in folders:
        if folders.count(folder) > 1:
            raise UserError(f"two of {', '.join(places)} are the same folder, {folder}")
    return {
        split: _paired(root / images, root / masks, info)
        for split, (images, masks) in places.items()
    }


def _voc(name, data_dir, info):
    places = ("", "VOC2012", "VOCdevkit/VOC2012", f"{name}/VOCdevkit/VOC2012")
    root = _root(name, data_dir, info, "ImageSets/Segmentation", places)
    aug = "aug" if name == "voc2012_aug" else ""
    return {
        "train": _listed(root, f"train{aug}", f"SegmentationClass{aug.title()}", info),
        "test": _listed(root, "val", "SegmentationClass", info),
    }


def _root(name, data_dir, info, sign, places):
    """Find the folder of a data set by a folder that must be in it."""
    for place in places:
        if (data_dir / place / sign).is_dir():
            return data_dir / place
    raise UserError(f"data set {name} is not at {data_dir}: no folder {sign}; {info.advice}")


def _paired(images, masks, info):
    for folder in (images, masks):
        if not folder.is_dir():
            raise UserError(f"no folder {folder}; {info.advice}")
    pictures, drawn = image_files.list_folder(images), image_files.list_folder(masks)
    if not pictures.images:
        inside = f"; {pictures.folders[0]} is a folder" if pictures.folders else ""
        raise UserError(f"no images in {images}{inside}; {info.advice}")
    lossless = [path for path in drawn.images if path.suffix.lower() in image_files.MASK_ENDINGS]
    by_name, image_by_name = _by_name(lossless), _by_name(pictures.images)
    missing = [name for name in image_by_name if name not in by_name]
    if missing:
        raise UserError(_without_mask(missing, masks, drawn.images))
    notes = []
    for folder, listing in ((images, pictures), (masks, drawn)):
        what = f"files and folders of {folder} that are no images"
        notes += image_files.passed_over(what, listing.others + listing.folders)
    unused = [path for path in drawn.images if path.stem not in image_by_name]
    notes += image_files.passed_over(f"masks of {masks} without image", unused)
    return Examples(pictures.images, [by_name[name] for name in image_by_name], info, notes)


def _by_name(paths):
    """Return files by their name without the ending, in the same order."""
    found = {}
    for path in paths:
        other = found.setdefault(path.stem, path)
        if other != path:
            raise UserError(f"{other} and {path.name} have the same name: keep one of them")
    return found


def _without_mask(names, folder, drawn):
    """Return the message about images without a mask."""
    name = names[0]
    text = f"{name} has no mask: {folder / name}.png is not there"
    lossy = [path for path in drawn if path.stem == name]
    alike = [path for path in drawn if path.stem.startswith(name)]
    if lossy:
        endings = ", ".join(image_files.MASK_ENDINGS)
        text = f"{name} has no mask whose pixels are labels: {lossy[0]} is none of {endings}"
    elif alike:
        text += f"; {alike[0].name} must have the image's name"
    return text if len(names) == 1 else f"{text}; {len(names) - 1:,} more images have none"


def _listed(root, part, masks, info):
    path = root / "ImageSets" / "Segmentation" / f"{part}.txt"
    try:
        names = path.read_text("utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"no list {path}; {info.advice}") from error
    if not names:
        raise UserError(f"no images in {path}; {info.advice}")
    images = [root / "JPEGImages" / f"{name}.jpg" for name in names]
    masks = [root / masks / f"{name}.png" for name in names]
    # Listing folders is quick; asking for each of a hundred thousand files takes seconds.
    for paths, what in ((images, "image"), (masks, "mask")):
        folders = {path.parent for path in paths}
        there = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
        for path in paths:
            if path not in there:
                raise UserError(f"{path.stem} has no {what}: {path} is not there")
    return Examples(images, masks, info)


def fingerprint(name: str, data_dir: str | Path | None = None) -> str:
    """Return a hash of a "folder"'s classes and files; "" for a set that its name defines."""
    if name != "folder":
        return ""
    digest = hashlib.sha256(repr(get_info(name, data_dir).classes).encode())
    for split, examples in load(name, data_dir).items():
        for image, mask in zip(examples.images, examples.masks, strict=True):
            sizes = image.stat().st_size, mask.stat().st_size
            # A name that is not UTF-8 counts byte by byte.
            digest.update(f"{split}/{image.name}/{sizes}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def survey(
    name: str, data_dir: str | Path | None = None, seconds: dict[str, float] | None = None
) -> tuple[str, list[str]]:
    """Return one line that says what a training will read, with each class's pixels, and warnings.

    Files of a split that are not read within `seconds` are not counted; damage in them is found
    when a training reads them.

    Raises:
        UserError: As `load` does; if an image or mask cannot be read, a mask does not fit
            its image or has a label that is no class; or if the training masks hold fewer than two
            classes.
    """
    info, splits = get_info(name, data_dir), load(name, data_dir)
    warnings = [note for examples in splits.values() for note in examples.notes]
    found, errors = {}, []
    for split, examples in splits.items():
        found[split], failed = _counts(examples, (seconds or SECONDS)[split])
        errors += failed
    image_files.raise_all(errors)
    for split, counts in found.items():
        warnings += _warnings(split, splits[split], counts, info)
    sizes = ", ".join(f"{len(examples):,} {split}" for split, examples in splits.items())
    pixels = _pixels(found["train"], len(splits["train"]), info)
    where = data_dir if name == "folder" else info.title
    return f"{where}: {len(info.classes)} classes; images: {sizes}; {pixels}", warnings


def _counts(examples, seconds):
    """Return the pixels of each label, `[256]`, by the example's number, and errors."""
    return image_files.read_some(
        lambda i: np.bincount(examples.read(i)[1].ravel(), minlength=VOID + 1),
        len(examples),
        seconds,
    )


def _pixels(counts, total, info):
    pixels = sum(counts.values())
    shares = pixels / pixels.sum()
    order = np.argsort(-shares[: len(info.classes)], kind="stable")[:_SHOWN]
    texts = [f"{info.classes[label]} {_percent(shares[label])}" for label in sorted(order)]
    if len(info.classes) > _SHOWN:
        texts.append(f"{len(info.classes) - _SHOWN} more classes")
    if shares[VOID]:
        texts.append(f"void {_percent(shares[VOID])}")
    which = f"{total:,}" if len(counts) == total else f"{len(counts):,} of {total:,}"
    return f"pixels in {which} training masks: {', '.join(texts)}"


def _percent(share):
    return "<0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def _warnings(split, examples, counts, info):
    """Yield warnings about a split's labels; raise `UserError` if they cannot be learnt."""
    pixels = sum(counts.values())
    absent = [i for i in range(len(info.classes)) if not pixels[i]]
    count = f"{len(counts):,}"
    is_complete = len(counts) == len(examples)
    which = f"the {count} {split} masks" if is_complete else f"{count} of the {split} masks"
    void = (
        f"; value {VOID} is void, no class: where it marks an object, write the class's label "
        "instead, e.g. mask[mask == 255] = 1"
        if split == "train" and absent and pixels[VOID]
        else ""
    )
    names = [f"{info.classes[i]} (label {i})" for i in absent]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    if split == "train" and is_complete and len(info.classes) - len(absent) < 2:
        raise UserError(f"{which} have pixels of fewer than two classes: none of {shown}{void}")
    if absent:
        yield f"{which} have no pixel of {shown}{void}"
    empty = [examples.masks[i] for i in sorted(counts) if counts[i][VOID] == counts[i].sum()]
    if empty:
        yield image_files.some_of(f"{split} masks that are void everywhere", empty)

"""Read images with masks from disk: a plain folder, VOC's archive, COCO-Stuff, or bundled scenes.

    folder   {train,val,test}/images/NAME.{jpg,png,...}, {train,val,test}/masks/NAME.{png,...}
    voc      VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation}
    coco     images/{train2017,val2017}/NAME.jpg, annotations/{train2017,val2017}/NAME.png

Pixels of masks are labels; see `image_files` for what is read. `Examples` have our labels and 255
for void. The test set is the published val of VOC and COCO-Stuff, whose own test sets have no
public masks; validation images are set aside from train.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from nglkeras.data import image_files
from nglkeras.errors import UserError
from nglkeras.experiments.segmentation.catalog import INVALID, Info, get_info
from nglkeras.experiments.segmentation.scenes import scenes
from nglkeras.paths import expand


class Examples:
    """Images and masks of a split, in files.

    Args:
        images: The image files.
        masks: The mask files, in the same order.
        info: What is known of the data set.
        notes: Warnings about the files, one line each.
    """

    def __init__(
        self,
        images: Sequence[Path],
        masks: Sequence[Path],
        info: Info,
        notes: Sequence[str] = (),
    ):
        self.images, self.masks, self.info, self.notes = images, masks, info, notes

    def __len__(self):
        return len(self.images)

    def read(self, i: int, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return an image `[height, width, 3]` and its mask `[height, width]`, both uint8.

        Args:
            i: Number of the example.
            size: Height and width in pixels to resize both to; their own by default.

        Raises:
            UserError: If they cannot be read, differ in size, or a label is no class.
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
        if mask.dtype == "uint8":
            is_known = known[mask]
        else:
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
    """Images and masks in memory.

    Args:
        images: uint8 `[n, height, width, 3]`.
        masks: Our labels, uint8 `[n, height, width]`.
    """

    def __init__(self, images: np.ndarray, masks: np.ndarray):
        self.images, self.masks, self.notes = images, masks, ()

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

    Args:
        name: One of `catalog.NAMES`.
        data_dir: The folder of the data set, or the folder above it.

    Raises:
        UserError: If it is not there, or an image has no mask.
    """
    info = get_info(name, data_dir)
    if info.layout == "bundled":
        return {split: Arrays(*pair) for split, pair in scenes().items()}
    if data_dir is None:
        raise UserError(f"data set {name} wants --data-dir: {info.advice}")
    return _LAYOUTS[info.layout](name, expand(data_dir), info)


def _folder(name, data_dir, info):
    root = _root(name, data_dir, info, "train/images", ("", name))
    return {
        split: _paired(root / split / "images", root / split / "masks", info)
        for split in ("train", "val", "test")
    }


def _voc(name, data_dir, info):
    places = ("", "VOC2012", "VOCdevkit/VOC2012", f"{name}/VOCdevkit/VOC2012")
    root = _root(name, data_dir, info, "ImageSets/Segmentation", places)
    train, masks = "train", "SegmentationClass"
    if name == "voc2012_aug":
        train, masks = "trainaug", "SegmentationClassAug"
    return {
        "train": _listed(root, train, masks, info),
        "test": _listed(root, "val", "SegmentationClass", info),
    }


def _coco(name, data_dir, info):
    root = _root(name, data_dir, info, "images/train2017", ("", name))
    return {
        split: _paired(root / "images" / part, root / "annotations" / part, info)
        for split, part in (("train", "train2017"), ("test", "val2017"))
    }


_LAYOUTS = {"folder": _folder, "voc": _voc, "coco": _coco}


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
    lossless = [path for path in drawn.images if _is_lossless(path)]
    by_name, image_by_name = _by_name(lossless), _by_name(pictures.images)
    missing = [name for name in image_by_name if name not in by_name]
    if missing:
        raise UserError(_without_mask(missing, masks, drawn.images))
    notes = []
    for folder, listing in ((images, pictures), (masks, drawn)):
        others = listing.others + listing.folders
        if others:
            what = image_files.some_of(f"files and folders of {folder} that are no images", others)
            notes.append(f"passed over {what}")
    unused = [path for path in drawn.images if path.stem not in image_by_name]
    if unused:
        notes.append(
            f"passed over {image_files.some_of(f'masks of {masks} without image', unused)}"
        )
    return Examples(pictures.images, [by_name[name] for name in image_by_name], info, notes)


def _is_lossless(path):
    return path.suffix.lower() in image_files.MASK_ENDINGS


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
    images = [root / "JPEGImages" / f"{name}.jpg" for name in names]
    return _files(images, [root / masks / f"{name}.png" for name in names], path, info)


def _files(images, masks, where, info):
    if not images:
        raise UserError(f"no images in {where}; {info.advice}")
    # Listing folders is quick; asking for each of a hundred thousand files takes seconds.
    for paths, what in ((images, "image"), (masks, "mask")):
        there = {
            folder: set(folder.iterdir())
            for folder in {path.parent for path in paths}
            if folder.is_dir()
        }
        for i, path in enumerate(paths):
            if path not in there.get(path.parent, ()):
                raise UserError(f"{images[i].stem} has no {what}: {path} is not there")
    return Examples(images, masks, info)


def fingerprint(name: str, data_dir: str | Path | None = None) -> str:
    """Return a hash of the classes and the list of files of a "folder".

    It is "" for the other data sets, which their names define.
    """
    if name != "folder":
        return ""
    digest = hashlib.sha256(repr(get_info(name, data_dir).classes).encode())
    for split, examples in load(name, data_dir).items():
        for image, mask in zip(examples.images, examples.masks, strict=True):
            sizes = image.stat().st_size, mask.stat().st_size
            digest.update(f"{split}/{image.name}/{sizes}".encode())
    return digest.hexdigest()

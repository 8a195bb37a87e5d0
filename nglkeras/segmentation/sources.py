"""Images with masks as they lie on disk: a plain folder, VOC's tar, COCO-Stuff, or bundled.

    folder   {train,val,test}/images/NAME.{jpg,jpeg,png}, {train,val,test}/masks/NAME.png
    voc      VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation}
    coco     images/{train2017,val2017}/NAME.jpg, annotations/{train2017,val2017}/NAME.png

Masks are 8-bit PNG, grey or with a palette, whose pixels are labels. What leaves here has our
labels, 255 for void. The published val of VOC and COCO-Stuff is the test set, since their own has
no public masks; what decides on a training is set aside from train.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nglkeras.errors import UserError
from nglkeras.extras import needed
from nglkeras.paths import expand
from nglkeras.segmentation.catalog import INVALID, Info, get_info
from nglkeras.segmentation.scenes import scenes

_IMAGES = (".jpg", ".jpeg", ".png")


class Examples(ABC):
    """Images and masks, by number.

    Attributes:
        names: Of the examples.
    """

    names: Sequence[str]

    def __len__(self):
        return len(self.names)

    @abstractmethod
    def read(self, i: int, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """An image `[height, width, 3]` and its mask `[height, width]`, both uint8.

        Args:
            i: Which.
            size: Height and width to resize both to; their own by default.

        Raises:
            UserError: If they cannot be read, differ in size, or a label is no class.
        """

    @abstractmethod
    def size(self, i: int) -> tuple[int, int]:
        """Height and width, without reading the whole."""


class Arrays(Examples):
    """Examples in memory.

    Args:
        images: `[n, height, width, 3]`, uint8.
        masks: `[n, height, width]`, uint8, our labels.
    """

    def __init__(self, images: np.ndarray, masks: np.ndarray):
        self.names = [str(i) for i in range(len(images))]
        self.images, self.masks = images, masks

    def read(self, i, size=None):
        """An image and its mask."""
        if size in (None, self.images.shape[1]):
            return self.images[i], self.masks[i]
        with needed():
            from PIL import Image
        return _resized(Image.fromarray(self.images[i]), Image.fromarray(self.masks[i]), size)

    def size(self, i):
        """Height and width."""
        return self.masks.shape[1:]


class Files(Examples):
    """Examples in files.

    Args:
        images: The image files.
        masks: The mask files, in the same order.
        info: Of the data set.
    """

    def __init__(self, images: Sequence[Path], masks: Sequence[Path], info: Info):
        self.names = [path.stem for path in images]
        self.images, self.masks = images, masks
        self.title, self.classes = info.title, len(info.classes)
        self.table = info.table

    def read(self, i, size=None):
        """An image and its mask."""
        with _opened(self.images[i]) as image, _opened(self.masks[i]) as mask:
            if image.size != mask.size:
                raise UserError(
                    f"{self.images[i]} is {image.width} x {image.height} pixels, its mask "
                    f"{self.masks[i]} {mask.width} x {mask.height}"
                )
            if mask.mode not in ("L", "P"):
                raise UserError(f"{self.masks[i]} is no 8-bit mask, grey or with a palette")
            try:
                image, mask = _resized(image.convert("RGB"), mask, size)
            # Damaged files make Pillow raise whatever their decoders do.
            except Exception as error:
                raise UserError(
                    f"cannot read {self.images[i]} or its mask {self.masks[i]}: {error}"
                ) from error
        labels = self.table[mask]
        if (labels == INVALID).any():
            raise UserError(
                f"{self.masks[i]} has label {mask[labels == INVALID].min()}, which is none of the "
                f"{self.classes} classes of {self.title}, nor void"
            )
        return image, labels.astype("uint8")

    def size(self, i):
        """Height and width, from the image's head."""
        with _opened(self.images[i]) as image:
            return image.height, image.width


@needed()
def _opened(path):
    from PIL import Image

    try:
        return Image.open(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: it is no image") from error


@needed()
def _resized(image, mask, size):
    """Both as arrays; a mask's palette stays aside: its pixels are labels."""
    from PIL import Image

    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
        mask = mask.resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(image), np.asarray(mask)


def load(name: str, data_dir: str | Path | None = None) -> dict[str, Examples]:
    """The examples of each split of a data set: train, val if it has its own, and test.

    Args:
        name: One of `catalog.NAMES`.
        data_dir: Where it is, or the folder above.

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
    """The folder of a data set, by what must be in it."""
    for place in places:
        if (data_dir / place / sign).is_dir():
            return data_dir / place
    raise UserError(f"data set {name} is not at {data_dir}: no folder {sign}; {info.advice}")


def _paired(images, masks, info):
    for folder in (images, masks):
        if not folder.is_dir():
            raise UserError(f"no folder {folder}; {info.advice}")
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in _IMAGES)
    return _files(found, [masks / f"{path.stem}.png" for path in found], images, info)


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
    # Asking for each of a hundred thousand files takes seconds; their folders' lists do not.
    for paths, what in ((images, "image"), (masks, "mask")):
        there = {
            folder: set(folder.iterdir())
            for folder in {path.parent for path in paths}
            if folder.is_dir()
        }
        for i, path in enumerate(paths):
            if path not in there.get(path.parent, ()):
                raise UserError(f"{images[i].stem} has no {what}: {path} is not there")
    return Files(images, masks, info)


def fingerprint(name: str, data_dir: str | Path | None = None) -> str:
    """A hash of which files a "folder" consists of and of its classes; nothing for other sets.

    Of a known data set the name says what it is.
    """
    if name != "folder":
        return ""
    digest = hashlib.sha256(repr(get_info(name, data_dir).classes).encode())
    for split, examples in load(name, data_dir).items():
        for image, mask in zip(examples.images, examples.masks, strict=True):
            sizes = image.stat().st_size, mask.stat().st_size
            digest.update(f"{split}/{image.name}/{sizes}".encode())
    return digest.hexdigest()

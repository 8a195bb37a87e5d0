"""Look at images and masks before a training, for damage, wrong labels and missing classes."""

from pathlib import Path

import numpy as np

from nglkeras.data import image_files
from nglkeras.errors import UserError
from nglkeras.experiments.segmentation import VOID, sources
from nglkeras.experiments.segmentation.catalog import get_info

SECONDS = {"train": 10.0, "val": 5.0, "test": 5.0}
# Number of classes whose pixels are shown.
_SHOWN = 25


def survey(
    name: str, data_dir: str | Path | None = None, seconds: dict[str, float] | None = None
) -> tuple[str, list[str]]:
    """Say in one line what a training will read, with the share of pixels of each class.

    Args:
        name: As in `sources.load`.
        data_dir: As in `sources.load`.
        seconds: Time to read each split. Files that are not read by then are not counted; damage
            in them is found when a training reads them.

    Returns:
        The line, and warnings.

    Raises:
        UserError: As `sources.load` does; if an image or mask cannot be read, a mask does not fit
            its image or has a label that is no class; or if the training masks hold fewer than two
            classes.
    """
    info, splits = get_info(name, data_dir), sources.load(name, data_dir)
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

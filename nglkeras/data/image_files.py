"""Read image files as viewers show them, upright and as 8-bit RGB, and list a folder's images.

It reads whatever Pillow reads; docs/image-folders.md has the rules. Every error names the file.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from nglkeras.errors import UserError

# Endings and formats that keep every pixel's value.
MASK_ENDINGS = (".png", ".bmp", ".gif", ".tif", ".tiff")
_MASK_FORMATS = ("PNG", "BMP", "DIB", "GIF", "TIFF")
_LOSSY_IN_TIFF = ("jpeg", "tiff_jpeg", "webp")
WHAT_A_MASK_IS = "a mask is an 8-bit image, grey or with a palette, whose pixel values are labels"
# Formats that Pillow recognises but cannot decode, at least not without other programs.
_NOT_DECODED = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
_SYSTEM_FILES = (
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "__pycache__", "@eadir"),
    *("lost+found", "$recycle.bin", "system volume information", "icon\r"),
)
# How to make an array upright, by EXIF orientation. Height and width are swapped from 5 on.
_TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
# Number of errors that a message quotes in full where several files have one.
_ERRORS_SHOWN = 3

Result = TypeVar("Result")


@dataclass(frozen=True)
class Listing:
    """The content of a folder without hidden files, each list sorted."""

    images: list[Path]
    folders: list[Path]
    others: list[Path]


@cache
def endings() -> frozenset[str]:
    """Return the endings of the image files that can be read, in lower case, with the dot."""
    Image.init()
    return frozenset(
        ending
        for ending, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in _NOT_DECODED
    )


def list_folder(folder: Path) -> Listing:
    """List a folder, without looking into the folders in it. Links are followed."""
    listing = Listing([], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in _SYSTEM_FILES:
                    continue
                path = folder / entry.name
                # Whatever its name: it may lead to the images of a class.
                if entry.is_symlink() and not path.exists():
                    raise UserError(f"{path} is a link that leads nowhere")
                if entry.is_dir():
                    listing.folders.append(path)
                elif path.suffix.lower() not in endings():
                    listing.others.append(path)
                elif entry.is_file():
                    listing.images.append(path)
                else:
                    raise UserError(f"{path} is no file")
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror or error}") from error
    for part in (listing.images, listing.folders, listing.others):
        part.sort()
    return listing


def some_of(what: str, paths: Sequence[str | Path]) -> str:
    """Say how many files there are and name the first: "files that ...: 3, e.g. data/notes.txt"."""
    return f"{what}: {len(paths):,}, e.g. {paths[0]}"


def passed_over(what: str, paths: Sequence[str | Path]) -> list[str]:
    """Return a warning about files that are not used; none if there are no files."""
    return [f"passed over {some_of(what, paths)}"] if paths else []


def read_rgb(path: str | Path, upright: bool = True) -> np.ndarray:
    """Read an image as uint8 `[height, width, 3]`, by default with its EXIF orientation applied.

    Raises `UserError` if the file cannot be read, or the range of its pixels is unknown.
    """
    with _opened(path) as image:
        turn = _orientation(image) if upright else 1
        return _turned(np.asarray(_as_rgb(image, path)), turn)


def read_labels(path: str | Path, upright: bool = True) -> np.ndarray:
    """Read a mask as integers `[height, width]`: pixel values, or the palette's numbers.

    Raises:
        UserError: If the file cannot be read, its format is lossy, or it has colours (a GIF's
            palette included), transparent pixels, fractions or several pages.
    """
    with _opened(path) as image:
        why = _why_no_mask(image)
        if why:
            raise UserError(f"{path} is no mask: {why}; {WHAT_A_MASK_IS}")
        turn, raw_mode = (_orientation(image) if upright else 1), _raw_mode(image)
        # Programs that write a GIF number its palette anew: only the grey values are safe.
        values = np.asarray(image.convert("RGB") if image.format == "GIF" else image)
        if image.mode == "1":
            values = values.astype("uint8")
        # Pillow enlarges the values of 2 and 4 bits to 0..255.
        bits = re.match(r"L;([24])", raw_mode)
        if image.mode == "L" and bits:
            values = values // (255 // (2 ** int(bits[1]) - 1))
        if values.ndim == 3:
            values = _grey(values, image.mode, path)
        return _turned(values, turn)


def read_size(path: str | Path, upright: bool = True) -> tuple[int, int]:
    """Read an image's height and width from its header."""
    with _opened(path) as image:
        is_swapped = upright and _orientation(image) >= 5
        return image.size if is_swapped else image.size[::-1]


def is_turned(path: str | Path) -> bool:
    """Return whether a file has an EXIF orientation that swaps height and width."""
    return read_size(path) != read_size(path, upright=False)


def read_some(
    read: Callable[[int], Result], count: int, seconds: float
) -> tuple[dict[int, Result], list[UserError]]:
    """Read `count` files in random order, several at a time; begin none after `seconds`.

    Returns what `read` gives by the file's number, and the `UserError`s that it raises.
    """

    def attempt(i):
        try:
            return read(i)
        except UserError as error:
            return error

    found, errors = {}, {}
    order = np.random.default_rng(0).permutation(count).tolist()
    workers = min(os.cpu_count() or 1, 16)
    deadline = time.monotonic() + seconds
    with ThreadPoolExecutor(workers) as pool:
        for begin in range(0, count, 4 * workers):
            part = order[begin : begin + 4 * workers]
            for i, outcome in zip(part, pool.map(attempt, part), strict=True):
                (errors if isinstance(outcome, UserError) else found)[i] = outcome
            if time.monotonic() > deadline:
                break
    return found, [errors[i] for i in sorted(errors)]


def raise_all(errors: Sequence[UserError]) -> None:
    """Raise one `UserError` for several; do nothing if there is none."""
    if errors:
        more = len(errors) - _ERRORS_SHOWN
        text = "; ".join(map(str, errors[:_ERRORS_SHOWN]))
        raise UserError(f"{text}; and {more:,} more" if more > 0 else text) from errors[0]


@contextlib.contextmanager
def _opened(path) -> Iterator[Image.Image]:
    """Open an image; turn whatever goes wrong with it into a `UserError` that names it."""
    try:
        # Given a path, Pillow maps plain TIFFs into memory, and garbles those that are turned.
        with Path(path).open("rb") as file, Image.open(file) as image:
            yield image
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        empty = Path(path).stat().st_size == 0
        what = "it is empty" if empty else "it is damaged, or no image of a known format"
        raise UserError(f"cannot read {path}: {what}") from error
    # Damaged files make Pillow raise whatever its decoders do.
    except Exception as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {path}: {reason}") from error


def _orientation(image):
    """Return the EXIF orientation of an image that is not loaded yet; 1 if it has none."""
    # Pillow turns TIFFs itself. To look for EXIF data behind a PNG's pixels it decodes them.
    if image.format == "TIFF" or not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    # Viewers show an image with damaged EXIF data as it is stored.
    except Exception:
        return 1
    return found if found in _TURNS else 1


def _turned(pixels, orientation):
    return np.ascontiguousarray(_TURNS[orientation](pixels)) if orientation != 1 else pixels


def _raw_mode(image):
    """Return Pillow's name for how the pixels are stored; it is lost once they are loaded."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _as_rgb(image, path):
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        bits = 16
        if image.format == "TIFF":
            bits = image.tag_v2.get(ExifTags.Base.BitsPerSample, (16,))[0]
        largest = 2**bits - 1
        pixels = (np.asarray(image).astype("uint32") * 255 + largest // 2) // largest
        image = Image.fromarray(pixels.clip(0, 255).astype("uint8"))
    if image.mode in ("I", "F"):
        raise UserError(
            f"cannot read {path}: its pixels are 32-bit numbers, whose range is not known; save it "
            "with 8 or 16 bits"
        )
    if image.mode in ("P", "PA"):
        # Pillow warns of a palette with transparency that is converted at once.
        image = image.convert("RGBA")
    return image.convert("RGB")


def _why_no_mask(image):
    """Return why an image whose pixels are not loaded yet is no mask; "" if it may be one."""
    if image.format not in _MASK_FORMATS or image.info.get("compression") in _LOSSY_IN_TIFF:
        return f"{image.format} changes pixel values when it compresses"
    if getattr(image, "n_frames", 1) > 1:
        return f"it has {image.n_frames} pages or frames"
    if image.mode in ("F", "CMYK", "LAB", "YCbCr", "HSV"):
        return f"its pixels are of Pillow's mode {image.mode}"
    if ";16" in _raw_mode(image) and not image.mode.startswith("I"):
        return "it has several channels of 16 bits"
    return ""


def _grey(values, mode, path):
    """Return the labels of a mask with several channels, which must agree."""
    channels = values
    if mode in ("LA", "PA", "RGBA"):
        channels = values[..., :-1]
        if (values[..., -1] != 255).any():
            raise UserError(f"{path} is no mask: it has transparent pixels; {WHAT_A_MASK_IS}")
    labels = channels[..., 0]
    if (channels != labels[..., None]).any():
        raise UserError(
            f"{path} is no 8-bit mask: it has colours; {WHAT_A_MASK_IS}: give each colour its label"
        )
    return labels

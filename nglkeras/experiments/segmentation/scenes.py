"""Make the bundled data set: scanned digits on photographs, with exact masks. A demonstration.

A scene is a piece of a photograph with one or two enlarged digits, both from scikit-learn; all that
is not painted is background. The splits share neither scans nor regions of the photographs.
"""

from functools import lru_cache

import numpy as np
import tensorflow as tf

from nglkeras.seeds import derive_seed
from nglkeras.startup.extras import needed

SIDE = 64
# Number of scenes of each split, and its range of the scans and of the photographs' width.
SPLITS = {"train": (160, 0.0, 0.6), "val": (40, 0.6, 0.75), "test": (80, 0.75, 1.0)}
DIGITS = 3
# Least ink of a painted pixel, of the scans' 16 levels.
INK = 7.5
# Factor that darkens photographs, so that digits stand out.
DIMMED = 0.6
SEED = 2024


@lru_cache(maxsize=1)
def scenes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return images `[n, 64, 64, 3]` and masks `[n, 64, 64]`, both uint8, of each split."""
    return {split: _split(split, *SPLITS[split]) for split in SPLITS}


@needed()
def _split(split, count, low, high):
    from sklearn.datasets import load_digits, load_sample_images

    digits = load_digits()
    scans = digits.images[digits.target < DIGITS].astype("float32")
    labels = digits.target[digits.target < DIGITS]
    used = slice(int(low * len(scans)), int(high * len(scans)))
    photos = [
        photo[:, int(low * photo.shape[1]) : int(high * photo.shape[1])]
        for photo in load_sample_images().images
    ]
    random = np.random.default_rng(derive_seed(SEED, split))
    pairs = [_scene(random, photos, scans[used], labels[used]) for _ in range(count)]
    images, masks = zip(*pairs, strict=True)
    return np.stack(images), np.stack(masks)


def _scene(random, photos, scans, labels):
    image = _piece(random, photos[random.integers(len(photos))])
    mask = np.zeros((SIDE, SIDE), "uint8")
    for _ in range(random.integers(1, 3)):
        which = random.integers(len(scans))
        side = int(random.integers(28, 45))
        top, left = random.integers(0, SIDE - side + 1, 2)
        ink = tf.image.resize(scans[which][..., None], (side, side))[..., 0].numpy() > INK
        place = (slice(top, top + side), slice(left, left + side))
        # A bright colour with the grain of a brush.
        colour = random.integers(190, 256, 3)
        grain = random.normal(0, 8, (side, side, 1))
        painted = np.clip(colour + grain, 0, 255).astype("uint8")
        image[place] = np.where(ink[..., None], painted, image[place])
        mask[place] = np.where(ink, labels[which] + 1, mask[place])
    return image, mask


def _piece(random, photo):
    height, width, _ = photo.shape
    side = int(random.integers(SIDE, min(height, width, 2 * SIDE) + 1))
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    piece = photo[top : top + side, left : left + side]
    piece = tf.image.resize(piece, (SIDE, SIDE), antialias=True).numpy()
    return (DIMMED * piece).round().astype("uint8")

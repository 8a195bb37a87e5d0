"""Change batches of training images at random with NumPy, as `tensorflow_changes` does.

The numbers are those that TensorFlow's stateless generator draws for Keras' layers, so that a seed
means the same pictures on every backend.
"""

import numpy as np

from nglkeras.data.augmentation import DRAWS_PER_LAYER, Augmentation


def changed(augmentation: Augmentation, images: np.ndarray, seed: int) -> np.ndarray:
    """Return images `[n, height, width, channels]` in float32, changed as a seed says."""
    images = images.astype("float32")
    (count, *size), first = images.shape[:3], 0
    if augmentation.horizontal_flip:
        flips = _uniform(seed, first, count, 0, 1) <= 0.5
        images = np.where(flips[:, None, None, None], images[:, :, ::-1], images)
        first += DRAWS_PER_LAYER
    if augmentation.shift:
        limit = augmentation.shift
        for axis, length in enumerate(size):
            shifts = _uniform(seed, first + axis, count, -limit, limit) * np.float32(length)
            images = _moved(images, axis + 1, np.ones(count, "float32"), -shifts)
        first += DRAWS_PER_LAYER
    if augmentation.zoom:
        limit = augmentation.zoom
        for axis, length in enumerate(size):
            zooms = _uniform(seed, first + axis, count, 1 - limit, 1 + limit)
            middle = np.float32((length - 1) / 2)
            images = _moved(images, axis + 1, zooms, middle * (1 - zooms))
    return images


def _moved(images, axis, scales, offsets):
    """Interpolate each image along an axis at `scale * i + offset`; beyond, pixels repeat."""
    last = images.shape[axis] - 1
    places = scales[:, None] * np.arange(last + 1, dtype="float32") + offsets[:, None]
    places = places.clip(0, last)
    below = np.floor(places)
    share = _along(axis, places - below)
    first = np.take_along_axis(images, _along(axis, below.astype(int)), axis)
    second = np.take_along_axis(images, _along(axis, np.minimum(below + 1, last).astype(int)), axis)
    return (1 - share) * first + share * second


def _along(axis, values):
    """Return values `[images, pixels]` as an array of four axes."""
    return np.expand_dims(values, (2, 3) if axis == 1 else (1, 3))


def _uniform(seed, draw, count, low, high):
    """Return what `keras.random.uniform` draws on TensorFlow with the seed (seed, draw)."""
    # Philox 4x32 with ten rounds, from a key and a counter that it makes of the seed itself.
    start = np.array([[seed % (2**31 - 2)], [0], [draw], [0]], "uint64")
    mixed = _philox(start, 0x3EC8F720, 0x02461E29)
    counters = np.zeros((4, -(-count // 4)), "uint64")
    counters[0] = np.arange(counters.shape[1])
    counters[2:] = mixed[2:]
    words = _philox(counters, *map(int, mixed[:2, 0])).T.reshape(-1)[:count].astype("uint32")
    # 23 random bits are the fraction of a number from 1 to 2.
    numbers = (words & 0x7FFFFF | 0x3F800000).view("float32") - np.float32(1)
    low, high = np.float32(low), np.float32(high)
    return numbers * (high - low) + low


def _philox(counters, first_key, second_key):
    """Return four random words, as uint64, for each counter of four words `[4, n]`."""
    word, half = np.uint64(2**32 - 1), np.uint64(32)
    a, b, c, d = counters
    for _ in range(10):
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a = right >> half ^ b ^ np.uint64(first_key)
        c = left >> half ^ d ^ np.uint64(second_key)
        b, d = right & word, left & word
        first_key = (first_key + 0x9E3779B9) % 2**32
        second_key = (second_key + 0xBB67AE85) % 2**32
    return np.stack([a, b, c, d])

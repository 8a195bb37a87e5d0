"""Cast and resize batches of images with NumPy, as TensorFlow does."""

import numpy as np


def finish(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Make images float32 RGB of a size; done last, so that augmentation has less to do."""
    images = resize(images, size)
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize images `[..., height, width, channels]` bilinearly, in float32.

    No smoothing precedes a reduction, as in `tf.image.resize`.
    """
    images = images.astype("float32")
    # TensorFlow interpolates along rows first.
    for axis, length in ((-2, size[1]), (-3, size[0])):
        if images.shape[axis] != length:
            images = _stretched(images, axis, length)
    return images


def _stretched(images, axis, length):
    """Interpolate along one axis, at the centres of the new pixels."""
    count = images.shape[axis]
    scale = np.float32(count / length)
    places = (np.arange(length, dtype="float32") + np.float32(0.5)) * scale - np.float32(0.5)
    below = np.floor(places)
    share = (places - below).reshape(-1, *[1] * (-axis - 1))
    first = np.take(images, np.maximum(below, 0).astype(int), axis)
    second = np.take(images, np.minimum(np.ceil(places), count - 1).astype(int), axis)
    return first + (second - first) * share

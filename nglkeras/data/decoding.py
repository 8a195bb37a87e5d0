"""Decode the images of a folder with TensorFlow, several times as fast as through Python."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import tensorflow as tf

from nglkeras.data import image_files
from nglkeras.data.class_folders import check, check_each
from nglkeras.errors import UserError

# TensorFlow itself decodes JPEG of up to three channels (of CMYK it inverts only inks that Adobe's
# segment tells, Pillow all) and 8-bit PNG, both without EXIF data, which may stand behind all else.
# RE2 takes text for UTF-8; \C is any byte.
_PNG = r"\CPNG\r\n\x1a\n\C{16}\x08\C*"
_EXIF = r"\C*[Ee][Xx][Ii][Ff]\C*"
_FAILED = "cannot decode"
# Words in TensorFlow's errors about files that it cannot read.
_READING = ("decode", "jpeg", "pyfunc", "readfile")


def decode(path: tf.Tensor) -> tf.Tensor:
    """Read an image file in a graph, upright, as uint8 RGB `[height, width, 3]`.

    TensorFlow decodes plain JPEGs and PNGs, `image_files.read_rgb` everything else. TensorFlow's
    error for a file that cannot be read lacks the file's name; see `naming_files`.
    """
    data = tf.io.read_file(path)
    is_known = tf.cond(
        tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff",
        lambda: tf.image.extract_jpeg_shape(data)[2] <= 3,
        lambda: tf.strings.regex_full_match(data, _PNG),
    )
    is_plain = tf.logical_and(is_known, tf.logical_not(tf.strings.regex_full_match(data, _EXIF)))

    def decoded_elsewhere():
        image = tf.numpy_function(_read, [path], tf.uint8)
        with tf.control_dependencies([tf.debugging.Assert(tf.size(image) > 0, [_FAILED, path])]):
            return tf.identity(image)

    image = tf.cond(
        is_plain,
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
        decoded_elsewhere,
    )
    return tf.ensure_shape(image, (None, None, 3))


def _read(path):
    """Read an image; return an empty one on an error, of which TensorFlow would print a page."""
    try:
        # Outside of graphs TensorFlow gives an array.
        return image_files.read_rgb(os.fsdecode(np.asarray(path).item()))
    except UserError:
        return np.zeros((0, 0, 3), "uint8")


@cache
def _traced():
    return tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


@contextlib.contextmanager
def naming_files(paths: Sequence[str | bytes]) -> Iterator[None]:
    """Turn TensorFlow's error about an unreadable file into a `UserError` that names the file.

    The files are read again to find the damaged one.
    """
    try:
        yield
    except tf.errors.OpError as error:
        text = str(error).lower()
        if paths and any(word in text for word in _READING):
            # Pillow says in words what is wrong, unless it is TensorFlow alone that fails.
            check(paths)
            check_each(lambda i: _decode_alone(paths[i]), len(paths))
        raise


def _decode_alone(path):
    try:
        with tf.device("cpu"):
            _traced()(path)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise UserError(f"cannot read {os.fsdecode(path)}: {reason}") from error

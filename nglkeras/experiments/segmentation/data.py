"""Stream images and masks: training from any step on, evaluation in a fixed order.

The seed and the step alone decide which images a step sees and how they are changed, so that a
training can continue in the middle of an epoch. Pixels that are added, at the border of a crop or
to fill a batch, are void (label 255).
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from nglkeras.data.catalog import MEMORY_BYTES
from nglkeras.errors import UserError
from nglkeras.experiments.segmentation import VOID
from nglkeras.experiments.segmentation.recipes import Views
from nglkeras.experiments.segmentation.sources import Examples
from nglkeras.seeds import derive_seed
from nglkeras.training.tensorflow_streams import PARALLEL, settled

# The colour of added borders: ImageNet's mean, which preprocessing turns into about 0.
FILL = (124, 116, 104)


@dataclass(frozen=True)
class Sets:
    """The parts of a data set, each as examples and the numbers of those that are used."""

    train: tuple[Examples, np.ndarray]
    validation: tuple[Examples, np.ndarray]
    test: tuple[Examples, np.ndarray]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of images in train, validation and test."""
        return tuple(len(part[1]) for part in (self.train, self.validation, self.test))


def divide(
    splits: dict[str, Examples],
    seed: int,
    *,
    train_images: int | None = None,
    evaluation_images: int | None = None,
    test_seed: int = 0,
    validation: bool = True,
) -> Sets:
    """Choose the examples of each part.

    Without validation all of train is trained on. Without a split "val", a tenth of train is set
    aside for it. `seed` decides which tenth, and which images limits leave out; `test_seed` which
    are left out of the test set, which all runs share.
    """

    def permuted(part, seed):
        return np.random.default_rng(seed).permutation(len(splits[part]))

    source, order = "train", permuted("train", derive_seed(seed, "split"))
    if validation and "val" in splits:
        source, held = "val", permuted("val", derive_seed(seed, "val"))
    else:
        count = max(round(len(order) / 10), 1) if validation else 0
        held, order = order[:count], order[count:]
    test = permuted("test", test_seed)
    return Sets(
        (splits["train"], np.sort(order[:train_images])),
        (splits[source], np.sort(held[:evaluation_images])),
        (splits["test"], np.sort(test[:evaluation_images])),
    )


class Reader:
    """Reads examples for tf.data by their numbers, and keeps them in memory if they fit.

    All are resized to a height and width in pixels, if one is given.
    """

    def __init__(self, examples: Examples, rows: Sequence[int], resize: int | None = None):
        self.examples, self.rows, self.resize = examples, rows, resize
        # The last error while tf.data was reading.
        self.error = None
        sides = {(resize, resize)} if resize else {tuple(examples.size(i)) for i in rows}
        # Size of the smallest canvas that fits every image.
        self.height, self.width = (max(side[axis] for side in sides) for axis in (0, 1))
        self._kept = None
        if len(rows) * self.height * self.width * 4 <= MEMORY_BYTES:
            self._kept = [examples.read(i, resize) for i in rows]

    def __len__(self):
        return len(self.rows)

    def get(self, i) -> tuple[np.ndarray, np.ndarray]:
        """Return an image and its mask, by their place in `rows`."""
        if self._kept is not None:
            return self._kept[i]
        try:
            return self.examples.read(self.rows[i], self.resize)
        except UserError as error:
            # TensorFlow would keep only its text.
            self.error = error
            raise

    def count_labels(self, classes: int) -> np.ndarray:
        """Return the number of pixels of each class, of all examples."""
        counts = np.zeros(VOID + 1, int)
        for i in range(len(self)):
            counts += np.bincount(self.get(i)[1].reshape(-1), minlength=len(counts))
        return counts[:classes]

    def tensors(self, i):
        """Do what `get` does inside tf.data: float32 and uint8, `[height, width, 3 or 1]`."""
        image, mask = tf.numpy_function(self.get, [i], (tf.uint8, tf.uint8))
        image.set_shape([None, None, 3])
        mask.set_shape([None, None])
        return tf.cast(image, tf.float32), mask[..., None]


@contextlib.contextmanager
def telling_mistakes(*readers: Reader) -> Iterator[None]:
    """Raise the readers' own errors instead of TensorFlow's about them."""
    try:
        yield
    except Exception as error:
        for reader in readers:
            if reader.error is not None:
                raise reader.error from error
        raise


class Training:
    """The images of all steps; those that do not fill a batch are left out of a pass."""

    def __init__(self, reader: Reader, views: Views, batch_size: int, steps: int, seed: int):
        used = len(reader) // batch_size * batch_size
        if used == 0:
            raise UserError(f"{len(reader)} training images do not fill a batch of {batch_size}")
        self.reader, self.views = reader, views
        seeds = [derive_seed(seed, "order", k) for k in range(-(-steps * batch_size // used))]
        orders = [np.random.default_rng(seed).permutation(len(reader))[:used] for seed in seeds]
        self.order = np.concatenate(orders)[: steps * batch_size].astype("int32")
        self.seed = derive_seed(seed, "views")

    def batches(self, first_step: int, batch_size: int) -> tf.data.Dataset:
        """Stream (images, masks) from a step on, in the training's batches or parts of them."""
        numbers = np.arange(first_step * batch_size, len(self.order))

        def example(row, number):
            image, mask = self.reader.tensors(row)
            return view(image, mask, self.views, tf.stack([self.seed, number]))

        rows = self.order[numbers], numbers.astype("int32")
        data = tf.data.Dataset.from_tensor_slices(rows)
        data = data.map(example, num_parallel_calls=PARALLEL, deterministic=True)
        return settled(data.batch(batch_size, drop_remainder=True))


def view(image, mask, views: Views, seed):
    """Scale, crop and perhaps mirror an image and its mask in the same random way.

    They are float32 and uint8 `[height, width, 3 or 1]`, the seed two integers. Returns the image,
    float32 `[crop, crop, 3]`, and the mask, int32 `[crop, crop]`.
    """
    chance, down, across, mirror = tf.unstack(tf.random.stateless_uniform([4], seed))
    low, high = views.scale
    scale = low + (high - low) * chance
    if views.scales:
        scale = tf.gather(views.scales, tf.cast(chance * len(views.scales), tf.int32))
    if views.scales or views.scale != (1, 1):
        size = tf.cast(tf.shape(mask)[:2], tf.float32) * scale
        size = tf.maximum(tf.cast(tf.round(size), tf.int32), 1)
        image = tf.image.resize(image, size)
        mask = tf.image.resize(mask, size, tf.image.ResizeMethod.NEAREST_NEIGHBOR)
    crop = views.crop
    image, mask = _filled(image, mask, tf.maximum(tf.shape(mask)[:2], crop))
    room = tf.cast(tf.shape(mask)[:2] - crop + 1, tf.float32)
    top, left = tf.cast(down * room[0], tf.int32), tf.cast(across * room[1], tf.int32)
    image = image[top : top + crop, left : left + crop]
    mask = mask[top : top + crop, left : left + crop]
    if views.flip:
        image = tf.where(mirror < 0.5, image[:, ::-1], image)
        mask = tf.where(mirror < 0.5, mask[:, ::-1], mask)
    image.set_shape([crop, crop, 3])
    mask.set_shape([crop, crop, 1])
    return image, tf.cast(mask[..., 0], tf.int32)


def _filled(image, mask, size):
    """Pad an image and its mask below and to the right, with the mean colour and void."""
    missing = size - tf.shape(mask)[:2]
    paddings = [[0, missing[0]], [0, missing[1]], [0, 0]]
    fill = tf.constant(FILL, tf.float32)
    image = tf.pad(image - fill, paddings) + fill
    return image, tf.pad(mask, paddings, constant_values=VOID)


def evaluation(reader: Reader, batch_size: int, multiple: int = 1) -> tf.data.Dataset:
    """Stream (images, masks) in order and at full size, in batches of one shape.

    Smaller images are padded to the size of the largest, and the last batch with void images, so
    that a step is compiled once. Keras' mean of the losses gives each batch the same weight, full
    or not; no decision depends on it, and the measures count pixels. Height and width of a batch
    are rounded up to a multiple of `multiple`.
    """
    count = len(reader)
    size = [-(-side // multiple) * multiple for side in (reader.height, reader.width)]
    batches = -(-count // batch_size)

    def example(row):
        image, mask = reader.tensors(tf.minimum(row, count - 1))
        mask = tf.where(row < count, mask, tf.cast(VOID, tf.uint8))
        image, mask = _filled(image, mask, size)
        image.set_shape([*size, 3])
        mask.set_shape([*size, 1])
        return image, tf.cast(mask[..., 0], tf.int32)

    data = tf.data.Dataset.range(batches * batch_size, output_type=tf.int32)
    data = data.map(example, num_parallel_calls=PARALLEL, deterministic=True)
    return settled(data.batch(batch_size, drop_remainder=True))

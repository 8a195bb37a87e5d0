"""Apply random changes to training images in `tf.data`, with seeds that come from outside."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from nglkeras.data.augmentation import DRAWS_PER_LAYER, Augmentation
from nglkeras.seeds import derive_seed

# Number of batches that are changed at a time.
PARALLEL = 8


def augmented(data: tf.data.Dataset, augmentation: Augmentation, seed: int) -> tf.data.Dataset:
    """Return a stream of (images, labels) with random changes to the images.

    Keras' layers count their calls in variables by default. How many batches are drawn ahead and
    then dropped, such as when Keras looks at the first, depends on timing. So the seeds come from a
    stream beside the batches, and nothing is counted: elements are ((images, labels), batch seed).
    """
    layers = augmentation_layers(augmentation, seed)

    def change(example, batch_seed):
        images, labels = example
        images = tf.cast(images, tf.float32)
        for i, layer in enumerate(layers):
            with on_tensorflow(layer):
                seeds = Seeds(batch_seed, DRAWS_PER_LAYER * i)
                changes = layer.get_random_transformation(images, training=True, seed=seeds)
                images = layer.transform_images(images, changes, training=True)
        return images, labels

    return data.map(change, num_parallel_calls=PARALLEL, deterministic=True)


@contextlib.contextmanager
def on_tensorflow(layer: keras.layers.Layer) -> Iterator[None]:
    """Let a layer compute with TensorFlow on all backends: tf.data has no other tensors."""
    layer.backend.set_backend("tensorflow")
    try:
        yield
    finally:
        layer.backend.reset()


class Seeds(keras.random.SeedGenerator):
    """Give a layer one seed after another, from a tensor instead of a variable.

    `first` is the number of the first draw.
    """

    def __init__(self, batch_seed, first):
        self.batch_seed = tf.cast(batch_seed, tf.int64)
        self.draw = first

    def next(self, ordered=True):
        """Return the seed of the next draw."""
        seed = tf.stack([self.batch_seed, self.draw])
        self.draw += 1
        return tf.cast(seed, tf.uint32)


def augmentation_layers(augmentation: Augmentation, seed: int) -> list:
    """Return the Keras layers of an augmentation."""
    shift, zoom = augmentation.shift, augmentation.zoom
    seeds = [derive_seed(seed, "layer", i) for i in range(3)]
    layers = []
    if augmentation.horizontal_flip:
        layers.append(keras.layers.RandomFlip("horizontal", seed=seeds[0]))
    if shift:
        layers.append(keras.layers.RandomTranslation(shift, shift, "nearest", seed=seeds[1]))
    if zoom:
        layers.append(keras.layers.RandomZoom(zoom, zoom, "nearest", seed=seeds[2]))
    return layers

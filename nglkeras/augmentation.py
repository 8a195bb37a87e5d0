"""Random changes to training images, decided by seeds from outside."""

import os
from functools import partial

import keras
import tensorflow as tf

from nglkeras.protocol import Augmentation, derive_seed

# Batches that are changed at a time; the outcome does not depend on it.
PARALLEL = min(os.cpu_count() or 1, 8)


def augmented(data: tf.data.Dataset, augmentation: Augmentation, seed: int) -> tf.data.Dataset:
    """A stream of (images, labels) with random changes to the images, several batches at a time.

    Left to themselves Keras' layers count their calls; how many batches are drawn ahead and then
    dropped, such as when Keras looks at the first, depends on timing. So the seeds come from a
    stream beside the batches.

    Args:
        data: Of ((images, labels), seed of the batch).
        augmentation: What may happen to an image.
        seed: Of what all batches share.
    """
    # The layers hold their seeds in variables. A batch that is begun has its copy to itself: the
    # next one to take it has to wait until this one was handed on.
    copies = [augmentation_layers(augmentation, seed) for _ in range(PARALLEL)]

    def change(i, example):
        (images, labels), batch_seed = example
        branches = [partial(_change, layers, images, batch_seed) for layers in copies]
        return tf.switch_case(tf.cast(i % PARALLEL, tf.int32), branches), labels

    return data.enumerate().map(change, num_parallel_calls=PARALLEL, deterministic=True)


def _change(layers, images, batch_seed):
    for i, layer in enumerate(layers):
        # On JAX and PyTorch the seeds must be TensorFlow's too: this is a tf.data pipeline.
        layer.backend.set_backend("tensorflow")
        state = layer._get_seed_generator("tensorflow").state
        state.assign(tf.cast(tf.stack([batch_seed, 100 * i]), state.dtype))
        layer.backend.reset()
        images = layer(images, training=True)
    return images


def augmentation_layers(augmentation: Augmentation, seed: int) -> list:
    """Keras layers for the paper's augmentation."""
    shift, zoom = augmentation.shift, augmentation.zoom
    seeds = [derive_seed(seed, "layer", i) for i in range(3)]
    layers = []
    if augmentation.horizontal_flip:
        layers.append(keras.layers.RandomFlip("horizontal", seed=seeds[0]))
    if shift:
        layers.append(
            keras.layers.RandomTranslation(shift, shift, fill_mode="nearest", seed=seeds[1])
        )
    if zoom:
        layers.append(keras.layers.RandomZoom(zoom, zoom, fill_mode="nearest", seed=seeds[2]))
    return layers

"""Random changes to training images, decided by seeds from outside."""

from collections.abc import Callable

import keras
import tensorflow as tf

from nglkeras.protocol import Augmentation, derive_seed


def augmenter(augmentation: Augmentation, seed: int) -> Callable:
    """A function of a batch of images and the seed of its random changes.

    Left to themselves Keras' layers count their calls; how many batches are drawn ahead and then
    dropped, such as when Keras looks at the first, depends on timing. So the seeds come from a
    stream beside the batches.
    """
    layers = augmentation_layers(augmentation, seed)

    def augment(images, batch_seed):
        for i, layer in enumerate(layers):
            # On JAX and PyTorch the seeds must be TensorFlow's too: this is a tf.data pipeline.
            layer.backend.set_backend("tensorflow")
            state = layer._get_seed_generator("tensorflow").state
            state.assign(tf.cast(tf.stack([batch_seed, 100 * i]), state.dtype))
            layer.backend.reset()
            images = layer(images, training=True)
        return images

    return augment


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

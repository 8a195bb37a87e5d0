"""Random changes to images and labels, with Keras' layers, decided by seeds from outside.

What a stream draws depends on the seed and the number of an image alone: where a training goes on,
it sees what it would have seen. Keras 3.15's layers are used so, and some not as they come:

- `RandAugment` carries out the same operations on all images of a batch, draws from its own
  generator whatever seed it is given, computes all eleven operations for each that it wants, and
  with its default turns images by up to 180 degrees. Here each image has operations of its own, of
  the layers that it is made of, in the strengths of Swin's authors (timm's rand-m9), of which each
  is drawn from the whole range up to there.
- `Equalization` has one histogram for all images of a batch: it is given one image at a time.
- `RandomSharpness` takes what lies beyond an image for black: the image is continued first.
- `RandomContrast` and `RandomSharpness` take a number for an upper bound: they are given two.
- `CutMix(factor)` draws its α from (0, factor): it is given (α, α). Its label weight is a box's
  area before it is cut to whole pixels: the weight is counted from the mask.
- `RandomErasing(factor)` draws its rate in the same way, and half of its noise is black, clipped:
  the noise is made here, normal with ImageNet's mean and deviation as in the authors' code.
"""

import keras
import tensorflow as tf

from nglkeras.data.augment import Seeds
from nglkeras.experiments.imagenet.models import DEVIATION, MEAN
from nglkeras.experiments.imagenet.protocol import Policy

# Of pixels that a turn or shift leaves empty.
_GREY = sum(MEAN) / 3
# What draws, for the seeds.
_CROP, _FLIP, _OPERATIONS = 0, 1, 2
_CHOICE, _LAYER = 0, 1
_ERASING, _NOISE, _MIXING, _SWITCH = 0, 1, 2, 3


def descend(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """A seed (int32 `[2]`) of a seed; those of near numbers have nothing in common.

    `tf.random.fold_in` alone gives `[r, number]`, where a layer that counts from there has the
    draws of the next number as its second.
    """
    return tf.random.stateless_uniform(
        (2,), tf.random.fold_in(seed, number), minval=None, maxval=None, dtype=tf.int32
    )


def train_image(policy: Policy, size: int):
    """A function of (image, seed) that crops, mirrors and changes a training image.

    Args:
        policy: What may happen to it.
        size: Height and width of the result.

    Returns:
        uint8 `[height, width, 3]` and a seed (int32 `[2]`) to float32 `[size, size, 3]`.
    """
    operations = _operations(policy.magnitude)

    def change(image, seed):
        image = _random_crop(image, policy, size, descend(seed, _CROP))
        if policy.flip:
            image = tf.image.stateless_random_flip_left_right(image, descend(seed, _FLIP))
        for i in range(policy.operations):
            image = _operate(image, operations, policy, descend(seed, _OPERATIONS + i))
        return image

    return change


def _random_crop(image, policy, size, seed):
    """A part of the image by area and ratio; all of it if none is found in a hundred tries."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros([0, 0, 4]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=policy.crop_ratio,
        area_range=(policy.crop_area, 1.0),
        max_attempts=100,
        use_image_if_no_bounding_boxes=True,
    )
    image = resized(tf.slice(image, begin, extent), (size, size))
    return tf.ensure_shape(image, (size, size, 3))


def resized(image: tf.Tensor, size) -> tf.Tensor:
    """float32 of that height and width; bicubic and smoothed, as in the authors' code."""
    image = tf.image.resize(image, size, "bicubic", antialias=True)
    return tf.clip_by_value(image, 0.0, 255.0)


def evaluation_image(image: tf.Tensor, size: int) -> tf.Tensor:
    """The middle of an image whose shorter side is 256 for a size of 224, or in proportion."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    scale = round(size * 256 / 224) / tf.minimum(height, width)
    whole = tf.maximum(tf.cast(tf.round(tf.stack([height, width]) * scale), tf.int32), size)
    begin = (whole - size) // 2
    image = tf.slice(resized(image, whole), [begin[0], begin[1], 0], [size, size, 3])
    return tf.ensure_shape(image, (size, size, 3))


def _operations(magnitude):
    """RandAugment's, up to this magnitude of 10: timm's, but for its second solarization."""
    layers, m = keras.layers, magnitude / 10
    empty = {"fill_mode": "constant", "fill_value": _GREY}
    pixels = {"value_range": (0, 255)}
    solarization = layers.Solarization(threshold_factor=1.0, **pixels)
    # Keras multiplies the upper bound by 255, and not the lower one.
    solarization.threshold_factor = (255 * (1 - m), 1.0)
    return [
        layers.RandomRotation(30 * m / 360, **empty),
        layers.RandomShear(x_factor=0.3 * m, **empty),
        layers.RandomShear(y_factor=0.3 * m, **empty),
        layers.RandomTranslation(0.45 * m, 0.0, **empty),
        layers.RandomTranslation(0.0, 0.45 * m, **empty),
        # It adds, where timm's multiplies: at a middling pixel that is the same.
        layers.RandomBrightness(0.45 * m, **pixels),
        layers.RandomContrast((0.9 * m, 0.9 * m), **pixels),
        layers.RandomColorDegeneration(0.9 * m, **pixels),
        layers.RandomSharpness((0.5 - 0.45 * m, 0.5 + 0.45 * m), **pixels),
        layers.RandomPosterization((4 - int(3.5 * m), 8), **pixels),
        solarization,
        layers.AutoContrast(**pixels),
        layers.Equalization(**pixels),
        layers.RandomInvert((1.0, 1.0), **pixels),
    ]


def _operate(image, operations, policy, seed):
    """One operation, drawn at random, in a share of the cases."""
    draw = tf.random.stateless_uniform((2,), descend(seed, _CHOICE))
    seed = descend(seed, _LAYER)
    index = tf.cast(draw[0] * len(operations), tf.int32)

    def branch(layer):
        return lambda: tf.ensure_shape(_carried_out(layer, image, seed), image.shape)

    def change():
        return tf.switch_case(index, [branch(layer) for layer in operations])

    return tf.cond(draw[1] < policy.operation_rate, change, lambda: image)


def _carried_out(layer, image, seed):
    images = image[None]
    sharpens = isinstance(layer, keras.layers.RandomSharpness)
    if sharpens:
        images = tf.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC")
    images = apply(layer, images, seed)
    return images[0, 1:-1, 1:-1] if sharpens else images[0]


def apply(layer: keras.layers.Layer, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """What a layer makes of a batch by this seed."""
    changes = _drawn(layer, images, seed)
    layer.backend.set_backend("tensorflow")
    images = layer.transform_images(images, changes, training=True)
    layer.backend.reset()
    return images


def _drawn(layer, images, seed):
    # On JAX and PyTorch too this is a tf.data pipeline.
    layer.backend.set_backend("tensorflow")
    changes = layer.get_random_transformation(images, training=True, seed=_seeds(seed))
    layer.backend.reset()
    return changes


def _seeds(seed):
    return Seeds(seed[0], tf.cast(seed[1], tf.int64))


def train_batch(policy: Policy):
    """A function of (images, labels, seed) that erases parts of images and mixes them.

    Args:
        policy: What may happen.

    Returns:
        float32 `[batch, h, w, 3]`, one-hot labels `[batch, classes]` and a seed (int32 `[2]`) to
        images and labels; those are weighed as their images are, and sum to 1.
    """
    erasing = keras.layers.RandomErasing((policy.erasing, policy.erasing))
    mixup = keras.layers.MixUp(policy.mixup) if policy.mixup else None
    cutmix = keras.layers.CutMix((policy.cutmix, policy.cutmix)) if policy.cutmix else None

    def change(images, labels, seed):
        if policy.erasing:
            images = _erased(erasing, images, seed)
        mixers = [mixer for mixer in (mixup, cutmix) if mixer is not None]
        if len(mixers) < 2:
            for mixer in mixers:
                images, labels = mixed(mixer, images, labels, descend(seed, _MIXING))
            return images, labels
        switched = tf.random.stateless_uniform((), descend(seed, _SWITCH)) < policy.switch
        return tf.cond(
            switched,
            lambda: mixed(cutmix, images, labels, descend(seed, _MIXING)),
            lambda: mixed(mixup, images, labels, descend(seed, _MIXING)),
        )

    return change


def _erased(layer, images, seed):
    changes = _drawn(layer, images, descend(seed, _ERASING))
    noise = tf.random.stateless_normal(tf.shape(images), descend(seed, _NOISE))
    changes["fill_value"] = tf.clip_by_value(MEAN + noise * DEVIATION, 0.0, 255.0)
    layer.backend.set_backend("tensorflow")
    images = layer.transform_images(images, changes, training=True)
    layer.backend.reset()
    return images


def mixed(layer: keras.layers.Layer, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
    """Images and labels as Mixup or CutMix makes them of a batch by this seed."""
    changes = _drawn(layer, images, seed)
    if "batch_masks" in changes:
        replaced = tf.reduce_mean(tf.cast(changes["batch_masks"], tf.float32), (1, 2, 3))
        changes["mix_weight"] = 1.0 - replaced
    layer.backend.set_backend("tensorflow")
    images = layer.transform_images(images, changes, training=True)
    labels = layer.transform_labels(labels, changes, training=True)
    layer.backend.reset()
    return images, labels

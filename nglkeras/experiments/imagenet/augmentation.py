"""Apply random changes to images and labels with Keras' layers, with seeds from outside.

The seed and the number of an image alone decide what is drawn: a training that continues sees what
it would have seen. Some of Keras 3.15's layers need workarounds:

- `RandAugment` applies the same operations to all images of a batch, draws from its own generator
  whatever seed it is given, computes all eleven operations for each that it applies, and turns
  images by up to 180 degrees by default. Here each image has its own operations, from the layers
  that `RandAugment` consists of. Their strength is drawn from the whole range up to that of Swin's
  authors (timm's rand-m9).
- `Equalization` has one histogram for all images of a batch: it gets one image at a time.
- `RandomSharpness` treats what lies beyond an image as black: the image is padded first.
- `RandomContrast` and `RandomSharpness` read one number as an upper bound: they get two.
- `CutMix(factor)` draws its α from (0, factor): it gets (α, α). Its label weight is the area of a
  box before it is rounded to whole pixels: here the weight is counted from the mask.
- `RandomErasing(factor)` draws its rate in the same way, and half of its noise is clipped to black:
  here the noise is normal with ImageNet's mean and deviation, as in the authors' code.
"""

import keras
import tensorflow as tf

from nglkeras.data.tensorflow_changes import Seeds, on_tensorflow
from nglkeras.experiments.imagenet.models import DEVIATION, MEAN
from nglkeras.experiments.imagenet.protocol import Policy

# Value of pixels that a rotation or shift leaves empty.
_GREY = sum(MEAN) / 3
# Numbers that give each random draw its own seed.
_CROP, _FLIP, _OPERATIONS = 0, 1, 2
_CHOICE, _LAYER = 0, 1
_ERASING, _NOISE, _MIXING, _SWITCH = 0, 1, 2, 3


def descend(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Derive a seed (int32 `[2]`) from a seed and a number.

    `tf.random.fold_in` alone gives `[r, number]`: a layer that counts on from there would use the
    next number's draws as its second.
    """
    return tf.random.stateless_uniform(
        (2,), tf.random.fold_in(seed, number), minval=None, maxval=None, dtype=tf.int32
    )


def train_image(policy: Policy, size: int):
    """Return a function that crops, mirrors and changes a training image.

    It takes an image (uint8 `[height, width, 3]`) and a seed (int32 `[2]`) and returns float32
    `[size, size, 3]`.
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
    """Crop an image by area and ratio; keep all of it if no crop is found in 100 tries."""
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
    """Resize an image to float32, bicubic and antialiased, as in the authors' code."""
    image = tf.image.resize(image, size, "bicubic", antialias=True)
    return tf.clip_by_value(image, 0.0, 255.0)


def evaluation_image(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resize the shorter side to 256 for a size of 224, or in proportion, and crop the middle."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    scale = round(size * 256 / 224) / tf.minimum(height, width)
    whole = tf.maximum(tf.cast(tf.round(tf.stack([height, width]) * scale), tf.int32), size)
    begin = (whole - size) // 2
    image = tf.slice(resized(image, whole), [begin[0], begin[1], 0], [size, size, 3])
    return tf.ensure_shape(image, (size, size, 3))


def _operations(magnitude):
    """Return RandAugment's operations, as timm has them but without its second solarization."""
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
        # This adds where timm's multiplies, which is the same for a middling pixel.
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
    """Apply an operation that is drawn at random, with the policy's probability."""
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
    with on_tensorflow(layer):
        images = layer.transform_images(images, _drawn(layer, images, seed), training=True)
    return images[0, 1:-1, 1:-1] if sharpens else images[0]


def _drawn(layer, images, seed):
    seeds = Seeds(seed[0], tf.cast(seed[1], tf.int64))
    return layer.get_random_transformation(images, training=True, seed=seeds)


def train_batch(policy: Policy):
    """Return a function that erases parts of images and mixes images and labels.

    It takes images (float32 `[batch, height, width, 3]`), one-hot labels `[batch, classes]` and a
    seed (int32 `[2]`). Labels are weighted as their images are and sum to 1.
    """
    erasing = keras.layers.RandomErasing((policy.erasing, policy.erasing))
    mixup = keras.layers.MixUp(policy.mixup) if policy.mixup else None
    cutmix = keras.layers.CutMix((policy.cutmix, policy.cutmix)) if policy.cutmix else None

    def change(images, labels, seed):
        if policy.erasing:
            images = _erased(erasing, images, seed)

        def mix(mixer):
            return mixed(mixer, images, labels, descend(seed, _MIXING))

        if mixup and cutmix:
            switched = tf.random.stateless_uniform((), descend(seed, _SWITCH)) < policy.switch
            return tf.cond(switched, lambda: mix(cutmix), lambda: mix(mixup))
        return mix(mixup or cutmix) if mixup or cutmix else (images, labels)

    return change


def _erased(layer, images, seed):
    noise = tf.random.stateless_normal(tf.shape(images), descend(seed, _NOISE))
    with on_tensorflow(layer):
        changes = _drawn(layer, images, descend(seed, _ERASING))
        changes["fill_value"] = tf.clip_by_value(MEAN + noise * DEVIATION, 0.0, 255.0)
        return layer.transform_images(images, changes, training=True)


def mixed(layer: keras.layers.Layer, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
    """Apply Mixup or CutMix to a batch with a seed."""
    with on_tensorflow(layer):
        changes = _drawn(layer, images, seed)
        if "batch_masks" in changes:
            replaced = tf.reduce_mean(tf.cast(changes["batch_masks"], tf.float32), (1, 2, 3))
            changes["mix_weight"] = 1.0 - replaced
        images = layer.transform_images(images, changes, training=True)
        return images, layer.transform_labels(labels, changes, training=True)

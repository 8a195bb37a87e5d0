"""U-Net (Ronneberger et al. 2015) on a ResNet of basic blocks (He et al. 2016).

Paper A says no more than "U-Net with a ResNet34 encoder". The encoder here is torchvision's
resnet34, paddings included; the decoder is that of the packages segmentation_models and
segmentation_models_pytorch. With one class it has 24,436,369 trainable parameters.
"""

from collections.abc import Sequence

import keras
from keras import layers

from nglkeras.errors import UserError

# Mean and deviation of ImageNet's pixels, of 0 to 1, for torchvision's networks.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
# As in torchvision, whose momentum of 0.1 is 0.9 in Keras.
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-5


@keras.saving.register_keras_serializable(package="nglkeras")
class DivisibleBy(keras.layers.Layer):
    """Return the images; raise `UserError` unless height and width are multiples of a number."""

    def __init__(self, number: int, **others):
        super().__init__(**others)
        self.number = number

    def call(self, images):
        """Keras' hook."""
        check_size(images.shape[1:3], self.number)
        return images

    def compute_output_shape(self, input_shape):
        """Keras' hook."""
        return input_shape

    def get_config(self):
        """Return the arguments of the constructor."""
        return super().get_config() | {"number": self.number}


def check_size(size: tuple[int | None, int | None], number: int) -> None:
    """Raise `UserError` unless a size, as far as it is known, is of multiples of a number."""
    if any(isinstance(side, int) and side % number for side in size):
        raise UserError(
            f"U-Net takes images whose height and width are multiples of {number}, "
            f"not {size[0]} x {size[1]}"
        )


def unet(
    classes: int,
    *,
    blocks: Sequence[int] = (3, 4, 6, 3),
    width: int = 64,
    size: tuple[int | None, int | None] = (None, None),
) -> keras.Model:
    """Build a U-Net, from images of 0 to 255 to logits.

    Args:
        classes: As `size`, see `models.build`.
        blocks: Basic blocks of each stage of the encoder; ResNet34's by default. The encoder halves
            its images once more than it has stages.
        width: Channels of the encoder's first stage; each later stage doubles them. With 64
            channels and four stages the decoder has 256, 128, 64, 32 and 16.
        size: See there. It, and what the network is called with, is a `UserError` unless the
            halvings divide it.
    """
    stages = len(blocks)
    check_size(size, 2 ** (stages + 1))
    image = x = keras.Input((*size, 3), name="image")
    x = DivisibleBy(2 ** (stages + 1), name="check")(x)
    scale = [1 / (255 * deviation) for deviation in DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    x = layers.Rescaling(scale, offset, name="preprocessing")(x)
    *skips, x = resnet_encoder(blocks, width)(x)
    for i, skip in enumerate([*reversed(skips), None]):
        x = layers.UpSampling2D(name=f"decoder{i}_up")(x)
        if skip is not None:
            x = layers.Concatenate(name=f"decoder{i}_concatenate")([x, skip])
        channels = max(width * 2**stages // 4 >> i, 1)
        for j in range(2):
            x = _convolved(x, channels, f"decoder{i}_conv{j}")
            x = layers.ReLU(name=f"decoder{i}_relu{j}")(x)
    # float32 under mixed precision too: losses need the digits.
    logits = layers.Conv2D(classes, 3, padding="same", dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="unet")


def resnet_encoder(blocks: Sequence[int] = (3, 4, 6, 3), width: int = 64) -> keras.Model:
    """Build a ResNet of basic blocks without its top: torchvision's resnet34 by default.

    It takes standardised images and gives a list of features, for the strides 2, 4, 8 and so on.
    """
    image = keras.Input((None, None, 3))
    x = layers.ZeroPadding2D(3, name="stem_pad")(image)
    x = _convolved(x, width, "stem", size=7, strides=2, padding="valid")
    x = layers.ReLU(name="stem_relu")(x)
    features = [x]
    # After a ReLU, padding with zeros changes no maximum.
    x = layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool")(x)
    for stage, count in enumerate(blocks):
        for block in range(count):
            strides = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage + 1}_block{block + 1}"
            x = _basic_block(x, width * 2**stage, strides, name)
        features.append(x)
    return keras.Model(image, features, name="encoder")


def _basic_block(x, channels, strides, name):
    shortcut = x
    if strides > 1 or x.shape[-1] != channels:
        shortcut = _convolved(x, channels, f"{name}_shortcut", size=1, strides=strides)
    padding = "same"
    if strides > 1:
        # Keras' own padding would be on one side only.
        x, padding = layers.ZeroPadding2D(1, name=f"{name}_pad")(x), "valid"
    x = _convolved(x, channels, f"{name}_conv1", strides=strides, padding=padding)
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolved(x, channels, f"{name}_conv2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def _convolved(x, channels, name, size=3, strides=1, padding="same"):
    """Apply a convolution without a bias, and BatchNormalization, which has one."""
    settings = {"use_bias": False, "kernel_initializer": "he_normal", "name": name}
    x = layers.Conv2D(channels, size, strides, padding, **settings)(x)
    return layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f"{name}_bn")(x)

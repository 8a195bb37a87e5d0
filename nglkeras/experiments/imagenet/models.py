"""ResNets of keras.applications and Swin Transformers, with a linear classifier on top.

They take float images from 0 to 255 and do their own preprocessing; they give logits, in float32.
"""

from dataclasses import dataclass

import keras

# keras.applications has no other way to a ResNet of other sizes.
from keras.src.applications.resnet import ResNet, stack_residual_blocks_v1

from nglkeras.errors import unknown
from nglkeras.experiments.classification.models import PRECISIONS, dtype_policy, penalise_kernels
from nglkeras.experiments.imagenet.swin import swin

# Of ImageNet, as for the authors' Swin; pixels from 0 to 255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Swin:
    """The sizes of a Swin Transformer; see `swin.swin`."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int = 7


def _small_resnet(**arguments):
    def stacks(x):
        x = stack_residual_blocks_v1(x, 16, 2, stride1=1, name="conv2")
        return stack_residual_blocks_v1(x, 32, 2, name="conv3")

    return ResNet(stacks, False, True, weights_name="", name="resnet_small", **arguments)


# Table 1 of the Swin paper. The small networks are ours, for demonstrations and tests: images of
# 32 pixels have 8 x 8 patches in the first stage of the Swin, which are four windows.
SWINS = {
    "Swin-T": Swin(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "Swin-S": Swin(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "Swin-small": Swin(32, (2, 2), (2, 4), window=4),
}
RESNETS = {
    "ResNet101": keras.applications.ResNet101,
    "ResNet152": keras.applications.ResNet152,
    "ResNet-small": _small_resnet,
}
NAMES = (*RESNETS, *SWINS)


def build(
    name: str,
    image_size: int,
    classes: int,
    *,
    drop_path: float = 0.0,
    l2: float = 0.0,
    precision: str = "float32",
) -> keras.Model:
    """A classifier with random weights: `[batch, size, size, 3]` to logits `[batch, classes]`.

    Args:
        name: One of `NAMES`.
        image_size: Height and width of the images, in pixels.
        classes: Number of classes.
        drop_path: Stochastic depth of a Swin's last block; ResNets have none.
        l2: Factor of an L2 penalty on every kernel.
        precision: Keras' dtype policy of the layers; weights and logits are float32 in each.

    Raises:
        UserError: If there is no such model or precision.
    """
    if name not in NAMES:
        raise unknown("model", name, NAMES)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    with dtype_policy(precision):
        inputs = keras.Input((image_size, image_size, 3), name="image")
        trunk = _swin if name in SWINS else _resnet
        x = trunk(name, inputs, drop_path)
        x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
        # float32 under mixed precision too: what a softmax makes of logits needs the digits.
        logits = keras.layers.Dense(classes, dtype="float32", name="logits")(x)
    model = keras.Model(inputs, logits, name=name.lower().replace("-", "_"))
    if l2:
        penalise_kernels(model, l2)
    return model


def _resnet(name, x, drop_path):
    x = keras.applications.resnet.preprocess_input(x)
    constructor = RESNETS[name]
    return constructor(include_top=False, weights=None, input_shape=tuple(x.shape[1:]))(x)


def _swin(name, x, drop_path):
    variance = [deviation**2 for deviation in DEVIATION]
    x = keras.layers.Normalization(mean=MEAN, variance=variance, name="preprocessing")(x)
    sizes = SWINS[name]
    return swin(
        x,
        width=sizes.width,
        depths=sizes.depths,
        heads=sizes.heads,
        window=sizes.window,
        drop_path=drop_path,
    )

"""ResNets of keras.applications and Swin Transformers, with a linear classifier on top.

They take float images from 0 to 255 and do their own preprocessing; they give logits, in float32.
"""

from functools import partial

import keras

# keras.applications has no public way to a ResNet of other sizes.
from keras.src.applications.resnet import ResNet, stack_residual_blocks_v1

from nglkeras.errors import unknown
from nglkeras.experiments.classification.models import dtype_policy, penalise_kernels
from nglkeras.experiments.imagenet.swin import swin

# Mean and deviation of ImageNet's pixels, of 0 to 255, as in the authors' Swin.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


def _resnet(constructor, x, drop_path):
    x = keras.applications.resnet.preprocess_input(x)
    return constructor(include_top=False, weights=None, input_shape=tuple(x.shape[1:]))(x)


def _swin(x, drop_path, **sizes):
    variance = [deviation**2 for deviation in DEVIATION]
    x = keras.layers.Normalization(mean=MEAN, variance=variance, name="preprocessing")(x)
    return swin(x, drop_path=drop_path, **sizes)


def _small_resnet(**arguments):
    def stacks(x):
        x = stack_residual_blocks_v1(x, 16, 2, stride1=1, name="conv2")
        return stack_residual_blocks_v1(x, 32, 2, name="conv3")

    return ResNet(stacks, False, True, weights_name="", name="resnet_small", **arguments)


# Functions of images and a drop path rate to features. The Swins are those of table 1 of their
# paper. The small networks are ours, for demonstrations and tests: images of 32 pixels have 8 x 8
# patches in the first stage of the Swin, which are four windows.
TRUNKS = {
    "ResNet101": partial(_resnet, keras.applications.ResNet101),
    "ResNet152": partial(_resnet, keras.applications.ResNet152),
    "ResNet-small": partial(_resnet, _small_resnet),
    "Swin-T": partial(_swin, width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "Swin-S": partial(_swin, width=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)),
    "Swin-small": partial(_swin, width=32, depths=(2, 2), heads=(2, 4), window=4),
}


def build(
    name: str,
    image_size: int,
    classes: int,
    *,
    drop_path: float = 0.0,
    l2: float = 0.0,
    precision: str = "float32",
) -> keras.Model:
    """Build a classifier with random weights: `[batch, size, size, 3]` to `[batch, classes]`.

    `drop_path` is the stochastic depth of a Swin's last block, `l2` the factor of an L2 penalty on
    every kernel, `precision` the layers' dtype policy; weights and logits are float32 in each.
    """
    if name not in TRUNKS:
        raise unknown("model", name, TRUNKS)
    with dtype_policy(precision):
        inputs = keras.Input((image_size, image_size, 3), name="image")
        x = TRUNKS[name](inputs, drop_path)
        x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
        # float32 under mixed precision too: a softmax needs the digits.
        logits = keras.layers.Dense(classes, dtype="float32", name="logits")(x)
    model = keras.Model(inputs, logits, name=name.lower().replace("-", "_"))
    if l2:
        penalise_kernels(model, l2)
    return model

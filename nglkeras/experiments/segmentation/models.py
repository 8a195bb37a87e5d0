"""Segmentation networks by name: images of 0 to 255 in, logits for every pixel out.

They end in logits, not in a softmax: the kernels of `losses` take logits, and so do Keras' own.
"""

from pathlib import Path

import keras

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.experiments.classification.models import dtype_policy, penalise_kernels
from nglkeras.experiments.segmentation import pytorch
from nglkeras.experiments.segmentation.architectures import check_weights, get_architecture
from nglkeras.experiments.segmentation.deeplab import deeplabv2
from nglkeras.experiments.segmentation.unet import unet


def build(
    name: str,
    classes: int,
    *,
    weights: str | Path | None = None,
    l2: float = 0.0,
    precision: str = "float32",
    size: tuple[int | None, int | None] = (None, None),
    scale_losses: bool = False,
) -> keras.Model:
    """Build a network, uncompiled.

    Args:
        name: One of `architectures.ARCHITECTURES`.
        classes: Number of classes N; the output has shape `[batch, height, width, N]`, float32.
        weights: Weights of the encoder or trunk: `None` for random ones, "imagenet" (DeepLabv2 on
            ResNet101 alone), a `.weights.h5` file that Keras wrote of that encoder or trunk, or
            an `.npz` file as `pytorch` describes it.
        l2: Factor of an L2 penalty on every kernel.
        precision: Keras' dtype policy of the layers; weights and logits are float32 in each.
        size: Height and width of the images; any by default.
        scale_losses: Whether to train with a loss for each of several scales of the images: see
            `deeplab.ScaleLosses`.

    Raises:
        UserError: If an argument names something unknown, or no images of that size fit.
    """
    architecture = get_architecture(name)
    check_weights(name, weights)
    weights = paths.weights(weights)
    sizes = {"size": size, **architecture.sizes}
    with dtype_policy(precision):
        if architecture.kind == "deeplabv2":
            model = deeplabv2(classes, weights=weights, scale_losses=scale_losses, **sizes)
        else:
            model = unet(classes, **sizes)
            if weights is not None:
                _load_encoder(model, weights)
    if l2:
        penalise_kernels(model, l2)
    return model


def _load_encoder(model, weights):
    if str(weights).endswith(".npz"):
        pytorch.load(model.get_layer("encoder"), weights, pytorch.resnet34_name)
        return
    try:
        model.get_layer("encoder").load_weights(weights)
    # Keras raises many kinds of errors for a file of something else.
    except Exception as error:
        raise UserError(f"{weights} does not fit the encoder: {error}") from error

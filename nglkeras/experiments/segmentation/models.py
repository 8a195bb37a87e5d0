"""Segmentation networks by name: images of 0 to 255 in, logits for every pixel out.

They end in logits, not in a softmax: the kernels of `losses` take logits, and so do Keras' own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras

from nglkeras import paths
from nglkeras.errors import UserError, unknown
from nglkeras.experiments.classification.models import PRECISIONS, dtype_policy
from nglkeras.experiments.segmentation import pytorch
from nglkeras.experiments.segmentation.deeplab import deeplabv2
from nglkeras.experiments.segmentation.unet import unet


@dataclass(frozen=True)
class Architecture:
    """A network up to the number of classes.

    Attributes:
        title: Its row in table 4; what follows a comma tells it from the paper's own network.
        make: Function that builds it.
        sizes: Arguments that say how large it is.
        multiple: Number that divides height and width of its images.
    """

    title: str
    make: Callable[..., keras.Model]
    sizes: dict = field(default_factory=dict)
    multiple: int = 1

    @property
    def is_multiscale(self) -> bool:
        """Whether the network reads its images at several scales."""
        return len(self.sizes.get("scales", ())) > 1


# Scales of the inputs of the repository that paper A cites.
SCALES = (0.5, 0.75, 1.0)
_NARROW = {"blocks": (1, 1, 1, 1), "width": 8, "rates": (1, 2, 3, 4)}
ARCHITECTURES = {
    "unet": Architecture("U-Net", unet, multiple=32),
    "deeplabv2": Architecture("DeepLabv2, one scale", deeplabv2),
    "deeplabv2_multiscale": Architecture("DeepLabv2", deeplabv2, {"scales": SCALES}),
    # For demonstrations and tests, on images of 64 pixels: 8 features a side.
    "unet_narrow": Architecture("U-Net", unet, {"blocks": (1, 1, 1), "width": 16}, multiple=16),
    "deeplabv2_narrow": Architecture("DeepLabv2, one scale", deeplabv2, _NARROW),
    "deeplabv2_multiscale_narrow": Architecture(
        "DeepLabv2", deeplabv2, {**_NARROW, "scales": SCALES}
    ),
}
NAMES = tuple(ARCHITECTURES)
# What weights can be read from.
FILES = ".weights.h5 or .npz"


def get_architecture(name: str) -> Architecture:
    """Return an architecture by name; raises a `UserError` that lists the valid names."""
    if name not in ARCHITECTURES:
        raise unknown("model", name, NAMES)
    return ARCHITECTURES[name]


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
        name: One of `NAMES`.
        classes: Number of classes N; the output has shape `[batch, height, width, N]`, float32.
        weights: Weights of the encoder or trunk: `None` for random ones, "imagenet" (DeepLabv2 on
            ResNet101 alone), a `.weights.h5` file that Keras wrote of that encoder or trunk, or
            an `.npz` file as `pytorch` describes it.
        l2: Factor of an L2 penalty on every kernel.
        precision: Keras' dtype policy of the layers; weights and logits are float32 in each.
        size: Height and width of the images; any by default.
        scale_losses: Whether a network that reads its images at several scales is to be trained
            with a loss for each scale: see `deeplab.ScaleLosses`.

    Raises:
        UserError: If there is no such model or precision, its weights cannot be had, or it takes
            no images of that size.
    """
    architecture = get_architecture(name)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    check_weights(name, weights)
    weights = paths.weights(weights)
    make = partial(architecture.make, classes, l2=l2, size=size, **architecture.sizes)
    with dtype_policy(precision):
        if architecture.make is deeplabv2:
            return make(weights=weights, scale_losses=scale_losses)
        model = make()
    if weights is not None:
        _load_encoder(model, weights)
    return model


def check_weights(name: str, weights: str | Path | None) -> None:
    """Raise `UserError` if a model cannot start from these weights; no file is read."""
    if weights is None:
        return
    if weights != "imagenet" and not paths.expand(weights).is_file():
        raise UserError(f"no weights file {weights}; valid are imagenet, a {FILES} file")
    if weights == "imagenet" and get_architecture(name).make is unet:
        raise UserError(
            "keras.applications has no ResNet34 and so no ImageNet weights of it; valid are none "
            f"or a {FILES} file of the encoder"
        )


def _load_encoder(model, weights):
    if str(weights).endswith(".npz"):
        pytorch.load(model.get_layer("encoder"), weights, pytorch.resnet34_name)
        return
    try:
        model.get_layer("encoder").load_weights(weights)
    # Keras raises many kinds of errors for a file of something else.
    except Exception as error:
        raise UserError(f"{weights} does not fit the encoder: {error}") from error

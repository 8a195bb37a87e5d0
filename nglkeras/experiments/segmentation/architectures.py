"""Segmentation networks by name, without Keras; `models` builds them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nglkeras import paths
from nglkeras.errors import UserError, unknown


@dataclass(frozen=True)
class Architecture:
    """A network up to the number of classes.

    Attributes:
        title: Its row in table 4; the part after a comma tells it from the paper's own network.
        kind: "unet" or "deeplabv2", the function that builds it.
        sizes: Arguments of that function.
        multiple: Number that divides height and width of its images.
    """

    title: str
    kind: str
    sizes: Mapping = field(default_factory=dict)
    multiple: int = 1

    @property
    def is_multiscale(self) -> bool:
        """Whether the network reads its images at several scales."""
        return len(self.sizes.get("scales", ())) > 1


_FILES = ".weights.h5 or .npz"
# Scales of the inputs in the repository that paper A cites.
SCALES = (0.5, 0.75, 1.0)
_NARROW = {"blocks": (1, 1, 1, 1), "width": 8, "rates": (1, 2, 3, 4)}
ARCHITECTURES = {
    "unet": Architecture("U-Net", "unet", multiple=32),
    "deeplabv2": Architecture("DeepLabv2, one scale", "deeplabv2"),
    "deeplabv2_multiscale": Architecture("DeepLabv2", "deeplabv2", {"scales": SCALES}),
    # For demonstrations and tests, on images of 64 pixels: 8 features a side.
    "unet_narrow": Architecture("U-Net", "unet", {"blocks": (1, 1, 1), "width": 16}, multiple=16),
    "deeplabv2_narrow": Architecture("DeepLabv2, one scale", "deeplabv2", _NARROW),
    "deeplabv2_multiscale_narrow": Architecture(
        "DeepLabv2", "deeplabv2", {**_NARROW, "scales": SCALES}
    ),
}


def get_architecture(name: str) -> Architecture:
    """Return an architecture by name; raises a `UserError` that lists the valid names."""
    if name not in ARCHITECTURES:
        raise unknown("model", name, ARCHITECTURES)
    return ARCHITECTURES[name]


def check_weights(name: str, weights: str | Path | None) -> None:
    """Raise `UserError` if a model cannot start from these weights; no file is read."""
    if weights is None:
        return
    if weights != "imagenet" and not paths.expand(weights).is_file():
        raise UserError(f"no weights file {weights}; valid are imagenet, a {_FILES} file")
    if weights == "imagenet" and get_architecture(name).kind == "unet":
        raise UserError(
            "keras.applications has no ResNet34 and so no ImageNet weights of it; valid are none "
            f"or a {_FILES} file of the encoder"
        )

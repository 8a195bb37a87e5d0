"""Random changes to training images as data, which `changes` and `tensorflow_changes` apply."""

from dataclasses import dataclass

# Numbers by which the first draw of a change differs from that of the change before it.
DRAWS_PER_LAYER = 100


@dataclass(frozen=True)
class Augmentation:
    """Random changes to a training image; empty borders repeat the nearest pixel.

    Attributes:
        horizontal_flip: Whether half of the images are mirrored.
        shift: Largest shift, as a fraction of height and of width.
        zoom: Largest zoom in or out, as a fraction, drawn for height and width separately.
    """

    horizontal_flip: bool = True
    shift: float = 0.1
    zoom: float = 0.2

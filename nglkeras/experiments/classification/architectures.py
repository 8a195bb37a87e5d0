"""Names of the classifiers, without Keras; `models` builds them.

A user's own model is named `FILE.py:FUNCTION`. The function takes `input_shape` (height, width, 3)
and `classes`, and returns an uncompiled `keras.Model` with random weights, or with the weights that
it loads itself: from float images `[batch, height, width, 3]` of 0 to 255 to probabilities
`[batch, classes]`, the output of a softmax. For example:

    def tiny(input_shape, classes):
        return keras.Sequential([
            keras.Input(input_shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, activation="softmax"),
        ])

The file's content is part of a trial's key; other files that it reads are not.
"""

import hashlib
from pathlib import Path

from nglkeras import paths
from nglkeras.errors import UserError, unknown

# Paper B's networks, without the nine-layer head.
GLO = ("glo_mnist", "glo_cifar10")
# Networks that take images of any size.
SMALL = ("small_cnn", "head", *GLO)
# The models of keras.applications.
BACKBONES = (
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge"),
    *("DenseNet121", "DenseNet169", "DenseNet201", "EfficientNetB0", "EfficientNetB1"),
    *("EfficientNetB2", "EfficientNetB3", "EfficientNetB4", "EfficientNetB5", "EfficientNetB6"),
    *("EfficientNetB7", "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2"),
    *("EfficientNetV2B3", "EfficientNetV2L", "EfficientNetV2M", "EfficientNetV2S"),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Large"),
    *("MobileNetV3Small", "NASNetLarge", "NASNetMobile", "ResNet101", "ResNet101V2", "ResNet152"),
    *("ResNet152V2", "ResNet50", "ResNet50V2", "VGG16", "VGG19", "Xception"),
)
NAMES = (*SMALL, *BACKBONES)


def is_own(name: str) -> bool:
    """Return whether a name is that of a user's own model."""
    return ".py" in name


def label(name: str) -> str:
    """Return how tables call a model: a user's own by its function, others by name."""
    return split_own(name)[1] if is_own(name) else name


def split_own(name: str) -> tuple[Path, str]:
    """Return the absolute path and the function in the name of a user's own model."""
    file, _, function = name.rpartition(":")
    if not file or not function.isidentifier():
        raise UserError(f"no function in {name!r}: a model of one's own is FILE.py:FUNCTION")
    return paths.absolute(file), function


def identity(name: str) -> dict[str, str]:
    """Return the fields of a trial for its model: its name, and the hash of a user's file."""
    if not is_own(name):
        if name not in NAMES:
            raise unknown("model", name, (*NAMES, "FILE.py:FUNCTION"))
        return {"model": name}
    path, function = split_own(name)
    return {"model": f"{path}:{function}", "model_sha256": hash_of(path)}


def hash_of(path: Path) -> str:
    """Return the SHA-256 hash of the file with a user's own model."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read the model file {path}: {error.strerror}") from error

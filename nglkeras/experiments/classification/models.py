"""Models by name: a backbone of keras.applications under paper A's nine-layer head; paper B's.

Every model takes float images from 0 to 255 and does its own preprocessing inside, so that a
saved one can be fed with pictures as they are.
"""

import contextlib
import inspect
import sys
import zipfile
from pathlib import Path

import keras

from nglkeras import paths
from nglkeras.errors import UserError, unknown
from nglkeras.training.schedule import PRECISIONS

# Of the head's two hidden layers, from the authors' example.
HEAD_WIDTHS = (128, 64)
HEAD_DROPOUT = 0.5


def _find_backbones():
    """Every model of keras.applications by name, with its own preprocessing."""
    constructors = inspect.getmembers(keras.applications, inspect.isfunction)
    return {
        name: (constructor, sys.modules[constructor.__module__].preprocess_input)
        for name, constructor in constructors
    }


_BACKBONES = _find_backbones()
# Paper B's, without the nine-layer head.
GLO = ("glo_mnist", "glo_cifar10")
SMALL = ("small_cnn", "head", *GLO)
NAMES = (*SMALL, *sorted(_BACKBONES))
# What Keras raises for a file that holds no weights, or others.
_NO_WEIGHTS = (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile)


def build(
    name: str,
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    weights: str | Path | None = None,
    pooling: str = "max",
    upsampling: int = 1,
    l2: float = 0.0,
    precision: str = "float32",
) -> keras.Model:
    """A classifier: `[upsampling] -> preprocessing -> backbone -> nine-layer head`.

    Args:
        name: A model of keras.applications, e.g. "InceptionV3" or "ResNet50"; "small_cnn" for
            demonstrations; "head", the nine-layer head on the pixels themselves; or paper B's
            "glo_mnist" and "glo_cifar10", which have their own head.
        input_shape: (height, width, 3).
        classes: Number of classes N; the output has shape `[batch, N]` and sums to 1.
        weights: Of the backbone: `None` for random ones, "imagenet", or a `.weights.h5` file.
        pooling: "max" as in the authors' example, or "avg", over the backbone's last features.
        upsampling: Factor by which images are enlarged (nearest pixel) before the backbone; 8
            for the paper's 32 x 32 images. The authors use three layers of x2: the same function.
        l2: Factor of an L2 penalty on every kernel.
        precision: Keras' dtype policy of the layers; weights and softmax are float32 in each.

    Raises:
        UserError: If there is no such model or precision, the images are too small for it, or
            its weights can neither be found nor downloaded.
    """
    if name not in NAMES:
        raise unknown("model", name, NAMES)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    weights = paths.weights(weights)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise UserError(f"no weights file {weights}; valid are imagenet or a .weights.h5 file")
    if weights is not None and name in ("head", *GLO):
        raise UserError(f"{name} has no backbone that weights could be loaded into")
    with dtype_policy(precision):
        model = _build(name, input_shape, classes, weights, pooling, upsampling)
    if l2:
        penalise_kernels(model, l2)
    return model


@contextlib.contextmanager
def dtype_policy(precision: str):
    """Layers that are built within it have this policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _build(name, input_shape, classes, weights, pooling, upsampling):
    x = inputs = keras.Input(input_shape, name="image")
    if upsampling > 1:
        x = keras.layers.UpSampling2D(upsampling, name="upsampling")(x)
    if name in _BACKBONES:
        constructor, preprocess_input = _BACKBONES[name]
        x = _backbone(name, constructor, x.shape[1:], weights, pooling)(preprocess_input(x))
    else:
        x = keras.layers.Rescaling(1 / 255, name="preprocessing")(x)
        if name in GLO:
            return keras.Model(inputs, _GLO_NETWORKS[name](x, classes), name=name)
        x = _small_trunk(x.shape[1:], weights, pooling)(x) if name == "small_cnn" else x
    return keras.Model(inputs, nine_layer_head(x, classes), name=name.lower())


def nine_layer_head(x, classes: int):
    """The top that paper A puts on every backbone: `[batch, ...]` to `[batch, classes]`.

    Flatten, BN, Dense(128, relu), Dropout(0.5), BN, Dense(64, relu), Dropout(0.5), BN,
    Dense(N, softmax).
    """
    x = keras.layers.Flatten(name="head_flatten")(x)
    for i, width in enumerate(HEAD_WIDTHS, start=1):
        x = keras.layers.BatchNormalization(name=f"head_bn{i}")(x)
        x = keras.layers.Dense(width, activation="relu", name=f"head_dense{i}")(x)
        x = keras.layers.Dropout(HEAD_DROPOUT, name=f"head_dropout{i}")(x)
    x = keras.layers.BatchNormalization(name="head_bn3")(x)
    return _predictions(x, classes)


def _predictions(x, classes):
    # float32 under mixed precision too: probabilities near 0 and 1 need the digits.
    return keras.layers.Dense(classes, activation="softmax", dtype="float32", name="predictions")(x)


def _glo_mnist(x, classes):
    """Paper B's MNIST network, of its supplement and its follow-up (TaylorGLO's configuration).

    The text itself lacks it. Padding, which no source of ours names, keeps the size; and MNIST is
    grey: only the first channel is looked at.
    """
    x = x[..., :1]
    for filters in (32, 64):
        x = keras.layers.Conv2D(filters, 5, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(1024, activation="relu")(x)
    x = keras.layers.Dropout(0.4)(x)
    return _predictions(x, classes)


def _glo_cifar10(x, classes):
    """Our choice for paper B's CIFAR-10 experiment, whose network its text does not give.

    The shape of TensorFlow's CIFAR-10 tutorial of the time, after Krizhevsky's cuda-convnet,
    without local response normalisation: its MNIST network is that of the MNIST tutorial.
    """
    for _ in range(2):
        x = keras.layers.Conv2D(64, 5, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = keras.layers.Flatten()(x)
    for width in (384, 192):
        x = keras.layers.Dense(width, activation="relu")(x)
    return _predictions(x, classes)


_GLO_NETWORKS = {"glo_mnist": _glo_mnist, "glo_cifar10": _glo_cifar10}


def _backbone(name, constructor, shape, weights, pooling):
    arguments = {"include_top": False, "input_shape": tuple(shape), "pooling": pooling}
    try:
        return constructor(weights=weights, **arguments)
    except ValueError as error:
        raise UserError(f"{name}: {' '.join(str(error).split())}") from error
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        if weights not in (None, "imagenet") and isinstance(error, _NO_WEIGHTS):
            raise UserError(f"{weights} does not fit {name}: {error}") from error
        if weights != "imagenet":
            raise
        reason = " ".join(str(error).split())
        raise UserError(
            f"the ImageNet weights of {name} could not be downloaded ({reason}): put that file "
            f"into ~/.keras/models, or give a .weights.h5 file of the backbone"
        ) from error


def _small_trunk(shape, weights, pooling):
    """Three convolutions: enough for digits and clothes, small enough for seconds on a CPU."""
    if weights == "imagenet":
        raise UserError("small_cnn has no ImageNet weights; valid are none or a .weights.h5 file")
    pool = {"max": keras.layers.GlobalMaxPooling2D, "avg": keras.layers.GlobalAveragePooling2D}
    trunk = keras.Sequential(
        [
            keras.Input(tuple(shape)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            pool[pooling](),
        ],
        name="small_trunk",
    )
    if weights is not None:
        try:
            trunk.load_weights(weights)
        except _NO_WEIGHTS as error:
            raise UserError(f"{weights} does not fit small_cnn: {error}".splitlines()[0]) from error
    return trunk


def penalise_kernels(model: keras.Model, l2: float) -> None:
    """Give every kernel its penalty, in this model and in what is saved of it.

    keras.applications takes no regularizer. Keras reads the penalty from the variable when it
    trains and from the layer when it saves.
    """
    for layer in model._flatten_layers():
        for variable in layer.trainable_variables:
            if variable.name.endswith("kernel"):
                variable.regularizer = keras.regularizers.L2(l2)
        for kind in ("kernel", "depthwise", "pointwise"):
            if hasattr(layer, f"{kind}_regularizer"):
                setattr(layer, f"{kind}_regularizer", keras.regularizers.L2(l2))

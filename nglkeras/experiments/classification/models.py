"""Classifiers by name: backbones of keras.applications under paper A's head, paper B's, users' own.

Every model takes float images from 0 to 255 and preprocesses them itself, so that a saved model can
be given pictures as they are. `architectures` has the names, and what a model of one's own must be.
"""

import contextlib
import inspect
import sys
import types
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import keras
import numpy as np

from nglkeras import paths
from nglkeras.errors import UserError, unknown
from nglkeras.experiments.classification import architectures
from nglkeras.experiments.classification.architectures import BACKBONES, GLO, NAMES
from nglkeras.losses import heads
from nglkeras.training.schedule import check_precision

# Widths of the head's two hidden layers, from the authors' example.
HEAD_WIDTHS = (128, 64)
HEAD_DROPOUT = 0.5
# What Keras raises for a file that holds no weights, or others.
_NO_WEIGHTS = (ValueError, KeyError, TypeError, OSError, zipfile.BadZipFile)


def build(
    name: str,
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    weights: str | Path | None = None,
    upsampling: int = 1,
    l2: float = 0.0,
    precision: str = "float32",
    model_sha256: str = "",
    activation: str = "softmax",
) -> keras.Model:
    """Build an uncompiled classifier: `[upsampling] -> preprocessing -> backbone -> head`.

    Args:
        name: One of `architectures.NAMES`, or `FILE.py:FUNCTION`, a model of one's own. "head" is
            the nine-layer head on the pixels; paper B's networks have their own head.
        input_shape: (height, width, 3).
        classes: Number of classes N; the output has shape `[batch, N]` and sums to 1 (with a
            softmax).
        weights: Initial weights of the backbone: `None` for random ones, "imagenet", or a
            `.weights.h5` file.
        upsampling: Factor by which images are enlarged (nearest pixel) before the backbone; 8
            for the paper's 32 x 32 images. The authors use three layers of x2: the same function.
        l2: Factor of an L2 penalty on every kernel.
        precision: Keras dtype policy of the layers; weights and softmax are float32 in each (those
            of a model of one's own are as its function makes them).
        model_sha256: Hash that the file of a model of one's own must have; any by default.
        activation: Activation of the last layer, "softmax" or "sigmoid".

    Raises:
        UserError: If there is no such model or precision, the images are too small for it, its
            weights can neither be found nor downloaded, or the function of one's own fails.
    """
    is_own = architectures.is_own(name)
    if name not in NAMES and not is_own:
        raise unknown("model", name, (*NAMES, "FILE.py:FUNCTION"))
    weights = paths.weights(weights)
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise UserError(f"no weights file {weights}; valid are imagenet or a .weights.h5 file")
    if weights is not None and (name in ("head", *GLO) or is_own):
        raise UserError(f"{name} has no backbone that weights could be loaded into")
    with dtype_policy(precision):
        if is_own:
            model = _own(name, input_shape, classes, model_sha256)
        else:
            model = _build(name, input_shape, classes, weights, upsampling)
    if activation != "softmax":
        _replace_softmax(name, model, activation)
    if l2:
        penalise_kernels(model, l2)
    return model


@contextlib.contextmanager
def dtype_policy(precision: str):
    """Give layers that are built in this context a dtype policy."""
    check_precision(precision)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _build(name, input_shape, classes, weights, upsampling):
    x = inputs = keras.Input(input_shape, name="image")
    if upsampling > 1:
        x = keras.layers.UpSampling2D(upsampling, name="upsampling")(x)
    if name in BACKBONES:
        constructor = getattr(keras.applications, name)
        x = sys.modules[constructor.__module__].preprocess_input(x)
        x = _backbone(name, constructor, x.shape[1:], weights)(x)
    else:
        x = keras.layers.Rescaling(1 / 255, name="preprocessing")(x)
        if name in GLO:
            return keras.Model(inputs, _GLO_NETWORKS[name](x, classes), name=name)
        x = _small_trunk(x.shape[1:], weights)(x) if name == "small_cnn" else x
    return keras.Model(inputs, nine_layer_head(x, classes), name=name.lower())


def _own(name, input_shape, classes, sha256):
    """Build a user's own model, and check what its function returns."""
    path, function = architectures.split_own(name)
    found = architectures.hash_of(path)
    if sha256 not in ("", found):
        raise UserError(f"{path} has changed since its trials were planned")
    make = _load_function(path, found, function)
    try:
        model = make(input_shape=input_shape, classes=classes)
    except Exception as error:
        raise UserError(f"{name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, keras.Model):
        raise UserError(f"{name} returns no keras.Model, but {type(model).__name__}")
    if model.compiled:
        raise UserError(f"{name} returns a compiled model; it must leave that to the trial")
    images = np.zeros((1, *input_shape), "float32")
    try:
        output = heads.outputs(model, images)
    except UserError as error:
        message = f"{name} returns a model that takes no images of shape {input_shape}: {error}"
        raise UserError(message) from error
    shape = tuple(getattr(output, "shape", ()))
    if shape != (1, classes):
        raise UserError(f"{name} returns a model with output {shape}, not (1, {classes})")
    wrong = heads.not_softmax(model, images, output)
    if wrong:
        message = f"{name} returns a model whose outputs are not those of a softmax: {wrong}"
        raise UserError(message)
    return model


@cache
def _load_function(path, sha256, function) -> Callable[..., keras.Model]:
    """Run a user's file as a module, once for each content, and return one of its functions."""
    module = types.ModuleType(f"nglkeras_own_{sha256[:16]}")
    module.__file__ = str(path)
    # Dataclasses and Keras look up the module of a class.
    sys.modules[module.__name__] = module
    try:
        exec(compile(path.read_bytes(), path, "exec"), vars(module))
    except Exception as error:
        raise UserError(f"{path} failed: {type(error).__name__}: {error}") from error
    if not inspect.isroutine(getattr(module, function, None)):
        own = [
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise UserError(f"{path} has no function {function}; it has: {', '.join(own) or 'none'}")
    return getattr(module, function)


def nine_layer_head(x, classes: int):
    """Apply paper A's classifier: `[batch, ...]` to `[batch, classes]`."""
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
    """Apply paper B's MNIST network, from its supplement and its follow-up (TaylorGLO's settings).

    The paper itself does not give it. Padding, which neither source names, keeps the size. MNIST is
    grey: the network reads the first channel only.
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
    """Apply our choice for paper B's CIFAR-10 network, which the paper does not give.

    It has the shape of TensorFlow's CIFAR-10 tutorial of that time (after Krizhevsky's
    cuda-convnet), without local response normalisation; paper B's MNIST network is that of the
    MNIST tutorial.
    """
    for _ in range(2):
        x = keras.layers.Conv2D(64, 5, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = keras.layers.Flatten()(x)
    for width in (384, 192):
        x = keras.layers.Dense(width, activation="relu")(x)
    return _predictions(x, classes)


_GLO_NETWORKS = {"glo_mnist": _glo_mnist, "glo_cifar10": _glo_cifar10}


def _backbone(name, constructor, shape, weights):
    # The maximum over the last features, as in the authors' example.
    arguments = {"include_top": False, "input_shape": tuple(shape), "pooling": "max"}
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


def _small_trunk(shape, weights):
    """Build three convolutions: enough for digits and clothes, seconds on a CPU."""
    if weights == "imagenet":
        raise UserError("small_cnn has no ImageNet weights; valid are none or a .weights.h5 file")
    convolution = partial(keras.layers.Conv2D, kernel_size=3, padding="same", activation="relu")
    layers = [convolution(16), convolution(32), keras.layers.MaxPooling2D(), convolution(64)]
    trunk = keras.Sequential(
        [keras.Input(tuple(shape)), *layers, keras.layers.GlobalMaxPooling2D()], name="small_trunk"
    )
    if weights is not None:
        try:
            trunk.load_weights(weights)
        except _NO_WEIGHTS as error:
            raise UserError(f"{weights} does not fit small_cnn: {error}".splitlines()[0]) from error
    return trunk


def _replace_softmax(name, model, activation):
    last = model.layers[-1]
    if getattr(last, "activation", None) is not keras.activations.softmax:
        raise UserError(
            f"{name} does not end in a layer with activation softmax to be {activation}"
        )
    last.activation = keras.activations.get(activation)


def penalise_kernels(model: keras.Model, l2: float) -> None:
    """Give every kernel of a model an L2 penalty, which is saved with the model.

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

"""Weights of published PyTorch networks, from a state dict saved as `.npz`: see `recipes`.

They are torchvision's resnet34 and kazuto1011/deeplab-pytorch (`deeplabv1_resnet101-coco.pth` and
its `deeplabv2_resnet101_msc-*.pth`), without their heads.
"""

import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from nglkeras import paths
from nglkeras.errors import UserError


def load(model: keras.Model, path: str | Path, name_of: Callable[[str], str]) -> None:
    """Load every convolution and BatchNormalization of a model from a state dict.

    Biases of convolutions that PyTorch's do not have become 0. If the epsilon of a
    BatchNormalization differs from PyTorch's, the variance is changed by the difference.

    Args:
        model: The network to load into.
        path: The `.npz` file; what it lacks, or has in another shape, is a `UserError`.
        name_of: Gives the PyTorch name of a layer, from the layer's name.
    """
    state = _read(path)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            names = ("weight",)
        elif isinstance(layer, keras.layers.BatchNormalization):
            names = ("weight", "bias", "running_mean", "running_var")
        else:
            continue
        source = name_of(layer.name)
        values = [_find(state, f"{source}.{name}", path) for name in names]
        if len(names) == 1:
            # From [out, in, height, width].
            values[0] = np.moveaxis(values[0], (0, 1), (-1, -2)) if values[0].ndim == 4 else None
            values += [np.zeros(layer.filters)] if layer.use_bias else []
        else:
            # 1e-5 is PyTorch's default, which both networks use.
            values[3] = values[3] + 1e-5 - layer.epsilon
        shapes = [tuple(variable.shape) for variable in layer.variables]
        if shapes != [np.shape(value) for value in values]:
            raise UserError(f"{path}: {source} has another shape than the network's {layer.name}")
        layer.set_weights(values)


def _read(path):
    try:
        # Without pickles, nothing in the file is executed.
        with np.load(paths.expand(path), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    # Damaged files make NumPy raise whatever its decoders do.
    except Exception as error:
        raise UserError(f"{path} is no .npz file of arrays: {error}") from error


def _find(state, name, path):
    """Find a weight by name, with or without a prefix such as `base.` or `module.`."""
    for key, value in state.items():
        if key == name or key.endswith(f".{name}"):
            return value
    raise UserError(f"{path} has no weight {name}")


def resnet34_name(layer: str) -> str:
    """Return torchvision's name of a layer of `unet.resnet_encoder`."""
    layer, is_norm = layer.removesuffix("_bn"), layer.endswith("_bn")
    if layer == "stem":
        return "bn1" if is_norm else "conv1"
    stage, block, part = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", layer).groups()
    if part == "shortcut":
        part = f"downsample.{int(is_norm)}"
    elif is_norm:
        part = part.replace("conv", "bn")
    return f"layer{stage}.{int(block) - 1}.{part}"


def deeplab_name(layer: str) -> str:
    """Return deeplab-pytorch's name of a layer of keras.applications' ResNet101."""
    layer, _, kind = layer.rpartition("_")
    if layer == "conv1":
        return f"layer1.conv1.{kind}"
    stage, block, part = re.fullmatch(r"conv(\d+)_block(\d+)_(\d)", layer).groups()
    part = ("shortcut", "reduce", "conv3x3", "increase")[int(part)]
    return f"layer{stage}.block{block}.{part}.{kind}"

"""DeepLabv2 (Chen et al. 2017, arXiv 1606.00915) on the ResNet101 of keras.applications.

The last two stages keep the resolution and dilate their convolutions instead; four dilated
convolutions go straight to the classes and are summed (ASPP); logits are enlarged bilinearly.
With several scales the network is that of kazuto1011/deeplab-pytorch, which paper A cites: the
same trunk reads the image at each scale, and the largest logits count. The dense CRF, of which
paper A says nothing, is left out.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
from keras import layers, ops

# Neither applications nor their building blocks of other sizes are public.
from keras.src.applications.resnet import ResNet, stack_residual_blocks_v1

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.experiments.segmentation import pytorch

RATES = (6, 12, 18, 24)
RESNET101 = (3, 4, 23, 3)
# Dilations of stages 4 and 5, which thus do not halve.
DILATIONS = {"conv4": 2, "conv5": 4}
OUTPUT_STRIDE = 8
# For an untrained trunk, as in torchvision; keras.applications' 0.99 needs long trainings.
BN_MOMENTUM = 0.9


def sampled(x, size, step: float):
    """Interpolate at the positions 0, `step`, 2 `step` and so on, in height and width.

    Feature i of a trunk stands for pixel i times the stride. Ordinary resizing places it in the
    middle of a block of pixels, which would shift predictions by half a stride.

    Args:
        x: `[batch, h, w, channels]`.
        size: Height and width of the result; positions beyond the last one give its value.
        step: Distance of the positions, in pixels of `x`; less than 1 enlarges.
    """
    # Every backend compiles two small matrix products for sizes that are not known yet.
    heights, widths = (
        _hats(count, length, step, x.dtype)
        for count, length in zip(size, ops.shape(x)[1:3], strict=True)
    )
    x = ops.einsum("yh,bhwc->bywc", heights, x)
    return ops.einsum("xw,bywc->byxc", widths, x)


def _hats(count, length, step, dtype):
    """Weights of linear interpolation, `[count, length]`."""
    positions = ops.cast(ops.arange(count), "float32") * step
    positions = ops.minimum(positions, ops.cast(length - 1, "float32"))
    distances = ops.abs(positions[:, None] - ops.cast(ops.arange(length), "float32"))
    return ops.cast(ops.maximum(1.0 - distances, 0.0), dtype)


@keras.saving.register_keras_serializable(package="nglkeras")
class SampleLike(keras.layers.Layer):
    """Sample the first of two inputs to the size of the second: see `sampled`."""

    def __init__(self, step: float, **others):
        super().__init__(**others)
        self.step = step

    def call(self, inputs):
        """Keras' hook."""
        x, like = inputs
        return sampled(x, ops.shape(like)[1:3], self.step)

    def compute_output_shape(self, input_shape):
        """Keras' hook."""
        x, like = input_shape
        return (x[0], *like[1:3], x[3])

    def get_config(self):
        """Return the arguments of the constructor."""
        return super().get_config() | {"step": self.step}


@keras.saving.register_keras_serializable(package="nglkeras")
class Shrink(keras.layers.Layer):
    """Shrink images by a factor below 1: with 0.5, 321 pixels become 161. See `sampled`."""

    def __init__(self, factor: float, **others):
        super().__init__(**others)
        self.factor = factor

    def call(self, images):
        """Keras' hook."""
        size = [self._side(side) for side in ops.shape(images)[1:3]]
        return sampled(images, size, 1 / self.factor)

    def _side(self, side):
        if isinstance(side, int):
            return int(self.factor * (side - 1)) + 1
        return ops.cast(self.factor * ops.cast(side - 1, "float32"), "int32") + 1

    def compute_output_shape(self, input_shape):
        """Keras' hook."""
        sides = [None if side is None else self._side(side) for side in input_shape[1:3]]
        return (input_shape[0], *sides, input_shape[3])

    def get_config(self):
        """Return the arguments of the constructor."""
        return super().get_config() | {"factor": self.factor}


@keras.saving.register_keras_serializable(package="nglkeras")
class ScaleLosses(keras.Model):
    """A DeepLabv2 of several scales that is trained with a loss for each, as its authors do.

    Called with `training=True` it returns a list of logits at the output stride: those of each
    scale at its own size, then their elementwise maximum. The compiled loss is taken of each, with
    labels of the nearest pixels, and their sum is minimised (plus penalties, once). Training
    metrics see the maximum. Otherwise it returns the maximum, enlarged to the image.

    `deeplabv2` makes it, from layers by these names: "fusion0", "fusion1" and so on, and "logits".
    """

    def call(self, inputs, training=None, mask=None):
        """Return the list of logits in training, else the enlarged maximum."""
        enlarged, *logits = super().call(inputs, training=training, mask=mask)
        return logits if training else enlarged

    @property
    def steps(self) -> list[float]:
        """Logits to a pixel of the image, for each item of the list of logits."""
        finest = self.get_layer("logits").step
        count = len(self.outputs) - 2
        return [*(finest * self.get_layer(f"fusion{i}").step for i in range(count)), finest]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras' hook: the sum over scales and their maximum."""
        if not isinstance(y_pred, list):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        *pairs, (labels, fused) = self._with_labels(y, y_pred)
        total = super().compute_loss(x, labels, fused, sample_weight, training)
        return total + sum(self.loss(labels, logits) for labels, logits in pairs)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Keras' hook: of the maximum."""
        if isinstance(y_pred, list):
            *_, (y, y_pred) = self._with_labels(y, y_pred)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _with_labels(self, y, y_pred):
        return [
            (nearest_labels(y, ops.shape(logits)[1:3], step), logits)
            for logits, step in zip(y_pred, self.steps, strict=True)
        ]


def nearest_labels(labels, size, step: float):
    """Return the labels of the pixels that are nearest to where logits stand.

    Labels are `[batch, height, width]`, or have a last axis of length 1, which stays. Logit i
    stands for pixel i / step, as in `sampled`; `size` is that of the logits.
    """
    for axis, count in enumerate(size, start=1):
        positions = ops.cast(ops.arange(count), "float32") / step
        positions = ops.cast(ops.round(positions), "int32")
        positions = ops.minimum(positions, ops.shape(labels)[axis] - 1)
        labels = ops.take(labels, positions, axis=axis)
    return labels


def deeplabv2(
    classes: int,
    *,
    blocks: Sequence[int] = RESNET101,
    width: int = 64,
    rates: Sequence[int] = RATES,
    scales: Sequence[float] = (1.0,),
    weights: str | Path | None = None,
    size: tuple[int | None, int | None] = (None, None),
    scale_losses: bool = False,
) -> keras.Model:
    """Build DeepLabv2, from images of 0 to 255 to logits.

    Args:
        classes: As `size` and `scale_losses`, see `models.build`.
        blocks: Bottleneck blocks of the four stages; ResNet101's by default.
        width: Channels of the first stage's bottlenecks; the stem always has 64.
        rates: Dilation rates of the parallel convolutions.
        scales: Scales of the inputs, 1 at most, e.g. (0.5, 0.75, 1); the logits are the largest
            over all of them.
        weights: Weights of the trunk, as in `models.build`. Its BatchNormalization is then frozen:
            neither its statistics nor its scale and shift change. A trunk that starts at random
            has to learn them.
        size: See there.
        scale_losses: See there; without it only the enlarged maximum has a loss.
    """
    image = keras.Input((*size, 3), name="image")
    inputs = keras.Input((None, None, 3))
    features = dilated_trunk(blocks, width, weights)(
        keras.applications.resnet.preprocess_input(inputs)
    )
    body = keras.Model(inputs, aspp(features, classes, rates), name="body")
    scaled = [
        image if factor == 1 else Shrink(factor, dtype="float32", name=f"scale{i}")(image)
        for i, factor in enumerate(scales)
    ]
    logits = [body(x) for x in scaled]
    finest = max(scales)
    of_scales = logits
    if len(scales) > 1:
        largest = logits[scales.index(finest)]
        logits = [
            SampleLike(factor / finest, dtype="float32", name=f"fusion{i}")([one, largest])
            for i, (one, factor) in enumerate(zip(logits, scales, strict=True))
        ]
        logits = [layers.Maximum(dtype="float32", name="fusion")(logits)]
    # float32 under mixed precision too: losses need the digits.
    enlarge = SampleLike(finest / OUTPUT_STRIDE, dtype="float32", name="logits")
    enlarged = enlarge([logits[0], image])
    if scale_losses and len(scales) > 1:
        # float32 too: each has a loss.
        of_scales = [
            layers.Identity(dtype="float32", name=f"logits{i}")(x) for i, x in enumerate(of_scales)
        ]
        return ScaleLosses(image, [enlarged, *of_scales, *logits], name="deeplabv2")
    return keras.Model(image, enlarged, name="deeplabv2")


def aspp(features, classes: int, rates: Sequence[int] = RATES):
    """Apply atrous spatial pyramid pooling to logits: parallel 3 x 3 convolutions, summed."""
    branches = []
    for rate in rates:
        # As in DeepLabv2's own network.
        settings = {"kernel_initializer": keras.initializers.RandomNormal(stddev=0.01)}
        settings |= {"padding": "same", "dilation_rate": rate, "name": f"aspp{rate}"}
        branches.append(layers.Conv2D(classes, 3, **settings)(features))
    return layers.Add(name="aspp")(branches)


def dilated_trunk(
    blocks: Sequence[int] = RESNET101, width: int = 64, weights: str | Path | None = None
) -> keras.Model:
    """Build a ResNet of keras.applications without its top, its last stages dilated.

    It has the variables of the plain ResNet in the same order, so that its weights fit.
    """
    plain = plain_trunk(blocks, width, weights)

    def clone(layer):
        config = layer.get_config()
        dilation = DILATIONS.get(layer.name.partition("_")[0])
        if isinstance(layer, layers.Conv2D) and dilation:
            config["strides"] = (1, 1)
            if config["kernel_size"] == (3, 3):
                config["dilation_rate"] = (dilation, dilation)
        if isinstance(layer, layers.BatchNormalization) and weights is None:
            config["momentum"] = BN_MOMENTUM
        return type(layer).from_config(config)

    trunk = keras.models.clone_model(plain, clone_function=clone)
    if weights is not None:
        trunk.set_weights(plain.get_weights())
        for layer in trunk.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = False
    return trunk


def plain_trunk(
    blocks: Sequence[int] = RESNET101, width: int = 64, weights: str | Path | None = None
) -> keras.Model:
    """Build the ResNet of keras.applications that is to be dilated."""
    weights = paths.weights(weights)
    is_resnet101 = (tuple(blocks), width) == (RESNET101, 64)
    if weights == "imagenet" and not is_resnet101:
        raise UserError("only ResNet101 has ImageNet weights; valid are none or a .weights.h5 file")
    is_converted = str(weights).endswith(".npz")
    own = None if is_converted else weights

    def stack(x):
        for i, count in enumerate(blocks):
            strides = 2 if i else 1
            x = stack_residual_blocks_v1(x, width * 2**i, count, strides, name=f"conv{i + 2}")
        return x

    try:
        name = "resnet101" if is_resnet101 else "resnet"
        options = {"include_top": False, "input_shape": (None, None, 3), "name": name}
        trunk = ResNet(stack, False, True, weights=own, weights_name=name, **options)
    # Keras raises a bare Exception when a download fails, and many others for files.
    except Exception as error:
        if own is None:
            raise
        reason = " ".join(str(error).split())
        raise UserError(f"the weights {own} of the ResNet cannot be had: {reason}") from error
    if is_converted:
        pytorch.load(trunk, weights, pytorch.deeplab_name)
    return trunk

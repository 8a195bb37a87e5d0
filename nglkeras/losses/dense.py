"""Focal and dice loss for segmentation, which paper A compares NGL with.

Paper A gives no formula for them: focal loss is Lin et al.'s as in Keras, and the form of dice is
our choice. The cross entropy is Keras' own `SparseCategoricalCrossentropy(ignore_class=...)`.
"""

import keras
from keras import ops
from keras.src.backend import get_keras_mask

from nglkeras.errors import UserError
from nglkeras.expression import EPSILON
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.functions import float32_at_least, masked, registered, without_void
from nglkeras.losses.labels import (
    as_tensor,
    check_ignore_class,
    class_indices,
    index_and_factor,
    one_each,
    one_hot_factor,
    one_hot_labels,
    static_shape,
)


@registered
def sparse_focal(
    y_true, y_pred, alpha=0.25, gamma=2.0, from_logits=False, ignore_class=None, axis=-1
):
    """Focal loss for integer labels: `-α (1 - p)^γ log p`, p of the true class.

    This is the formula of Keras' `CategoricalFocalCrossentropy`, without a one-hot tensor. Logits
    are not clipped, so that confidently wrong pixels still have a gradient, as in Keras' cross
    entropy from logits.

    Args:
        y_true: Class indices, the shape of `y_pred` without the class axis (a class axis of
            length 1 is accepted), any dtype.
        y_pred: Probabilities `[batch, ..., classes]`; logits with `from_logits`.
        alpha: Factor α; the default 0.25 is Lin et al.'s (arXiv 1708.02002) and Keras'.
        gamma: Focusing parameter γ; the default 2 is theirs too. Larger values down-weight easy
            samples more.
        from_logits: Whether `y_pred` holds logits instead of probabilities.
        ignore_class: Label, such as 255 for void pixels, whose samples have zero loss and gradient
            and are left out of the mean. The loss of a sample with any other invalid label is NaN.
        axis: Axis of the classes.

    Returns:
        One value per sample (per pixel): the shape of `y_pred` without the class axis, float32
        unless `y_pred` is float64.
    """
    p = float32_at_least(y_pred)
    advice = "use keras.losses.CategoricalFocalCrossentropy"
    labels, valid = class_indices(y_true, p, ignore_class, axis, for_one_hot=advice)
    labels, p = without_void(labels, p, valid, axis)
    labels, factor = index_and_factor(labels, p, axis)
    # Keras needs the classes last on TensorFlow, and at most two axes for PyTorch's gradient.
    p = ops.moveaxis(p, axis, -1)
    flat = ops.reshape(labels, (-1,)), ops.reshape(p, (-1, ops.shape(p)[-1]))
    crossentropy = ops.sparse_categorical_crossentropy(*flat, from_logits=from_logits)
    crossentropy = ops.reshape(crossentropy, ops.shape(labels))
    # For γ < 1 the derivative of the power is infinite at 0.
    rest = ops.maximum(1.0 - ops.exp(-crossentropy), EPSILON)
    return masked(factor * alpha * ops.power(rest, gamma) * crossentropy, valid)


@registered
def dice(y_true, y_pred, from_logits=False, axis=-1, pixel_weight=None):
    """Dice loss for one-hot labels: `1 - 2 Σ p t / (Σ p + Σ t)`, mean over the classes.

    The sums are over the pixels of an image, the mean is over the classes that occur in it: absent
    classes would have a constant score. Paper A does not define its dice loss, so this is our
    choice. Keras' own `Dice` returns one value per batch and so supports no sample weights.

    Args:
        y_true: One-hot (or soft) labels, the shape of `y_pred`, any dtype. The loss of an image
            is NaN if any of its labels is outside [0, 1].
        y_pred: Probabilities `[batch, ..., classes]`; logits with `from_logits`. Without an axis
            of pixels, each sample is a single pixel.
        from_logits: Whether `y_pred` holds logits instead of probabilities.
        axis: Axis of the classes.
        pixel_weight: Weight of each pixel in the sums, `[batch, ...]`; equal by default.

    Returns:
        One value per image, `[batch]`, in [0, 1].
    """
    p = float32_at_least(y_pred)
    t = one_hot_labels(y_true, p, axis)
    factor = one_hot_factor(t, axis)
    t, p = ops.moveaxis(t, axis, -1), ops.moveaxis(p, axis, -1)
    p = ops.softmax(p, axis=-1) if from_logits else p
    return _dice(t, p, factor, _weights(pixel_weight, p))


@registered
def sparse_dice(y_true, y_pred, from_logits=False, ignore_class=None, axis=-1, pixel_weight=None):
    """Dice loss for integer labels: see `dice`. Void pixels are left out of all sums.

    Args:
        y_true: As in `sparse_focal`.
        y_pred: As in `sparse_focal`, with at least one axis of pixels.
        from_logits: As in `sparse_focal`.
        ignore_class: As in `sparse_focal`; an image of void pixels only is left out of the mean,
            and an image with an invalid label has the loss NaN.
        axis: As in `sparse_focal`.
        pixel_weight: As in `dice`.

    Returns:
        One value per image, `[batch]`, in [0, 1].
    """
    p = float32_at_least(y_pred)
    if len(p.shape) < 3:
        raise UserError(
            f"dice is of images: y_pred of shape {tuple(p.shape)} has no axis of pixels"
        )
    labels, valid = class_indices(y_true, p, ignore_class, axis, for_one_hot="use Dice")
    labels, p = without_void(labels, p, valid, axis)
    labels, factor = index_and_factor(labels, p, axis)
    p = ops.moveaxis(p, axis, -1)
    p = ops.softmax(p, axis=-1) if from_logits else p
    weights = _weights(pixel_weight, p)
    if valid is not None:
        weights = ops.where(valid, 1.0 if weights is None else weights, 0.0)
    return _dice(ops.one_hot(labels, p.shape[-1], dtype=p.dtype), p, factor, weights)


def _weights(pixel_weight, p):
    if pixel_weight is None:
        return None
    return one_each(pixel_weight, p, what="pixel weight")


def _dice(t, p, factor, weights):
    """Dice loss of each image; the classes are on the last axis."""
    pixels = tuple(range(1, len(p.shape) - 1))
    weighted = p
    if weights is not None:
        weights = ops.expand_dims(ops.cast(weights, p.dtype), -1)
        t, weighted = t * weights, p * weights
    true = ops.sum(t, axis=pixels)
    scores = 2.0 * ops.sum(p * t, axis=pixels) / (ops.sum(weighted, axis=pixels) + true + EPSILON)
    # A class with NaN labels counts as present, so that its score becomes NaN.
    occurs = 1.0 - ops.cast(true <= 0, p.dtype)
    classes = ops.sum(occurs, axis=-1)
    values = 1.0 - ops.sum(occurs * scores, axis=-1) / ops.maximum(classes, 1.0)
    values = values * ops.prod(factor, axis=pixels)
    return masked(values, None if weights is None else classes > 0)


class _SparseLoss(FunctionLoss):
    """Base class of the losses for integer labels in this module."""

    arguments = ("from_logits", "ignore_class", "axis")

    def __init__(self, *, from_logits=False, ignore_class=None, axis=-1, **others):
        super().__init__(**others)
        self.from_logits = from_logits
        self.ignore_class = check_ignore_class(ignore_class)
        self.axis = axis


@registered
class SparseFocal(_SparseLoss):
    """Focal loss for integer labels: see `sparse_focal`.

    Args:
        alpha: Factor, 0.25 by default.
        gamma: Focusing parameter, 2 by default; larger values down-weight easy samples more.
        **shared: `from_logits`, `ignore_class`, `axis`, `reduction`, `name`, `dtype`.
    """

    function = staticmethod(sparse_focal)
    arguments = ("alpha", "gamma", *_SparseLoss.arguments)

    def __init__(self, alpha=0.25, gamma=2.0, **shared):
        super().__init__(**shared)
        self.alpha = alpha
        self.gamma = gamma


class _PixelWeights:
    """Apply pixel weights within the sums of a dice loss, which has no value per pixel."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Compute the reduced loss.

        Args:
            y_true: Labels.
            y_pred: Predictions `[batch, ..., classes]`.
            sample_weight: Weights of images, `[batch]` or `[batch, 1]`, or of pixels,
                `[batch, ...]`. Pixel weights are factors within the sums of dice.
        """
        mask, weights = get_keras_mask(y_pred), None
        with keras.name_scope(self.name):
            y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
            if _are_of_pixels(sample_weight, y_pred):
                weights = one_each(sample_weight, y_pred, self.axis, what="pixel weight")
                weights, sample_weight = ops.cast(weights, self.dtype), None
            if _are_of_pixels(mask, y_pred):
                counts = ops.cast(mask, self.dtype)
                weights, mask = counts if weights is None else weights * counts, None
            own = self._own_arguments()
            values = self.function(as_tensor(y_true), y_pred, pixel_weight=weights, **own)
            return self._reduced(values, sample_weight, mask)


def _are_of_pixels(weights, y_pred):
    """Return whether these are weights of pixels, not of images."""
    if weights is None or len(y_pred.shape) < 3:
        return False
    shape = static_shape(as_tensor(weights))
    if shape is None:
        raise UserError("sample weights are of unknown rank; give it with tf.ensure_shape")
    return len(shape) >= len(y_pred.shape) - 1 and shape[1:] != (1,)


@registered
class Dice(_PixelWeights, FunctionLoss):
    """Dice loss for one-hot labels, one value per image: see `dice`.

    Args:
        from_logits: Whether `y_pred` holds logits instead of probabilities.
        axis: Axis of the classes.
        **others: `reduction`, `name`, `dtype`.
    """

    function = staticmethod(dice)
    arguments = ("from_logits", "axis")

    def __init__(self, *, from_logits=False, axis=-1, **others):
        super().__init__(**others)
        self.from_logits = from_logits
        self.axis = axis


@registered
class SparseDice(_PixelWeights, _SparseLoss):
    """Dice loss for integer labels, one value per image: see `sparse_dice`.

    Takes `SparseFocal`'s shared arguments.
    """

    function = staticmethod(sparse_dice)

"""Dice loss for segmentation, which paper A compares NGL with.

Paper A gives no formula for it: the form is our choice. Keras' own `Dice` returns one value per
batch and so supports no sample weights.
"""

import keras
import numpy as np
from keras import ops
from keras.src.backend import get_keras_mask

from nglkeras.errors import UserError
from nglkeras.expression import EPSILON
from nglkeras.losses.base import FunctionLoss, for_all_within, shape_of_weights
from nglkeras.losses.documentation import documented
from nglkeras.losses.labels import (
    NOT_SPARSE,
    SPARSE,
    as_tensor,
    binary_labels,
    class_indices,
    index_and_factor,
    one_each,
    one_hot_factor,
    one_hot_labels,
    valid_factor,
)
from nglkeras.losses.options import Options, check_length, checked_options
from nglkeras.losses.predictions import (
    float32_at_least,
    is_other_row,
    masked,
    without_ignored,
    without_void,
)
from nglkeras.losses.registration import registered


def _with_fixed(function, **fixed):
    """Say what the class of a function needs to know: see `FunctionLoss`."""
    function.checked = lambda arguments: checked_options(arguments | fixed)
    return registered(documented(function))


def dice(
    y_true,
    y_pred,
    *,
    head="softmax",
    sparse=False,
    from_logits=False,
    class_weights=None,
    ignore_class=None,
    axis=-1,
    pixel_weight=None,
):
    """Dice loss: `1 - 2 Σ p t / (Σ p + Σ t)`, mean over the classes.

    The sums are over the pixels of an image, the mean is over the classes that occur in it: absent
    classes would have a constant score. Void pixels are left out of all sums. Dense labels without
    an axis of pixels are images of a single pixel.

    Scale:
        All classes have equally many pixels here. With 10 classes the value is 0.9 for a uniform
        prediction, 1 for a certain and wrong one, and least for a certain and right one: 0. The
        gradient of a uniform prediction is 0.5, 0.1 and 0.01 times cross entropy's with 2, 10 and
        100 classes.

    Constants:
        class_weights: One number a class, its weight in the mean over the classes that occur. With
            the sigmoid head the weights of the labels 0 and 1: one pair, or a pair for each output.

    Returns:
        One value per image, `[batch]`, in [0, 1], float32 unless `y_pred` is float64.
    """
    options = Options(
        head=head,
        sparse=sparse,
        from_logits=from_logits,
        class_weights=class_weights,
        ignore_class=ignore_class,
        axis=axis,
    )
    x = float32_at_least(y_pred)
    prepare = _of_sigmoid if head == "sigmoid" else _of_indices if sparse else _of_rows
    t, p, factor, valid = prepare(y_true, x, options)
    outputs = 1 if head == "sigmoid" else 0
    weights = None
    if pixel_weight is not None:
        weights = ops.cast(one_each(pixel_weight, x, axis, what="pixel weight"), p.dtype)
        weights = weights[..., None] if outputs else weights
    if valid is not None:
        counts = ops.cast(valid, p.dtype)
        weights = counts if weights is None else ops.where(valid, weights, 0.0)
    return _dice(t, p, factor, weights, outputs, options.class_weights)


def _of_rows(y_true, x, o):
    t = one_hot_labels(y_true, x, o.axis, for_indices=SPARSE)
    valid = is_other_row(t, o.ignore_class, o.axis)
    _, x = without_void(t, x, valid, o.axis)
    factor = one_hot_factor(t, o.axis)
    t, x = ops.moveaxis(t, o.axis, -1), ops.moveaxis(x, o.axis, -1)
    return t, ops.softmax(x, axis=-1) if o.from_logits else x, factor, valid


def _of_indices(y_true, x, o):
    if len(x.shape) < 3:
        raise UserError(
            f"dice is of images: y_pred of shape {tuple(x.shape)} has no axis of pixels"
        )
    labels, valid = class_indices(y_true, x, o.ignore_class, o.axis, for_one_hot=NOT_SPARSE)
    labels, x = without_void(labels, x, valid, o.axis)
    labels, factor = index_and_factor(labels, x, o.axis)
    x = ops.moveaxis(x, o.axis, -1)
    p = ops.softmax(x, axis=-1) if o.from_logits else x
    return ops.one_hot(labels, p.shape[-1], dtype=p.dtype), p, factor, valid


def _of_sigmoid(y_true, x, o):
    """Return each output as a prediction of two classes, `[batch, ..., outputs, 2]`."""
    t, x = ops.moveaxis(binary_labels(y_true, x, o.axis), o.axis, -1), ops.moveaxis(x, o.axis, -1)
    t, x, valid = without_ignored(t, x, o.ignore_class)
    p, not_p = (ops.sigmoid(x), ops.sigmoid(-x)) if o.from_logits else (x, 1.0 - x)
    return ops.stack([1.0 - t, t], -1), ops.stack([not_p, p], -1), valid_factor(t), valid


def _dice(t, p, factor, weights, outputs, class_weights):
    """Dice loss of each image; the last axes are `outputs` of outputs and that of the classes."""
    pixels = tuple(range(1, len(p.shape) - 1 - outputs))
    weighted = p
    if weights is not None:
        weights = ops.expand_dims(weights, -1)
        t, weighted = t * weights, p * weights
    true = ops.sum(t, axis=pixels)
    scores = 2.0 * ops.sum(p * t, axis=pixels) / (ops.sum(weighted, axis=pixels) + true + EPSILON)
    # A class with NaN labels counts as present, so that its score becomes NaN.
    occurs = 1.0 - ops.cast(true <= 0, p.dtype)
    if class_weights is not None:
        is_pairs = len(np.shape(class_weights)) == 2
        check_length(
            class_weights, p.shape[-2 if is_pairs else -1], "pairs" if is_pairs else "numbers"
        )
        occurs = occurs * ops.convert_to_tensor(class_weights, p.dtype)
    total = ops.sum(occurs, axis=-1)
    counts = total > 0
    values = 1.0 - ops.sum(occurs * scores, axis=-1) / ops.where(counts, total, 1.0)
    values = values * ops.prod(factor, axis=pixels)
    if outputs:
        number = ops.sum(ops.cast(counts, p.dtype), axis=-1)
        values = ops.sum(ops.where(counts, values, 0.0), axis=-1) / ops.maximum(number, 1.0)
        counts = number > 0
    return masked(values, None if weights is None and class_weights is None else counts)


def sparse_dice(
    y_true,
    y_pred,
    *,
    from_logits=False,
    class_weights=None,
    ignore_class=None,
    axis=-1,
    pixel_weight=None,
):
    """Dice loss for class indices: see `dice`.

    Constants:
        class_weights: One number a class, its weight in the mean over the classes that occur.

    Returns:
        One value per image, `[batch]`, in [0, 1], float32 unless `y_pred` is float64.
    """
    return dice(
        y_true,
        y_pred,
        sparse=True,
        from_logits=from_logits,
        class_weights=class_weights,
        ignore_class=ignore_class,
        axis=axis,
        pixel_weight=pixel_weight,
    )


dice = _with_fixed(dice)
sparse_dice = _with_fixed(sparse_dice, head="softmax", sparse=True)


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
            if mask is not None and len(mask.shape) > 1:
                pixels = ops.take(y_pred, 0, axis=self.axis)
                counts = ops.cast(for_all_within(mask, pixels), self.dtype)
                weights, mask = counts if weights is None else weights * counts, None
            own = self._own_arguments()
            values = self.function(as_tensor(y_true), y_pred, pixel_weight=weights, **own)
            return self._reduced(values, sample_weight, mask)


def _are_of_pixels(weights, y_pred):
    """Return whether these are weights of pixels, not of images."""
    if weights is None or len(y_pred.shape) < 3:
        return False
    shape = shape_of_weights(weights)
    return len(shape) >= len(y_pred.shape) - 1 and shape[1:] != (1,)


@registered
class Dice(_PixelWeights, FunctionLoss):
    """Dice loss, one value per image: `1 - 2 Σ p t / (Σ p + Σ t)`, mean over the classes."""

    function = staticmethod(dice)
    # It follows from the sample weights.
    _internal = frozenset({"pixel_weight"})


@registered
class SparseDice(Dice):
    """Dice loss for class indices: `Dice(sparse=True)`."""

    function = staticmethod(sparse_dice)

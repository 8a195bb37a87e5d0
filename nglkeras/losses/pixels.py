"""Paper A's other losses for segmentation, for integer labels with void pixels: focal and dice.

The cross entropy is Keras' own `SparseCategoricalCrossentropy(ignore_class=...)`. Paper A gives no
formula for either: focal loss is Lin et al.'s in Keras' form, dice our choice among several.
"""

from keras import ops
from keras.src.backend import set_keras_mask

from nglkeras.expression import EPSILON
from nglkeras.losses.classes import FunctionLoss
from nglkeras.losses.functions import float32_at_least, labels_and_valid, registered


@registered
def sparse_focal(
    y_true, y_pred, alpha=0.25, gamma=2.0, from_logits=False, ignore_class=None, axis=-1
):
    """Focal loss for integer labels: `-α (1 - p)^γ log p`, p of the true class.

    The formula of Keras' `CategoricalFocalCrossentropy`, without a one-hot tensor. From logits
    nothing is clipped, so that a pixel that is wholly wrong still has a gradient, as with Keras'
    cross entropy from logits.

    Args:
        y_true: Class indices, the shape of `y_pred` without the class axis (a class axis of
            length 1 is accepted), any dtype.
        y_pred: Probabilities `[batch, ..., classes]`; logits with `from_logits`.
        alpha: α, a factor; 0.25 is Lin et al.'s (arXiv 1708.02002) and Keras' default.
        gamma: γ; the same with 2.
        from_logits: Whether `y_pred` still has to go through a softmax.
        ignore_class: A label, such as 255 for void pixels, whose samples have loss and gradient
            zero and do not count in the mean.
        axis: The axis of the classes.

    Returns:
        One value per sample (per pixel): the shape of `y_pred` without the class axis, float32
        unless `y_pred` is float64.
    """
    y_pred = float32_at_least(y_pred)
    labels, valid = labels_and_valid(y_true, y_pred, ignore_class, axis)
    # Keras' TensorFlow kernel wants the classes last.
    crossentropy = ops.sparse_categorical_crossentropy(
        labels, ops.moveaxis(y_pred, axis, -1), from_logits=from_logits
    )
    # The power's derivative has a pole at 0 where γ < 1.
    rest = ops.maximum(1.0 - ops.exp(-crossentropy), EPSILON)
    return _masked(alpha * ops.power(rest, gamma) * crossentropy, valid)


@registered
def sparse_dice(y_true, y_pred, from_logits=False, ignore_class=None, axis=-1):
    """Dice loss for integer labels: `1 - 2 Σ p t / (Σ p + Σ t)`, mean over the classes.

    Sums are over the pixels of an image that are not void; the mean is over the classes that
    occur in it, since a class that does not could only be scored by a constant. Paper A does not
    define its dice loss: this is our choice.

    Args:
        y_true: As in `sparse_focal`.
        y_pred: As in `sparse_focal`, with at least one axis of pixels.
        from_logits: As in `sparse_focal`.
        ignore_class: As in `sparse_focal`; an image of such pixels alone does not count.
        axis: As in `sparse_focal`.

    Returns:
        One value per image, `[batch]`, in [0, 1].
    """
    y_pred = float32_at_least(y_pred)
    if len(y_pred.shape) < 3:
        raise ValueError(
            f"dice is of images: y_pred of shape {tuple(y_pred.shape)} has no axis of pixels"
        )
    labels, valid = labels_and_valid(y_true, y_pred, ignore_class, axis)
    y_pred = ops.moveaxis(y_pred, axis, -1)
    p = ops.softmax(y_pred, axis=-1) if from_logits else y_pred
    t = ops.one_hot(labels, p.shape[-1], dtype=p.dtype)
    if valid is not None:
        counts = ops.expand_dims(ops.cast(valid, p.dtype), -1)
        p, t = p * counts, t * counts
    pixels = tuple(range(1, len(p.shape) - 1))
    true = ops.sum(t, axis=pixels)
    scores = 2.0 * ops.sum(p * t, axis=pixels) / (ops.sum(p, axis=pixels) + true + EPSILON)
    occurs = ops.cast(true > 0, p.dtype)
    classes = ops.sum(occurs, axis=-1)
    values = 1.0 - ops.sum(occurs * scores, axis=-1) / ops.maximum(classes, 1.0)
    return _masked(values, None if valid is None else classes > 0)


def _masked(values, valid):
    if valid is None:
        return values
    values = ops.where(valid, values, 0.0)
    set_keras_mask(values, mask=valid)
    return values


class _SparseLoss(FunctionLoss):
    """A loss around a function of this module."""

    arguments = ("from_logits", "ignore_class", "axis")

    def __init__(self, *, from_logits=False, ignore_class=None, axis=-1, **others):
        super().__init__(**others)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis


@registered
class SparseFocal(_SparseLoss):
    """Focal loss for integer labels: see `sparse_focal`.

    Args:
        alpha: A factor.
        gamma: How much less what is right already counts.
        **shared: `from_logits`, `ignore_class`, `axis`, `reduction`, `name`, `dtype`.
    """

    function = staticmethod(sparse_focal)
    arguments = ("alpha", "gamma", *_SparseLoss.arguments)

    def __init__(self, alpha=0.25, gamma=2.0, **shared):
        super().__init__(**shared)
        self.alpha = alpha
        self.gamma = gamma


@registered
class SparseDice(_SparseLoss):
    """Dice loss for integer labels, one value per image: see `sparse_dice`.

    Takes `SparseFocal`'s shared arguments.
    """

    function = staticmethod(sparse_dice)

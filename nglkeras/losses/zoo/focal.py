"""Focal loss, which paper A compares with; it gives no formula for it."""

from keras import ops

from nglkeras.expression import EPSILON
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes, variant
from nglkeras.losses.options import within
from nglkeras.losses.registration import registered


@loss_over_classes(
    label_only=True,
    defaults={"class_reduction": "sum"},
    checks={"gamma": within("gamma", "[0, ∞)", lambda gamma: gamma >= 0)},
)
def focal(t, p, log_p, *, alpha=0.25, gamma=2.0):
    """Focal loss: `-α (1 - p)^γ log p`, p of the true class.

    Lin et al., Focal Loss for Dense Object Detection (2017), arXiv 1708.02002. The definition is
    that of Keras' `CategoricalFocalCrossentropy`, without its clipping: confidently wrong samples
    still have a gradient, as in cross entropy.

    Use it where easy samples are so many that they drown the others, as background does in
    detection and segmentation. α and the power make its gradient smaller than cross entropy's,
    which plain SGD sees as a smaller learning rate.

    Scale:
        With 10 classes the value is 0.4663 for a uniform prediction, 4.605 for a certain and wrong
        one, and least for a certain and right one: 0. The gradient of a uniform prediction is
        0.15, 0.31 and 0.27 times cross entropy's with 2, 10 and 100 classes.

    Constants:
        alpha: Factor α; the default 0.25 is Lin et al.'s and Keras'.
        gamma: Focusing parameter γ; the default 2 is theirs too. Larger values down-weight easy
            samples more.
    """
    # For γ < 1 the derivative of the power is infinite at 0.
    return -alpha * t * ops.power(ops.maximum(1.0 - p, EPSILON), gamma) * log_p


sparse_focal = variant(
    focal, "sparse_focal", "`focal` for class indices.", head="softmax", sparse=True
)


@registered
class Focal(FunctionLoss):
    """Focal loss (Lin et al. 2017): `-α (1 - p)^γ log p`, p of the true class."""

    function = staticmethod(focal)


@registered
class SparseFocal(Focal):
    """Focal loss for class indices: `Focal(sparse=True)`."""

    function = staticmethod(sparse_focal)

"""Mean IoU, pixel accuracy and mean accuracy of label maps, from one confusion matrix."""

import keras
import numpy as np
from keras import ops

from nglkeras.errors import UserError
from nglkeras.experiments.segmentation import VOID
from nglkeras.losses.labels import check_ignore_class, class_indices


@keras.saving.register_keras_serializable(package="nglkeras")
class SegmentationScores(keras.metrics.Metric):
    """Accumulate a confusion matrix; the result has the three measures of table 5 by name.

    Keras' `MeanIoU` has one of them and counts in float32, which cannot count beyond 16.8 million
    pixels in a cell; this counts in int32, up to 2.1 billion.

    Pixels with the label `ignore_class` do not count. Any other label that is no class makes all
    measures NaN.
    """

    def __init__(self, classes: int, ignore_class: int | None = VOID, name="scores", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.classes = classes
        self.ignore_class = check_ignore_class(ignore_class)
        self.confusion = self.add_variable(
            (classes, classes), initializer="zeros", name="confusion", dtype="int32"
        )
        self.strays = self.add_variable((), initializer="zeros", name="strays", dtype="int32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count a batch of labels `[batch, height, width]` (or with a last axis of length 1)."""
        if sample_weight is not None:
            raise UserError("pixels that do not count are labelled void; there are no weights")
        y_pred = ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] not in (self.classes, None):
            raise UserError(
                f"y_pred of shape {tuple(y_pred.shape)} does not have {self.classes} classes"
            )
        truth, valid = class_indices(y_true, y_pred, self.ignore_class)
        counts = ops.logical_and(truth >= 0, truth < self.classes)
        strays = ops.logical_not(counts)
        if valid is not None:
            counts, strays = ops.logical_and(counts, valid), ops.logical_and(strays, valid)
        found = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        cells = ops.segment_sum(
            ops.reshape(ops.cast(counts, "int32"), (-1,)),
            ops.reshape(ops.where(counts, truth * self.classes + found, 0), (-1,)),
            num_segments=self.classes * self.classes,
        )
        self.confusion.assign_add(ops.cast(ops.reshape(cells, self.confusion.shape), "int32"))
        self.strays.assign_add(ops.sum(ops.cast(strays, "int32")))

    def result(self):
        """Return the measures by name, as tensors.

        The mean IoU leaves out classes that neither occur nor are predicted, the mean accuracy
        classes that do not occur.
        """
        confusion = ops.cast(self.confusion, "float32")
        right = ops.diagonal(confusion)
        truth, found = ops.sum(confusion, axis=1), ops.sum(confusion, axis=0)
        measures = {
            "mean_iou": _mean_ratio(right, truth + found - right),
            "pixel_accuracy": ops.divide_no_nan(ops.sum(right), ops.sum(confusion)),
            "mean_accuracy": _mean_ratio(right, truth),
        }
        is_whole = ops.equal(self.strays, 0)
        return {name: ops.where(is_whole, value, np.nan) for name, value in measures.items()}

    def get_config(self):
        """Return the arguments of the constructor."""
        own = {"classes": self.classes, "ignore_class": self.ignore_class}
        return super().get_config() | own


def _mean_ratio(right, total):
    ratios = ops.divide_no_nan(right, total)
    return ops.divide_no_nan(ops.sum(ratios), ops.sum(ops.cast(total > 0, ratios.dtype)))


def class_ious(confusion: np.ndarray) -> list[float | None]:
    """Return the IoU of each class; `None` if it neither occurs nor is predicted."""
    right = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    return [float(r / u) if u else None for r, u in zip(right, union, strict=True)]

"""Cross entropy, the reference of every comparison, with the options of the other losses."""

from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes
from nglkeras.losses.registration import registered


@loss_over_classes(label_only=True, defaults={"class_reduction": "sum"})
def crossentropy(t, log_p):
    """Cross entropy: `-t log p`, summed over the classes.

    With `head="sigmoid"` it is the binary cross entropy `-t log p - (1 - t) log(1 - p)` of each
    output. The values are those of Keras' `CategoricalCrossentropy` and `BinaryCrossentropy` from
    logits; from probabilities Keras clips at 1e-7, this loss at 1e-8.

    Use it where cross entropy needs class weights, ignored labels or sigmoid outputs and is to be
    compared with another loss under the same options. Without these Keras' own losses do the same.

    Scale:
        With 10 classes the value is 2.303 for a uniform prediction, 18.42 for a certain and wrong
        one, and least for a certain and right one: 0. The gradient of a uniform prediction is
        1.0, 1.0 and 1.0 times cross entropy's with 2, 10 and 100 classes.

    Examples:
        >>> float(crossentropy([[1, 0, 0]], [[0.7, 0.2, 0.1]])[0])  # doctest: +ELLIPSIS
        0.3566...
    """
    return -t * log_p


@registered
class Crossentropy(FunctionLoss):
    """Cross entropy: `-t log p`, summed over the classes."""

    function = staticmethod(crossentropy)

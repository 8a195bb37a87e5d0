"""The mean absolute error of probabilities, a loss that is robust to wrong labels."""

from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes
from nglkeras.losses.registration import registered


@loss_over_classes(label_only=True, defaults={"class_reduction": "sum"})
def mean_absolute_error(t, p):
    """Mean absolute error: `2 t (1 - p)`, p of the true class, which is `|t - p|` over all classes.

    Ghosh, Kumar and Sastry, Robust Loss Functions under Label Noise for Deep Neural Networks
    (2017), arXiv 1712.09482. The definition is that of the code of Ma et al. (2020, arXiv
    2006.13554; HanxunH/Active-Passive-Losses), which trains half of it, 1 - p. The equality holds
    for one-hot labels and probabilities that sum to 1; for soft labels this is the expected value.

    Use it where many labels are wrong and classes are few: labels that are wrong at random, in
    every class alike, do not move its minimum. It is hard to train otherwise: samples with a small
    p have almost no gradient (2p times cross entropy's), so that it needs a larger learning rate
    and may leave classes out.

    Scale:
        With 10 classes the value is 1.8 for a uniform prediction, 2 for a certain and wrong one,
        and least for a certain and right one: 0. The gradient of a uniform prediction is 1.0, 0.2
        and 0.02 times cross entropy's with 2, 10 and 100 classes.

    Examples:
        >>> float(mean_absolute_error([[1, 0, 0]], [[0.7, 0.2, 0.1]])[0])  # doctest: +ELLIPSIS
        0.6...
    """
    return 2.0 * t * (1.0 - p)


@registered
class MeanAbsoluteError(FunctionLoss):
    """Mean absolute error (Ghosh et al. 2017): `2 t (1 - p)`, p of the true class."""

    function = staticmethod(mean_absolute_error)

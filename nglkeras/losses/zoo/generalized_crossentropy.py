"""Generalized cross entropy, between cross entropy and the mean absolute error."""

from keras import ops

from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes
from nglkeras.losses.options import within
from nglkeras.losses.registration import registered


@loss_over_classes(
    label_only=True,
    defaults={"class_reduction": "sum"},
    checks={"q": within("q", "(0, 1]", lambda q: 0 < q <= 1)},
)
def generalized_crossentropy(t, log_p, *, q=0.7):
    """Generalized cross entropy: `t (1 - p^q) / q`, p of the true class.

    Zhang and Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
    Labels (2018), arXiv 1805.07836. The definition is that of the code of Ma et al. (2020, arXiv
    2006.13554; HanxunH/Active-Passive-Losses), which clips p at 1e-7.

    Use it where many labels are wrong: samples with a small p of their label weigh p^q as much as
    in cross entropy. Where labels are right it learns more slowly than cross entropy, above all
    with many classes: at the start its gradient is smaller by the factor C^-q.

    Scale:
        With 10 classes the value is 1.144 for a uniform prediction, 1.429 for a certain and wrong
        one, and least for a certain and right one: 0. The gradient of a uniform prediction is
        0.62, 0.2 and 0.04 times cross entropy's with 2, 10 and 100 classes.

    Constants:
        q: Exponent in (0, 1]; the default 0.7 is the authors'. Towards 0 it is cross entropy, at 1
            half the mean absolute error.

    Examples:
        >>> float(generalized_crossentropy([[1, 0, 0]], [[0.7, 0.2, 0.1]])[0])  # doctest: +ELLIPSIS
        0.3156...
    """
    # p^q from the logarithm, whose gradient is finite at p = 0.
    return -t * ops.expm1(q * log_p) / q


@registered
class GeneralizedCrossentropy(FunctionLoss):
    """Generalized cross entropy (Zhang and Sabuncu 2018): `t (1 - p^q) / q`."""

    function = staticmethod(generalized_crossentropy)

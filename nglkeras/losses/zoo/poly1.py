"""Poly-1: cross entropy with another first coefficient of its series in 1 - p."""

from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes
from nglkeras.losses.registration import registered


@loss_over_classes(label_only=True, defaults={"class_reduction": "sum"})
def poly1(t, p, log_p, *, epsilon=2.0):
    """Poly-1: `t (-log p + ε (1 - p))`, cross entropy plus a linear term in p of the true class.

    Leng et al., PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions
    (2022), arXiv 2204.12511. The definition is that of the paper's text, which gives code for the
    softmax, also with label smoothing.

    Use it where one more constant may be tuned: for ε > 0 good predictions keep a larger gradient
    than with cross entropy, (1 - p)(1 + ε p) instead of 1 - p by the logit of the true class. A
    value that was good on one data set says little about another: the paper chooses ε for each
    task. For ε < -1 the loss rises towards p = 1.

    Scale:
        With 10 classes the value is 4.103 for a uniform prediction, 20.42 for a certain and wrong
        one, and least for a certain and right one: 0. The gradient of a uniform prediction is
        2.0, 1.2 and 1.0 times cross entropy's with 2, 10 and 100 classes.

    Constants:
        epsilon: Coefficient ε of the linear term; the default 2 is the paper's for ImageNet. The
            paper uses -1 for detection and segmentation on COCO; 0 is cross entropy.

    Examples:
        >>> float(poly1([[1, 0, 0]], [[0.7, 0.2, 0.1]])[0])  # doctest: +ELLIPSIS
        0.9566...
    """
    return t * (epsilon * (1.0 - p) - log_p)


@registered
class Poly1(FunctionLoss):
    """Poly-1 (Leng et al. 2022): `t (-log p + ε (1 - p))`."""

    function = staticmethod(poly1)

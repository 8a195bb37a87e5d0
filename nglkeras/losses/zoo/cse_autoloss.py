"""CSE-Autoloss-B: a loss for one-stage detectors that a search has found; its part for classes."""

import math

from keras import ops

from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes
from nglkeras.losses.registration import registered


@loss_over_classes(heads=("sigmoid",), defaults={"class_reduction": "sum"})
def cse_autoloss_b(t, p, log_p, log_not_p, *, alpha=0.25):
    """CSE-Autoloss-B: `-t (1 + serf(σ(1 - t))) log p - (sgd(z) - t)(p - t) log(1 - p)`, weighted.

    Here z is the logit, σ the sigmoid, serf(x) = (1 + erf(√π x/4))/2 and
    sgd(x) = 1/2 + (2/π) atan(tanh(πx/8)), both between 0 and 1. The weight of an output is
    α t + (1 - α)(1 - t).

    Liu et al., Loss Function Discovery for Object Detection via Convergence-Simulation Driven
    Search (2021), arXiv 2102.04700. The definition is that of the authors' code
    (PerdonLiu/CSE-Autoloss), for a box that overlaps its object fully (w = 1): classifiers have no
    boxes. The code adds 1e-20 within the logarithms and divides the sum by the number of objects;
    here logarithms are exact from logits, and the loss is the sum over the outputs, of which Keras
    takes the mean over the batch.

    Use it for dense detection on sigmoid outputs, where most labels are 0; as the loss of a
    classifier it was no better than cross entropy in results/REPORT.md. Its sibling for
    two-stage detectors, CSE-Autoloss-A, is 1.8415 times cross entropy at w = 1, and so no loss of
    its own here.

    Scale:
        At p = 0.5 the value of an output is 0.3246 for label 1 and 0.13 for label 0; if certain it
        is 0 where right, and 7.474 and 13.82 where wrong. The gradient at p = 0.5 is 0.43 and 0.45
        times binary cross entropy's.

    Constants:
        alpha: Weight α of labels 1; those of 0 have 1 - α. The default 0.25 is the authors'.

    Examples:
        >>> p = [[0.7, 0.2, 0.1]]
        >>> float(cse_autoloss_b([[1, 0, 0]], p)[0])  # doctest: +ELLIPSIS
        0.1798...
    """
    scaled_erf = (1.0 + ops.erf(math.sqrt(math.pi) / 4 * ops.sigmoid(1.0 - t))) / 2
    angle = ops.arctan(ops.tanh(math.pi / 8 * (log_p - log_not_p)))
    gudermannian = 0.5 + 2 / math.pi * angle
    loss = t * (1.0 + scaled_erf) * log_p + (gudermannian - t) * (p - t) * log_not_p
    return -(alpha * t + (1.0 - alpha) * (1.0 - t)) * loss


@registered
class CSEAutolossB(FunctionLoss):
    """CSE-Autoloss-B (Liu et al. 2021), the part for classes, of sigmoid outputs."""

    function = staticmethod(cse_autoloss_b)

"""Asymmetric losses: focal loss with exponents of its own for labels 0 and 1."""

from keras import ops

from nglkeras.expression import EPSILON
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes
from nglkeras.losses.options import within
from nglkeras.losses.registration import registered


@loss_over_classes(
    heads=("sigmoid",),
    defaults={"class_reduction": "sum"},
    checks={"margin": within("margin", "[0, 1)", lambda margin: 0 <= margin < 1)},
)
def asymmetric_multi_label(t, p, log_p, *, gamma_positive=1.0, gamma_negative=4.0, margin=0.05):
    """Asymmetric loss of sigmoids: `-t (1 - p)^γ+ log p - (1 - t) q^γ- log(1 - q)`.

    Here q = max(p - m, 0). Ridnik et al., Asymmetric Loss For Multi-Label Classification (2021),
    arXiv 2009.14119. The definition is that of the authors' code (Alibaba-MIIL/ASL,
    `AsymmetricLoss`), where the gradient flows through the powers too. The code adds the values of
    a batch; here the loss is the sum over the outputs, and Keras takes the mean over the batch.

    Use it for multi-label data, where most labels of a sample are 0: easy negatives have almost no
    gradient, and none below the margin. On single-label data it ignores that classes exclude each
    other; use `asymmetric_single_label` there.

    Scale:
        At p = 0.5 the value of an output is 0.3466 for label 1 and 0.02452 for label 0; if certain
        it is 0 where right, and 18.42 and 2.44 where wrong. The gradient at p = 0.5 is 0.85 and
        0.15 times binary cross entropy's.

    Constants:
        gamma_positive: Exponent γ+ of labels 1; 1 is the default of the authors' code.
        gamma_negative: Exponent γ- of labels 0; 4 likewise.
        margin: Probability m below which a label 0 costs nothing; 0.05 likewise.

    Examples:
        >>> p = [[0.7, 0.2, 0.1]]
        >>> float(asymmetric_multi_label([[1, 0, 0]], p)[0])  # doctest: +ELLIPSIS
        0.1070...
    """
    # The powers have an infinite derivative at 0 for exponents below 1.
    shifted = ops.maximum(p - margin, EPSILON)
    positive = t * ops.power(ops.maximum(1.0 - p, EPSILON), gamma_positive) * log_p
    log_not_shifted = ops.log(ops.maximum(1.0 - shifted, EPSILON))
    return -positive - (1.0 - t) * ops.power(shifted, gamma_negative) * log_not_shifted


@registered
class AsymmetricMultiLabel(FunctionLoss):
    """Asymmetric loss of sigmoid outputs (Ridnik et al. 2021)."""

    function = staticmethod(asymmetric_multi_label)


@loss_over_classes(defaults={"class_reduction": "sum"})
def asymmetric_single_label(
    t, p, log_p, classes, *, gamma_positive=0.0, gamma_negative=4.0, smoothing=0.1
):
    """Asymmetric loss of a softmax: `-((1 - s) t + s/C) w log p`, w = (1 - p)^γ+ or p^γ-.

    Ridnik et al., Asymmetric Loss For Multi-Label Classification (2021), arXiv 2009.14119. The
    paper is about multi-label data; the definition is that of the authors' code (Alibaba-MIIL/ASL,
    `ASLSingleLabel`): w is (1 - p)^γ+ for the true class and p^γ- for the others, and C is the
    number of classes. Soft labels mix the two. Its label smoothing s is not that of the option
    `label_smoothing`, which also smooths the label that chooses w: leave that at 0.

    Use it as cross entropy with label smoothing that leaves improbable classes alone. With s = 0
    and γ+ = 0 it is cross entropy.

    Scale:
        With 10 classes the value is 2.095 for a uniform prediction, 16.76 for a certain and wrong
        one, and least for a certain and right one: 0. The gradient of a uniform prediction is
        0.96, 0.91 and 0.9 times cross entropy's with 2, 10 and 100 classes.

    Constants:
        gamma_positive: Exponent γ+ of the true class; 0 is the default of the authors' code.
        gamma_negative: Exponent γ- of the other classes; 4 likewise.
        smoothing: Share s of the label that is spread over the classes; 0.1 likewise.

    Examples:
        >>> p = [[0.7, 0.2, 0.1]]
        >>> float(asymmetric_single_label([[1, 0, 0]], p)[0])  # doctest: +ELLIPSIS
        0.3329...
    """
    positive = ops.power(ops.maximum(1.0 - p, EPSILON), gamma_positive)
    negative = ops.power(ops.maximum(p, EPSILON), gamma_negative)
    weight = t * positive + (1.0 - t) * negative
    return -((1.0 - smoothing) * t + smoothing / classes) * weight * log_p


@registered
class AsymmetricSingleLabel(FunctionLoss):
    """Asymmetric loss of a softmax (Ridnik et al. 2021)."""

    function = staticmethod(asymmetric_single_label)

"""Sparse label smoothing: label smoothing computed from p of the true class alone."""

from keras import ops

from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes
from nglkeras.losses.options import within
from nglkeras.losses.registration import registered


@loss_over_classes(
    label_only=True,
    defaults={"class_reduction": "sum"},
    checks={"smoothing": within("smoothing", "[0, 1)", lambda s: 0 <= s < 1)},
)
def sparse_lsr(t, p, log_p, classes, *, smoothing=0.1):
    """Sparse label smoothing: `-t ((1 - ξ + ξ/C) log p + ξ (C - 1)/C log((1 - p)/(C - 1)))`.

    Raymond, Chen, Xue and Zhang, Learning Symbolic Model-Agnostic Loss Functions via Meta-Learning
    (2022), arXiv 2209.08907, where it follows from a loss that the search EvoMAL found. C is the
    number of classes; 1 - p is at least 1e-7. The definition is that of the equations which the
    authors' repository shows (Decadz/Sparse-Label-Smoothing-Regularization). Its Python code adds
    the second term with the other sign, which would reward certainty; the equations' sign is used.

    Use it in place of cross entropy with label smoothing where classes are very many: only p of the
    true class is needed. It takes the other classes as equally probable, so it does not pull them
    together as label smoothing does.

    Scale:
        With 10 classes the value is 2.303 for a uniform prediction, 16.96 for a certain and wrong
        one, 1.648 for a certain and right one, and least at p = 0.910: 0.5003. With 2 classes it is
        least at p = 0.950: 0.1985. The gradient of a uniform prediction is 0.9, 0.9 and 0.9 times
        cross entropy's with 2, 10 and 100 classes.

    Constants:
        smoothing: Share ξ of the label that is spread over the classes; 0 is cross entropy, and 0.1
            our choice.

    Examples:
        >>> float(sparse_lsr([[1, 0, 0]], [[0.7, 0.2, 0.1]])[0])  # doctest: +ELLIPSIS
        0.4593...
    """
    log_others = ops.log(ops.maximum(1.0 - p, 1e-7) / (classes - 1))
    share = smoothing / classes
    return -t * ((1.0 - smoothing + share) * log_p + share * (classes - 1) * log_others)


@registered
class SparseLSR(FunctionLoss):
    """Sparse label smoothing (Raymond et al. 2022), from p of the true class alone."""

    function = staticmethod(sparse_lsr)

"""TaylorGLO: losses that are polynomials of label and prediction, with parameters from a search."""

import numpy as np

from nglkeras.errors import UserError
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.classwise import loss_over_classes
from nglkeras.losses.options import is_number
from nglkeras.losses.registration import registered

# Eight parameters h0 to h7 each, under their names in the authors' repository.
TAYLOR_GLO = {
    "LossFromMNIST": (-10.9408, 7.5216, 8.2896, 0.2415, 7.8726, 8.9666, 2.0184, 7.0513),
    "LossFromOldLossgaTaylor": (
        *(0.8439, 1.4872, 1.5742, -1.4446),
        *(2.3616, -0.6632, -2.8569, -1.1313),
    ),
}


def _check_parameters(parameters):
    if isinstance(parameters, str) and parameters in TAYLOR_GLO:
        return parameters
    numbers = parameters.tolist() if isinstance(parameters, np.ndarray) else parameters
    if isinstance(numbers, (list, tuple)) and len(numbers) == 8 and all(map(is_number, numbers)):
        return tuple(map(float, numbers))
    raise UserError(
        f"parameters={parameters!r} is neither eight numbers h0 to h7 nor one of: "
        + ", ".join(TAYLOR_GLO)
    )


@loss_over_classes(defaults={"class_reduction": "sum"}, checks={"parameters": _check_parameters})
def taylor_glo(t, p, *, parameters="LossFromMNIST"):
    """TaylorGLO: `-(h2 b + h3 b² + h4 b³ + h5 ab + h6 ab² + h7 a²b)`, a = t - h0, b = p - h1.

    The terms without p are left out: they have no gradient, and in float32 the parameters of MNIST
    would leave few digits of the others. Values so differ from the printed ones by an amount that
    depends on the label only, and may be negative.

    Gonzalez and Miikkulainen, Optimizing Loss Functions Through Multivariate Taylor Polynomial
    Parameterization (2021), arXiv 2002.00059, by the authors of paper B. The definition is that of
    the authors' code (cognizant-ai-labs/TaylorGLO), which sums over the classes; the parameters
    stand in its folder `experiments/oneShot`.

    Use it with parameters that were evolved for the data and network at hand. The sets here are the
    two that the repository names as found elsewhere and tried on CIFAR-10; parameters of the
    paper's other networks are not published with certainty. The best p is far below 1: monitor
    `val_accuracy`, not `val_loss`.

    Scale:
        With 10 classes the value is -1949 for a uniform prediction, -1803 for a certain and wrong
        one, -1945 for a certain and right one, and least at p = 0.531: -1979. With 2 classes it is
        least at p = 0.749: -1963. The gradient of a uniform prediction is 71, 14 and 1.4 times
        cross entropy's with 2, 10 and 100 classes.

    Constants:
        parameters: Numbers h0 to h7, or the name of a set: "LossFromMNIST", whose gradient is some
            14 times cross entropy's at the start of a training with ten classes, or
            "LossFromOldLossgaTaylor".

    Examples:
        >>> t, p = [[1, 0, 0]], [[0.7, 0.2, 0.1]]
        >>> values = taylor_glo(t, p, parameters="LossFromOldLossgaTaylor")
        >>> float(values[0])  # doctest: +ELLIPSIS
        -14.41...
    """
    h0, h1, h2, h3, h4, h5, h6, h7 = TAYLOR_GLO.get(parameters, parameters)
    a = t - h0
    # Coefficients of p and p², from the powers of p - h1; that of p³ is h4.
    first = h2 - 2 * h3 * h1 + 3 * h4 * h1**2 + (h5 - 2 * h6 * h1) * a + h7 * a * a
    second = h3 - 3 * h4 * h1 + h6 * a
    return -p * (first + p * (second + p * h4))


@registered
class TaylorGLO(FunctionLoss):
    """TaylorGLO (Gonzalez and Miikkulainen 2021): a polynomial of label and prediction."""

    function = staticmethod(taylor_glo)

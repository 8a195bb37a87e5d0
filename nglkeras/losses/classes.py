"""The losses of the two papers as Keras classes, which Keras reduces, weights, saves and loads.

The constructors take the arguments of the functions, and `reduction`, `name` and `dtype`.
"""

from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.functions import (
    baikal,
    baikal_cma,
    binary_ngl,
    f1,
    f2,
    f3,
    f4,
    formula_loss,
    ngl,
    sparse_ngl,
    symmetric_crossentropy,
)
from nglkeras.losses.registration import registered


@registered
class NGL(FunctionLoss):
    """Next Generation Loss, f5 of paper A (eq. 1): `exp(α - p(1 + t)) - cos(cos(sin p))`.

    Use `model.compile(loss=NGL())`, or `NGL(from_logits=True)` if the model returns logits.
    """

    function = staticmethod(ngl)


@registered
class SparseNGL(NGL):
    """Next Generation Loss for class indices: `NGL(sparse=True)`."""

    function = staticmethod(sparse_ngl)


@registered
class BinaryNGL(NGL):
    """Next Generation Loss for sigmoid outputs, binary or multi-label: `NGL(head="sigmoid")`.

    Each output counts as 2 classes.
    """

    function = staticmethod(binary_ngl)


@registered
class FormulaLoss(FunctionLoss):
    """The loss given by a formula, which its config holds."""

    function = staticmethod(formula_loss)


@registered
class F1(FunctionLoss):
    """f1 of paper A, reconstructed."""

    function = staticmethod(f1)
    reconstructed = True


@registered
class F2(FunctionLoss):
    """f2 of paper A, reconstructed."""

    function = staticmethod(f2)
    reconstructed = True


@registered
class F3(FunctionLoss):
    """f3 of paper A, reconstructed."""

    function = staticmethod(f3)
    reconstructed = True


@registered
class F4(FunctionLoss):
    """f4 of paper A (eq. B.1.4): `sin(sin(p - η) + t²)`, negative for good predictions."""

    function = staticmethod(f4)


@registered
class Baikal(FunctionLoss):
    """Baikal of paper B: `-(log p - t/p)`."""

    function = staticmethod(baikal)


@registered
class BaikalCMA(FunctionLoss):
    """BaikalCMA of paper B: `-2.7279 (0.9863 log(1.5352 p) - 1.8158 t/p)`."""

    function = staticmethod(baikal_cma)


@registered
class SymmetricCrossentropy(FunctionLoss):
    """Symmetric cross entropy (Wang et al. 2019): `-α t log p - β p log t`."""

    function = staticmethod(symmetric_crossentropy)

"""The losses as Keras classes, which Keras reduces, weights, saves and loads."""

from nglkeras.expression import Expression
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.functions import (
    ALPHA,
    baikal,
    baikal_cma,
    check_class_reduction,
    check_scaling,
    f1,
    f2,
    f3,
    f4,
    formula_loss,
    ngl,
    registered,
    sparse_ngl,
    symmetric_crossentropy,
)
from nglkeras.losses.labels import check_ignore_class


class _ClasswiseLoss(FunctionLoss):
    """A loss that is a sum or a mean over the classes.

    Args:
        from_logits: Whether `y_pred` holds logits instead of probabilities.
        label_smoothing: Share of the label that is spread evenly over the classes, in [0, 1).
        class_reduction: `"mean"` or `"sum"` over the classes.
        axis: Axis of the classes.
        **others: `reduction`, `name`, `dtype`: see `FunctionLoss`.
    """

    arguments = ("from_logits", "label_smoothing", "class_reduction", "axis")

    def __init__(
        self,
        *,
        from_logits=False,
        label_smoothing=0.0,
        class_reduction="mean",
        axis=-1,
        **others,
    ):
        super().__init__(**others)
        check_class_reduction(class_reduction)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing={label_smoothing!r} is not in [0, 1)")
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.class_reduction = class_reduction
        self.axis = axis


@registered
class NGL(_ClasswiseLoss):
    """Next Generation Loss for one-hot labels: see `ngl`.

    Use `model.compile(loss=NGL())`, or `NGL(from_logits=True)` if the model returns logits.

    Args:
        alpha: α of eq. 1; by default 2.4092, as evolved.
        scaling: `None`, or `"sigmoid"` for the variant of the authors' CIFAR-100 example.
        fast: Whether to use the compiled kernel; `None` uses it wherever it is valid.
        **shared: `from_logits`, `label_smoothing`, `class_reduction` ("mean" or "sum"), `axis`,
            `reduction`, `name`, `dtype`.
    """

    function = staticmethod(ngl)
    arguments = ("alpha", "scaling", "fast", *_ClasswiseLoss.arguments)

    def __init__(self, alpha=ALPHA, scaling=None, fast=None, **shared):
        super().__init__(**shared)
        check_scaling(scaling)
        self.alpha = alpha
        self.scaling = scaling
        self.fast = fast


@registered
class SparseNGL(NGL):
    """Next Generation Loss for integer labels: see `sparse_ngl`.

    Args:
        ignore_class: Integer label whose samples are ignored, e.g. 255 for void pixels.
        **others: As in `NGL`.
    """

    function = staticmethod(sparse_ngl)
    arguments = ("ignore_class", *NGL.arguments)

    def __init__(self, alpha=ALPHA, scaling=None, ignore_class=None, **others):
        super().__init__(alpha=alpha, scaling=scaling, **others)
        self.ignore_class = check_ignore_class(ignore_class)


@registered
class FormulaLoss(_ClasswiseLoss):
    """The loss given by a formula, which its config holds: see `formula_loss`.

    Args:
        formula: Formula for `Expression.parse`, e.g. `"exp(1 - y_pred*y_true)"`.
        **shared: As in `NGL`.

    Raises:
        UserError: If `formula` is not a formula.
    """

    function = staticmethod(formula_loss)
    arguments = ("formula", *_ClasswiseLoss.arguments)

    def __init__(self, formula, **shared):
        super().__init__(**shared)
        self.formula = str(Expression.parse(formula))


@registered
class F1(_ClasswiseLoss):
    """f1 of paper A, reconstructed: see `f1`. Takes `NGL`'s shared arguments."""

    function = staticmethod(f1)
    reconstructed = f1.reconstructed


@registered
class F2(_ClasswiseLoss):
    """f2 of paper A, reconstructed: see `f2`. Takes `NGL`'s shared arguments."""

    function = staticmethod(f2)
    reconstructed = f2.reconstructed


@registered
class F3(_ClasswiseLoss):
    """f3 of paper A, reconstructed: see `f3`. Takes `NGL`'s shared arguments."""

    function = staticmethod(f3)
    reconstructed = f3.reconstructed


@registered
class F4(_ClasswiseLoss):
    """f4 of paper A: see `f4`.

    Args:
        fast: As in `NGL`.
        **shared: As in `NGL`.
    """

    function = staticmethod(f4)
    arguments = ("fast", *_ClasswiseLoss.arguments)

    def __init__(self, fast=None, **shared):
        super().__init__(**shared)
        self.fast = fast


@registered
class Baikal(_ClasswiseLoss):
    """Baikal of paper B: see `baikal`. Takes `NGL`'s shared arguments."""

    function = staticmethod(baikal)


@registered
class BaikalCMA(_ClasswiseLoss):
    """BaikalCMA of paper B: see `baikal_cma`. Takes `NGL`'s shared arguments."""

    function = staticmethod(baikal_cma)


@registered
class SymmetricCrossentropy(_ClasswiseLoss):
    """Symmetric cross entropy (Wang et al. 2019): see `symmetric_crossentropy`.

    Args:
        alpha: Weight of the cross entropy.
        beta: Weight of the reverse cross entropy.
        class_reduction: `"sum"` over the classes as defined, or `"mean"`.
        **shared: As in `NGL`.
    """

    function = staticmethod(symmetric_crossentropy)
    arguments = ("alpha", "beta", *_ClasswiseLoss.arguments)

    def __init__(self, alpha=0.1, beta=1.0, class_reduction="sum", **shared):
        super().__init__(class_reduction=class_reduction, **shared)
        self.alpha = alpha
        self.beta = beta

"""The losses of the two papers, as Keras losses for TensorFlow, JAX and PyTorch.

Each loss is a pure function, which returns one value per sample, and a thin class around it,
which Keras reduces, saves and loads. `p` is the predicted probability of a class (`y_pred`,
the papers' y_pred or y) and `t` its label (`y_true`, the papers' y_real or x).

Paper A: Akhmedova and Körber, Next Generation Loss Function for Image Classification (2024),
arXiv 2404.12948. Paper B: Gonzalez and Miikkulainen, Improved Training Speed, Accuracy, and
Data Utilization Through Loss Function Optimization (2020), arXiv 1905.11528.

f1, f2 and f3 are reconstructions: equations B.1.1 to B.1.3 of paper A cannot be read in any
public copy. They carry `reconstructed = True`; nothing else is guessed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
from keras import ops

# The only way to tell Keras' reduction which pixels count; its own sparse loss does the same.
from keras.src.backend import set_keras_mask

from nglkeras.errors import unknown

registered = keras.saving.register_keras_serializable(package="nglkeras")

# The constants of paper A as printed; γ = 3.8235 occurs in none of the terms that can be read.
ALPHA, BETA, DELTA, ZETA, ETA = 2.4092, 1.5494, 3.1868, 2.4428, 2.6085

# Protects division, root and logarithm (paper A, section 3.1).
EPSILON = 1e-8

# Symmetric cross entropy clips predictions and labels before their logarithms are taken.
PREDICTION_CLIP, LABEL_CLIP = 1e-7, 1e-4

CLASS_REDUCTIONS = ("mean", "sum")
DAGGER = "†"
SCALINGS = (None, "sigmoid")


@registered
def ngl(
    y_true,
    y_pred,
    alpha=ALPHA,
    scaling=None,
    from_logits=False,
    label_smoothing=0.0,
    class_reduction="mean",
    axis=-1,
):
    """Next Generation Loss, f5 of paper A (eq. 1): `exp(α - p(1 + t)) - cos(cos(sin p))`.

    Args:
        y_true: One-hot (or soft) labels, the shape of `y_pred`, any dtype.
        y_pred: Probabilities, shape `[batch, ..., classes]`; logits with `from_logits`.
        alpha: α, 2.4092 as evolved.
        scaling: `"sigmoid"` puts the probabilities through a sigmoid first, as the CIFAR-100
            example of the paper's authors does; `None` is the printed formula.
        from_logits: Whether `y_pred` still has to go through a softmax.
        label_smoothing: The share of the label that is spread evenly over the classes, in [0, 1).
        class_reduction: `"mean"` over the classes as printed, or `"sum"`.
        axis: The axis of the classes.

    Returns:
        One value per sample (per pixel in dense prediction): the shape of `y_pred` without
        the class axis, float32 unless `y_pred` is float64.

    Example:
    >>> float(ngl([[0, 1]], [[0.2, 0.8]])[0])  # doctest: +ELLIPSIS
    5.034...
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    p = _scale(p, scaling)
    return _reduce(_ngl_exponential(t, p, alpha) - _ngl_cosine(p), class_reduction, axis)


@registered
def sparse_ngl(
    y_true,
    y_pred,
    alpha=ALPHA,
    scaling=None,
    from_logits=False,
    label_smoothing=0.0,
    ignore_class=None,
    class_reduction="mean",
    axis=-1,
):
    """`ngl` for integer labels, without ever building the one-hot tensor.

    Args:
        y_true: Class indices, integer or float dtype, the shape of `y_pred` without the class
            axis (a class axis of length 1 is accepted).
        y_pred: As in `ngl`.
        alpha: As in `ngl`.
        scaling: As in `ngl`.
        from_logits: As in `ngl`.
        label_smoothing: As in `ngl`.
        ignore_class: A label, such as 255 for void pixels, whose samples have loss and gradient
            zero and do not count in the mean; it need not be a valid index.
        class_reduction: As in `ngl`.
        axis: As in `ngl`.

    Returns:
        As `ngl`.
    """
    _check_class_reduction(class_reduction)
    p = _float32_at_least(y_pred)
    labels = ops.cast(_without_class_axis(y_true, p, axis), "int32")
    valid = None
    if ignore_class is not None:
        valid = ops.not_equal(labels, int(ignore_class))
        labels = ops.where(valid, labels, 0)
    if from_logits:
        p = ops.softmax(p, axis=axis)
    p = _scale(p, scaling)
    classes = p.shape[axis]
    t_other = label_smoothing / classes
    t_own = t_other + 1.0 - label_smoothing
    p_own = ops.take_along_axis(p, ops.expand_dims(labels, axis), axis=axis)

    # Every class as if it were not the label, and the correction for the one that is.
    others = ops.sum(_ngl_exponential(t_other, p, alpha) - _ngl_cosine(p), axis=axis)
    own = _ngl_exponential(t_own, p_own, alpha) - _ngl_exponential(t_other, p_own, alpha)
    values = others + ops.squeeze(own, axis=axis)
    if class_reduction == "mean":
        values = values / classes
    if valid is not None:
        values = ops.where(valid, values, 0.0)
        set_keras_mask(values, mask=valid)
    return values


@registered
def f1(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """f1 of paper A (eq. B.1.1, reconstructed): `exp(sin²t) / (2 √(|(β - t) p| + ε))`.

    Arguments and result as in `ngl`.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    terms = ops.exp(ops.square(ops.sin(t))) / (2.0 * ops.sqrt(ops.abs((BETA - t) * p) + EPSILON))
    return _reduce(terms, class_reduction, axis)


@registered
def f2(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """f2 of paper A (eq. B.1.2, reconstructed): `cos(-t) / (√(p+ε) + ε) (δt + p) + √(p+ε)`.

    Arguments and result as in `ngl`.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    root = ops.sqrt(p + EPSILON)
    terms = ops.cos(-t) / (root + EPSILON) * (DELTA * t + p) + root
    return _reduce(terms, class_reduction, axis)


@registered
def f3(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """f3 of paper A (eq. B.1.3, reconstructed): `√(|t / (p+ε) + p / (ζ+ε)| + ε)`.

    Arguments and result as in `ngl`.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    terms = ops.sqrt(ops.abs(t / (p + EPSILON) + p / (ZETA + EPSILON)) + EPSILON)
    return _reduce(terms, class_reduction, axis)


@registered
def f4(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """f4 of paper A (eq. B.1.4): `sin(sin(p - η) + t²)`.

    Arguments and result as in `ngl`. The values are negative for good predictions.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    return _reduce(ops.sin(ops.sin(p - ETA) + ops.square(t)), class_reduction, axis)


@registered
def baikal(y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1):
    """Baikal of paper B: `-(log p - t/p)`, where p is at least ε.

    Arguments and result as in `ngl`. The paper prints a mean over the classes, but its
    accuracies at its learning rate are those of the sum.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    p = ops.maximum(p, EPSILON)
    return _reduce(-(ops.log(p) - t / p), class_reduction, axis)


@registered
def baikal_cma(
    y_true, y_pred, from_logits=False, label_smoothing=0.0, class_reduction="mean", axis=-1
):
    """BaikalCMA of paper B: `-2.7279 (0.9863 log(1.5352 p) - 1.8158 t/p)`, p at least ε.

    Arguments and result as in `baikal`.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    p = ops.maximum(p, EPSILON)
    terms = -2.7279 * (0.9863 * ops.log(1.5352 * p) - 1.8158 * t / p)
    return _reduce(terms, class_reduction, axis)


@registered
def symmetric_crossentropy(
    y_true,
    y_pred,
    alpha=0.1,
    beta=1.0,
    from_logits=False,
    label_smoothing=0.0,
    class_reduction="sum",
    axis=-1,
):
    """Symmetric cross entropy: `-α t log p - β p log t` (Wang et al. 2019, arXiv 1908.06112).

    Predictions are clipped at 1e-7 and labels at 1e-4 before their logarithms, as in its
    authors' code.

    Args:
        y_true: As in `ngl`.
        y_pred: As in `ngl`.
        alpha: Weight of the cross entropy; its authors use 0.1 for CIFAR-10, 6 for CIFAR-100.
        beta: Weight of the reverse cross entropy; 1 for CIFAR-10, 0.1 for CIFAR-100.
        from_logits: As in `ngl`.
        label_smoothing: As in `ngl`.
        class_reduction: `"sum"` over the classes as defined, or `"mean"`.
        axis: As in `ngl`.

    Returns:
        As `ngl`.
    """
    t, p = _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis)
    log_p = ops.log(ops.clip(p, PREDICTION_CLIP, 1.0))
    log_t = ops.log(ops.clip(t, LABEL_CLIP, 1.0))
    return _reduce(-alpha * t * log_p - beta * p * log_t, class_reduction, axis)


def _ngl_exponential(t, p, alpha):
    return ops.exp(alpha - p * (1.0 + t))


def _ngl_cosine(p):
    return ops.cos(ops.cos(ops.sin(p)))


def _scale(p, scaling):
    _check_scaling(scaling)
    return ops.sigmoid(p) if scaling == "sigmoid" else p


def _check_scaling(scaling):
    if scaling not in SCALINGS:
        raise unknown("scaling", scaling, map(str, SCALINGS))


def _reduce(terms, class_reduction, axis):
    _check_class_reduction(class_reduction)
    return ops.mean(terms, axis=axis) if class_reduction == "mean" else ops.sum(terms, axis=axis)


def _check_class_reduction(class_reduction):
    if class_reduction not in CLASS_REDUCTIONS:
        raise unknown("class_reduction", class_reduction, CLASS_REDUCTIONS)


def _float32_at_least(x):
    """A tensor in float32 or float64: in float16 and bfloat16 ε = 1e-8 is lost."""
    x = ops.convert_to_tensor(x)
    is_wide = keras.backend.standardize_dtype(x.dtype) in ("float32", "float64")
    return x if is_wide else ops.cast(x, "float32")


def _labels_and_probabilities(y_true, y_pred, from_logits, label_smoothing, axis):
    """(t, p): checked, in the dtype of the computation, smoothed, softmax applied."""
    p = _float32_at_least(y_pred)
    t = ops.convert_to_tensor(y_true)
    if len(t.shape) != len(p.shape) or t.shape[axis] != p.shape[axis]:
        raise ValueError(
            f"y_true of shape {tuple(t.shape)} is not one-hot over the classes of y_pred, shape "
            f"{tuple(p.shape)}; for integer class labels use SparseNGL"
        )
    t = ops.cast(t, p.dtype)
    if label_smoothing:
        t = t * (1.0 - label_smoothing) + label_smoothing / p.shape[axis]
    return t, (ops.softmax(p, axis=axis) if from_logits else p)


def _without_class_axis(y_true, y_pred, axis):
    labels = ops.convert_to_tensor(y_true)
    if len(labels.shape) == len(y_pred.shape) and labels.shape[axis] == 1:
        labels = ops.squeeze(labels, axis=axis)
    if len(labels.shape) != len(y_pred.shape) - 1:
        raise ValueError(
            f"y_true of shape {tuple(labels.shape)} does not hold one class index for each "
            f"prediction of y_pred, shape {tuple(y_pred.shape)}; for one-hot labels use NGL"
        )
    return labels


class _ClasswiseLoss(keras.losses.Loss):
    """A Keras loss around one of the functions above.

    Args:
        from_logits: Whether `y_pred` still has to go through a softmax.
        label_smoothing: The share of the label that is spread evenly over the classes.
        class_reduction: `"mean"` or `"sum"` over the classes.
        axis: The axis of the classes.
        reduction: Keras' reduction over the samples.
        name: The name of the loss; that of its function by default.
        dtype: Dtype of the computation; Keras' floatx by default, float32 at least.
    """

    function: Callable
    arguments: tuple[str, ...] = ("from_logits", "label_smoothing", "class_reduction", "axis")
    reconstructed = False

    def __init__(
        self,
        *,
        from_logits=False,
        label_smoothing=0.0,
        class_reduction="mean",
        axis=-1,
        reduction="sum_over_batch_size",
        name=None,
        dtype=None,
    ):
        super().__init__(name=name or self.function.__name__, reduction=reduction, dtype=dtype)
        _check_class_reduction(class_reduction)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing={label_smoothing!r} is not in [0, 1)")
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.class_reduction = class_reduction
        self.axis = axis
        self._requested_dtype = getattr(dtype, "name", dtype)

    def _own_arguments(self):
        return {argument: getattr(self, argument) for argument in self.arguments}

    def call(self, y_true, y_pred):
        """One value per sample, as the function gives it; Keras reduces."""
        return self.function(y_true, y_pred, **self._own_arguments())

    def get_config(self):
        """Every argument of the constructor."""
        return super().get_config() | self._own_arguments() | {"dtype": self._requested_dtype}


@registered
class NGL(_ClasswiseLoss):
    """Next Generation Loss for one-hot labels: see `ngl`.

    `model.compile(loss=NGL())` is all it takes; with a model that ends in logits,
    `NGL(from_logits=True)`.

    Args:
        alpha: α of eq. 1, 2.4092 as evolved.
        scaling: `None`, or `"sigmoid"` for the variant of the authors' CIFAR-100 example.
        **shared: `from_logits`, `label_smoothing`, `class_reduction` ("mean" or "sum"), `axis`,
            `reduction`, `name`, `dtype`.
    """

    function = staticmethod(ngl)
    arguments = ("alpha", "scaling", *_ClasswiseLoss.arguments)

    def __init__(self, alpha=ALPHA, scaling=None, **shared):
        super().__init__(**shared)
        _check_scaling(scaling)
        self.alpha = alpha
        self.scaling = scaling


@registered
class SparseNGL(NGL):
    """Next Generation Loss for integer labels: see `sparse_ngl`.

    Args:
        ignore_class: A label whose samples do not count, e.g. 255 for void pixels.
        **shared: As in `NGL`.
    """

    function = staticmethod(sparse_ngl)
    arguments = ("ignore_class", *NGL.arguments)

    def __init__(self, alpha=ALPHA, scaling=None, ignore_class=None, **shared):
        super().__init__(alpha=alpha, scaling=scaling, **shared)
        self.ignore_class = ignore_class


@registered
class F1(_ClasswiseLoss):
    """f1 of paper A, reconstructed: see `f1`. Takes `NGL`'s shared arguments."""

    function = staticmethod(f1)
    reconstructed = True


@registered
class F2(_ClasswiseLoss):
    """f2 of paper A, reconstructed: see `f2`. Takes `NGL`'s shared arguments."""

    function = staticmethod(f2)
    reconstructed = True


@registered
class F3(_ClasswiseLoss):
    """f3 of paper A, reconstructed: see `f3`. Takes `NGL`'s shared arguments."""

    function = staticmethod(f3)
    reconstructed = True


@registered
class F4(_ClasswiseLoss):
    """f4 of paper A: see `f4`. Takes `NGL`'s shared arguments."""

    function = staticmethod(f4)


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


@dataclass(frozen=True)
class Row:
    """A loss under the name that its row has in the papers' tables.

    Attributes:
        name: The row, e.g. `"CE + L2"`.
        make: Builds the Keras loss.
        l2: Factor of the L2 penalty that the model's kernels carry with this row.
    """

    name: str
    make: Callable[..., keras.losses.Loss]
    l2: float = 0.0

    @property
    def reconstructed(self) -> bool:
        """Whether the formula is a guess at an illegible one."""
        return getattr(self.make, "reconstructed", False)

    @property
    def label(self) -> str:
        """The name in print: "f5 (NGL)" for NGL, a dagger on reconstructions."""
        name = "f5 (NGL)" if self.name == "NGL" else self.name
        return name + (DAGGER if self.reconstructed else "")


# Paper A names the L2 row but no factor: 1e-4 is our choice. Focal: γ = 2, α = 0.25 is Keras'
# default and Lin et al.'s.
ROWS = {
    row.name: row
    for row in (
        Row("CE", keras.losses.CategoricalCrossentropy),
        Row("SCE", SymmetricCrossentropy),
        Row("Focal", keras.losses.CategoricalFocalCrossentropy),
        Row("CE + L2", keras.losses.CategoricalCrossentropy, l2=1e-4),
        Row("f1", F1),
        Row("f2", F2),
        Row("f3", F3),
        Row("f4", F4),
        Row("NGL", NGL),
        Row("NGL (sigmoid)", partial(NGL, scaling="sigmoid")),
        Row("Baikal", Baikal),
        Row("BaikalCMA", BaikalCMA),
    )
}
_PLAIN_NAMES = {name.lower().replace(" ", ""): name for name in ROWS} | {
    "f5": "NGL",
    "f5(ngl)": "NGL",
}


def row(name: str) -> Row:
    """The row of a loss by its name in the papers' tables, whatever its case and spaces.

    Raises:
        UserError: If there is no such row; the message lists them.
    """
    plain = str(name).lower().replace(" ", "")
    if plain not in _PLAIN_NAMES:
        raise unknown("loss", name, ROWS)
    return ROWS[_PLAIN_NAMES[plain]]


def get(name: str, **arguments) -> keras.losses.Loss:
    """The Keras loss of a row of the papers' tables, e.g. `get("NGL")`.

    "CE + L2" is the cross entropy; its penalty belongs on the model's kernels: see `Row.l2`.

    Args:
        name: "CE", "SCE", "Focal", "CE + L2", "f1" to "f4", "NGL" (or "f5 (NGL)"),
            "NGL (sigmoid)" (as in the authors' CIFAR-100 example), "Baikal" or "BaikalCMA".
        **arguments: For the constructor of the loss.

    Raises:
        UserError: If there is no such row; the message lists them.
    """
    return row(name).make(**arguments)

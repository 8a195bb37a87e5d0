"""Find losses that need no training: out of bounds, without a useful gradient, or twins.

A tree is evaluated on fixed random points in float64. Two trees with the same values and gradients
there are the same function. Two trees whose gradients with respect to the logits agree up to a
positive factor train alike under an optimizer to which the scale of gradients does not matter,
such as Adam; under SGD the gradients themselves must agree. Each check can be switched off.
Without all of them the search is that of paper A; `bounds` are the paper's rule on discarded
losses.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.expression import Expression

# Checks that can spare a training: see `with_checks`.
CHECKS = ("duplicates", "equals", "gradients", "rejection")

# A loss whose values leave these bounds is discarded (paper A, section 4.1). The exponents are a
# reading: no public copy shows them legibly ("[10^-?, 10^?]"), and none says of which values.
BOUNDS = (1e-5, 1e5)
GRADIENTS = ("scaled", "exact", "off")
_POINTS = 64
# Tolerance relative to the greatest entry of a sample: the rounding errors of a hundred float64
# operations stay below it, the differences between two functions do not in every sample. The slack
# is for entries that would be 0 without rounding.
_TOLERANCE, _SLACK = 1e-8, 1e-13
# Gradients whose scales differ more, or are less, must be equal to be twins: Adam's ε = 1e-7 makes
# a difference there.
_MAX_SCALE, _LEAST_SCALE = 1e3, 1e-3
# NumPy by another name: with NumPy itself, expressions compute in float64 whatever they are given.
_NUMPY = SimpleNamespace(**vars(np))
# The rejection test: number of samples, of steps, length of a step, least gain of accuracy.
_LOGITS, _STEPS, _STEP, _GAIN = 256, 20, 0.5, 0.1


@dataclass(frozen=True)
class Screening:
    """The checks before a candidate is trained.

    Attributes:
        bounds: (low, high): discard a loss with absolute values outside, as the paper does; `None`
            keeps all. The default is our reading of the paper's range, whose exponents are
            illegible.
        duplicates: Skip trees that have been evaluated already.
        equals: Skip trees with the same values as an evaluated tree.
        gradients: Skip trees with the same gradient with respect to the logits of a softmax as an
            evaluated tree: "scaled", up to a positive factor (for Adam), "exact" (for SGD), or
            "off"; `None` for those of the fitness, "exact" without one. If the learning rate falls
            on a plateau of the loss, a factor can still matter: Keras asks for an improvement of
            1e-4, whatever the scale.
        rejection: Reject trees whose gradient does not favour the true class: gradient descent on
            free logits must improve the accuracy.
    """

    bounds: tuple[float, float] | None = BOUNDS
    duplicates: bool = True
    equals: bool = True
    gradients: str | None = None
    rejection: bool = True

    def __post_init__(self):
        check_bounds(self.bounds)
        if self.gradients not in (None, *GRADIENTS):
            raise unknown("gradients", self.gradients, GRADIENTS)
        for name in ("duplicates", "equals", "rejection"):
            if not isinstance(value := getattr(self, name), bool):
                raise UserError(f"{name}={value!r} is neither True nor False")


def check_bounds(bounds: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return valid bounds.

    Raises:
        UserError: If they are not two finite numbers with 0 <= low < high.
    """
    try:
        if bounds is None or (len(bounds) == 2 and 0 <= bounds[0] < bounds[1] < np.inf):
            return bounds
    except TypeError:
        pass
    raise UserError(
        f"bounds={bounds!r} are not two finite numbers LOW and HIGH with 0 <= LOW < HIGH; "
        "None stands for no bounds"
    )


def with_checks(
    checks: Collection[str],
    *,
    gradients: str = "exact",
    bounds: tuple[float, float] | None = BOUNDS,
) -> Screening:
    """Return the screening with these checks only.

    Raises:
        UserError: If there is no such check.
    """
    for name in checks:
        if name not in CHECKS:
            raise unknown("check", name, CHECKS)
    return Screening(
        bounds,
        duplicates="duplicates" in checks,
        equals="equals" in checks,
        gradients=gradients if "gradients" in checks else "off",
        rejection="rejection" in checks,
    )


# Paper A's search: nothing is skipped.
PAPER = with_checks(())


@dataclass(frozen=True)
class Verdict:
    """The result of screening a tree.

    Attributes:
        status: "new" (it must be trained), "discarded", "rejected" or "twin".
        twin: Id of the individual whose evaluation it shares.
        message: The reason; for a twin "duplicate", "equal" or "gradient".
    """

    status: str
    twin: str = ""
    message: str = ""


class Screen:
    """Checks trees and remembers those that have been evaluated.

    Args:
        screening: The checks.
        classes: Number of classes N of the task.
        values: Maps a tree to the losses of further samples, such as a batch under the untrained
            model, which must be within the bounds too.
        refuse: Maps a tree to the reason why it cannot be trained; to "" if it can.
        soft_labels: Whether some labels are neither 0 nor 1.
    """

    def __init__(
        self,
        screening: Screening | None = None,
        classes: int = 10,
        values: Callable[[Expression], np.ndarray] | None = None,
        refuse: Callable[[Expression], str] | None = None,
        soft_labels: bool = False,
    ):
        self.screening = Screening() if screening is None else screening
        self.classes = classes
        self.values = values
        self.refuse = refuse
        self._formulas: dict[str, str] = {}
        self._ids: list[str] = []
        self._values: list[np.ndarray] = []
        self._gradients: list[np.ndarray] = []
        # The greatest absolute gradient of each.
        self._scales: list[float] = []
        random = np.random.default_rng(0)
        self._t, self._p = random_samples(random, _POINTS, classes)
        if soft_labels:
            # On 0 and 1 alone t and its powers are one.
            self._t = np.concatenate([self._t, 0.9 * self._t + 0.1 / classes])
            self._p = np.tile(self._p, (2, 1))
        self._logits = random.normal(size=(_LOGITS, classes))
        self._labels = np.eye(classes)[random.integers(0, classes, _LOGITS)]

    def judge(self, expression: Expression) -> Verdict:
        """Return whether a tree must be trained and, if not, the reason."""
        screening = self.screening
        formula = str(expression)
        if screening.duplicates and formula in self._formulas:
            return Verdict("twin", self._formulas[formula], "duplicate")
        # Paper A makes no such trees, and paper B gives them fitness 0.
        if not expression.has_both_terminals:
            return Verdict("rejected", message="without both y_true and y_pred")
        if screening.bounds is not None:
            message = self._out_of_bounds(expression)
            if message:
                return Verdict("discarded", message=message)
        twin, kind = self._find_twin(expression)
        if twin:
            return Verdict("twin", twin, kind)
        if screening.rejection and not self._teaches(expression):
            return Verdict("rejected", message="its gradient does not favour the true class")
        if self.refuse is not None:
            message = self.refuse(expression)
            if message:
                return Verdict("rejected", message=message)
        return Verdict("new")

    def remember(self, id: str, expression: Expression) -> None:  # noqa: A002
        """Remember a tree that is evaluated; later twins refer to its id."""
        self._formulas.setdefault(str(expression), id)
        self._ids.append(id)
        values, gradients = self._fingerprint(expression)
        self._values.append(values)
        self._gradients.append(gradients)
        self._scales.append(np.abs(gradients).max())

    def are_one_function(self, expressions: Iterable[Expression]) -> bool:
        """Return whether all of these trees have the same formula or the same values."""
        first, *others = dict.fromkeys(expressions)
        values = first(self._t, self._p)
        return all(_alike([other(self._t, self._p)], values) for other in others)

    def _out_of_bounds(self, expression):
        values = expression.of_samples(self._t, self._p)
        if self.values is not None:
            values = np.concatenate([values, np.ravel(self.values(expression))])
        low, high = self.screening.bounds
        size = np.abs(values)
        # NaN is within no bounds.
        if not (size <= high).all():
            return f"values beyond {high:g}"
        return "" if (size >= low).all() else f"values below {low:g}"

    def _fingerprint(self, expression):
        """Return values and logit gradients on the fixed points, `[points, classes]` each."""
        return expression(self._t, self._p), logits_gradient(expression, self._t, self._p)

    def _find_twin(self, expression):
        """Return the id of an evaluated tree that trains alike, and the reason; else empty text."""
        values, gradients = self._fingerprint(expression)
        if not self._ids or not (np.isfinite(values).all() and np.isfinite(gradients).all()):
            return "", ""
        same = _alike(self._gradients, gradients)
        if self.screening.equals:
            for i in same:
                if _alike([self._values[i]], values):
                    return self._ids[i], "equal"
        if self.screening.gradients == "off":
            return "", ""
        scale = np.abs(gradients).max()
        if self.screening.gradients == "scaled" and scale > 0:
            scales = np.array(self._scales)
            with np.errstate(all="ignore"):
                is_near = np.abs(np.log(scales / scale)) <= np.log(_MAX_SCALE)
                is_near &= np.minimum(scales, scale) >= _LEAST_SCALE
                is_near[same] = True
                same = [i for i in _alike(self._gradients, gradients / scale, scales) if is_near[i]]
        return (self._ids[same[0]], "gradient") if same else ("", "")

    def _teaches(self, expression):
        """Return whether gradient descent on free logits improves the accuracy."""
        logits = self._logits.copy()
        truth = self._labels.argmax(axis=1)
        before = (logits.argmax(axis=1) == truth).mean()
        for _ in range(_STEPS):
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            p = odds / odds.sum(axis=1, keepdims=True)
            gradient = np.nan_to_num(logits_gradient(expression, self._labels, p))
            with np.errstate(all="ignore"):
                length = np.linalg.norm(gradient, axis=1, keepdims=True)
                # A step of the same length for every sample, whatever the scale of the loss.
                logits -= _STEP * np.nan_to_num(gradient / length)
        return (logits.argmax(axis=1) == truth).mean() >= before + _GAIN


def random_samples(
    random: np.random.Generator, count: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return one-hot labels and predictions, from nearly even ones to nearly certain ones.

    Args:
        random: Draws them.
        count: Number of samples, a multiple of 4.
        classes: Number of classes.
    """
    spread = np.repeat([0.3, 1.0, 3.0, 10.0], count // 4)
    p = np.stack([random.dirichlet(np.full(classes, a)) for a in spread])
    return np.eye(classes)[random.integers(0, classes, count)], p


def greatest(size: np.ndarray) -> float:
    """Return the greatest of absolute values `[points, classes]`, but at most 1000 typical ones.

    A pole at one point, such as that of 1/p near 0, says nothing about rounding errors elsewhere.
    """
    of_points = size.max(axis=-1)
    positive = of_points[of_points > 0]
    return min(of_points.max(), 1e3 * np.median(positive)) if len(positive) else 0.0


def _alike(known, new, scales=None):
    """Return the numbers of the known values that agree with new ones, `[points, classes]` each.

    Known values are divided by their scales, where there are any.
    """
    scales = np.ones(len(known)) if scales is None else scales
    size = np.abs(new)
    allowed = _TOLERANCE * size.max(axis=1, keepdims=True) + _SLACK * greatest(size)
    with np.errstate(all="ignore"):
        # Most differ at the first point: with many classes the others cost much more.
        first = np.stack([one[0] for one in known]) / scales[:, None]
        near = np.flatnonzero((np.abs(first - new[0]) <= allowed[0]).all(axis=1))
        return [i for i in near if (np.abs(known[i] / scales[i] - new) <= allowed).all()]


def logits_gradient(
    expression: Expression, t: np.ndarray, p: np.ndarray, dtype: str = "float64"
) -> np.ndarray:
    """Return the gradient of a loss, the mean over the classes, with respect to the logits of p.

    Args:
        expression: The loss of one class.
        t: Labels.
        p: Probabilities in the same shape.
        dtype: Of the slopes by p; "float32" for those that a training sees.
    """
    return by_logits(slopes(expression, t, p, dtype), p)


def slopes(expression: Expression, t: np.ndarray, p: np.ndarray, dtype: str) -> np.ndarray:
    """Return the derivatives of the loss of each class by p, in float64, computed in a dtype.

    Precision matters for log(1), which is ε in float64 and 0 in float32.
    """
    return expression.value_and_slope(t.astype(dtype), p.astype(dtype), _NUMPY)[1].astype(float)


def by_logits(slope: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the gradient by the logits of p for the slopes of the classes by p, as above."""
    with np.errstate(all="ignore"):
        return p * (slope - (p * slope).sum(axis=-1, keepdims=True)) / p.shape[-1]

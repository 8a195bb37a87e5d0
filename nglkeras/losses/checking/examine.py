"""Examine one output of a model with its loss and its labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from nglkeras.errors import UserError
from nglkeras.losses import heads
from nglkeras.losses.checking import mistakes
from nglkeras.losses.checking.mistakes import Rows
from nglkeras.losses.checking.point import Point
from nglkeras.losses.checking.traits import Traits

# A class is rare if another is so many times more frequent, and there are so many labels a class.
_UNEVEN, _ENOUGH = 10, 20


@dataclass(frozen=True)
class Output:
    """What was found for one output of a model.

    Attributes:
        shape: Shape of the output.
        head: "softmax", "sigmoid" or "logits": what the output looks like.
        loss: Name of the loss.
        problems: What would make a training wrong.
        notes: Advice.
        saturated: Share of samples whose gradient by the logits is at most 1e-6 of the largest, in
            the batch or at equal probabilities. `None` if a problem forbids to compute it.
        gradient_ratio: Size of the gradient by the logits against cross entropy's for the same
            outputs. `None` as above, or if there is no cross entropy to compare with.
        name: Name of the output.
    """

    shape: tuple[int, ...]
    head: str
    loss: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    saturated: float | None = None
    gradient_ratio: float | None = None
    name: str = ""

    @property
    def learning_rate_factor(self) -> float | None:
        """Factor on cross entropy's learning rate with which SGD's steps have the same size."""
        return 1 / self.gradient_ratio if self.gradient_ratio else None

    def __str__(self):
        text = f"{self.name} {self.shape}: {self.head}, {self.loss}"
        if self.saturated is not None:
            text += f", {self.saturated:.0%} of samples saturated"
        if self.gradient_ratio is not None:
            text += f", gradient {self.gradient_ratio:.3g} of cross entropy's"
        return text


def examine(
    expected: Traits,
    output: object,
    noisy: Sequence[object],
    labels: np.ndarray,
    every: np.ndarray,
    varied: bool,
) -> Output:
    """Return what is found for one output.

    Args:
        expected: What the loss expects.
        output: The output, a tensor.
        noisy: The output for fewer samples with noise in the last weights, of size 1 and of the
            sizes `heads.FAR`; empty where Keras cannot compute it.
        labels: Labels of the output's samples.
        every: Labels of more samples, for what can be seen without an output.
        varied: Whether the inputs are finite and differ.
    """
    shape = tuple(output.shape)
    axis = expected.axis if -len(shape) <= expected.axis < len(shape) else -1
    both = [output, *noisy[:1]]
    found = heads.kind(both, axis)
    look = Output(shape, found, expected.name)
    p = heads.rows(output, axis)
    bad = ~np.isfinite(p).all(axis=1)
    problems = [f"{bad.sum()} of {len(p)} outputs are NaN or infinite"] if bad.any() else []
    problems += mistakes.of_shapes(expected, labels, output)
    if problems:
        return replace(look, problems=tuple(problems))
    notes, some = [*_on_outputs(expected, found, output)], None
    if expected.head is not None:
        some, many = (Rows.of(expected, y, shape, axis) for y in (labels, every))
        other_axis = heads.other_axis(output, axis)
        problems += mistakes.of_head(expected, found, p, many.several, other_axis)
        if expected.from_logits and found == "logits":
            problems += filter(None, [heads.cut_off(noisy[1:], axis)])
        problems += mistakes.of_labels(expected, many)
        # Wrong labels cannot be counted.
        if not problems:
            counts = many.counts(expected.head)
            problems += mistakes.of_weights(expected, counts)
            notes += _on_counts(expected, counts)
    elif expected.is_overlap:
        problems += mistakes.of_head(expected, found, p, several=False, other_axis=None)
    if not problems and (some is None or some.kept.any()):
        try:
            point = Point(expected, p, shape, axis, found, labels, some)
            problems += point.problems()
            problems = problems or [*_of_constancy(both, axis, varied)]
            notes += [] if problems else point.notes()
            look = replace(look, saturated=point.saturated, gradient_ratio=point.ratio)
        # A loss of one's own may raise anything.
        except Exception as error:
            what = "" if isinstance(error, UserError) else f"{expected.name} cannot be computed: "
            problems.append(what + heads.reason(error))
    return replace(look, problems=tuple(problems), notes=tuple(notes))


def _on_outputs(expected, found, output):
    """Yield advice on the last layer."""
    if heads.is_short(output) and found != "logits":
        dtype = keras.backend.standardize_dtype(output.dtype)
        yield (
            f"the outputs are {heads.NAMES[found]} in {dtype}, which has few digits for "
            'probabilities near 0 and 1: give the last layer dtype="float32"'
        )
    if found == "softmax" and expected.head == "sigmoid":
        yield (
            f"the outputs are those of a softmax, and {expected.name} takes each on its own: a "
            "loss over classes fits better"
        )


def _on_counts(expected, counts):
    """Yield advice on classes that are rare."""
    counts = counts[0] if expected.head == "sigmoid" and len(counts) == 1 else counts
    occurring = counts[counts > 0]
    is_even = occurring.max() <= _UNEVEN * occurring.min()
    if is_even or counts.ndim > 1 or occurring.sum() < _ENOUGH * len(counts):
        return
    if expected.class_weights is None:
        rare = int(np.where(counts > 0, counts, np.inf).argmin())
        weigh = "give fit class_weight"
        if "class_weights" in expected.options:
            weigh = "give the loss class_weights=nglkeras.losses.balanced(counts)"
        yield (
            f"class {int(counts.argmax())} has {counts.max():g} labels and class {rare} has "
            f"{counts[rare]:g}: {weigh} if they are equally important"
        )


def _of_constancy(both, axis, varied):
    """Yield what is wrong if the output does not depend on the input."""
    if len(both) < 2 or not varied:
        return
    own, other = (heads.rows(one, axis) for one in both)
    # Weights of zero before the output give a constant, too: other ones must not.
    is_moved = not np.allclose(own[: len(other)], other)
    if is_moved and all(np.ptp(p, axis=0).max() <= 1e-7 * np.abs(p).max() for p in (own, other)):
        yield (
            "the output is the same for every input, with other last weights too: the layer before "
            "it does not depend on the input"
        )

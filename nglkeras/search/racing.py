"""Racing: a training that falls behind what every survivor had at the same moment is stopped.

A candidate is stopped after an epoch if the best that it has had so far in this run is below the
mean that each survivor had up to that epoch of that run. This is the median stopping rule of Vizier
(Golovin et al. 2017) with the lowest survivor in place of the median. A single epoch of a loss is
noisy; its best against a mean is a lenient comparison. After a run that is not the last, the mean
of the runs so far is compared with the lowest that a survivor had after as many: a candidate gets
further networks only while it would survive.

The bars follow from the evaluations of the survivors at the beginning of a generation, which the
journal holds. Neither the order of the trainings nor an interruption changes them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite

import numpy as np

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.search.strategy import Evaluation, Member

# Chosen on the journal of `results/search/small_cnn_mnist`: 62 % of the epochs are saved, and none
# of the losses that came to survive is stopped; without a margin 68 % and four.
MARGIN = 0.01
# Keys of an evaluation's details: the validation after each epoch of each run; and how many epochs
# were trained, of how many.
CURVES, EPOCHS = "curves", "epochs"
# Accuracies are computed in float32, where equal numbers of hits may differ in the last digit:
# curves are kept to the digits of float32, and bars are lower by this share.
_SLACK = 1e-6
_DIGITS = 8


@dataclass(frozen=True)
class Racing:
    """When a training is stopped before its end.

    Attributes:
        margin: How far a candidate may be below the survivors, in the unit of the fitness. The
            default is made for shares of 1 such as accuracies.
    """

    margin: float = MARGIN

    def __post_init__(self):
        margin = self.margin
        is_number = isinstance(margin, int | float) and not isinstance(margin, bool)
        if not (is_number and isfinite(margin) and margin >= 0):
            raise UserError(f"margin={margin!r} is not a number of at least 0")

    @property
    def settings(self) -> dict:
        """The settings that a journal has of it."""
        return {"racing": {name: float(value) for name, value in asdict(self).items()}}


def read(racing: object, *, runs: int, epochs: int, datasets: int = 1) -> Racing | None:
    """Return how to race: `True` stands for `Racing()`, `False` and `None` for not at all.

    Raises:
        UserError: If it is something else, or no training could be stopped before its end.
    """
    if racing is None or racing is False:
        return None
    if racing is not True and not isinstance(racing, Racing):
        raise UserError(f"racing={racing!r} is neither True, False nor a Racing, e.g. Racing(0.01)")
    if not is_possible(runs=runs, epochs=epochs, datasets=datasets):
        why = "over several data sets it looks after each run, and there is one"
        if datasets == 1:
            why = "there is one epoch of one run, and so no moment to stop at"
        raise UserError(f"racing is not possible: {why}")
    return Racing() if racing is True else racing


def is_possible(*, runs: int, epochs: int, datasets: int = 1) -> bool:
    """Return whether there is a moment to stop a candidate at."""
    return runs > 1 or (epochs > 1 and datasets == 1)


@dataclass(frozen=True)
class Bars:
    """What a candidate must reach in order to go on.

    Attributes:
        epochs: Bars after each epoch of each run.
        runs: Bars for the mean of the runs so far, after each run.
    """

    epochs: tuple[tuple[float, ...], ...] = ()
    runs: tuple[float, ...] = ()

    def in_run(self, run: int) -> tuple[float, ...]:
        """Return the bars after each epoch of a run; empty where there are none."""
        return self.epochs[run] if run < len(self.epochs) else ()

    def problem(self, mean: float, run: int) -> str:
        """Return why a candidate with this mean after this run, from 0, stops; "" if it goes on."""
        if run >= len(self.runs) or mean >= self.runs[run]:
            return ""
        networks = "network 1" if run == 0 else f"{run + 1} networks"
        return f"{mean:.4f} after {networks}, below {self.runs[run]:.4f}, the lowest survivor"


def bars(
    racing: Racing,
    rivals: Iterable[Member],
    of: Callable[[dict], tuple[Sequence[Sequence[float]], Sequence[float]]],
) -> Bars:
    """Return the bars of a generation; there are none without rivals.

    Args:
        racing: The margin.
        rivals: What a candidate must not fall behind; see `Strategy.rivals`.
        of: Returns the curves of a rival by run, empty for no bars after epochs, and its measure
            after each run, from the details of its evaluation.
    """
    try:
        found = [of(member.evaluation.details) for member in rivals]
        curves = [[_means(curve) for curve in one] for one, _ in found]
    except (KeyError, TypeError, ValueError):
        # A journal that was written by hand; nobody is stopped without a reason.
        return Bars()
    if not found:
        return Bars()

    def lowest(values):
        value = min(values)
        return value - racing.margin - _SLACK * abs(value)

    epochs = []
    for many in zip(*curves, strict=False):
        # A callback may have ended a training early: what it had at its end stands for the rest.
        length = max(map(len, many), default=0)
        padded = [[*curve, *curve[-1:] * (length - len(curve))] for curve in many if curve]
        epochs.append(tuple(map(lowest, zip(*padded, strict=True))))
    runs = tuple(map(lowest, zip(*(ends for _, ends in found), strict=False)))
    return Bars(tuple(epochs), runs)


def _means(curve):
    """Return the mean of a curve up to each of its values."""
    return (np.cumsum(curve) / np.arange(1, len(curve) + 1)).tolist()


@dataclass(frozen=True)
class Entrant:
    """A candidate with its bars, as it is sent to a worker.

    Attributes:
        expression: The candidate.
        bars: The bars of its generation.
    """

    expression: Expression
    bars: Bars = Bars()

    def __str__(self):
        return str(self.expression)


def curve_of(history: Iterable[dict]) -> list[float]:
    """Return the validation after each epoch, as the details of an evaluation hold it."""
    values = [epoch.get("val_accuracy") for epoch in history]
    return [float(f"{value:.{_DIGITS}g}") for value in values if value is not None]


def race_details(curves: object, by_run: Iterable[Sequence[float]], whole: int | None) -> dict:
    """Return what the details of an evaluation hold for racing.

    Args:
        curves: The curves in the form of the fitness.
        by_run: The curves of all networks.
        whole: Number of epochs that a candidate has if nothing stops it; `None` for those here.
    """
    trained = sum(map(len, by_run))
    return {CURVES: curves, EPOCHS: [trained, trained if whole is None else whole]}


def epochs_of(evaluations: Iterable[Evaluation]) -> tuple[int, int]:
    """Return how many epochs were trained under racing, and how many there would be without it."""
    pairs = [one.details.get(EPOCHS) for one in evaluations]
    pairs = [p for p in pairs if isinstance(p, list) and list(map(type, p)) == [int, int]]
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

"""Racing: a training that will hardly catch up with the worst survivor is stopped.

After each epoch a candidate is compared with networks of earlier generations that were trained to
their end: those whose best value up to this epoch was nearest to its own. If none of them ended as
high as the lowest survivor, it is stopped. Curves of losses differ in shape, so that the survivors'
own curves would tell less. After a run that is not the last, the mean of the runs so far is
compared with the lowest that a survivor had after as many: a candidate gets further networks only
while it would survive.

The bars follow from the evaluations of earlier generations, which the journal holds. Neither the
order of the trainings nor an interruption changes them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.numbers import convert_whole_numbers
from nglkeras.runs.trial import TrialResult
from nglkeras.search.strategy import Evaluation, Member
from nglkeras.training.outcome import Training

# With ten of them, searches on digits ended lower in two of five seeds: `benchmark.py racing`.
NEIGHBOURS = 20
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
        neighbours: How many trained networks a candidate is compared with after each epoch. With
            fewer of them more candidates are stopped.
    """

    neighbours: int = NEIGHBOURS

    def __post_init__(self):
        convert_whole_numbers(self, neighbours=1)

    @property
    def settings(self) -> dict:
        """The settings that a journal has of it."""
        return {"racing": asdict(self)}


def of_settings(settings: dict) -> Racing | None:
    """Return how a search with these settings races; `None` if it does not, or not known how."""
    try:
        return msgspec.convert(settings.get("racing"), Racing | None)
    except ValueError:
        return None


def as_racing(racing: object, *, runs: int, epochs: int, datasets: int = 1) -> Racing | None:
    """Return how to race: `True` stands for `Racing()`, `False` and `None` for not at all.

    Raises:
        UserError: If it is something else, or no training could be stopped before its end.
    """
    if racing is None or racing is False:
        return None
    if racing is not True and not isinstance(racing, Racing):
        raise UserError(f"racing={racing!r} is neither True, False nor a Racing, e.g. Racing(20)")
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

    def judged(self, evaluation: Evaluation, run: int) -> Evaluation:
        """Return an evaluation after a run, from 0: as stopped if its fitness is below the bar."""
        if evaluation.status != "ok" or run >= len(self.runs):
            return evaluation
        mean, bar = evaluation.fitness[0], self.runs[run]
        if mean >= bar:
            return evaluation
        networks = "network 1" if run == 0 else f"{run + 1} networks"
        message = f"{mean:.4f} after {networks}, below {bar:.4f}, the lowest survivor"
        return replace(evaluation, status="stopped", message=message, fitness=())


def bars(
    racing: Racing,
    rivals: Iterable[Member],
    trained: Iterable[Member],
    of: Callable[[dict], tuple[Sequence[Sequence[float]], Sequence[float]]],
) -> Bars:
    """Return the bars of a generation; there are none without rivals.

    Args:
        racing: How to race.
        rivals: What a candidate must not fall behind; see `Strategy.rivals`.
        trained: Losses of earlier generations that were trained to their end.
        of: Returns the curves of a loss by run, empty for no bars after epochs, and its measure
            after each run, from the details of its evaluation.
    """
    try:
        found = [of(member.evaluation.details) for member in rivals]
        curves = [
            _ordered(curve) for one in trained for curve in of(one.evaluation.details)[0] if curve
        ]
        ends = list(zip(*(_ordered(c[-1] for c in one if c) for one, _ in found), strict=False))
    except (KeyError, TypeError, ValueError):
        # A journal that was written by hand; nobody is stopped without a reason.
        return Bars()
    epochs = tuple(_after_epochs(curves, _lowest(values), racing.neighbours) for values in ends)
    runs = tuple(map(_lowest, zip(*(means for _, means in found), strict=False)))
    return Bars(epochs, runs)


def _ordered(values):
    """Return measures with the least number for those that are none: NaN, or null in a journal."""
    return [-np.inf if value is None or np.isnan(value) else value for value in values]


def _lowest(values):
    value = min(values)
    return value - _SLACK * abs(value)


def _after_epochs(curves, target, neighbours):
    """Return the least best value after each epoch that has come to the target from nearby."""
    if len(curves) < neighbours:
        return ()
    # A callback may have ended a training early: what it had at its end stands for the rest.
    length = max(map(len, curves))
    curves = np.array([[*curve, *curve[-1:] * (length - len(curve))] for curve in curves])
    best = np.maximum.accumulate(curves, axis=1)
    limits = []
    for values in best.T:
        order = np.argsort(values, kind="stable")
        arrived = sliding_window_view(curves[order, -1] >= target, neighbours).any(axis=1)
        # The window around each network; at both ends the outermost one.
        around = np.clip(np.arange(len(values)) - neighbours // 2, 0, len(arrived) - 1)
        hopeful = values[order][arrived[around]]
        limits.append(min(target, hopeful[0]) if len(hopeful) else target)
    return tuple(value - _SLACK * abs(value) for value in map(float, limits))


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


def curves_and_means(details: dict) -> tuple[list, list[float]]:
    """Return the curves of a rival by run, and the mean of its runs after each but the last."""
    accuracies = details["accuracies"]
    means = [float(np.mean(accuracies[:count])) for count in range(1, len(accuracies))]
    return details[CURVES], means


def evaluation_of(
    trainings: Sequence[Training | TrialResult], details: dict, fitness: Callable[[], tuple]
) -> Evaluation:
    """Return the evaluation of a candidate by its trainings so far.

    Args:
        trainings: What they have reached, run by run.
        details: Details of the evaluation; a candidate that failed has none.
        fitness: Returns the fitness; called if all trainings came to their end.
    """
    seconds = sum(one.seconds for one in trainings)
    failed = next((one for one in trainings if one.status not in ("ok", "stopped")), None)
    if failed is not None:
        return Evaluation(failed.status, message=failed.message, seconds=seconds)
    stopped = next((one for one in trainings if one.status == "stopped"), None)
    if stopped is not None:
        message = f"network {len(trainings)}: {stopped.message}"
        return Evaluation("stopped", message=message, details=details, seconds=seconds)
    return Evaluation("ok", fitness(), details=details, seconds=seconds)


def with_epochs(evaluation: Evaluation, whole: int) -> Evaluation:
    """Return an evaluation whose details say how many epochs were trained, of how many.

    Args:
        evaluation: Of a candidate with curves; one that failed stays as it is.
        whole: Number of epochs of a candidate that nothing stops.
    """
    if evaluation.status not in ("ok", "stopped"):
        return evaluation
    curves = evaluation.details[CURVES]
    by_run = chain(*curves.values()) if isinstance(curves, dict) else curves
    trained = sum(map(len, by_run))
    # A callback may have ended the training of a candidate that nothing stopped.
    pair = [trained, trained if evaluation.status == "ok" else whole]
    return replace(evaluation, details=evaluation.details | {EPOCHS: pair})


def epochs_of(evaluations: Iterable[Evaluation]) -> tuple[int, int]:
    """Return how many epochs were trained under racing, and how many there would be without it."""
    pairs = [one.details.get(EPOCHS) for one in evaluations]
    pairs = [p for p in pairs if isinstance(p, list) and list(map(type, p)) == [int, int]]
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

"""The base class of everything that evaluates losses for `search`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.executors import Executor
from nglkeras.expression import Expression
from nglkeras.runs.columns import LARGEST
from nglkeras.search.given_losses import Loss
from nglkeras.search.identity import fingerprint, name_of
from nglkeras.search.records import NOT_TRAINED, as_json
from nglkeras.search.screening import BOUNDS
from nglkeras.search.strategy import Evaluation, Member
from nglkeras.search.trainer import Trainer
from nglkeras.training.outcome import STATUSES

# What a plain function may have as attributes.
_OPTIONAL = (
    *("classes", "gradients", "bounds", "class_reduction", "soft_labels"),
    *("settings", "values", "prepare", "writing"),
)


class Fitness(ABC):
    """Evaluates losses; only `__call__` must be defined.

        class Shortness(Fitness):
            def __call__(self, expression):
                return -expression.size

    Attributes:
        classes: Number of classes that the screening assumes; default: 10.
        gradients: Which gradients train alike, as in `Screening`; default: "exact".
        bounds: Bounds on a loss, as in `Screening`.
        class_reduction: "mean" or "sum" of a loss over the classes; default: "mean".
        values: Method that maps an expression to the losses of the samples of one batch, which
            must be within the bounds too; `None` (default) looks at random samples only.
        refuse: Method that says why a loss cannot be trained, and returns an empty text if it can;
            what it refuses is rejected by the screening. `None` (default) refuses nothing.
        found: Method that says in a line what network and data are taken for; its argument is not
            used. `None` (default) says nothing.
        soft_labels: Whether some labels are neither 0 nor 1, so that the screening may not take t
            and its powers for one; default: `False`.
        executor: Runs the trainings of a fitness that distributes them itself. With `None`
            (default) `search` sends copies of the fitness to the workers of its own executor.
        notes: Sentences for the reader of the results; default: none.
    """

    classes: int = 10
    gradients: str = "exact"
    bounds: tuple[float, float] | None = BOUNDS
    class_reduction: str = "mean"
    values: Callable[[Expression], np.ndarray] | None = None
    refuse: Callable[[Expression], str] | None = None
    found: Callable[[None], str] | None = None
    soft_labels: bool = False
    executor: Executor | None = None
    notes: Sequence[str] = ()

    @abstractmethod
    def __call__(self, expression: Expression) -> Evaluation | float:
        """Return the fitness of a loss, more is better, or a whole `Evaluation`."""

    @cached_property
    def settings(self) -> dict:
        """Everything that decides the fitness, as JSON data; by default a hash of the code.

        The journal records them: a search in the same folder with other settings is refused.
        """
        return _code_of(self)

    def as_begun(self, settings: dict) -> None:  # noqa: B027 - optional
        """Adopt the settings of the search in the folder, if an earlier version began it so."""

    def prepare(self) -> None:  # noqa: B027 - optional
        """Get the data; called before the first new loss is screened."""

    def begin_generation(  # noqa: B027 - optional
        self, rivals: Sequence[Member], trained: Sequence[Member]
    ) -> None:
        """Take what the losses of the generation that begins are compared with; see `racing`.

        Args:
            rivals: `Strategy.rivals`.
            trained: The losses of earlier generations that were trained to their end, by place.
        """

    def trainer(self, losses: Mapping[str, Loss], test: object = None) -> Trainer:
        """Return what trains the networks of a confirmation.

        Args:
            losses: All losses that are to come, by name.
            test: Test data; `None` for the fitness's own, or held-out ones.

        Raises:
            UserError: If this fitness trains no networks.
        """
        raise UserError(
            f"{type(self).__name__} has no networks to confirm with: give a TrainingFitness, or a "
            "Trainer of your own"
        )

    def writing(self) -> AbstractContextManager[None]:
        """Return a context in which no other process writes the files of this fitness."""
        return nullcontext()

    def look(self, _: object = None) -> tuple[int, dict, bool, str]:
        """Return `classes`, `settings`, `soft_labels` and `gradients`, which may need a network."""
        return self.classes, self.settings, self.soft_labels, self.gradients

    def each(
        self, expressions: Sequence[Expression], names: Sequence[str], executor: Executor
    ) -> Iterator[tuple[int, Evaluation | float]]:
        """Yield the index and the evaluation of each loss, as they finish.

        Args:
            expressions: The losses.
            names: Ids of their individuals.
            executor: Evaluates them, unless the fitness has its own.
        """
        has_hooks = any(
            name in vars(self) or getattr(type(self), name) is not getattr(Fitness, name)
            for name in ("prepare", "begin_generation")
        )
        # Workers keep their copy of an object, so that one which hooks may have changed is sent in
        # a new one. What has an `each` of its own sends what has changed itself.
        work = _AsItIs(self) if has_hooks and type(self).each is Fitness.each else self
        for outcome in executor.run(work, expressions):
            yield outcome.index, outcome.or_else(Evaluation)


class _AsItIs:
    """A fitness as its hooks have left it."""

    def __init__(self, fitness):
        self.fitness = fitness

    def __call__(self, expression):
        return self.fitness(expression)


class FunctionFitness(Fitness):
    """A function as a `Fitness`; it is identified by its code and the values that it reads.

    Args:
        function: Maps an expression to a number or an `Evaluation`. It may have attributes such
            as `settings` or `classes`, which replace those of `Fitness`.
    """

    def __init__(self, function: Callable[[Expression], Evaluation | float]):
        self.function = function
        own = {name: getattr(function, name) for name in _OPTIONAL if hasattr(function, name)}
        self._is_code = "settings" not in own
        vars(self).update({"settings": _code_of(function), **own} if self._is_code else own)

    def __call__(self, expression: Expression) -> Evaluation | float:
        """Call the function."""
        return self.function(expression)

    def as_begun(self, settings: dict) -> None:
        """Adopt the settings of early journals, which do not have the code."""
        if self._is_code and not settings:
            self.settings = settings


def _code_of(function):
    return {"function": name_of(function), "code": fingerprint(function)}


def as_fitness(evaluate: Fitness | Callable[[Expression], Evaluation | float]) -> Fitness:
    """Return a `Fitness`; a plain function is wrapped in one.

    Raises:
        UserError: If it cannot be called, or distributes its trainings without being a `Fitness`.
    """
    if isinstance(evaluate, Fitness):
        return evaluate
    kind = type(evaluate).__name__
    if hasattr(evaluate, "each"):
        raise UserError(f"{kind} has a method each(); derive it from nglkeras.search.Fitness")
    if not callable(evaluate):
        raise UserError(f"evaluate is of type {kind}; give a function of a loss")
    return FunctionFitness(evaluate)


def ask(fitness: Fitness, executor: Executor, method: str, argument: Any) -> Any:
    """Call a method of a fitness on a worker, since it may have to build a network.

    Raises:
        UserError: If no worker could answer.
    """
    (outcome,) = executor.run(fitness, [argument], method=method)
    if outcome.failure is not None:
        raise UserError(f"no worker could build the network: {outcome.failure.message}")
    return outcome.result


def as_evaluation(outcome: Evaluation | float) -> Evaluation:
    """Return what a fitness gave as an `Evaluation` that the journal can hold.

    Raises:
        UserError: If its status is unknown, or its values are neither numbers nor JSON data.
    """
    if not isinstance(outcome, Evaluation):
        outcome = Evaluation("ok", (outcome,))
    valid = [status for status in STATUSES if status not in NOT_TRAINED]
    if outcome.status not in valid:
        raise unknown("status of an evaluation", outcome.status, valid)
    try:
        fitness = tuple(_number(value) for value in np.atleast_1d(outcome.fitness))
        details = as_json(outcome.details)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the evaluation {outcome} is neither numbers nor JSON") from error
    seconds = float(outcome.seconds)
    outcome = replace(
        outcome,
        fitness=fitness,
        details=details,
        seconds=seconds if math.isfinite(seconds) else 0.0,
        message=str(outcome.message or ""),
    )
    # NaN fails it, too.
    is_number = np.abs(fitness) <= LARGEST
    if outcome.status == "ok" and not (fitness and is_number.all()):
        return replace(
            outcome, status="non_finite", fitness=(), message=f"its fitness is {fitness}"
        )
    return outcome


def _number(value):
    if np.iscomplexobj(value):
        raise TypeError("complex")
    return float(value)

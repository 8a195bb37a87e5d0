"""The base class of what trains and tests the networks of a confirmation."""

import hashlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType

import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.executors import Executor, Local
from nglkeras.report.rates import FIRST_NEW
from nglkeras.search.given_losses import Loss, identity
from nglkeras.search.identity import fingerprint, name_of
from nglkeras.training.outcome import STATUSES

# Parts of the test data.
PARTS = 10


@dataclass(frozen=True)
class Network:
    """A network that a confirmation wants.

    Attributes:
        name: Name of the loss.
        loss: The loss.
        learning_rate: Learning rate of the training.
        run: Number that decides its split and initial weights, which all losses of a run share.
    """

    name: str
    loss: Loss
    learning_rate: float
    run: int


@dataclass(frozen=True)
class Measured:
    """What a network has reached; more is better.

    Attributes:
        status: One of `training.outcome.STATUSES`.
        validation: Measure on the validation data, 1 at best; `None` without one.
        test: The same on the test data.
        seconds: Wall time; where it is 0, `Trainer` takes that of the call.
        message: What went wrong.
        parts: Measure on each of several parts of the test data, the same for all networks. They
            tell how much other test data would change; see `statistics.crossed_difference`.
    """

    status: str
    validation: float | None = None
    test: float | None = None
    seconds: float = 0.0
    message: str = ""
    parts: tuple[float, ...] = ()


def as_measured(outcome: Measured, network: Network) -> Measured:
    """Return what a trainer gave for a network as the journal can hold it.

    A network whose measure is not finite has none: its status is "non_finite".

    Raises:
        UserError: If it is no `Measured`, its status is unknown, its values are no numbers, or one
            is missing.
    """
    if not isinstance(outcome, Measured):
        raise UserError(f"the trainer gave {outcome!r} for {network.name}, not a Measured")
    if outcome.status not in STATUSES:
        raise unknown("status of a Measured", outcome.status, STATUSES)
    wanted = ("validation", "test") if network.run >= FIRST_NEW else ("validation",)
    values = {name: getattr(outcome, name) for name in ("validation", "test")}
    try:
        values = {k: None if v is None else float(v) for k, v in values.items()}
        parts, seconds = tuple(map(float, outcome.parts)), float(outcome.seconds)
    except (TypeError, ValueError) as error:
        raise UserError(f"what the trainer gave is no number: {outcome}") from error
    found = replace(
        outcome, **values, parts=parts, seconds=seconds, message=str(outcome.message or "")
    )
    if outcome.status != "ok":
        return found
    missing = [name for name in wanted if values[name] is None]
    if missing:
        raise UserError(f"the trainer gave no {missing[0]} for {network.name}: {outcome}")
    if not np.isfinite([value for value in values.values() if value is not None]).all():
        message = f"its measure is not finite: {values}"
        return Measured("non_finite", seconds=seconds, message=message)
    return found


class Trainer(ABC):
    """Trains a network with a loss at a learning rate; only `__call__` must be defined.

    Networks of a run have the same split and initial weights, whichever their loss. Runs from
    `FIRST_NEW` on are tested; the others must not look at test data.

    Attributes:
        rate: The learning rate of the search.
        chance: Measure of a guess; `None` where it is not known.
        measure: Name of the measure, of which more is better.
        is_share: Whether it is a share in [0, 1]: of others no verdict is "equivalent". A value
            beyond [0, 1] makes it none.
        searched_runs: Number of runs that an evaluation of the search trains.
        class_reduction: "mean" or "sum" over the classes, of losses that are formulas.
        options: Further options of losses that are formulas, such as the head.
        executor: Trains the networks; `None` for that of the caller.
        notes: Sentences for the reader of the results.
    """

    rate: float = 1e-3
    chance: float | None = None
    measure: str = "accuracy"
    is_share: bool = True
    searched_runs: int = 1
    class_reduction: str = "mean"
    options: Mapping[str, object] = MappingProxyType({})
    executor: Executor | None = None
    notes: Sequence[str] = ()

    @abstractmethod
    def __call__(self, name: str, loss: Loss, *, learning_rate: float, run: int) -> Measured:
        """Train a network; return what it has reached."""

    @cached_property
    def settings(self) -> dict:
        """Everything that decides a result beside loss, rate and run; by default the code's hash.

        Rows of a journal that were trained otherwise are not taken.
        """
        return {"trainer": name_of(self), "code": fingerprint(self)}

    def key(self, network: Network) -> str:
        """Return a network's key in journals: a hash of everything that decides its result."""
        content = [self.settings, identity(network.loss), network.learning_rate, network.run]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def train(self, network: Network) -> Measured:
        """Train a network."""
        rate, run, begun = network.learning_rate, network.run, time.perf_counter()
        outcome = self(network.name, network.loss, learning_rate=rate, run=run)
        if isinstance(outcome, Measured) and not outcome.seconds:
            return replace(outcome, seconds=time.perf_counter() - begun)
        return outcome

    def each(
        self, networks: Sequence[Network], executor: Executor | None = None
    ) -> Iterator[tuple[int, Measured]]:
        """Yield the index of each network with what it has reached, as they finish."""
        executor = self.executor or executor or Local()
        for outcome in executor.run(self, networks, method="train", affinity=attrgetter("run")):
            yield outcome.index, outcome.or_else(Measured)

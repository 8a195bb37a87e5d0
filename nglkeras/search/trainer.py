"""The base class of what trains and tests the networks of a confirmation."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import keras
import numpy as np

from nglkeras import losses
from nglkeras.errors import UserError, unknown
from nglkeras.executors import Executor, Local
from nglkeras.expression import Expression
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.registry import Row
from nglkeras.report.rates import FIRST_NEW
from nglkeras.search.digests import arguments_of
from nglkeras.search.identity import fingerprint, name_of
from nglkeras.training.outcome import STATUSES

# Parts of the test data.
PARTS = 10
# A formula, a row of `losses.ROWS`, or any loss of Keras.
Loss = Expression | Row | keras.losses.Loss


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
        seconds: Wall time.
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
        measure: Name of the measure.
        searched_runs: Number of runs that an evaluation of the search trains.
        class_reduction: "mean" or "sum" over the classes, of losses that are formulas.
        options: Further options of losses that are formulas, such as the head.
        executor: Trains the networks; `None` for that of the caller.
        notes: Sentences for the reader of the results.
    """

    rate: float = 1e-3
    chance: float | None = None
    measure: str = "accuracy"
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
        rate, run = network.learning_rate, network.run
        return self(network.name, network.loss, learning_rate=rate, run=run)

    def each(
        self, networks: Sequence[Network], executor: Executor | None = None
    ) -> Iterator[tuple[int, Measured]]:
        """Yield the index of each network with what it has reached, as they finish."""
        executor = self.executor or executor or Local()
        for outcome in executor.run(self, networks, method="train", affinity=_run_of):
            yield outcome.index, outcome.or_else(Measured)


def _run_of(network):
    return network.run


def as_loss(loss: object) -> Loss:
    """Return a loss from its name, its formula or itself.

    Args:
        loss: An `Expression`; a Keras loss; or text: the name of a row of `losses.ROWS`, the name
            of a class of `nglkeras.losses` or `keras.losses`, or a formula.

    Raises:
        UserError: If there is no such loss, it is more than a loss, or its class needs arguments.
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        kind = type(loss).__name__
        raise UserError(f"a loss of type {kind}; give a formula, a name or a Keras loss")
    try:
        row = losses.row(loss)
    except UserError:
        return _of_class(loss) or _of_formula(loss)
    if row.l2:
        raise UserError(f"{row.name} is a penalty on the network beside its loss; give a loss")
    return row


def _of_class(name):
    kinds = [getattr(room, name, None) for room in (losses, keras.losses)]
    kinds = [k for k in kinds if isinstance(k, type) and issubclass(k, keras.losses.Loss)]
    if not kinds:
        return None
    # A row, which the task gives its options, such as the head.
    row = Row(name, kinds[0])
    try:
        row.make()
    except TypeError as error:
        raise UserError(f"{name} needs arguments; give an object such as {name}(...)") from error
    return row


def _of_formula(text):
    try:
        return Expression.parse(text)
    except UserError:
        if text.isidentifier():
            raise unknown("loss", text, losses.ROWS) from None
        raise


def as_keras(
    loss: Loss, class_reduction: str = "mean", options: Mapping[str, object] | None = None
) -> keras.losses.Loss:
    """Return a loss for one-hot labels; `class_reduction` is that of formulas.

    Rows are summed over the classes: see `Row.summed`.

    Args:
        loss: The loss. An object of Keras is taken as it is, without the options.
        class_reduction: "mean" or "sum" over the classes, of formulas.
        options: Options of the task, such as the head.

    Raises:
        UserError: If a row does not take one of the options, or is for another head.
    """
    options = dict(options or {})
    if isinstance(loss, Expression):
        return loss.to_loss(class_reduction=class_reduction, **options)
    if not isinstance(loss, Row):
        return loss
    if options and loss.make is keras.losses.CategoricalCrossentropy:
        # Cross entropy for every head.
        return losses.Poly1(epsilon=0.0, **options)
    head = options.pop("head", "softmax")
    if head != loss.activation:
        # A loss for one head alone need not offer a choice.
        options["head"] = head
    needed = ", ".join(f"{name}={value!r}" for name, value in options.items())
    options.update(loss.summed)
    try:
        return loss.make(**options)
    except (TypeError, UserError) as error:
        raise UserError(
            f"the loss {loss.name} does not take {needed}, which this task needs: leave it out"
        ) from error


def formula_of(loss: Loss) -> str:
    """Return the formula of a loss, or what is printed of it."""
    if isinstance(loss, Row):
        return loss.formula or loss.name
    if isinstance(loss, Expression | FunctionLoss):
        return str(loss)
    # Keras prints the addresses of functions.
    return type(loss).__name__


def identity(loss: Loss) -> object:
    """Return what identifies a loss, as JSON data."""
    if isinstance(loss, keras.losses.Loss):
        # Keras wraps a function as a loss.
        function = getattr(loss, "fn", None)
        own = loss if function is None else function
        if str(own.__module__).partition(".")[0] in ("keras", "nglkeras"):
            return json.loads(json.dumps(keras.losses.serialize(loss), default=str))
        if own is loss:
            # Its config may lack its arguments.
            return [fingerprint(type(loss)), arguments_of(loss)]
        config = loss.get_config() | {"fn": fingerprint(own), "name": None}
        return json.loads(json.dumps(config, default=str))
    return [loss.name, loss.formula] if isinstance(loss, Row) else str(loss)


def named(given: Mapping[str, object] | Sequence[object] | Loss | str) -> dict[str, Loss]:
    """Return one loss or several by name.

    Those without a name are named after their row, class or formula.

    Raises:
        UserError: If one is no loss, or two have one name.
    """
    if not isinstance(given, Iterable | Loss):
        raise UserError(f"{given!r} is no loss, no list of losses, and no dict of them by name")
    if not isinstance(given, Mapping):
        given = [given] if isinstance(given, str | Loss) else given
        made = [as_loss(loss) for loss in given]
        names = [one.name if isinstance(one, Row | keras.losses.Loss) else str(one) for one in made]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"two losses are named {twice}; give a dict of names and losses")
        return dict(zip(names, made, strict=True))
    return {str(name): as_loss(loss) for name, loss in given.items()}

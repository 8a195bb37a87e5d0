"""The losses of a confirmation as users give them: names, formulas, or objects of Keras."""

import json
from collections.abc import Iterable, Mapping, Sequence

import keras

from nglkeras import losses
from nglkeras.errors import UserError, unknown
from nglkeras.expression import Expression
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.checking.traits import traits_of
from nglkeras.losses.registry import Row
from nglkeras.search.digests import arguments_of
from nglkeras.search.identity import fingerprint

# A formula, a row of `losses.ROWS`, or any loss of Keras.
Loss = Expression | Row | keras.losses.Loss


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
        loss: The loss. An object of Keras is taken as it is: its options must be these.
        class_reduction: "mean" or "sum" over the classes, of formulas.
        options: Options of the task, such as the head.

    Raises:
        UserError: If a row does not take one of the options, is for another head, or an object has
            other options.
    """
    options = dict(options or {})
    if isinstance(loss, Expression):
        return loss.to_loss(class_reduction=class_reduction, **options)
    if not isinstance(loss, Row):
        _check_options(loss, options)
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


def _check_options(loss, options):
    """Raise a `UserError` if a loss over classes reads labels or outputs otherwise than a task."""
    traits = traits_of(loss)
    if traits.head is None:
        # It is neither ours nor Keras' over classes: nothing is known of it.
        return
    plain = {"head": "softmax", "from_logits": False, "ignore_class": None, "class_weights": None}
    for name, wanted in (plain | options).items():
        own = getattr(traits, name)
        # Class weights that differ may be meant.
        if (own is None and wanted is not None) if name == "class_weights" else own != wanted:
            raise UserError(
                f"the loss {traits.name} has {name}={own!r}, which is {wanted!r} in this task: "
                "give it that, or the name of the loss as text, which gets the task's options"
            )


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
        UserError: If one is no loss, two have one name, or a formula has the name of another loss.
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
    made = {str(name): as_loss(loss) for name, loss in given.items()}
    for name, loss in made.items():
        _check_name(name, loss)
    return made


def _check_name(name, loss):
    """Raise a `UserError` if a formula would be printed under the name of another loss."""
    if not isinstance(loss, Expression):
        return
    try:
        row = losses.row(name)
    except UserError:
        return
    formula = losses.FORMULAS.get(row.name)
    if formula is None or loss != Expression.parse(formula):
        raise UserError(f"{name} is a name of the loss {row.label}: give the formula another one")

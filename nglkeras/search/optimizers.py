"""Check a user's optimizer before anything is trained with it, and say what it ignores."""

import contextlib
import json
from collections.abc import Mapping

import keras

from nglkeras.errors import UserError, unknown
from nglkeras.numbers import positive

# Optimizers that divide a gradient by its own size.
_SCALE_FREE = ("adam", "adamax", "adamw", "nadam", "rmsprop")
# Settings with which the scale of a gradient matters to every optimizer.
_MAX_EPSILON = 1e-6
_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


def settings_of(optimizer: object, learning_rate: object) -> tuple[str, dict, object]:
    """Return an optimizer's name, arguments and learning rate, as `Schedule` takes them.

    Args:
        optimizer: A name, a Keras optimizer, its class, a function that makes one, or its
            serialised dict.
        learning_rate: A number or a Keras schedule; `None` for that of the optimizer, or 1e-3 if
            the optimizer is a name.

    Raises:
        UserError: If it is no Keras optimizer, if the learning rate is given twice, or if it
            cannot be rebuilt from its settings.
    """
    config = {}
    if not isinstance(optimizer, str):
        found = optimizer
        with contextlib.suppress(Exception):
            found = optimizer() if callable(optimizer) else keras.optimizers.get(optimizer)
        if not isinstance(found, keras.optimizers.Optimizer):
            raise UserError(
                f"optimizer={optimizer!r} is no Keras optimizer; give a name such as 'Adam', or an "
                "object such as keras.optimizers.Adam(3e-4)"
            )
        if learning_rate is not None:
            raise UserError("give the learning rate to the optimizer or beside its name, not twice")
        kind = type(found)
        if getattr(keras.optimizers, kind.__name__, None) is not kind:
            raise UserError(
                f"the optimizer {kind.__module__}.{kind.__name__} is none of Keras' own: a search "
                "makes it anew from its settings, and may not have its code"
            )
        # Keras has no public place for them.
        excluded = "_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"
        if any(getattr(found, name, None) for name in excluded):
            raise UserError(
                f"the optimizer {kind.__name__} has variables that exclude_from_weight_decay has "
                "named, which its settings do not hold: a search would decay them"
            )
        config = found.get_config()
        optimizer, learning_rate = type(found).__name__, config.pop("learning_rate", None)
        config.pop("name", None)
    else:
        learning_rate = 1e-3 if learning_rate is None else learning_rate
    names = {name.lower(): name for name in _optimizer_names()}
    if optimizer.lower() not in names:
        raise unknown("optimizer", optimizer, names.values())
    config = json.loads(json.dumps(config, default=str))
    rate = _learning_rate(learning_rate)
    try:
        keras.optimizers.get({"class_name": optimizer, "config": {**config, "learning_rate": rate}})
    # A schedule or function of the user, which Keras cannot rebuild.
    except Exception as error:
        raise UserError(
            f"the optimizer {optimizer} cannot be made anew from its settings, e.g. because its "
            "learning rate is no number and no schedule of keras.optimizers.schedules"
        ) from error
    return optimizer, config, rate


def ignores_scale(optimizer: str, config: Mapping[str, object] | None = None) -> bool:
    """Return whether a factor on the loss does not change a training with this optimizer."""
    config = config or {}
    # Beside a large epsilon gradients are small or not.
    is_small = config.get("epsilon", 0) <= _MAX_EPSILON
    return optimizer.lower() in _SCALE_FREE and is_small and not any(map(config.get, _CLIPPING))


def depends_on_size(optimizer: str, config: Mapping[str, object]) -> bool:
    """Return whether a factor on the loss is more to this optimizer than one on the rate."""
    if any(map(config.get, _CLIPPING)):
        return True
    # One that divides gradients by their size, but for a large epsilon, or that takes them as they
    # are and decays weights beside them.
    depends = optimizer.lower() in _SCALE_FREE or bool(config.get("weight_decay"))
    return depends and not ignores_scale(optimizer, config)


def _learning_rate(value):
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        value = keras.optimizers.schedules.serialize(value)
    if isinstance(value, dict):
        return json.loads(json.dumps(value, default=str))
    return positive("learning_rate", value)


def _optimizer_names():
    wrappers = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
    for name, kind in vars(keras.optimizers).items():
        is_optimizer = isinstance(kind, type) and issubclass(kind, keras.optimizers.Optimizer)
        if is_optimizer and name not in wrappers:
            # Keras does not find all of its optimizers by their names.
            with contextlib.suppress(ValueError):
                keras.optimizers.get(name)
                yield name

"""Check and hash a user's network and callbacks, which decide what a training gives."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Sequence

import keras

from nglkeras.errors import UserError
from nglkeras.search.identity import fingerprint


def check_callbacks(callbacks: Iterable[object]) -> None:
    """Check the callbacks of a training.

    Raises:
        UserError: If one is no callback of Keras.
    """
    for one in callbacks:
        if not isinstance(one, keras.callbacks.Callback):
            kind = type(one).__name__
            raise UserError(f"callbacks have a {kind}; give objects of keras.callbacks")


def digest_callbacks(callbacks: Sequence[keras.callbacks.Callback] | Callable) -> object:
    """Return what identifies callbacks, as JSON data."""
    if callable(callbacks):
        return fingerprint(callbacks)
    return [[fingerprint(type(one)), arguments_of(one)] for one in callbacks]


def digest_model(model: keras.Model, model_fn: Callable[[], keras.Model]) -> str:
    """Hash a model's architecture, without the numbers that Keras adds to names.

    A subclass of `keras.Model` does not tell its layers: it has the hash of the function.
    """
    try:
        config = model.get_config()
    # Keras cannot make a config of every subclass.
    except (NotImplementedError, TypeError, ValueError):
        config = {}
    if "layers" not in config:
        # The config of a subclass does not name its layers; its code does.
        return fingerprint(model_fn)
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(re.sub(r"_\d+", "", text).encode()).hexdigest()[:16]


def arguments_of(value: object) -> dict[str, bool | int | float | str]:
    """Return the attributes that are arguments of the constructor; the others are state."""
    names = inspect.signature(type(value)).parameters.keys() & vars(value).keys()
    found = {name: getattr(value, name) for name in sorted(names)}
    return {k: v for k, v in found.items() if isinstance(v, bool | int | float | str)}

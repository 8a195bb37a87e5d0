"""Check and hash a user's network and callbacks, which decide what a training gives."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Sequence

import keras

from nglkeras.errors import UserError
from nglkeras.search.identity import fingerprint


def check_callbacks(callbacks: object) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a training as a list.

    Raises:
        UserError: If they are no list, or one is no callback of Keras.
    """
    if not isinstance(callbacks, Iterable):
        raise UserError(f"callbacks is a {type(callbacks).__name__}; give a list of them")
    callbacks = list(callbacks)
    for one in callbacks:
        if not isinstance(one, keras.callbacks.Callback):
            kind = type(one).__name__
            raise UserError(f"callbacks have a {kind}; give objects of keras.callbacks")
    return callbacks


def digest_callbacks(callbacks: Sequence[keras.callbacks.Callback] | Callable) -> object:
    """Return what identifies callbacks, as JSON data."""
    if callable(callbacks):
        return fingerprint(callbacks)
    return [[fingerprint(type(one)), arguments_of(one)] for one in callbacks]


def digest_model(model: keras.Model, model_fn: Callable[[], keras.Model]) -> str:
    """Hash a model's architecture, without the numbers that Keras adds to names.

    Of layers and activation functions that are not Keras' own, the config has the names only: their
    code is hashed, too. A subclass of `keras.Model` does not tell its layers: it has the hash of
    the function.
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
    if own := [fingerprint(one) for layer in _layers(model) for one in _own_code(layer)]:
        text += json.dumps(own)
    return hashlib.sha256(re.sub(r"_\d+", "", text).encode()).hexdigest()[:16]


def _layers(model):
    """Yield the layers of a model and of the models in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _own_code(layer):
    """Return the class of a layer and the functions that it holds, but for Keras' own."""
    held = [value for value in vars(layer).values() if inspect.isfunction(value)]
    known = "keras", "nglkeras"
    return [one for one in (type(layer), *held) if one.__module__.partition(".")[0] not in known]


def arguments_of(value: object) -> dict[str, bool | int | float | str]:
    """Return the attributes, public or private, that are arguments of the constructor.

    Other attributes are state. What is no number and no text is given as its hash.
    """
    own, found = vars(value), {}
    for name in sorted(inspect.signature(type(value)).parameters):
        argument = own.get(name, own.get(f"_{name}"))
        if isinstance(argument, bool | int | float | str):
            found[name] = argument
        elif argument is not None:
            found[name] = fingerprint(argument)
    return found

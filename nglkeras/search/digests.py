"""Check and hash a user's network and callbacks, which decide what a training gives."""

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras

from nglkeras.errors import UserError
from nglkeras.search.identity import fingerprint

# What a layer is given, beside functions.
_PARTS = keras.regularizers.Regularizer | keras.constraints.Constraint
_PARTS |= keras.initializers.Initializer
# The name of a layer that feeds another one, in the other one's config.
_HISTORY = re.compile(r'"keras_history": \["(.*?)", ')


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

    Of layers, activation functions, regularizers and the like that are not Keras' own, the config
    has at most names and numbers: their code is hashed, too. A subclass of `keras.Model` does not
    tell its layers: it has the hash of the function.
    """
    config = _config_of(model)
    if "layers" not in config:
        # The config of a subclass does not name its layers; its code does.
        return fingerprint(model_fn)
    text = _without_numbers(config)
    more = [_wiring(graph) for graph in _graphs(config)]
    more += [one for layer in model._flatten_layers() for one in _own(layer)]
    if more := [one for one in more if one]:
        text += json.dumps(more)
    return _hash(text)


def _graphs(config):
    """Yield the configs of functional models in a config."""
    inner = config if isinstance(config, list | tuple) else ()
    if isinstance(config, Mapping):
        if "input_layers" in config:
            yield config
        inner = config.values()
    for one in inner:
        yield from _graphs(one)


def _wiring(config):
    """Return which layers feed each layer, by their places; `None` if each feeds the next."""
    places = {layer["name"]: place for place, layer in enumerate(config["layers"])}
    graph = [layer["inbound_nodes"] for layer in config["layers"]]
    fed = [_HISTORY.findall(json.dumps(nodes, default=str)) for nodes in graph]
    # The order of the layers says it.
    if fed == [[], *([name] for name in list(places)[:-1])]:
        return None
    return _with_places([graph, config["input_layers"], config["output_layers"]], places)


def _with_places(value, places):
    """Return nested lists and dicts with the places of layers instead of their names."""
    if isinstance(value, Mapping):
        return {key: _with_places(inner, places) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_places(inner, places) for inner in value]
    return places.get(value, str(value)) if isinstance(value, str) else str(value)


def _own(layer):
    """Yield hashes of what a layer is, but for Keras' own, and arguments that its config lacks."""
    held = vars(layer).values()
    parts = [layer, *(value for value in held if isinstance(value, _PARTS))]
    functions = [value for value in held if inspect.isfunction(value)]
    for one in (*map(type, parts), *functions):
        if not _is_known(one):
            yield fingerprint(one)
    for part in parts:
        if not _is_known(type(part)):
            config = _config_of(part)
            yield {name: it for name, it in arguments_of(part).items() if name not in config}


def _is_known(code):
    return code.__module__.partition(".")[0] in ("keras", "nglkeras")


def arguments_of(value: object) -> dict[str, bool | int | float | str]:
    """Return the attributes, public or private, that are arguments of the constructor.

    Other attributes are state. What is no number and no text is given as its hash.
    """
    own, found = vars(value), {}
    for name in sorted(inspect.signature(type(value)).parameters):
        argument = own.get(name, own.get(f"_{name}"))
        if isinstance(argument, bool | int | float | str):
            found[name] = argument
        elif _is_known(type(argument)) and hasattr(argument, "get_config"):
            found[name] = _hash(type(argument).__name__ + _without_numbers(_config_of(argument)))
        elif argument is not None:
            found[name] = fingerprint(argument)
    return found


def _config_of(value):
    """Return the config of an object of Keras; an empty one where it has none."""
    try:
        return value.get_config()
    # Keras cannot make a config of every subclass, nor of what holds one.
    except (NotImplementedError, TypeError, ValueError):
        return {}


def _without_numbers(config):
    """Return a config as text without the numbers that Keras adds to names."""
    return re.sub(r"_\d+", "", json.dumps(config, sort_keys=True, default=str))


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""A fingerprint of a function, to tell whether a search goes on with the same one.

It covers the bytecode, the constants, the defaults, and the values that the function reads from
its closure, from its module and from its object: numbers, text, arrays, containers of them, and
further functions and classes of the same module. Left out is what the code itself changes, such as
a counter or a cache, and what has no plain value, such as a network. Another version of Python may
give another fingerprint.
"""

import dis
import functools
import hashlib
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
# Methods that change a list, a dict or a set.
_CHANGING = {
    *("append", "extend", "insert", "pop", "popleft", "appendleft", "remove", "clear"),
    *("update", "setdefault", "add", "discard", "sort", "reverse"),
}
_STORES = ("STORE_DEREF", "STORE_GLOBAL", "STORE_ATTR", "DELETE_ATTR")
_ITEM_STORES = ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE")


def fingerprint(function: object) -> str:
    """A short hash of a function, a method, a `functools.partial`, a class or a callable object."""
    described = _Reader(_innermost(function)).describe(function)
    return hashlib.sha256(repr(described).encode()).hexdigest()[:16]


def name_of(function: object) -> str:
    """The name of the function, or of the type of an object that is called."""
    function = _innermost(function)
    return getattr(function, "__qualname__", type(function).__qualname__)


def _innermost(function):
    while isinstance(function, functools.partial):
        function = function.func
    return function


class _Reader:
    """Says what identifies a value, as nested tuples of plain values."""

    def __init__(self, function):
        self.module = getattr(function, "__module__", None)
        self.open = set()

    def describe(self, value):
        """The value, unless it is being described already."""
        if isinstance(value, _PLAIN):
            # 1, 1.0 and True are equal, and not the same.
            return type(value).__name__, repr(value)
        if id(value) in self.open:
            return ("again",)
        self.open.add(id(value))
        try:
            return self._describe(value)
        finally:
            self.open.discard(id(value))

    def _describe(self, value):
        kind = type(value).__name__
        if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
            data = np.ascontiguousarray(value).tobytes()
            return "array", str(value.dtype), np.shape(value), hashlib.sha256(data).hexdigest()
        if isinstance(value, list | tuple):
            return kind, self._all(value)
        if isinstance(value, set | frozenset):
            return kind, sorted(map(repr, self._all(value)))
        if isinstance(value, dict):
            return kind, sorted(map(repr, self._all(value.items())))
        if isinstance(value, functools.partial):
            return kind, self._all((value.func, value.args, value.keywords))
        if isinstance(value, types.MethodType):
            return kind, self._all((value.__func__, value.__self__))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return kind, value.__qualname__, self._all(self._methods(value))
        # The attributes of a network or of a data set hold more than settings.
        if callable(value) and type(value).__module__ == self.module:
            return self._object(value)
        return kind, getattr(value, "__qualname__", "")

    def _all(self, values: Iterable) -> list:
        return [self.describe(value) for value in values]

    def _methods(self, kind):
        """The methods of a class of the same module; a library's class is known by its name."""
        found = vars(kind).values() if kind.__module__ == self.module else ()
        found = [getattr(value, "__func__", value) for value in found]
        return [value for value in found if isinstance(value, types.FunctionType)]

    def _function(self, function):
        code = function.__code__
        read = {**inspect.getclosurevars(function).nonlocals, **self._globals(function)}
        settings = [(name, self.describe(read[name])) for name in sorted(_settings(read, [code]))]
        defaults = self._all((function.__defaults__, function.__kwdefaults__))
        return "function", self._code(code, function.__doc__), defaults, settings

    def _globals(self, function):
        """Values of its module that a function reads, but for functions of other modules."""
        names = {name for code in _codes(function.__code__) for name in code.co_names}
        found = {name: function.__globals__[name] for name in names & function.__globals__.keys()}
        return {
            name: value
            for name, value in found.items()
            if not isinstance(value, types.FunctionType) or value.__module__ == self.module
        }

    def _object(self, value):
        """An object that is called: the code of its class, and its attributes."""
        attributes = getattr(value, "__dict__", {})
        # What the constructor sets are settings; what another method sets is state.
        methods = [m for m in self._methods(type(value)) if m.__name__ != "__init__"]
        names = sorted(_settings(attributes, [method.__code__ for method in methods]))
        settings = [(name, self.describe(attributes[name])) for name in names]
        return self.describe(type(value)), settings

    def _code(self, code, doc=None):
        constants = [
            self._code(value) if isinstance(value, types.CodeType) else self.describe(value)
            for value in code.co_consts
            if doc is None or value != doc
        ]
        return code.co_code.hex(), code.co_names, code.co_varnames, constants


def _settings(values: Mapping[str, object], codes: Iterable) -> Iterator[str]:
    """Names of the values that the code reads and does not change."""
    whole = [inner for code in codes for inner in _codes(code)]
    steps = [step for code in whole for step in dis.get_instructions(code)]
    stored = {step.argval for step in steps if step.opname in _STORES}
    changes = any(step.opname in _ITEM_STORES or step.argval in _CHANGING for step in steps)
    for name, value in values.items():
        is_container = isinstance(value, list | dict | set | np.ndarray)
        if name not in stored and not (is_container and changes):
            yield name


def _codes(code):
    """The code and that of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)

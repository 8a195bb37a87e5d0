"""Hash a user's function, to recognise it when a search goes on.

The hash covers the bytecode, the constants, the defaults, and the values that the function reads
from its closure, its module, its object and its class: numbers, text, arrays, containers of them,
and functions, classes and objects of the same module. Of other modules of the user, which lie in no
`site-packages`, it covers the code of the whole file. It does not cover values that the code itself
changes, such as a counter or a cache, or that have no plain content, such as a network or a
`tf.data.Dataset`. The source text is not enough: two lambdas may be in one line. Nor is a pickle
(cloudpickle): it contains counters, caches, weights, comments' line numbers and docstrings. Another
version of Python may give another hash.
"""

import argparse
import ast
import contextlib
import datetime
import decimal
import dis
import enum
import fractions
import functools
import hashlib
import inspect
import pathlib
import re
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping

import numpy as np

from nglkeras.expression import Expression
from nglkeras.search.changes import Changes, codes_of

# Types whose `repr` is their whole value.
_PRINTED = (
    *(range, slice, pathlib.PurePath, enum.Enum, re.Pattern, decimal.Decimal),
    *(fractions.Fraction, datetime.date, datetime.time, datetime.timedelta),
)
# Those of a developer lie elsewhere than installed packages.
_LIBRARIES = ("nglkeras", "keras", "tensorflow", "jax", "torch", "numpy")
# Length of a description from which on its hash stands for it.
_LONG = 10_000
# Where Python's own modules lie.
_PYTHON = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
# What a class has as a setting.
_PLAIN = int | float | complex | str | bytes | tuple | list | dict | set | np.ndarray | np.generic


def fingerprint(function: object) -> str:
    """Return the hash of a function, a method, a `partial`, a class or a callable object."""
    reader = _Reader(_innermost(function))
    described = reader.describe(function)
    if files := _code_of_files(reader.modules):
        described = described, files
    return hashlib.sha256(repr(described).encode()).hexdigest()[:16]


def _is_users(module):
    """Return whether a module has a file that is neither Python's nor installed nor ours."""
    file = getattr(sys.modules.get(module), "__file__", None)
    # A worker has another main program; the user's own is described as a module of the function.
    if file is None or module.partition(".")[0] in ("__main__", *_LIBRARIES):
        return False
    installed = {"site-packages", "dist-packages"} & {*pathlib.Path(file).parts}
    return not installed and not any(pathlib.Path(file).is_relative_to(one) for one in _PYTHON)


def _home(value):
    """Return the name of the module that a value is, or that it or its type comes from."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    owner = value if isinstance(value, types.FunctionType | type) else type(value)
    return str(owner.__module__)


def _code_of_files(modules):
    """Return the hashes of the files of modules, and of the user's modules that these use."""
    found, waiting = {}, set(modules)
    while waiting:
        name = waiting.pop()
        module = sys.modules[name]
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            text = ast.dump(ast.parse(pathlib.Path(module.__file__).read_bytes()))
            found[name] = hashlib.sha256(text.encode()).hexdigest()
        homes = set(map(_home, list(vars(module).values()))) - found.keys() - {name}
        waiting |= set(filter(_is_users, homes))
    return sorted(found.items())


def name_of(function: object) -> str:
    """Return the name of a function, or of the type of a callable object."""
    function = _innermost(function)
    return getattr(function, "__qualname__", type(function).__qualname__)


def _innermost(function):
    while isinstance(function, functools.partial):
        function = function.func
    return function


class _Reader:
    """Describes values as nested tuples and lists of text without addresses."""

    def __init__(self, function):
        self.module = getattr(function, "__module__", None)
        self.owner = getattr(function, "__self__", function)
        self.open = set()
        # The user's other modules that are met.
        self.modules = set()

    def _meet(self, module):
        if module != self.module and _is_users(module):
            self.modules.add(module)

    def describe(self, value):
        # With the type, since 1, 1.0 and True are equal.
        kind = type(value).__name__
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return kind, repr(value)
        if id(value) in self.open:  # e.g. a function that calls itself
            return ("again",)
        self._meet(_home(value))
        self.open.add(id(value))
        try:
            return kind, self._content(value)
        finally:
            self.open.discard(id(value))

    def _content(self, value):
        match value:
            case np.ndarray() | np.generic() if value.dtype != object:
                data = np.ascontiguousarray(value).tobytes()
                return str(value.dtype), np.shape(value), hashlib.sha256(data).hexdigest()
            case list() | tuple():
                return self._all(value)
            case set() | frozenset():
                return sorted(map(_bounded, self._all(value)))
            case dict():
                return sorted(map(_bounded, self._all(value.items())))
            case functools.partial():
                return self._all((value.func, value.args, value.keywords))
            case types.MethodType():
                return self._all((value.__func__, value.__self__))
            case types.FunctionType():
                return self._function(value)
            case types.BuiltinFunctionType():
                return value.__qualname__
            case types.CodeType():
                constants = self._all(value.co_consts)
                return value.co_code.hex(), value.co_names, value.co_varnames, constants
            case type():
                methods = self._methods(value)
                found = value.__qualname__, self._all(methods)
                read = _settings(self._attributes(value), [one.__code__ for one in methods])
                return (*found, self.describe(read)) if read else found
            case types.SimpleNamespace() | argparse.Namespace():
                return self.describe(vars(value))
        if isinstance(value, _PRINTED):
            return repr(value)
        if hasattr(value, "__wrapped__"):  # a function with a cache
            return self.describe(value.__wrapped__)
        # Tensors and data frames, but no variables (with `assign`), which training changes.
        if hasattr(value, "__array__") and not hasattr(value, "assign"):
            with contextlib.suppress(Exception):
                array = np.asarray(value)
                return self.describe(array.tolist() if array.dtype == object else array)
        if self._holds_settings(value):
            return self._object(value)
        if isinstance(value, Expression):
            return str(value)
        return getattr(value, "__qualname__", type(value).__qualname__)

    def _holds_settings(self, value):
        """Return whether an object's attributes are settings: those of a network are not."""
        own, *others = type(value).__mro__
        homes = {kind.__module__.partition(".")[0] for kind in others} - sys.stdlib_module_names
        is_plain = homes <= {str(self.module).partition(".")[0]}
        return own.__module__ == self.module and (is_plain or value is self.owner)

    def _all(self, values: Iterable) -> list:
        return [self.describe(value) for value in values]

    def _members(self, kind):
        """Return what a class has from classes of the module, inherited too, by name."""
        found = {}
        for one in reversed(kind.__mro__):
            self._meet(one.__module__)
            if one.__module__ == self.module:
                found |= vars(one)
        return found

    def _methods(self, kind):
        """Return the methods and properties of a class, as functions, by name.

        In the copy that a worker has they are in another order than in the class.
        """
        found = (_function_of(member) for _, member in sorted(self._members(kind).items()))
        return [value for value in found if isinstance(value, types.FunctionType)]

    def _attributes(self, kind):
        """Return the plain values of a class, such as a number of epochs."""
        return {
            name: value
            for name, value in self._members(kind).items()
            if not name.startswith("__") and isinstance(value, _PLAIN)
        }

    def _function(self, function):
        code = function.__code__
        # The docstring is a constant, too, but no setting.
        consts = tuple(None if c == function.__doc__ else c for c in code.co_consts)
        read = {**inspect.getclosurevars(function).nonlocals, **self._globals(function)}
        settings = _settings(read, [code], are_attributes=False)
        values = (function.__defaults__, function.__kwdefaults__, settings)
        return self._all((code.replace(co_consts=consts), *values))

    def _globals(self, function):
        """Return the values of its module that a function reads; no functions of other modules."""
        # Not `co_names`, which has attributes, too: a global of such a name does not come along to
        # a worker.
        names = {
            step.argval
            for code in codes_of(function.__code__)
            for step in dis.get_instructions(code)
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        }
        found = {name: function.__globals__[name] for name in names & function.__globals__.keys()}
        for value in found.values():
            self._meet(_home(value))
        return {
            name: value
            for name, value in found.items()
            if not isinstance(value, types.FunctionType) or value.__module__ == self.module
        }

    def _object(self, value):
        """Describe the class of an object and the attributes that only the constructor sets."""
        methods = [m.__code__ for m in self._methods(type(value)) if m.__name__ != "__init__"]
        # Those of `__slots__` are in a dict of their own.
        state = object.__getstate__(value)
        parts = [one for one in (state if isinstance(state, tuple) else (state,)) if one]
        own = {name: held for part in parts for name, held in part.items()}
        # What a class computes once, of its settings.
        kinds = {name: inspect.getattr_static(type(value), name, None) for name in own}
        cached = {name for name in own if isinstance(kinds[name], functools.cached_property)}
        own = {name: held for name, held in own.items() if name not in cached}
        return self._all((type(value), _settings(own, methods)))


def _bounded(described):
    """Return a description as text, or its hash: a `repr` in a `repr` doubles the backslashes."""
    text = repr(described)
    return text if len(text) <= _LONG else hashlib.sha256(text.encode()).hexdigest()


def _function_of(member):
    """Return the function behind a method, a property or a cached function; else the member."""
    for name in ("__func__", "fget", "func", "__wrapped__"):
        # What decorates a function is a function, and has code of its own.
        if not isinstance(member, types.FunctionType):
            member = getattr(member, name, None) or member
    return member


def _settings(
    values: Mapping[str, object], codes: Iterable, *, are_attributes: bool = True
) -> dict[str, object]:
    """Return the values that the code reads and does not change."""
    changes = Changes(codes)
    return {
        name: value
        for name, value in values.items()
        if not changes.concern(name, value, is_attribute=are_attributes)
    }

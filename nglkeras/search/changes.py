"""Which of the values that a function reads its own code changes, as its bytecode tells.

A counter or a cache differs from call to call, so that it must not count for what identifies a
function. What the bytecode does not tell simply, such as a cache that is given to another function,
counts as not changed: a call is then refused that could go on, which is better than old results.
"""

import dis
import itertools
from collections.abc import Iterable, MutableMapping, MutableSequence, MutableSet
from types import CodeType

import numpy as np

# Methods that change a list, a dict or a set.
_CHANGING = {
    *("append", "extend", "insert", "pop", "popleft", "appendleft", "remove", "clear"),
    *("update", "setdefault", "add", "discard", "sort", "reverse"),
}
_CONTAINERS = MutableMapping | MutableSequence | MutableSet | np.ndarray
_NAMES = ("STORE_DEREF", "STORE_GLOBAL")
_ATTRIBUTES = ("STORE_ATTR", "DELETE_ATTR")
# Instructions that store an item, with the number of values above the container on the stack.
_ITEMS = {"STORE_SUBSCR": 1, "DELETE_SUBSCR": 1, "STORE_SLICE": 2}
_NAMED = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_ATTR")


def codes_of(code: CodeType) -> Iterable[CodeType]:
    """Yield a code object and those of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)


class Changes:
    """What code changes; a variable and an attribute may have one name.

    Args:
        codes: The code of a function, or of the methods of a class.
    """

    def __init__(self, codes: Iterable[CodeType]):
        # Pairs: whether it is an attribute, and its name.
        self._assigned, self._called = set(), set()
        for whole in codes:
            for code in codes_of(whole):
                self._read(code)

    def concern(self, name: str, value: object, *, is_attribute: bool) -> bool:
        """Return whether the code changes a variable or an attribute that has this value."""
        # An object of one's own may have a method of such a name; its code is read by itself.
        is_called = (is_attribute, name) in self._called and isinstance(value, _CONTAINERS)
        return is_called or (is_attribute, name) in self._assigned

    def _read(self, code):
        steps = list(dis.get_instructions(code))
        for index, step in enumerate(steps):
            if step.opname in _NAMES:
                self._assigned.add((False, step.argval))
            elif step.opname in _ATTRIBUTES:
                if _is_self(steps, _loaded(steps, index, 0), code):
                    self._assigned.add((True, step.argval))
            elif step.opname in _ITEMS:
                self._assigned |= _owners(steps, _loaded(steps, index, _ITEMS[step.opname]))
            elif step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in _CHANGING:
                self._called |= _owners(steps, _loaded(steps, index, 0))


def _loaded(steps, index, above):
    """Return the operation and the name that load the object in which a step stores something.

    Args:
        steps: The instructions of the code.
        index: Which of them stores.
        above: Number of values that lie above the object on the stack.

    Returns:
        `None` if it is no plain name or attribute.
    """
    if steps[index - 1].opname == "SWAP":
        # As in `counts[key] += 1`: what was copied to be read is the object and what is above.
        copies = [i for i in range(index) if steps[i].opname == "COPY"]
        index = copies[-1 - above] if len(copies) > above else 0
    depth = 0
    for place in reversed(range(index)):
        step = steps[place]
        effect = dis.stack_effect(step.opcode, step.arg, jump=False)
        if depth == above or depth + effect > above:
            if step.opname == "BINARY_SUBSCR":
                # As in `table[row][column] = value`: what holds the object counts.
                return _loaded(steps, place, 1)
            if not step.opname.startswith("LOAD_"):
                return None
            return step.opname, _names(step)[-1 if depth == above else 0]
        if "JUMP" in step.opname or step.is_jump_target:
            return None
        depth += effect
    return None


def _assigned(steps, name):
    """Return the steps before each assignment of a local variable."""
    return [
        before
        for before, step in itertools.pairwise(steps)
        if step.opname.startswith("STORE_FAST") and name in _names(step)
    ]


def _names(step):
    """Return the names of an instruction: some of later Pythons have two."""
    return step.argval if isinstance(step.argval, tuple) else (step.argval,)


def _is_self(steps, loaded, code):
    """Return whether an object is the one whose method this is."""
    if loaded is None:
        return False
    operation, name = loaded
    # A function within a method reads `self` as a variable of the method.
    if operation == "LOAD_DEREF":
        return True
    first = code.co_varnames[: min(code.co_argcount, 1)]
    names = {name, *(one.argval for one in _assigned(steps, name) if one.opname == "LOAD_FAST")}
    return operation.startswith("LOAD_FAST") and not names.isdisjoint(first)


def _owners(steps, loaded, seen=()):
    """Return what a container may be outside of the code.

    It is given in pairs: whether it is an attribute, and its name.
    """
    operation, name = loaded or ("", "")
    if operation in _NAMED:
        return {(operation == "LOAD_ATTR", name)}
    if not operation.startswith("LOAD_FAST") or name in seen:
        return set()
    # Another name of what they are: `seen = self.seen`.
    before = [(one.opname, one.argval) for one in _assigned(steps, name)]
    return set().union(*(_owners(steps, one, (*seen, name)) for one in before))

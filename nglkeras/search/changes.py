"""Which of the values that a function reads its own code changes, as its bytecode tells.

A counter or a cache differs from call to call, so that it must not count for what identifies a
function. What the bytecode does not tell simply counts as changed.
"""

import dis
import itertools
from collections.abc import Iterable
from types import CodeType

# Methods that change a list, a dict or a set.
_CHANGING = {
    *("append", "extend", "insert", "pop", "popleft", "appendleft", "remove", "clear"),
    *("update", "setdefault", "add", "discard", "sort", "reverse"),
}
_NAMES = ("STORE_DEREF", "STORE_GLOBAL")
_ATTRIBUTES = ("STORE_ATTR", "DELETE_ATTR")
# Instructions that store an item, with the number of values above the container on the stack.
_ITEMS = {"STORE_SUBSCR": 1, "DELETE_SUBSCR": 1, "STORE_SLICE": 2}
# The last step of an expression whose value is new, so that no other name has it.
_MAKING = ("CALL", "BUILD_", "BINARY_OP", "LIST_", "SET_", "DICT_", "MAP_")
_NAMED = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_ATTR")


def codes_of(code: CodeType) -> Iterable[CodeType]:
    """Yield a code object and those of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_of(constant)


def changed(codes: Iterable[CodeType]) -> tuple[set[str], bool]:
    """Return the names of variables and attributes that the code changes.

    Returns:
        The names, and whether items are stored in a container whose name is not known.
    """
    names, any_container = set(), False
    for whole in codes:
        for code in codes_of(whole):
            found, is_unknown = _changed_by(code)
            names |= found
            any_container |= is_unknown
    return names, any_container


def _changed_by(code):
    steps = list(dis.get_instructions(code))
    names, is_unknown = set(), False
    for index, step in enumerate(steps):
        if step.opname in _NAMES:
            names.add(step.argval)
        elif step.opname in _ATTRIBUTES:
            if not _is_another(steps, _loaded(steps, index, 0), code):
                names.add(step.argval)
        elif step.opname in _ITEMS:
            owners = _owners(steps, _loaded(steps, index, _ITEMS[step.opname]))
            names |= owners or set()
            is_unknown |= owners is None
        elif step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in _CHANGING:
            names |= _owners(steps, _loaded(steps, index, 0)) or set()
    return names, is_unknown


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


def _is_made(steps, name):
    """Return whether all values of a local variable are new objects that the code makes."""
    made = [one.opname.startswith(_MAKING) for one in _assigned(steps, name)]
    return bool(made) and all(made)


def _is_another(steps, loaded, code):
    """Return whether an object is known not to be the one whose method this is."""
    if loaded is None or not loaded[0].startswith("LOAD_FAST"):
        return False
    arguments = code.co_varnames[: code.co_argcount]
    return loaded[1] in arguments[1:] or _is_made(steps, loaded[1])


def _owners(steps, loaded):
    """Return the names outside of the code that a container may have; `None` if not known."""
    if loaded is None:
        return None
    operation, name = loaded
    if not operation.startswith("LOAD_FAST"):
        return {name} if operation in _NAMED else None
    if _is_made(steps, name):
        return set()
    before = _assigned(steps, name)
    is_known = before and all(one.opname in _NAMED for one in before)
    return {one.argval for one in before} if is_known else None

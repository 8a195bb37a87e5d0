"""Rows of files from elsewhere: what each column may hold, checked before anything is made of it.

JSON gives any type anywhere, numbers beyond float64, and with Python's reader NaN and infinity.
"""

import reprlib
from collections.abc import Callable, Collection, Mapping

from nglkeras.errors import UserError

# In absolute value: sums of them stay finite.
MAX_NUMBER = 1e300

Rule = Callable[[object], bool]


def check(row: Mapping, rules: Mapping[str, Rule]) -> None:
    """Raise `UserError` unless every column that is there is as its rule wants it."""
    for name, is_valid in rules.items():
        if name in row and not is_valid(row[name]):
            raise UserError(f"its {name} cannot be {reprlib.repr(row[name])}")


def is_text(value: object) -> bool:
    """Whether it is a string."""
    return isinstance(value, str)


def is_object(value: object) -> bool:
    """Whether it is a JSON object."""
    return isinstance(value, dict)


def is_number(value: object) -> bool:
    """Whether it is a finite number, and none of the largest."""
    is_any = isinstance(value, int | float) and not isinstance(value, bool)
    return is_any and abs(value) <= MAX_NUMBER


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0."""
    return isinstance(value, int) and is_number(value) and value >= 0


def is_share(value: object) -> bool:
    """Whether it is a number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def one_of(valid: Collection[str]) -> Rule:
    """The rule for one of these strings."""
    return lambda value: is_text(value) and value in valid


def optional(rule: Rule) -> Rule:
    """The rule for what another one takes, or null."""
    return lambda value: value is None or rule(value)


def list_of(rule: Rule) -> Rule:
    """The rule for a list of what another one takes."""
    return lambda value: isinstance(value, list) and all(map(rule, value))

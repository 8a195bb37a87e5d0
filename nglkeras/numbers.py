"""Check and limit the numbers that users give."""

import contextlib
import operator
from collections.abc import Iterable

import numpy as np

from nglkeras.errors import UserError


def whole_number(name: str, value: object, least: int | None = 1) -> int:
    """Return the value as an int.

    Raises:
        UserError: If it is not a whole number or is below `least`.
    """
    with contextlib.suppress(TypeError):
        number = operator.index(value)
        if not isinstance(value, bool) and (least is None or number >= least):
            return number
    limit = "" if least is None else f" of at least {least}"
    raise UserError(f"{name}={value!r} is not a whole number{limit}")


def convert_whole_numbers(parameters: object, **least: int) -> None:
    """Convert attributes of a frozen dataclass to int; each keyword gives the least value of one.

    Raises:
        UserError: If one is not a whole number or is below its least value.
    """
    for name, limit in least.items():
        number = whole_number(name, getattr(parameters, name), limit)
        object.__setattr__(parameters, name, number)


def positive(name: str, value: object) -> float:
    """Return the value as a float.

    Raises:
        UserError: If it is not a finite number above 0.
    """
    with contextlib.suppress(TypeError, ValueError):
        if 0 < float(value) < np.inf and not isinstance(value, bool):
            return float(value)
    raise UserError(f"{name}={value!r} is not a positive number")


def check_rates(parameters: object, names: Iterable[str]) -> None:
    """Raise a `UserError` unless these attributes are probabilities."""
    for name in names:
        value = getattr(parameters, name)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UserError(f"{name}={value!r} is not a probability")


def at_most(value: float, limit: float | None) -> float:
    """Return the smaller of both; `None` is no limit."""
    return value if limit is None else min(value, limit)

"""Numbers as text, as the filters of templates: `{{ cell.mean | fixed(1) }}`.

A minus is the sign "−" of print, not a hyphen.
"""

from nglkeras.errors import UserError
from nglkeras.report.statistics import Difference
from nglkeras.report.tables import Cell

_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve"),
)


def fixed(value: float, digits: int = 0) -> str:
    """Return a number with this many decimals, e.g. "0.9628"."""
    return _text(value, f".{digits}f")


def signed(value: float, digits: int = 0) -> str:
    """Return a number with its sign, e.g. "+7.2"."""
    return _text(value, f"+.{digits}f")


def percent(value: float, digits: int = 0) -> str:
    """Return a share in [0, 1] in percent, without the sign "%", e.g. "92.5"."""
    return _text(100 * _known(value), f".{digits}f")


def grouped(value: float) -> str:
    """Return a whole number with its thousands grouped, e.g. "306,413"."""
    return _text(value, ",.0f")


def scientific(value: float, digits: int = 1) -> str:
    """Return a number as a power of ten, e.g. "2.0e-7"."""
    mantissa, _, exponent = format(_known(value), f".{digits}e").partition("e")
    return _in_print(f"{mantissa}e") + str(int(exponent))


def p(value: float) -> str:
    """Return a p value, with one or two digits that count, e.g. "0.48", "0.002" or "2e-7"."""
    if _known(value) < 0.001:
        return scientific(value, 0)
    return _text(value, ".2g" if value >= 0.01 else ".1g")


def word(value: int) -> str:
    """Return a small whole number as a word, e.g. "seven"; others as digits."""
    value = _known(value)
    return _WORDS[value] if value in range(len(_WORDS)) else grouped(value)


def interval(ends: Cell | Difference | tuple[float, float], digits: int = 0) -> str:
    """Return the interval of a cell or a difference, or given ends, e.g. "[−15.4, 14.2]"."""
    low, high = ends if isinstance(ends, tuple) else (ends.low, ends.high)
    return f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def plus_minus(cell: Cell, digits: int = 0) -> str:
    """Return the mean of a cell and half its 95 % interval, e.g. "34.4 ± 4.7"."""
    return f"{fixed(cell.mean, digits)} ± {fixed(cell.half, digits)}"


FILTERS = {
    function.__name__: function
    for function in (
        *(fixed, signed, percent, grouped, scientific, p, word),
        *(interval, plus_minus),
    )
}


def _known(value):
    if value is None or value != value:
        raise UserError("there is no such number: too few rows, or the paper has none")
    return value


def _text(value, form):
    return _in_print(format(_known(value), form))


def _in_print(text):
    return text.replace("-", "−")

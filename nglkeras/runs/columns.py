"""Types of the columns of a row that is read from a file; `msgspec` checks them.

JSON allows any type in any column and numbers beyond float64, and Python's reader takes NaN and
infinity. Integers stay integers, so that a row that is read and printed again does not change.
"""

from typing import Annotated

from msgspec import Meta

# Limits in absolute value: sums of such numbers stay finite, and `msgspec` knows 64 bits.
LARGEST, _WHOLE = 1e300, 2**63 - 1

_Real = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Number = Annotated[int, Meta(ge=-_WHOLE, le=_WHOLE)] | _Real
Count = Annotated[int, Meta(ge=0, le=_WHOLE)]
Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
Measures = dict[str, Number | None]

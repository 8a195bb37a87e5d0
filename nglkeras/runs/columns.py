"""Types of the columns of a row that is read from a file; `msgspec` checks them.

JSON allows any type in any column and numbers beyond float64, and Python's reader takes NaN and
infinity. Integers stay integers, so that a row that is read and printed again does not change.
"""

from typing import Annotated

from msgspec import Meta

# Limits in absolute value: sums of such numbers stay finite, and `msgspec` knows 64 bits.
_REAL, _WHOLE = 1e300, 2**63 - 1

Number = Annotated[int, Meta(ge=-_WHOLE, le=_WHOLE)] | Annotated[float, Meta(ge=-_REAL, le=_REAL)]
Count = Annotated[int, Meta(ge=0, le=_WHOLE)]
Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
Measures = dict[str, Number | None]

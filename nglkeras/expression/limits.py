"""A limit on the work of a block of code that may take very long."""

import contextlib
import sys
from collections.abc import Iterator


class TooMuchWorkError(BaseException):
    """Ends the block; not an `Exception`, so that no handler within the block takes it."""


@contextlib.contextmanager
def limited(calls: int) -> Iterator[None]:
    """End a block after so many calls of functions, without an error.

    The limit is on calls, not on seconds: the same block ends at the same place on every machine.
    It needs no signals, threads or processes, so it works on every system and in notebooks; a
    single call of a C function is not interrupted. While it lasts, other profilers see nothing.

    Args:
        calls: Number of calls after which the block ends.
    """
    left = calls

    def count(frame, event, argument):
        nonlocal left
        if event in ("call", "c_call"):
            left -= 1
            if left < 0:
                raise TooMuchWorkError

    profiler = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    except TooMuchWorkError:
        pass
    finally:
        if hasattr(profiler, "enable"):
            # That of cProfile is no function.
            profiler.enable()
        else:
            sys.setprofile(profiler)

"""Errors for input that names what does not exist or cannot be had."""

from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the input, said in one line; the scripts turn it into exit code 2."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
    """The error for a name that is not one of the valid ones.

    Args:
        kind: What the name should have been, e.g. `"loss"`.
        name: What was given.
        valid: The names that would have been right.
    """
    return UserError(f"unknown {kind} {name!r}; choose from: {', '.join(valid)}")

"""Errors for input that names what does not exist or cannot be had."""

from collections.abc import Iterable

MAX_MESSAGE = 1_000


class UserError(ValueError):
    """A mistake in the input, said in one line; the scripts turn it into exit code 2."""

    def __init__(self, message: object):
        super().__init__(in_a_line(message))


def in_a_line(text: object) -> str:
    """A text as a terminal can be given it, wherever it comes from.

    Control characters, which may steer the terminal, become spaces, and so does whatever cannot
    be printed; a long text is cut short.
    """
    text = str(text)
    text = text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
    return "".join(character if character.isprintable() else " " for character in text)


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
    """The error for a name that is not one of the valid ones.

    Args:
        kind: What the name should have been, e.g. `"loss"`.
        name: What was given.
        valid: The names that would have been right.
    """
    return UserError(f"unknown {kind} {name!r}; choose from: {', '.join(valid)}")

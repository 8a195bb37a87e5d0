"""The error for wrong input, and the form of its message."""

from collections.abc import Iterable

MAX_MESSAGE = 1_000


class UserError(ValueError):
    """Wrong input, described in one line; scripts print it and exit with code 2."""

    def __init__(self, message: object):
        super().__init__(in_a_line(message))


def in_a_line(text: object) -> str:
    """Return a text that is safe to print: on one line, at most `MAX_MESSAGE` characters.

    Control characters, which could change the terminal's state, and other characters that cannot
    be printed become spaces.
    """
    text = str(text)
    text = text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."
    return "".join(character if character.isprintable() else " " for character in text)


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
    """Return the error for an unknown name.

    Args:
        kind: Kind of thing that the name stands for, e.g. `"loss"`.
        name: The unknown name.
        valid: The valid names.
    """
    return UserError(f"unknown {kind} {name!r}; choose from: {', '.join(valid)}")

"""Expand the paths that users give."""

import os
from pathlib import Path

from nglkeras.errors import UserError


def expand(path: str | os.PathLike) -> Path:
    """Return a user's path as a `Path`, with a leading `~` replaced by the home folder.

    Raises:
        UserError: If it is not a path, or a home folder cannot be found.
    """
    try:
        return Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise UserError(f"{path!r} is not a path: {error}") from error


def absolute(path: str | os.PathLike) -> Path:
    """Return `expand(path)` as an absolute path, since workers may run in another folder."""
    return expand(path).resolve()


def weights(path: str | os.PathLike | None) -> str | None:
    """Return initial weights with a file's path expanded; `None` and "imagenet" stay."""
    return path if path in (None, "imagenet") else str(expand(path))

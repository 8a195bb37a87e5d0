"""Paths as users write them."""

import os
from pathlib import Path

from nglkeras.errors import UserError


def expand(path: str | os.PathLike) -> Path:
    """Return a user's path as a `Path`, with a leading `~` replaced by the home folder.

    Raises:
        UserError: If it is no path, or names a home folder that cannot be found.
    """
    try:
        return Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise UserError(f"{path!r} is not a path: {error}") from error


def absolute(path: str | os.PathLike) -> Path:
    """Return `expand(path)` as seen from any folder: workers may run in another one."""
    return expand(path).resolve()


def weights(path: str | os.PathLike | None) -> str | None:
    """Return what networks start from: a file's path is expanded, `None` and "imagenet" stay."""
    return path if path in (None, "imagenet") else str(expand(path))

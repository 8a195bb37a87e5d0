"""Expand the paths that users give, and replace files as a whole."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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


@contextlib.contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file whose content replaces that of `path` once all of it is on the disk.

    Whoever reads `path` meanwhile, or after a crash, finds what was there before.

    Args:
        path: The file to replace; its folder must exist.
        mode: "w" for text in UTF-8 with the line ends as they are written, "wb" for bytes.
    """
    part = path.with_name(f"{path.name}.part")
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    with part.open(mode, encoding=encoding, newline=newline) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)

"""Documents beside their templates: rendered, compared line by line, written."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

import jinja2

from nglkeras import paths
from nglkeras.errors import UserError, in_a_line
from nglkeras.experiments.verification.numbers import Numbers
from nglkeras.experiments.verification.texts import FILTERS

ENDING = ".j2"
NOTHING = "(no such line)"


@dataclass(frozen=True)
class Difference:
    """A line of a document that is not what its template gives.

    Attributes:
        line: Number of the line, from 1; that of the line after it where it is missing.
        found: The line of the document.
        recomputed: The line of the rendering.
    """

    line: int
    found: str
    recomputed: str


def templates(folder: str | Path) -> list[Path]:
    """Return the templates of a project's folder: those in it, in its `results/` and its `docs/`.

    Raises:
        UserError: If there is none.
    """
    folder = paths.expand(folder)
    places = folder, folder / "results", folder / "docs"
    found = [path for place in places for path in place.glob(f"*.md{ENDING}")]
    if not found:
        raise UserError(f"no template *.md{ENDING} in {', '.join(map(str, places))}")
    return sorted(found)


class Documents:
    """The documents of a project's folder.

    Args:
        folder: The folder, with `results/` in it.
    """

    def __init__(self, folder: str | Path):
        self.folder = paths.expand(folder)
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self.folder),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # Nothing here is HTML.
            autoescape=False,
            extensions=["jinja2.ext.do"],
        )
        self._functions = Numbers(self.folder / "results").functions
        self._environment.globals |= self._functions
        self._environment.filters |= FILTERS

    def render(self, template: Path, **variables) -> str:
        """Return what a template gives.

        Args:
            template: The file, within the folder.
            **variables: What it may use beside the functions.

        Raises:
            UserError: If it cannot be rendered; the message names the file, the line and the fault.
        """
        name = template.relative_to(self.folder).as_posix()
        try:
            return self._environment.get_template(name).render(variables)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"{template}:{error.lineno}: {error.message}") from error
        except Exception as error:
            message = in_a_line(error) or type(error).__name__
            if isinstance(error, jinja2.UndefinedError) and message.endswith("is undefined"):
                message += f"; the functions are: {', '.join(self._functions)}"
            raise UserError(f"{template}:{_line_of(error, template)}: {message}") from error

    def differences(self, template: Path) -> list[Difference]:
        """Compare a document with what its template gives.

        A rendering that begins with a heading stands for the part of the document from this
        heading to the next of its level: the whole document, or a section of it.

        Raises:
            UserError: If either cannot be read, or the document has no such heading.
        """
        recomputed = self.render(template).rstrip("\n").split("\n")
        lines, start, end = _part(template.with_suffix(""), recomputed[0])
        return list(_compared(lines[start:end], recomputed, start + 1))

    def write(self, template: Path) -> None:
        """Write what a template gives in place of the part that it stands for.

        Raises:
            UserError: As `differences`, or if the document cannot be written.
        """
        document = template.with_suffix("")
        recomputed = self.render(template).rstrip("\n").split("\n")
        lines, start, end = _part(document, recomputed[0])
        lines[start:end] = recomputed
        try:
            with paths.replacing(document) as file:
                file.write("\n".join(lines) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {document}: {error.strerror}") from error


def _line_of(error, template):
    """Return the line of the template where an error was raised, from the traceback."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(template):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _part(document, heading):
    """Return a document's lines, and start and end of the part that begins with a heading."""
    try:
        lines = document.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {document}: {error}") from error
    level = _level(heading)
    if not level or heading not in lines:
        raise UserError(f"{document} has no heading {heading!r}, with which its template begins")
    start, fenced = lines.index(heading), False
    for end in range(start + 1, len(lines)):
        fenced ^= lines[end].startswith("```")
        if not fenced and 0 < _level(lines[end]) <= level:
            break
    else:
        end = len(lines)
    while not lines[end - 1]:
        end -= 1
    return lines, start, end


def _level(line):
    """Return the level of a heading; 0 for other lines."""
    marks = line.partition(" ")[0]
    return len(marks) if marks and not marks.strip("#") else 0


def _compared(found, recomputed, first) -> Iterator[Difference]:
    matcher = SequenceMatcher(None, found, recomputed, autojunk=False)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind != "equal":
            pairs = zip_longest(
                found[start:end], recomputed[other_start:other_end], fillvalue=NOTHING
            )
            for i, (line, other) in enumerate(pairs):
                yield Difference(first + min(start + i, end), line, other)

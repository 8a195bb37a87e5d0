"""The pages of the site that are made from the code and the committed rows."""

import functools
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import gallery
import notebooks
import tables
from matplotlib.figure import Figure

from nglkeras.experiments.verification.documents import Documents

_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)")
_FIGURES = (".png", ".svg")
# Pages that are files outside docs/.
SOURCES = {
    "getting-started.md": "README.md",
    "report.md": "results/REPORT.md",
    "datasheet.md": "results/DATASHEET.md",
    "results.md": "results/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
# What the site shows as a page of another form.
_SHOWN_AS = {"docs/site/experiments.csv": "tables/index.md"}
# The cases of the benchmarks, by the name of the backend, and the file of their ratios.
_BENCHMARKS = {"TensorFlow": "loss.csv", "PyTorch": "loss_torch.csv"}


class Pages:
    """What is made for the site.

    Args:
        project: The project's folder.
    """

    def __init__(self, project: Path):
        self.project = project
        self._documents = Documents(project)
        self._templates = project / "docs" / "site" / "templates"
        self._notebooks = project / "docs" / "notebooks"

    def files(self) -> Iterator[tuple[str, str | bytes | Figure]]:
        """Yield the name of each file, from the site's folder, with its content."""
        yield "index.md", self.render("index.md.j2")
        yield from gallery.files(self.render)
        yield from tables.files(self.project, self.render)
        yield from notebooks.pages(self._notebooks, self.project / "build" / "notebooks")
        yield from self._figures()
        for page, file in SOURCES.items():
            yield page, (self.project / file).read_text(encoding="utf-8")

    @property
    def navigation(self) -> dict[str, list]:
        """The places of generated pages, by what stands for them in mkdocs.yml."""
        losses = [{entry.row.label: f"gallery/{entry.page}.md"} for entry in gallery.entries()]
        return {
            "GALLERY": ["gallery/index.md", *losses],
            "NOTEBOOKS": notebooks.navigation(self._notebooks),
            "TABLES": ["tables/index.md", *tables.navigation()],
        }

    def render(self, template: str, **variables) -> str:
        """Return the page that a template of the site gives."""
        return self._documents.render(self._templates / template, costs=self.costs, **variables)

    def recomputed(self, source: str) -> str | None:
        """Return what the template of a file gives; `None` if it has none of the whole file.

        Args:
            source: The file, from the project's folder.
        """
        template = self.project / f"{source}.j2"
        # That of README.md gives a section of it.
        if source == "README.md" or not template.exists():
            return None
        return self._documents.render(template)

    def costs(self, entry: gallery.Entry) -> dict[str, dict[str, float]]:
        """Return the ratios of a loss to cross entropy by backend and case, where measured."""
        found = {}
        for backend, file in _BENCHMARKS.items():
            frame = _table(self.project / "results" / "benchmark" / file)
            own = frame[frame.name == entry.kind.__name__].set_index("case").ratio
            if len(own):
                found[backend] = own.to_dict()
        return found

    def _figures(self):
        """The figures that pages from outside docs/ show."""
        for file in map(PurePosixPath, SOURCES.values()):
            text = (self.project / file).read_text(encoding="utf-8")
            shown = {name for _, name in _LINK.findall(text) if name.endswith(_FIGURES)}
            for name in sorted(shown):
                yield str(file.parent / name), (self.project / file.parent / name).read_bytes()


def linked(text: str, place: str, source: str | None = None) -> str:
    """Return a page with links between the project's files as links between the site's pages.

    Args:
        text: The page.
        place: Its place in the site.
        source: The file that it comes from, from the project's folder; by default in docs/.
    """
    pages = {file: page for page, file in SOURCES.items()} | _SHOWN_AS
    source, place = PurePosixPath(source or f"docs/{place}"), PurePosixPath(place)

    def moved(match):
        start, name = match.groups()
        if "://" in name:
            return match[0]
        file = posixpath.normpath(source.parent / name)
        file = pages.get(file, file)
        target = posixpath.relpath(file.removeprefix("docs/"), place.parent)
        return f"{start}{target}"

    return _LINK.sub(moved, text)


@functools.cache
def _table(path):
    import pandas as pd

    return pd.read_csv(path)

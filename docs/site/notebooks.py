"""Pages of the notebooks: they are executed, and turned into Markdown with the figures they draw.

A notebook is committed without outputs. Its executed copy is kept in a cache, under a hash of the
notebook and of all sources that it may use, so that only a change executes it again.
"""

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbconvert import MarkdownExporter
from nbformat import NotebookNode

# Kernels at a time.
PARALLEL = 2
# Seconds that one cell may take, on a busy machine too.
TIMEOUT = 600
_PROJECT = Path(__file__).parents[2]
# Without the lines that XLA writes when it begins.
_ENVIRONMENT = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "1"}
# What the notebooks use of the project.
_SOURCES = ("nglkeras/**/*.py", "nglkeras/**/*.csv", "nglkeras/**/*.j2", "reproduce/*.py")
_SOURCES += ("results/table2/**/*.csv",)
_IMAGES = ("image/png", "image/svg+xml", "image/jpeg")
# Between two outputs; code has two blank lines at most.
_GAP = re.compile(r"\n(?:[ ]*\n){4,}")
# From one notebook to another.
_LINK = re.compile(r"\]\((\w+)\.ipynb\)")
_IMAGE = re.compile(r"!\[(?:png|svg|jpeg)\]\(")
# The site styles tables that have neither a class nor a style of their own.
_STYLE = re.compile(r"<style scoped>.*?</style>\n?", re.DOTALL)
_TABLE = re.compile(r'<table border="1" class="dataframe">')
_RIGHT = re.compile(r' style="text-align: right;"')


class NotebookError(Exception):
    """A notebook that cannot become a page; the message is one line."""


def pages(folder: Path, cache: Path) -> Iterator[tuple[str, str | bytes]]:
    """Yield the name of each file, from the site's folder, with its content.

    Args:
        folder: Folder of the notebooks, in the site's folder.
        cache: Folder of the executed notebooks; it is made if it is missing.

    Raises:
        NotebookError: If a cell fails, or draws a figure that has no text.
    """
    paths = sorted(folder.glob("*.ipynb"))
    for path, notebook in zip(paths, executed(paths, cache), strict=True):
        for name, content in page(path.stem, notebook):
            yield f"{folder.name}/{name}", content


def navigation(folder: Path) -> list[str]:
    """Return the places of the pages in the site, in order."""
    return [f"{folder.name}/{path.stem}.md" for path in sorted(folder.glob("*.ipynb"))]


def executed(paths: list[Path], cache: Path) -> list[NotebookNode]:
    """Return the notebooks with their outputs, from the cache where nothing has changed."""
    cache.mkdir(parents=True, exist_ok=True)
    sources = _digest(*(path for pattern in _SOURCES for path in sorted(_PROJECT.glob(pattern))))
    places = {path: cache / f"{path.stem}-{_digest(path, root=sources)}.ipynb" for path in paths}
    missing = {path: place for path, place in places.items() if not place.exists()}
    if missing:
        asyncio.run(_execute_all(missing))
    return [nbformat.read(place, as_version=4) for place in places.values()]


def _digest(*paths, root=""):
    digest = hashlib.sha256(root.encode())
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


async def _execute_all(missing):
    free = asyncio.Semaphore(PARALLEL)

    async def one(path, place):
        async with free:
            notebook = await execute(path)
        for old in place.parent.glob(f"{path.stem}-*.ipynb"):
            old.unlink(missing_ok=True)
        nbformat.write(notebook, place)

    await asyncio.gather(*(one(path, place) for path, place in missing.items()))


async def execute(path: Path) -> NotebookNode:
    """Execute a notebook in an empty folder, on TensorFlow; return it with its outputs.

    Raises:
        NotebookError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix=f"{path.stem}-") as folder:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            startup_timeout=TIMEOUT,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--IPKernelApp.log_level=40"],
        )
        try:
            await client.async_execute(env=os.environ | _ENVIRONMENT)
        except CellExecutionError as error:
            why = f"{error.ename}: {error.evalue}"
        except (CellTimeoutError, RuntimeError) as error:  # the kernel has died or did not start
            why = str(error)
        else:
            return notebook
    raise NotebookError(f"{path.name}, cell {_failed(notebook)}: {' '.join(why.split())}")


def _failed(notebook):
    """The number and id of the cell that was executed last, for people."""
    # Empty where the kernel died before it could say when it began.
    begun = [i for i, cell in enumerate(notebook.cells) if "execution" in cell.metadata]
    number = begun[-1] if begun else 0
    return f"{number + 1} ({notebook.cells[number].id})"


def page(name: str, notebook: NotebookNode) -> Iterator[tuple[str, str | bytes]]:
    """Yield the page of an executed notebook and its figures, each with its file's name.

    Raises:
        NotebookError: If a figure has no text.
    """
    texts = []
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", ()):
            if any(kind in output.get("data", {}) for kind in _IMAGES):
                if not alternative_text(cell):
                    raise NotebookError(
                        f"{name}.ipynb, cell {number} ({cell.id}): it draws a figure and does not "
                        "begin with a comment, which would be the figure's alternative text"
                    )
                texts.append(alternative_text(cell))
    resources = {"unique_key": name, "output_files_dir": f"{name}_files"}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources)
    found = iter(texts)
    text = _IMAGE.sub(lambda match: f"![{next(found)}](", text)
    text = _RIGHT.sub("", _TABLE.sub("<table>", _STYLE.sub("", text)))
    text = _LINK.sub(r"](\1.md)", text)
    text = _GAP.sub("\n\n", text)
    heading, _, rest = text.strip().partition("\n")
    link = f'[Download this notebook]({name}.ipynb){{download="{name}.ipynb"}}'
    yield f"{name}.md", f"{heading}\n\n{link}\n{rest}\n"
    yield from resources["outputs"].items()


def alternative_text(cell: NotebookNode) -> str:
    """Return the text of a cell's figures: the comment that the cell begins with."""
    lines = []
    for line in cell.source.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").strip())
    return " ".join(lines).replace("[", "(").replace("]", ")")

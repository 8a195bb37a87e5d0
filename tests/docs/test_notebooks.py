"""The notebooks: committed without outputs, and pages of the site once they are executed."""

import json
import re
import runpy

import pytest
from conftest import ROOT

FOLDER = ROOT / "docs/notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
# What draws a figure.
DRAWS = re.compile(r"plt\.show\(\)|^plots\.\w+\(|\.figure\(\)$|^Image\(", re.MULTILINE)
each = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


@pytest.fixture(scope="module")
def site():
    """The module that makes the pages."""
    for package in ("ipykernel", "nbclient", "nbconvert"):
        pytest.importorskip(package)
    return runpy.run_path(str(ROOT / "docs/site/notebooks.py"))


def cells_of(path, kind):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


@each
class TestAsCommitted:
    def test_is_valid_and_has_stable_ids(self, path):
        nbformat = pytest.importorskip("nbformat")
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
        assert all(cell.id.startswith(path.stem.replace("_", "-")) for cell in notebook.cells)

    def test_has_no_outputs(self, path):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert cell["metadata"] == {}
            if cell["cell_type"] == "code":
                assert (cell["outputs"], cell["execution_count"]) == ([], None)

    def test_begins_with_its_end_and_ends_with_its_limits(self, path):
        first, *_, last = cells_of(path, "markdown")
        assert re.match(r"# [A-Z].*\n\nAt the end you will have ", first)
        assert "\n## What these runs do not show\n" in f"\n{last}"

    def test_every_figure_has_a_text(self, path):
        drawing = [source for source in cells_of(path, "code") if DRAWS.search(source)]
        assert drawing
        for source in drawing:
            assert re.match(r"# [A-Z].{40}", source), source

    def test_names_no_place_of_this_machine(self, path):
        assert not re.search(r"""["' ]/\w+/|[A-Z]:\\""", path.read_text(encoding="utf-8"))

    def test_links_lead_to_notebooks(self, path):
        for link in re.findall(r"\]\(([^)]+)\)", "\n".join(cells_of(path, "markdown"))):
            assert (FOLDER / link).is_file()


class TestPages:
    """A small notebook in the place of the six, which takes a kernel and some seconds."""

    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "notebooks"
        folder.mkdir()
        return folder

    def write(self, folder, *codes):
        cells = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# Small"}]
        for i, source in enumerate(codes):
            code = {"cell_type": "code", "execution_count": None, "outputs": [], "metadata": {}}
            cells.append(code | {"id": f"code-{i}", "source": source})
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (folder / "small.ipynb").write_text(json.dumps(notebook))

    def pages(self, site, folder):
        return dict(site["pages"](folder, folder.parent / "cache"))

    DRAWING = """%matplotlib inline
from matplotlib.figure import Figure
figure = Figure((1, 1))
figure.subplots()
figure"""

    def test_have_outputs_figures_with_texts_and_a_link(self, site, folder):
        self.write(folder, "print(6 * 7)", f"# A square\n# [empty].\n{self.DRAWING}")
        found = self.pages(site, folder)
        text = found.pop("notebooks/small.md")
        assert text.startswith("# Small\n\n[Download this notebook](small.ipynb)")
        assert "\n    42\n" in text
        ((name, image),) = found.items()
        assert f"![A square (empty).]({name.removeprefix('notebooks/')})" in text
        assert image.startswith(b"\x89PNG")

    def test_come_from_the_cache_until_the_notebook_changes(self, site, folder):
        code = "from pathlib import Path\nprint(len(list(Path().iterdir())), 'files')"
        self.write(folder, code)
        first = self.pages(site, folder)
        (kept,) = (folder.parent / "cache").iterdir()
        kept.write_text(kept.read_text().replace("0 files", "7 files"))
        assert "    7 files" in self.pages(site, folder)["notebooks/small.md"]
        self.write(folder, code, "1")
        assert "    0 files" in self.pages(site, folder)["notebooks/small.md"]
        assert "    0 files" in first["notebooks/small.md"]
        assert len(list((folder.parent / "cache").iterdir())) == 1

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("1 / 0", r"small.ipynb, cell 3 \(code-1\): ZeroDivisionError: division by zero"),
            ("import os; os._exit(1)", r"small.ipynb, cell 3 \(code-1\): .*[Kk]ernel died"),
            (DRAWING, r"small.ipynb, cell 3 \(code-1\): it draws a figure and does not begin with"),
        ],
        ids=["error", "death", "no text"],
    )
    def test_a_cell_that_fails_is_named_in_a_line(self, site, folder, code, message):
        self.write(folder, "1", code, "2")
        with pytest.raises(site["NotebookError"], match=message) as error:
            self.pages(site, folder)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_all_are_executed_without_a_warning(site):
    # Where the site was built, they are executed already.
    notebooks = site["executed"](PATHS, ROOT / "build/notebooks")
    for path, notebook in zip(PATHS, notebooks, strict=True):
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        assert [output.text for output in outputs if output.get("name") == "stderr"] == []
        page = dict(site["page"](path.stem, notebook))[f"{path.stem}.md"]
        assert "<Figure size" not in page
        assert str(ROOT) not in page

"""The documentation site: its numbers come from the rows, and it works in a browser from disk."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import browser
import pytest
from conftest import ROOT

pytest.importorskip("mkdocs", reason="the packages of requirements-docs.txt are not installed")
pytestmark = pytest.mark.slow
READY = "document.readyState === 'complete' && document.querySelector('h1') !== null"
PAGES = (
    *("index", "getting-started", "which-loss", "report", "results", "datasheet", "reproduce"),
    "explorer/index",
    *("gallery/index", "gallery/ngl", "gallery/asl-multi-label", "tables/index", "tables/table-2"),
    *("api/losses", "api/search", "contributing"),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; warnings fail the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class _Parts(HTMLParser):
    """Pictures without an alternative text, and what is fetched to show a page."""

    def __init__(self, text):
        super().__init__()
        self.silent, self.fetched = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "img" and not found.get("alt"):
            self.silent.append(found.get("src"))
        if tag in ("img", "script", "iframe") or found.get("rel") in ("stylesheet", "icon"):
            self.fetched += [found.get("src") or found.get("href") or ""]


def test_every_picture_has_a_text_and_nothing_is_fetched(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 70
    for page in pages:
        parts = _Parts(page.read_text(encoding="utf-8"))
        assert parts.silent == [], page
        assert [one for one in parts.fetched if "//" in one] == [], page


def test_no_template_is_left_on_a_page(site):
    for page in site.rglob("*.html"):
        text = re.sub(r"<(script|pre|code).*?</\1>", "", page.read_text(), flags=re.DOTALL)
        assert not re.search(r"\{\{|\{%|#\}", text), page


@pytest.mark.skipif(browser.find() is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", PAGES)
def test_pages_work_in_a_browser(site, name, width, tmp_path):
    async def look(page):
        return await page.value("document.documentElement.scrollWidth")

    found, page = browser.visit(site / f"{name}.html", tmp_path / "profile", look, width, READY)
    assert page.errors == []
    assert all(address.startswith(("file:", "data:", "blob:")) for address in page.requests)
    assert found <= width


@pytest.mark.skipif(browser.find() is None, reason="no Chromium is installed")
def test_the_search_finds_a_loss(site, tmp_path):
    async def look(page):
        await page.value("document.querySelector('[data-md-toggle=search]').click()")
        await page.value(
            "(() => { const field = document.querySelector('.md-search__input');"
            "field.focus(); field.value = 'BaikalCMA';"
            "field.dispatchEvent(new Event('input', {bubbles: true}));"
            "field.dispatchEvent(new KeyboardEvent('keyup', {bubbles: true})); })()"
        )
        await page.until("document.querySelector('.md-search-result__item a') !== null")
        return await page.value("document.querySelector('.md-search-result__list').innerText")

    found, _ = browser.visit(site / "index.html", tmp_path / "profile", look, 1400, READY)
    assert "BaikalCMA" in found


def test_a_changed_row_changes_the_pages(tmp_path):
    for name in ("docs", "results", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "figures"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    code = (
        "import sys; sys.path.insert(0, 'docs/site'); import generated, pathlib;"
        "pages = generated.Pages(pathlib.Path.cwd());"
        "print(pages.recomputed('docs/which-loss.md'));"
        "print(dict(generated.gallery.files(pages.render))['gallery/ngl.md'])"
    )

    def pages():
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    before = pages()
    table = tmp_path / "results/benchmark/loss_torch.csv"
    changed, count = re.subn(
        r"(?m)^(128 x 10,NGL,CategoricalCrossentropy),[\d.]+", r"\1,7.77", table.read_text()
    )
    assert count == 1
    table.write_text(changed)
    after = pages()
    assert "cost 7.8 to" in after
    assert "| 128 x 10 | 1.05 | 7.77 |" in after
    assert "7.77" not in before

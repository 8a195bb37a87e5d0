"""`search.html`, the page of a search: what it shows, in a browser too, and when it is written."""

import json
import shutil
import sys
import time
from importlib.util import find_spec
from types import SimpleNamespace

import browser
import pytest
from conftest import ROOT
from search_tools import TINY, by_hash

from nglkeras.report.rates import FIRST_NEW
from nglkeras.runs import status
from nglkeras.runs.live_status import LiveStatus, duration
from nglkeras.search import (
    PAPER,
    Evaluation,
    GeneticProgramming,
    Measured,
    Result,
    Trainer,
    confirm,
    page,
    search,
)
from nglkeras.search.page import LivePage, write_page
from nglkeras.search.presentation import SPARED, shown
from nglkeras.startup.extras import MissingPackageError

WIDTHS = (400, 1400)
MIB = 2**20
CONFIRMED = {
    "sentence": "7-1: better than cross entropy at its own best rate: yes <5 new runs>",
    "verdict": "yes",
    "best": "7-1",
    "measure": "accuracy",
    "losses": [
        {
            "loss": "7-1",
            "rate": 0.01,
            "test": 91.25,
            "runs": 5,
            "verdict": "better",
            "difference": 1.5,
            "difference_low": 0.5,
            "difference_high": 2.5,
            "p_holm": 0.01,
        },
        {
            "loss": "CE",
            "rate": 0.1,
            "test": 89.75,
            "runs": 5,
            "verdict": "",
            **dict.fromkeys(("difference", "difference_low", "difference_high", "p_holm")),
        },
    ],
    "notes": ["A note."],
}
ROW = {"key": "0", "loss": "CE", "formula": "CE", "learning_rate": 0.1, "run": 0}
ROW |= {"status": "ok", "validation": 0.5}


with_bokeh = pytest.mark.skipif(find_spec("bokeh") is None, reason="Bokeh is not installed")
_BROWSER = f"none of {', '.join(browser.NAMES)} is installed"
in_a_browser = pytest.mark.skipif(browser.find() is None, reason=_BROWSER)


class Diverging(Trainer):
    """A trainer without networks, which diverges at the greatest rate."""

    rate, chance = 0.01, 0.1
    settings = {"trainer": "diverging"}  # noqa: RUF012 - in the place of a property

    def __call__(self, name, loss, *, learning_rate, run):
        """Return what a network has reached."""
        if learning_rate == 0.1:
            return Measured("exploded")
        return Measured("ok", 0.5 + 0.1 * (run % 3), 0.5)


def run(out, evaluate=by_hash, **options):
    options = {"quiet": True} | options
    return search(GeneticProgramming(0, **TINY), evaluate, out=out, **options)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A search of 100 generations of 16 losses."""
    out = tmp_path_factory.mktemp("long")
    for name in ("search.jsonl", "best.json"):
        shutil.copy(ROOT / "results" / "search" / "small_cnn_mnist" / name, out)
    return out, Result.load(out)


@pytest.fixture(scope="module")
def pages(long, tmp_path_factory):
    """What a browser shows of this search at each width."""
    out, result = long
    path = page._write(out, result, None)

    async def look(shown):
        await shown.call("Network.emulateNetworkConditions", **OFFLINE)
        return await shown.value(READ)

    found = {}
    for width in WIDTHS:
        found[width] = browser.visit(path, tmp_path_factory.mktemp("browser"), look, width)
    return found


OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
READ = """(() => {
  const all = selector => [...document.querySelectorAll(selector)];
  const sources = Bokeh.documents.flatMap(one => [...one._all_models.values()])
    .filter(one => one.type === "ColumnDataSource" && one.data.id && one.data.height)
    .map(one => [[...one.data.id], [...one.data.height]]);
  return {
    wide: document.documentElement.scrollWidth, seen: document.documentElement.clientWidth,
    texts: Object.fromEntries(all("dd[id], dd [id], #state").map(one => [one.id, one.textContent])),
    fitness: all(".fitness").map(one => [one.dataset.id, one.textContent]),
    math: all("math").map(one => one.getBoundingClientRect().width),
    canvases: all("figure > div").map(one => one.firstElementChild.clientWidth),
    sources,
  };
})()"""


@with_bokeh
@in_a_browser
class TestInABrowser:
    @pytest.mark.parametrize("width", WIDTHS)
    def test_shows_no_error_and_asks_for_no_other_file(self, pages, width, long):
        _, shown_page = pages[width]
        assert shown_page.errors == []
        asked = [url for url in shown_page.requests if not url.startswith("data:")]
        assert asked == [(long[0] / "search.html").as_uri()]

    @pytest.mark.parametrize("width", WIDTHS)
    def test_fits_the_width(self, pages, width):
        found, _ = pages[width]
        assert found["wide"] <= found["seen"] <= width
        assert len(found["canvases"]) == 10
        assert all(0.3 * min(width, 1000) < one <= width for one in found["canvases"])
        assert found["math"]
        assert min(found["math"]) > 0

    def test_the_numbers_are_those_of_the_journal(self, pages, long):
        out, result = long
        texts, rows = pages[1400][0]["texts"], journal(out)
        last = result.generations[-1]
        assert texts["state"] == "Finished"
        assert texts["generation"] == "100"
        assert texts["best"] == f"{max(row['fitness'][0] for row in rows if row['fitness']):.4f}"
        assert texts["seconds"] == duration(sum(row["seconds"] for row in rows if not row["twin"]))
        numbers = {name: int(texts[name]) for name in texts if name.startswith("kind-")}
        assert numbers == {
            "kind-trained": sum(row["status"] == "ok" and not row["twin"] for row in rows),
            "kind-failed": last.failed,
            "kind-discarded": sum(row["status"] == "discarded" for row in rows),
            **{
                f"kind-{SPARED[kind].replace(' ', '-')}": number
                for kind, number in last.saved.items()
            },
        }
        assert int(texts["asked"]) == len(rows) - numbers["kind-discarded"]

    def test_each_fitness_is_that_of_the_journal(self, pages, long):
        fitness = {row["id"]: row["fitness"] for row in journal(long[0])}
        found = pages[1400][0]
        assert len(found["fitness"]) >= 4
        for name, text in found["fitness"]:
            assert text == shown(fitness[name])
        points = {name: y for ids, ys in found["sources"] for name, y in zip(ids, ys, strict=True)}
        assert {name for name, one in fitness.items() if one} <= points.keys()
        for name, y in points.items():
            assert not fitness[name] or y == pytest.approx(fitness[name][0], rel=1e-6)

    def test_reloads_itself_while_the_search_runs(self, tmp_path, monkeypatch):
        monkeypatch.setattr(page, "RELOAD", 0.5)
        result = run(tmp_path)
        path = page._write(tmp_path, result, LiveStatus(seconds_left=75.0, generations=9))

        async def look(shown_page):
            await shown_page.until("document.getElementById('left')?.textContent === '0:01:15'")
            page._write(tmp_path, result, None)
            await shown_page.until("document.getElementById('state')?.textContent === 'Finished'")

        (tmp_path / "browser").mkdir()
        _, shown_page = browser.visit(path, tmp_path / "browser", look)
        assert shown_page.errors == []


def journal(folder):
    lines = (folder / "search.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


@with_bokeh
class TestFile:
    def test_is_small_and_quickly_written_after_1600_evaluations(self, long):
        out, result = long
        page._write(out, result, None)
        started = time.process_time()
        path = page._write(out, result, None)
        assert time.process_time() - started < 2
        assert sum(row["status"] != "discarded" for row in journal(out)) > 1600
        assert path.stat().st_size < 3 * MIB
        assert list(out.glob("*.tmp")) == []

    def test_the_folder_is_enough(self, tmp_path):
        run(tmp_path)
        text = write_page(tmp_path).read_text(encoding="utf-8")
        assert f'<dd id="best">{shown(Result.load(tmp_path).best_losses(1)[0].fitness)}<' in text

    def test_a_search_without_a_fitness_says_why(self, tmp_path):
        def evaluate(expression):
            return Evaluation("exploded", message="<script>alert(1)</script>")

        result = run(tmp_path, evaluate, screening=PAPER)
        text = page._write(tmp_path, result, None).read_text(encoding="utf-8")
        assert "No loss has a fitness: 30 exploded" in text
        assert "&lt;script&gt;alert(1)" in text
        assert "<script>alert" not in text

    def test_shows_the_confirmation(self, tmp_path):
        result = run(tmp_path)
        (tmp_path / "best.json").write_text(json.dumps({"confirmation": CONFIRMED}))
        (tmp_path / "confirm.jsonl").write_text(f"{json.dumps(ROW)}\n")
        text = page._write(tmp_path, result, None).read_text(encoding="utf-8")
        assert "own best rate: yes &lt;5 new runs&gt;" in text
        for cell in ("91.25", "+1.50", "+0.50 to +2.50", "0.01", "better", "89.75"):
            assert f">{cell}</td>" in text

    def test_rates_are_those_of_the_verdict(self, tmp_path):
        settings = {"out": tmp_path, "contenders": (), "max_added": 0, "quiet": True}
        # The journal keeps the networks of an earlier confirmation, which are not looked at again.
        for rate_runs in (3, 2):
            made = confirm(["NGL"], Diverging(), rate_runs=rate_runs, **settings)
        (tmp_path / "best.json").write_text(json.dumps({"confirmation": made.to_json()}))
        drawn = page._confirmation(tmp_path)["rates"]
        assert drawn.keys() == {"NGL", "CE"}
        for name, rates in drawn.items():
            found = made.curves[name].accuracies
            assert rates == {rate: pytest.approx(100 * value) for rate, value in found.items()}
            assert rates[0.1] == pytest.approx(10.0)

    def test_rates_so_far(self, tmp_path):
        others = [
            {"run": 1, "validation": 0.6},
            {"learning_rate": 1.0, "status": "exploded", "validation": None},
            {"run": FIRST_NEW, "validation": 0.9},
        ]
        rows = [ROW, *(ROW | {"key": f"other {i}"} | row for i, row in enumerate(others))]
        (tmp_path / "confirm.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        # While the chance of a guess is not known, the worst network stands for a diverged one.
        wanted = {0.1: pytest.approx(55.0), 1.0: pytest.approx(50.0)}
        assert page._confirmation(tmp_path) == {
            "told": "accuracy, %",
            "rates": {"CE": wanted},
            "networks": 4,
        }

    def test_an_unfinished_confirmation_is_named(self, tmp_path):
        result = run(tmp_path)
        (tmp_path / "confirm.jsonl").write_text(f"{json.dumps(ROW)}\n")
        text = page._write(tmp_path, result, None).read_text(encoding="utf-8")
        assert "The confirmation is not finished: 1 networks" in text

    def test_status_names_it(self, tmp_path):
        result = run(tmp_path)
        # On a slow machine the search has drawn one already.
        (tmp_path / "search.html").unlink(missing_ok=True)
        journal = tmp_path / "search.jsonl"
        assert "search.html" not in status.describe(status.read(journal))
        path = page._write(tmp_path, result, None)
        assert str(path) in status.describe(status.read(journal))


class TestLivePage:
    @pytest.fixture
    def clock(self, monkeypatch):
        """A clock that stands still, and versions as `(time, progress)`; each takes 0.2 s."""
        clock = SimpleNamespace(now=0.0, versions=[])

        def write(folder, result, live):
            clock.versions.append((clock.now, live is not None))
            clock.now += 0.2
            (folder / "search.html").touch()

        monkeypatch.setattr(page, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        monkeypatch.setattr(page, "_write", write)
        monkeypatch.setattr(page.extras, "require", lambda *packages: None)
        return clock

    def test_takes_a_hundredth_of_the_time(self, clock, tmp_path):
        live = LivePage(tmp_path)
        while clock.now < 1000:
            live.update(dict, LiveStatus)
            clock.now += 0.5
        times = [now for now, _ in clock.versions]
        assert times[0] == pytest.approx(page.SHORTEST, abs=0.5)
        # The first version is not counted: it imports Bokeh.
        assert times[1] - times[0] == pytest.approx(page.INTERVAL, abs=0.8)
        assert 0.2 * len(times[1:]) <= 0.011 * 1000
        assert len(times) > 40

    def test_a_search_of_seconds_has_none(self, clock, tmp_path):
        LivePage(tmp_path).finish(dict)
        assert clock.versions == []

    def test_the_last_version_is_written_at_once(self, clock, tmp_path):
        live = LivePage(tmp_path)
        clock.now = page.SHORTEST
        live.update(dict, LiveStatus)
        live.finish(dict)
        assert [running for _, running in clock.versions] == [True, False]

    @pytest.mark.parametrize("quiet", [False, True])
    def test_without_bokeh_the_search_goes_on_and_says_so_once(
        self, tmp_path, monkeypatch, capsys, quiet
    ):
        monkeypatch.setitem(sys.modules, "bokeh", None)
        monkeypatch.setattr(page, "SHORTEST", 0.0)
        result = run(tmp_path, quiet=quiet)
        assert len(result.generations) == 5
        said = capsys.readouterr().out
        line = "search.html is not written: bokeh is not installed: pip install 'nglkeras[page]'"
        assert said.count(line) == (0 if quiet else 1)
        assert said.count("search.html") == (0 if quiet else 1)
        with pytest.raises(MissingPackageError, match="bokeh is not installed"):
            write_page(tmp_path)

    @with_bokeh
    def test_a_search_writes_it_while_it_runs_and_at_its_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr(page, "SHORTEST", 0.0)
        states = []

        def see(generation):
            path = tmp_path / "search.html"
            if path.exists():
                states.append('data-running="yes"' in path.read_text(encoding="utf-8"))

        run(tmp_path, on_generation=see)
        assert states
        assert all(states)
        assert 'data-running="no"' in (tmp_path / "search.html").read_text(encoding="utf-8")

    @with_bokeh
    def test_an_interrupted_search_is_not_shown_as_running(self, tmp_path, monkeypatch):
        monkeypatch.setattr(page, "SHORTEST", 0.0)

        def stop(generation):
            if generation.number == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, on_generation=stop)
        text = (tmp_path / "search.html").read_text(encoding="utf-8")
        assert '<span id="state">Stopped after generation 2</span>' in text
        assert 'data-running="no"' in text

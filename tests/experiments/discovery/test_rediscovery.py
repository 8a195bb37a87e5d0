"""The table of what searches find counts them, and its script resumes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from nglkeras import search
from nglkeras.experiments.discovery import kinds, rediscovery
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.report.statistics import paired_difference, share_interval

KINDS = list(kinds.KINDS)


def line(run, best, surviving=(), tried=(), **known):
    """A line of the CSV file; a search has tried what has survived."""
    counts = {f"surviving: {kind}": int(kind in {best, *surviving}) for kind in KINDS}
    counts |= {f"tried: {kind}": 3 * (kind in {best, *surviving, *tried}) for kind in KINDS}
    own = {"formula": "y_true/y_pred", "verdict": "no", "gradient": 10.0, "test_best": 90.0 + run}
    own |= {"fitness_best": 0.5, "test_CE": 89.0, "test_Baikal": 80.0}
    found = {"run": run, "scale_free": False, **rediscovery.NOTHING, **own, "best": best}
    return found | counts | known


def by_kind(rows):
    return {row[1]: row[2:] for row in rows[1:]}


class TestTables:
    def test_searches_are_counted_and_not_losses(self):
        lines = [line(0, kinds.BAIKAL), line(1, kinds.OTHER, [kinds.POLE], [kinds.CROSS_ENTROPY])]
        rows = by_kind(rediscovery.shares(pd.DataFrame(lines)))
        assert list(rows) == KINDS
        low, high = share_interval(1, 2)
        one, none = f"1 of 2 [{100 * low:.0f}, {100 * high:.0f}]", "0 of 2 [0, 84]"
        assert rows == {
            kinds.BAIKAL: [one, one, one],
            kinds.LIKE_BAIKAL: [none, none, none],
            kinds.POLE: [none, one, one],
            kinds.CROSS_ENTROPY: [none, none, one],
            kinds.OTHER: [one, one, one],
        }

    def test_both_kinds_of_searches_are_apart(self):
        lines = [line(0, kinds.POLE), line(0, kinds.OTHER, scale_free=True)]
        rows = rediscovery.shares(pd.DataFrame(lines))
        assert [row[0] for row in rows[1:]] == ["as in the paper"] * 5 + ["scale-free"] * 5
        assert by_kind(rows[:6])[kinds.POLE][0].startswith("1 of 1")
        assert by_kind([rows[0], *rows[6:]])[kinds.POLE][0].startswith("0 of 1")

    def test_what_the_best_losses_reach(self):
        lines = [line(0, kinds.POLE), line(1, kinds.POLE, verdict="yes", gradient=30.0)]
        # A search without a loss that could be trained is no mean of anything.
        lines.append({**line(2, kinds.OTHER, fitness_CE=0.9), **rediscovery.NOTHING})
        heading, row = rediscovery.reached(pd.DataFrame(lines))
        cells = dict(zip(heading, row, strict=True))
        difference = paired_difference([90, 91], [89, 89])
        assert cells == {
            "searches": "as in the paper",
            "in the search, best": "50.0",
            "in the search, CE": "–",
            "in the search, Baikal": "–",
            "test, best": "90.5",
            "test, CE": "89.0",
            "test, Baikal": "80.0",
            "less CE": f"+1.5 [{difference.low:+.1f}, {difference.high:+.1f}]",
            "better": "1 / 1 / 0",
            "gradient": "20",
        }

    def test_nothing_found(self):
        lines = [{**line(0, kinds.OTHER), **rediscovery.NOTHING}]
        assert len(rediscovery.reached(pd.DataFrame(lines))) == 1
        best = [row[0] for row in by_kind(rediscovery.shares(pd.DataFrame(lines))).values()]
        assert all(text.startswith("0 of 1") for text in best)

    def test_figure(self):
        frame = pd.DataFrame([line(0, kinds.POLE), line(0, kinds.OTHER, scale_free=True)])
        figure = rediscovery.figure(frame, "title")
        assert [axis.get_title() for axis in figure.axes] == ["as in the paper", "scale-free"]
        dots = [point for part in figure.axes[0].containers for point in part[0].get_xdata()]
        assert dots == [100 * (kind == kinds.POLE) for kind in KINDS]


class TestComparison:
    def compared(self, monkeypatch, tmp_path, formula, names):
        """The line of a search with this best loss, and what was trained for it."""
        best = SimpleNamespace(id="3-7", expression=Expression.parse(formula), fitness=(0.5,))
        found = SimpleNamespace(best_losses=lambda count: [best])
        fitness = SimpleNamespace(classes=10, each=lambda losses, names: ())
        asked = []

        def confirm(losses, fitness, **options):
            asked.append((losses, options["contenders"]))
            cells = {
                name: SimpleNamespace(rate=i / 10, mean=90 + i) for i, name in enumerate(names)
            }
            return SimpleNamespace(verdict="no", cells=cells)

        monkeypatch.setattr(search, "confirm", confirm)
        searches = rediscovery.Searches(rediscovery.SCALES["demo"], tmp_path)
        return searches._reached(found, fitness, tmp_path), asked

    def test_is_that_of_the_loss_in_the_line(self, monkeypatch, tmp_path):
        names = ("CE", "3-7", "Baikal")
        line, asked = self.compared(monkeypatch, tmp_path, "y_true/y_pred", names)
        assert asked == [({"3-7": Expression.parse("y_true/y_pred")}, ("CE", "Baikal"))]
        assert (line["test_CE"], line["test_best"], line["test_Baikal"]) == (90, 91, 92)
        assert line["rate_best"] == 0.1

    def test_what_is_found_again_is_a_known_loss_too(self, monkeypatch, tmp_path):
        line, _ = self.compared(monkeypatch, tmp_path, FORMULAS["Baikal"], ("CE", "3-7"))
        assert line["test_best"] == line["test_Baikal"] == 91
        assert line["rate_best"] == line["rate_Baikal"] == 0.1


@pytest.mark.slow
def test_the_script_searches_in_both_ways_and_trains_nothing_twice(script, tmp_path):
    options = ["--seeds", 1, "--population", 40, "--generations", 1, "--steps", 20]
    code, first, err = script("rediscovery", *options, "--out", tmp_path)
    assert code == 0, err
    journals = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    # Both searches have trees, trained networks and a confirmation.
    assert len(journals) == 6
    table = pd.read_csv(tmp_path / "rediscovery.csv")
    assert list(table.scale_free) == [False, True]
    assert set(table.best) <= set(KINDS)
    assert set(table.verdict) <= {"yes", "no", "not settled"}
    assert np.isfinite(table[rediscovery.MEASURED]).all(axis=None)
    assert (table.fitness_best > 0).all()
    for name in ("best", "surviving", "tried"):
        assert name in (tmp_path / "rediscovery.md").read_text()
    assert imread(tmp_path / "rediscovery.png").std() > 0.01
    # Brought to cross entropy's size at the untrained network, whose prediction is nearly even.
    assert table.gradient[1] == pytest.approx(1, rel=0.2)
    start = "What paper B's search finds"
    code, second, _ = script("rediscovery", *options, "--out", tmp_path)
    assert code == 0
    assert second[second.index(start) :] == first[first.index(start) :]
    assert journals == {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "paper"], "unknown scale 'paper'; choose from: demo, full"),
        (["--steps", "30"], "30 steps do not divide by 4"),
        (["--seeds", "0"], "0 is not a positive number"),
        (["--population", "6"], "6 elites in a population of 6"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_2(mistake, arguments, message):
    assert message in mistake("rediscovery", *arguments)

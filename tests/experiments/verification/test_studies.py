"""The studies that the report counts: what is paired, what is judged, what is drawn."""

import shutil
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from nglkeras.errors import UserError
from nglkeras.experiments.classification.tables import AccuracyCell
from nglkeras.experiments.verification import numbers, selection, studies
from nglkeras.experiments.verification.studies import Study, judged
from nglkeras.report import forest
from nglkeras.report.best_rates import BestRateCell
from nglkeras.report.tables import Cell, with_references

RESULTS = ROOT / "results"
LISTED = '[[study]]\nkey = "k"\ntitle = "a"\nown_rates = true\nfunction = "glo"\nparts = []\n'


def compared(less, reference=(90.0, 91.0, 89.0, 90.5, 90.2)):
    """A cell whose values are less cross entropy's by these points."""
    values = np.add(reference, less)
    cells = [
        Cell(loss=loss, values=found, run_numbers=range(5))
        for loss, found in (("CE", reference), ("NGL", values))
    ]
    return with_references(cells)[1]


NOISE = np.array([0.01, -0.01, 0.02, -0.02, 0.0])


@pytest.mark.parametrize(
    ("less", "printed", "same", "said"),
    [
        (0.1 + NOISE, 0.3, 0.5, "reproduced"),  # both within the band
        (0.1 + NOISE, -0.3, 0.5, "reproduced"),
        (2.0 + NOISE, 0.3, 0.5, "not reproduced"),  # outside of it
        (100 * NOISE, 0.3, 0.5, "not settled"),
        (0.3 + NOISE, 0.31, 0, "reproduced"),  # a claim of any difference
        (0.1 + NOISE, 0.34, 0, "smaller than printed"),
        (0.5 + NOISE, 0.34, 0, "larger than printed"),
        (NOISE, 0.34, 0, "not reproduced"),  # excludes one as large as printed
        (-1.0 + NOISE, 0.34, 0, "not reproduced"),
        (100 * NOISE, 0.34, 0, "not settled"),
        (-2.0 + NOISE, -2.01, 0.5, "reproduced"),
        (-2.0 + NOISE, -2.4, 0.5, "smaller than printed"),
        (-3.0 + NOISE, -2.4, 0.5, "larger than printed"),
        (NOISE, -2.4, 0.5, "not reproduced"),
        (200 * NOISE, -2.4, 0.5, "not settled"),
        (0.3 + NOISE, 0.05, 0.1, "not reproduced"),  # a narrower band than paper A's
        (0.05 + NOISE, 0.05, 0.1, "reproduced"),
        (50 * NOISE, 0.05, 0.1, "not settled"),
    ],
)
def test_a_printed_difference_is_judged_by_the_interval(less, printed, same, said):
    assert judged(compared(less), printed, same) == said


def test_a_single_pair_settles_nothing():
    one, other = (
        Cell(loss=loss, values=[i], run_numbers=[0]) for i, loss in enumerate(("CE", "f4"))
    )
    assert judged(with_references([one, other])[1], 1.0) == "not settled"


def study(**settings):
    given = {"key": "k", "title": "a", "own_rates": True, "function": "f"}
    return Study(**given | {"parts": [{"place": "here"}]} | settings)


def row(model="m", dataset="d", status="ok"):
    """A row of a journal, as far as studies look at it."""
    return SimpleNamespace(trial={"model": model, "dataset": dataset}, status=status)


def test_runs_are_paired_within_a_place_and_under_the_reports_names():
    def function(place):
        shift, runs = {"here": (0.0, [0, 1]), "there": (10.0, [0, 2])}[place]
        return {
            "32 CE": Cell(loss="32 CE", values=[1 + shift, 3 + shift], run_numbers=runs),
            "NGL": Cell(loss="NGL", values=[2 + shift], run_numbers=runs[1:]),
        }

    two = study(parts=[{"place": "here"}, {"place": "there"}], names={"32 CE": "CE"})
    cells = two.cells(function)
    assert [*cells] == ["CE", "NGL"]
    assert list(cells["CE"].values) == [1, 3, 11, 13]
    assert [list(side) for side in cells["NGL"].pairs] == [[2, 12], [3, 13]]


def test_pairs_of_one_seed_at_several_places_count_as_their_mean():
    values = {"here": ([1.0, 3.0], [2.0, 3.5]), "there": ([11.0], [14.0])}

    def function(place):
        return {
            loss: Cell(loss=loss, values=found, run_numbers=range(len(found)))
            for loss, found in zip(("CE", "NGL"), values[place], strict=True)
        }

    cells = study(parts=[{"place": "here"}, {"place": "there"}]).cells(function)
    assert cells["NGL"].pairs == ((8.0, 3.5), (6.0, 3.0))
    assert cells["NGL"].runs == 3
    ce, ngl = (studies.Outcome(study(), cells[name]) for name in ("CE", "NGL"))
    assert ce.n == ngl.n == 2
    # Means of 6 and 3, and of 8 and 3.5; Student's t of one degree of freedom is 12.7.
    assert [one.percent[0] for one in (ce, ngl)] == [4.5, 5.75]
    assert ce.percent[2] - 4.5 == pytest.approx(12.706 * 1.5, rel=1e-4)
    assert cells["NGL"].p_holm == cells["NGL"].p_paired == pytest.approx(0.3440, abs=1e-4)


def test_a_study_without_cross_entropy_is_an_error():
    with pytest.raises(UserError, match=r"studies.toml, 'a': no loss is CE"):
        study().cells(lambda place: {"NGL": Cell(loss="NGL", values=[1.0], run_numbers=[0])})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([{"place": "a"}, {"place": "a"}], "'a': two parts have the same runs of CE"),
        ([{"place": "a"}, {"place": "b", "model": "m"}], "are of several networks or data sets"),
        ([{"place": "a", "loses": ["CE"]}], "'a': f: got an unexpected keyword argument 'loses'"),
        ([{"model": "m"}], "'a': f: missing a required argument: 'place'"),
        ([{"place": "a", "runs": 3.0}], "'a': f: runs: Expected `int | array`, got `float`"),
        ([{"place": "a", "runs": 0}], "'a': f: runs: Expected `int` >= 1"),
        ([{"place": "a", "runs": []}], "'a': f: runs: Expected `array` of length >= 1"),
        ([{"place": "a", "losses": "CE"}], "'a': f: losses: Expected `array`, got `str`"),
        ([{"place": "nothing"}], "'a': CE has no value of what is measured"),
        ([{"place": "lost"}], "'a': networks of CE are 1 non_finite"),
    ],
)
def test_parts_that_cannot_be_put_together(parts, message):
    def function(place, model="", runs: selection.Runs = 1, losses: Sequence[str] = ()):
        found = {} if place == "nothing" else {"values": [1.0], "run_numbers": [0]}
        status = "ok" if place != "lost" else "non_finite"
        return {"CE": Cell(loss="CE", rows=[row(model, status=status)], **found)}

    with pytest.raises(UserError, match=message):
        study(parts=parts).cells(function)


def test_parts_at_different_best_rates():
    def function(place):
        rate = {"here": 0.1, "there": 0.01}[place]
        return {"CE": BestRateCell(loss="CE", rate=rate, values=[1.0], run_numbers=[0])}

    with pytest.raises(UserError, match="'a': two parts have different best rates of CE"):
        study(parts=[{"place": "here"}, {"place": "there"}]).cells(function)


def test_equivalent_is_half_a_point_of_accuracies_too():
    def function(place):
        values = {"CE": [50.0, 50.1, 49.9, 50.0], "NGL": [49.68, 49.81, 49.59, 49.72]}
        return {
            loss: AccuracyCell(loss=loss, values=found, run_numbers=range(4))
            for loss, found in values.items()
        }

    found = study().cells(function)["NGL"]
    assert found.margin == 0.5  # of a relative change it would be 0.25
    assert found.shown == "worse"
    assert judged(found, 0.1) == "reproduced"


def test_a_name_that_no_loss_of_the_journal_has():
    with pytest.raises(UserError, match=r"unknown loss in studies.toml, 'a' '42 CE'.*: CE"):
        study(names={"42 CE": "CE"}).cells(
            lambda place: {"CE": Cell(loss="CE", values=[1.0], run_numbers=[0])}
        )


def test_losses_of_ones_own_and_single_pairs_are_shown(recwarn):
    values = {"CE": [90.0], "mine": [91.0], "NGL": [90.5]}
    cells = study().cells(
        lambda place: {
            loss: Cell(loss=loss, values=found, run_numbers=[0]) for loss, found in values.items()
        }
    )
    found = {"a": {loss: studies.Outcome(study(), cell) for loss, cell in cells.items()}}
    names, texts = zip(*studies.layout(found), strict=True)
    assert names == ("loss", "CE", "f5 (NGL)", "mine")
    assert texts == ("a", "90.00 % (n 1)", "+0.50 (n 1)", "+1.00 (n 1)")
    # One pair has no interval: a dot without a bar.
    (legend,) = studies.figure(found, "t").legends
    assert [text.get_text() for text in legend.get_texts()] == ["a"]
    assert not recwarn.list


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read the studies in .*studies.toml: .*No such file"),
        ('[[study]]\nkey = "k"\ntitle = 1', "cannot read the studies in .*: Expected `str`"),
        ("study = ", "cannot read the studies in .*: Invalid value"),
        (
            2 * LISTED,
            "several studies in .*studies.toml are called 'k'",
        ),
        ("study = []", "cannot read the studies in .*: Expected `array` of length >= 1"),
        (
            LISTED.replace("glo", "accuracy"),
            "in studies.toml 'accuracy'; choose from: accuracies, best_rates, glo, segmentation$",
        ),
        (
            f"{LISTED}name = {{}}",
            "unknown setting of a study in .*studies.toml 'name'; choose from: key, title, own",
        ),
    ],
)
def test_a_faulty_list_is_named_in_a_line(text, message, tmp_path, script):
    if text is not None:
        (tmp_path / "studies.toml").write_text(text)
    code, _, err = script("report", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    with pytest.raises(UserError, match=message):
        numbers.Numbers(tmp_path).studies()


def test_committed_verdicts_agree_with_the_rows(tmp_path, script):
    for path in RESULTS.iterdir():
        if path.name in ("learning_rates", "glo", "table2", "studies.toml"):
            (tmp_path / path.name).symlink_to(path)
    code, out, err = script("report", tmp_path, "--format", "svg")
    assert (code, err) == (0, "")
    assert "less cross entropy" in out
    found, committed = (
        pd.read_csv(folder / "report" / "verdicts.csv") for folder in (tmp_path, RESULTS)
    )
    pd.testing.assert_frame_equal(found, committed)
    assert (tmp_path / "report" / "verdicts.svg").stat().st_size > 10_000


def test_a_changed_row_changes_the_verdicts(tmp_path):
    shutil.copytree(RESULTS / "glo", tmp_path / "glo")
    shutil.copy(RESULTS / "studies.toml", tmp_path)
    for name in ("learning_rates", "table2"):
        (tmp_path / name).symlink_to(RESULTS / name)
    before = numbers.Numbers(tmp_path).studies()["mnist_one_rate"]
    path = tmp_path / "glo" / "mnist" / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    marks = '"epochs": 80', '"loss": "Baikal"'
    long = [i for i, line in enumerate(lines) if all(mark in line for mark in marks)]
    lines.pop(long[0])
    path.write_text("".join(lines))
    with pytest.raises(UserError, match="of Baikal"):
        numbers.Numbers(tmp_path).studies()
    assert before["Baikal"].points[0] == pytest.approx(0.303, abs=1e-3)


def test_intervals_are_of_accuracies_where_a_cell_has_those_of_a_change():
    """The cells of table 2 print the interval of a percentual change."""
    found = numbers.Numbers(RESULTS).studies()["fashion_plateau"]
    for one in found.values():
        mean, low, high = one.percent
        assert low < mean < high


def test_means_outside_of_the_axis_become_arrows_with_their_value():
    one, other = forest.Difference(0.2, 0.1, 0.3), forest.Difference(-13.1, -19.2, -7.1)
    figure = forest.forest_plot(
        {"a": {"NGL": one, "f4": other}, "b": {"NGL": one}}, "t", hollow=["b"]
    )
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["-13.1"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["f4", "f5 (NGL)"]
    # A loss takes as many lines as there are studies of it, and one between.
    assert list(axis.get_yticks()) == [1.0, 3.5]
    dots = {line.get_label(): line.get_markerfacecolor() for line in axis.lines}
    assert dots["b"] == "white"
    assert dots["a"] != "white"

"""Cells against cross entropy in pairs of runs, and the tables of it."""

import numpy as np
import pytest
from scipy import stats

from nglkeras.report import comparison, statistics, tables
from nglkeras.report.tables import Cell, as_text, with_references
from nglkeras.runs.trial import TrialResult

CE = [90.0, 92.0, 94.0, 91.0]
NGL = [91.0, 92.5, 95.5, 91.5]
WORSE = [80.0, 83.0, 83.0, 81.0]
PLACES = {"data set": lambda cell: cell.dataset, "loss": lambda cell: cell.loss}


def cell(loss, values, runs=None, **place):
    runs = range(len(values)) if runs is None else runs
    return Cell(loss=loss, values=values, run_numbers=list(runs), **place)


class TestPairs:
    def test_difference_p_and_holm(self):
        ce, ngl, worse = with_references([cell("CE", CE), cell("NGL", NGL), cell("f1", WORSE)])
        assert (ce.pairs, ce.p_paired, ce.p_holm, ce.p_better) == (None,) * 4
        assert ce.paired == statistics.Difference()
        assert (ce.p_outside, ce.shown) == (None, "")
        ps = [stats.ttest_rel(values, CE).pvalue for values in (NGL, WORSE)]
        assert [ngl.p_paired, worse.p_paired] == pytest.approx(ps)
        # The smaller one is worth two tests, the greater one counts once.
        assert ps[1] < ps[0]
        assert worse.p_holm == pytest.approx(2 * ps[1])
        assert ngl.p_holm == pytest.approx(ps[0])
        assert ngl.paired.mean == pytest.approx(0.875)
        assert ngl.p_better == pytest.approx(statistics.probability_of_improvement([NGL], [CE]))
        assert worse.p_better == 0
        assert (ngl.shown, worse.shown) == ("better", "worse")

    def test_the_correction_is_that_of_a_place(self):
        cells = [
            cell(loss, values, dataset=dataset)
            for dataset in ("mnist", "pcam")
            for loss, values in (("CE", CE), ("NGL", NGL))
        ]
        _, first, _, second = found = with_references(cells)
        assert first.p_holm == first.p_paired == second.p_holm
        assert [one.dataset for one in found] == ["mnist", "mnist", "pcam", "pcam"]
        # The order of the cells stays, whatever their places.
        turned = with_references([cells[i] for i in (0, 2, 1, 3)])
        assert [one.dataset for one in turned] == ["mnist", "pcam", "mnist", "pcam"]
        assert turned[2].p_paired == first.p_paired

    def test_runs_are_paired_by_number(self):
        _, ngl = with_references([cell("CE", CE), cell("NGL", NGL[::-1], runs=[3, 2, 1, 0])])
        assert ngl.p_paired == pytest.approx(stats.ttest_rel(NGL, CE).pvalue)

    def test_a_run_that_one_has_lost_is_no_pair(self):
        ce, ngl = cell("CE", CE[1:], runs=[1, 2, 3]), cell("NGL", NGL[:3], runs=[0, 1, 2])
        _, ngl = with_references([ce, ngl])
        assert ngl.pairs == (NGL[1:3], CE[1:3])
        # Means, and what needs no pairs, are of all runs.
        assert ngl.runs == 3
        assert ngl.p_better == statistics.probability_of_improvement([NGL[:3]], [CE[1:]])

    def test_nothing_without_pairs(self):
        unknown = Cell(loss="NGL", values=NGL)
        elsewhere = cell("f1", WORSE, dataset="mnist")
        _, unknown, elsewhere = with_references([cell("CE", CE), unknown, elsewhere])
        assert (unknown.pairs, unknown.p_holm, unknown.shown) == (None, None, "")
        assert unknown.p is not None
        assert (elsewhere.pairs, elsewhere.p, elsewhere.p_better) == (None, None, None)

    def test_one_run_shows_nothing(self):
        _, ngl = with_references([cell("CE", [90.0]), cell("NGL", [91.0])])
        assert ngl.paired.mean == 1
        assert (ngl.p_paired, ngl.p_better, ngl.p_outside, ngl.shown) == (None, None, None, "")

    def test_equivalent_within_the_paper_s_band(self):
        close = np.add(CE, [0.1, -0.1, 0.05, 0.0])
        _, close = with_references([cell("CE", CE), cell("NGL", close)])
        assert close.p_outside == pytest.approx(
            statistics.equivalence_p(close.values, CE, 0.5, paired=True)
        )
        assert close.shown == "equivalent"

    def test_values_as_fractions(self):
        class Fraction(Cell):
            unit = 100.0

        fractions = [
            Fraction(loss=loss, values=np.array(values) / 100, run_numbers=range(4))
            for loss, values in (("CE", CE), ("NGL", NGL))
        ]
        ngl = with_references(fractions)[1]
        percents = with_references([cell("CE", CE), cell("NGL", NGL)])[1]
        assert ngl.p_outside == pytest.approx(percents.p_outside)
        assert comparison.parts([ngl], PLACES) == comparison.parts([percents], PLACES)


class TestSample:
    def test_only_finished_runs_that_have_the_value(self):
        class Plan:
            def __init__(self, run):
                self.run, self.key = run, f"key {run}"

        def row(run, status, accuracy):
            return TrialResult(key=f"key {run}", trial={}, status=status, accuracy=accuracy)

        rows = [row(1, "ok", 0.5), row(2, "non_finite", 0.1), row(3, "ok", None)]
        found = tables.sample(
            [Plan(run) for run in range(4)],
            {one.key: one for one in rows},
            lambda one: one.accuracy,
        )
        assert found["rows"] == [None, *rows]
        assert found["values"].tolist() == [0.5]
        assert found["run_numbers"] == [1]


class TestParts:
    def cells(self, *datasets):
        return with_references(
            cell(loss, np.add(values, i), dataset=dataset)
            for i, dataset in enumerate(datasets)
            for loss, values in (("CE", CE), ("NGL", NGL), ("f1", WORSE))
        )

    def test_a_line_for_each_loss_but_ce(self):
        (rows,) = comparison.parts(self.cells("mnist"), PLACES)
        assert rows[0][:4] == ["data set", "loss", "pairs", "points"]
        assert [row[:4] for row in rows[1:]] == [
            ["mnist", "NGL", "4", "+0.88"],
            ["mnist", "f1", "4", "-10.00"],
        ]
        low, high = stats.ttest_rel(NGL, CE).confidence_interval()
        assert rows[1][4] == f"[{low:+.2f}, {high:+.2f}]"
        assert [row[-1] for row in rows[1:]] == ["better", "worse"]

    def test_over_all_places(self):
        _, rows = comparison.parts(self.cells("mnist", "pcam"), PLACES)
        assert rows[0] == ["over all places", "places", "points", "95 %", "P(better)", "95 %"]
        assert [row[:3] for row in rows[1:]] == [["NGL", "2", "+0.88"], ["f1", "2", "-10.00"]]
        low, high = statistics.bootstrap_interval([NGL, NGL], [CE, CE], paired=True)
        assert rows[1][3] == f"[{low:+.2f}, {high:+.2f}]"
        assert rows[2][4:] == ["0.00", "[0.00, 0.00]"]

    def test_measures_are_not_averaged(self):
        cells = with_references(
            cell(loss, values, measure=measure)
            for measure in ("mean_iou", "pixel_accuracy")
            for loss, values in (("CE", CE), ("NGL", NGL))
        )
        assert len(comparison.parts(cells, PLACES)) == 1

    def test_each_measure_over_its_places(self):
        cells = with_references(
            cell(loss, values, measure=measure, model=model)
            for model in ("unet", "deeplab")
            for measure in ("mean_iou", "pixel_accuracy")
            for loss, values in (("CE", CE), ("NGL", NGL))
        )
        _, rows = comparison.parts(cells, PLACES)
        assert [row[:3] for row in rows] == [
            ["over all places", "measure", "places"],
            ["NGL", "mean_iou", "2"],
            ["NGL", "pixel_accuracy", "2"],
        ]

    def test_dashes_where_a_loss_has_one_pair(self):
        cells = [cell("CE", CE), cell("NGL", NGL), cell("f1", WORSE[:1])]
        (rows,) = comparison.parts(with_references(cells), PLACES)
        assert rows[2][3:] == ["-10.00", *["–"] * 5, ""]

    @pytest.mark.parametrize(
        "cells",
        [[], [cell("NGL", NGL)], [cell("CE", CE)], [cell("CE", [90.0]), cell("NGL", [91.0])]],
    )
    def test_no_table_and_no_note_where_nothing_can_be_compared(self, cells):
        assert comparison.parts(with_references(cells), PLACES) == []
        assert comparison.notes(with_references(cells)) == []

    def test_fits_a_terminal(self):
        cells = self.cells("Fashion-MNIST", "Sign Language")
        for rows in comparison.parts(cells, PLACES):
            assert max(map(len, as_text(rows).splitlines())) <= 140
        assert len(comparison.notes(cells)) == 1

    def test_every_column_of_the_csv_file_is_an_attribute(self):
        frame = tables.frame(self.cells("mnist"), comparison.COLUMNS)
        assert frame.shown.tolist() == ["", "better", "worse"]
        assert frame.p_paired.isna().tolist() == [True, False, False]

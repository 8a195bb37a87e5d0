"""Means, changes, intervals and layouts, against numbers worked out by hand or by SciPy."""

import tomllib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy import stats

from nglkeras import UserError, losses
from nglkeras.experiments import footnotes, script
from nglkeras.experiments.classification import experiment, plots, tables
from nglkeras.experiments.classification.protocol import TABLE2_SCALES, ClassificationScale
from nglkeras.experiments.classification.trial import plan
from nglkeras.report.printed import read_printed
from nglkeras.report.statistics import equivalence_p
from nglkeras.report.tables import as_markdown, as_text
from nglkeras.runs.trial import TrialResult

CE = [0.90, 0.92, 0.94]
NGL = [0.93, 0.95, 0.94]


def rows(values, datasets=("fashion_mnist",), models=("small_cnn",), status="ok"):
    """Trials and results with the given accuracies by loss, the same for every data set."""
    runs = len(next(iter(values.values())))
    trials = plan(
        ClassificationScale(name="test", note="", datasets=datasets, models=models, runs=runs),
        values,
    )
    results = {
        trial.key: TrialResult(
            key=trial.key,
            trial={},
            status="ok" if values[trial.loss][trial.run] is not None else status,
            accuracy=values[trial.loss][trial.run],
        )
        for trial in trials
    }
    return trials, results


def cells(*arguments, reading="relative", **options):
    return tables.cells(*rows(*arguments, **options), tables.read_paper("table2"), reading)


class TestPaper:
    @pytest.mark.parametrize("name", ["table2", "table_b22"])
    def test_every_row_is_a_loss_of_ours(self, name):
        paper = tables.read_paper(name)
        assert list(paper.index) == ["CE", "SCE", "Focal", "CE + L2", "f1", "f2", "f3", "f4", "NGL"]
        assert paper.shape == (9, 8)

    def test_printed_numbers_are_untouched(self):
        assert tables.read_paper("table2").loc["NGL", "PCam"] == 7.07
        assert tables.read_paper("table_b22").loc["CE", "CIFAR-100"] == 74.8
        assert read_printed("table1").loc["Malaria", "classes"] == "2"

    def test_the_package_ships_them(self):
        shipped = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert (
            "experiments/paper/*.csv" in shipped["tool"]["setuptools"]["package-data"]["nglkeras"]
        )
        assert len(list((ROOT / "nglkeras/experiments/paper").glob("*.csv"))) == 8

    def test_daggers(self):
        assert [losses.row(name).label for name in ("f1", "f3", "f4", "NGL")] == [
            "f1†",
            "f3†",
            "f4",
            "f5 (NGL)",
        ]


class TestCells:
    def test_change_interval_and_p(self):
        ce, ngl = cells({"CE": CE, "NGL": NGL})
        assert ce.mean == pytest.approx(92.0)
        assert ngl.change == pytest.approx(100 * (0.94 - 0.92) / 0.92)
        assert ngl.paper == 0.07
        assert ngl.difference == pytest.approx(ngl.change - 0.07)
        assert ngl.p == pytest.approx(stats.ttest_ind(NGL, CE, equal_var=False).pvalue)
        # Welch's interval, from its textbook formula.
        var = [np.var(x, ddof=1) / 3 for x in (NGL, CE)]
        freedom = sum(var) ** 2 / sum(v**2 / 2 for v in var)
        half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(var)) / 0.92
        assert ngl.low == pytest.approx(ngl.change - 100 * half)
        assert ngl.high == pytest.approx(ngl.change + 100 * half)
        half = stats.t.ppf(0.975, 2) * np.std(CE, ddof=1) / np.sqrt(3)
        assert (ce.low, ce.high) == pytest.approx((92 - 100 * half, 92 + 100 * half))

    def test_a_run_is_the_mean_over_the_models(self):
        trials, results = rows({"CE": CE}, models=("small_cnn", "head"))
        results = {
            trial.key: TrialResult(
                key=trial.key,
                trial={},
                status="ok",
                accuracy=0.8 + 0.01 * trial.run + (0.1 if trial.model == "head" else 0.0),
            )
            for trial in trials
        }
        (cell,) = tables.cells(trials, results, tables.read_paper("table2"))
        assert cell.runs == 3
        assert cell.mean == pytest.approx(86.0)

    def test_pairs_are_runs_that_all_models_finished(self):
        _, ngl = cells({"CE": CE, "NGL": [0.93, None, 0.95]}, status="non_finite")
        assert ngl.run_numbers == [0, 2]
        assert ngl.paired.mean == pytest.approx(2.0)
        _, ngl = cells({"CE": CE, "NGL": NGL})
        assert ngl.p_paired == pytest.approx(stats.ttest_rel(NGL, CE).pvalue)

    def test_the_band_is_of_the_change_as_it_is_read(self):
        for reading, margin in (("relative", 0.46), ("points", 0.5)):
            _, ngl = cells({"CE": CE, "NGL": NGL}, reading=reading)
            assert ngl.margin == pytest.approx(margin)
            expected = equivalence_p(ngl.values, ngl.reference, margin, paired=True)
            assert ngl.p_outside == pytest.approx(expected)

    def test_the_comparison_of_pairs(self):
        (rows,) = tables.comparisons(cells({"CE": CE, "NGL": NGL}))
        assert rows[1][:4] == ["Fashion-MNIST", "f5 (NGL)", "3", "+2.00"]
        many = cells({"CE": CE, "NGL": NGL}, datasets=("fashion_mnist", "cifar10"))
        by_place, overall = tables.comparisons(many)
        assert (len(by_place), overall[1][:3]) == (3, ["f5 (NGL)", "2", "+2.00"])

    def test_one_run_has_no_interval(self):
        ce, ngl = cells({"CE": [0.9], "NGL": [0.99]})
        assert ngl.change == pytest.approx(10.0)
        assert (ce.low, ngl.low, ngl.high, ngl.p) == (None, None, None, None)

    def test_equal_runs_have_no_interval(self):
        _, ngl = cells({"CE": [0.9, 0.9], "NGL": [0.9, 0.9]})
        assert (ngl.change, ngl.low, ngl.p) == (0.0, None, None)

    def test_one_run_of_ce_is_no_sample(self):
        _, ngl = cells({"CE": [0.9, None, None], "NGL": NGL})
        assert ngl.change == pytest.approx(100 * (0.94 - 0.9) / 0.9)
        assert (ngl.low, ngl.high, ngl.p) == (None, None, None)

    def test_without_ce_there_is_no_change(self):
        (ngl,) = cells({"NGL": NGL})
        assert ngl.mean == pytest.approx(94.0)
        assert (ngl.change, ngl.p, ngl.difference) == (None, None, None)

    def test_failed_runs_are_left_out_and_named(self):
        _, ngl = cells({"CE": CE, "NGL": [0.93, None, 0.95]}, status="non_finite")
        assert ngl.runs == 2
        assert ngl.mean == pytest.approx(94.0)
        assert ngl.failed == "1 non_finite"

    def test_nothing_but_failures(self):
        _, ngl = cells({"CE": CE, "NGL": [None, None, None]}, status="crashed")
        assert (ngl.runs, ngl.mean, ngl.change, ngl.failed) == (0, None, None, "3 crashed")

    def test_networks_whose_batches_were_divided(self):
        trials, results = rows({"CE": CE, "NGL": [0.93, None, 0.95]}, status="out_of_memory")
        ngl = [trial.key for trial in trials if trial.loss == "NGL"]
        # What was not trained to its end is no network of the table.
        results |= {key: replace(results[key], accumulation=4) for key in ngl}
        table = tables.cells(trials, results, tables.read_paper("table2"))
        assert [cell.divided for cell in table] == [0, 2]
        assert list(tables.to_frame(table).divided) == [0, 2]
        assert (
            "2 of the networks had their batches divided for lack of memory: their "
            "BatchNormalization saw smaller batches."
        ) in experiment._notes(TABLE2_SCALES["demo"], table)
        assert not any(
            "memory" in note for note in experiment._notes(TABLE2_SCALES["demo"], table[:1])
        )

    def test_data_sets_that_the_paper_does_not_have(self):
        ce, _ = cells({"CE": CE, "NGL": NGL}, datasets=("digits",))
        assert ce.paper is None


class TestLayout:
    def test_the_papers_layout(self):
        table = cells({"CE": CE, "NGL": NGL}, datasets=("cifar10", "fashion_mnist"))
        layout = tables.layout(table, tables.read_paper("table2"))
        assert layout == [
            ["", "CIFAR-10", "Fashion-MNIST", "Mean"],
            ["CE", "92.0 (92.8)", "92.0 (94.0)", ""],
            ["f5 (NGL)", "*+2.17 (+0.12)", "*+2.17 (+0.07)", "*+2.17 (–)"],
        ]

    def test_without_cross_entropy_nothing_is_best(self):
        layout = tables.layout(cells({"NGL": NGL}), tables.read_paper("table2"))
        assert layout[1:] == [["f5 (NGL)", "– (+0.07)", "– (–)"]]

    def test_the_mean_of_all_seven_stands_beside_the_printed_one(self):
        seven = (
            "malaria",
            "patch_camelyon",
            "colorectal_histology",
            "cifar10",
            "fashion_mnist",
            "cifar100",
            "caltech101",
        )
        table = cells({"CE": CE, "NGL": NGL}, datasets=seven)
        assert tables.layout(table, tables.read_paper("table2"))[-1][-1] == "*+2.17 (+2.11)"

    def test_details_have_everything(self):
        heading, ce, ngl = tables.details(cells({"CE": CE, "NGL": NGL}))
        assert len(heading) == len(ce) == len(ngl) == 12
        assert ngl[:4] == ["Fashion-MNIST", "f5 (NGL)", "3", "94.00"]
        assert ngl[4] == "+2.17"
        assert ngl[7:10] == ["better", "+0.07", "same"]
        assert ce[7] == ce[9] == ""

    def test_text_is_aligned(self):
        lines = as_text([["", "ab"], ["long name", "1"]]).splitlines()
        assert lines == ["           ab", "-------------", "long name   1"]

    def test_markdown(self):
        assert as_markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
        assert as_markdown([["a|b"]]).startswith(r"| a\|b |")

    def test_csv_has_points_and_raw_accuracies(self, tmp_path):
        frame = tables.to_frame(cells({"CE": CE, "NGL": NGL}))
        frame.to_csv(tmp_path / "t.csv", index=False)
        back = pd.read_csv(tmp_path / "t.csv").set_index("loss")
        assert not back.loc["NGL", "reconstructed"]
        assert back.loc["NGL", "points"] == pytest.approx(2.0)
        assert back.loc["NGL", "accuracy"] == pytest.approx(94.0)
        assert back.loc["NGL", "change"] == pytest.approx(2.1739, abs=1e-4)
        assert np.isnan(back.loc["CE", "change"])


class TestReading:
    def test_points(self):
        ce, ngl = cells({"CE": CE, "NGL": NGL}, reading="points")
        relative = cells({"CE": CE, "NGL": NGL})[1]
        assert ngl.value == pytest.approx(2.0)
        assert ngl.difference == pytest.approx(2.0 - 0.07)
        # One test, whatever its unit.
        assert ngl.p == relative.p
        assert (ngl.low, ngl.high) == pytest.approx((0.92 * relative.low, 0.92 * relative.high))
        assert ce.value == pytest.approx(92.0)
        assert (ngl.change, ngl.points) == (relative.change, relative.points)

    def test_points_in_print(self):
        table = cells({"CE": CE, "NGL": NGL}, reading="points")
        paper = tables.read_paper("table2")
        assert tables.layout(table, paper)[-1] == ["f5 (NGL)", "*+2.00 (+0.07)", "*+2.00 (–)"]
        assert "points" in tables.details(table)[0]
        assert set(tables.to_frame(table).reading) == {"points"}
        assert (
            "difference to it in percentage points"
            in experiment._notes(TABLE2_SCALES["demo"], table)[2]
        )

    def test_the_best_mean_depends_on_the_reading(self):
        # One loss gains where cross entropy is bad, the other a little more where it is good.
        values = {
            "digits": {"CE": [0.2], "f4": [0.25], "NGL": [0.2]},
            "mnist": {"CE": [0.9], "f4": [0.9], "NGL": [0.96]},
        }
        found = {}
        for reading in ("relative", "points"):
            table = [
                cell
                for dataset, of_dataset in values.items()
                for cell in cells(of_dataset, datasets=(dataset,), reading=reading)
            ]
            rows = tables.layout(table, tables.read_paper("table2"))
            found[reading] = [row[0] for row in rows if row[-1].startswith("*")]
        assert found == {"relative": ["f4"], "points": ["f5 (NGL)"]}

    def test_a_mean_below_that_of_ce_is_not_the_best(self):
        table = cells({"CE": CE, "NGL": [0.5, 0.5, 0.5]})
        assert tables.layout(table, tables.read_paper("table2"))[-1][-1] == "-45.65 (–)"

    @pytest.mark.parametrize("reading", ["relative", "points"])
    def test_plots(self, reading):
        figure = plots.accuracy_table(cells({"CE": CE, "NGL": NGL}, reading=reading), "title")
        (axes,) = figure.axes
        assert ("points" in axes.get_xlabel()) == (reading == "points")


class TestVerdict:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (0.51, "better"),
            (0.5, "same"),
            (0.0, "same"),
            (-0.5, "same"),
            (-0.51, "worse"),
            (None, ""),
            (float("nan"), ""),
        ],
    )
    def test_within_half_is_the_same(self, change, expected):
        assert tables.verdict(change) == expected

    @pytest.mark.parametrize(("reading", "expected"), [("relative", "better"), ("points", "same")])
    def test_is_of_the_chosen_reading(self, reading, expected):
        _, ngl = cells({"CE": [0.5], "NGL": [0.504]}, reading=reading)
        assert ngl.verdict == expected

    def test_counts_are_the_papers(self):
        nine = dict.fromkeys(losses.rows_of("table2"), CE) | {"NGL": NGL}
        table = cells(nine, datasets=("patch_camelyon", "fashion_mnist", "digits"))
        assert tables.verdict_counts(table) == [
            # "6 of 9 better" in the paper's words, which count cross entropy among the nine.
            "PCam: measured 1 of 8 better than CE, 7 the same, 0 worse; "
            "printed 6 of 8 better than CE, 1 the same, 1 worse.",
            "Fashion-MNIST: measured 1 of 8 better than CE, 7 the same, 0 worse; "
            "printed none of 8 better than CE, 7 the same, 1 worse.",
            "Digits: measured 1 of 8 better than CE, 7 the same, 0 worse.",
        ]

    def test_what_is_not_measured_is_not_counted(self):
        table = cells({"CE": CE, "NGL": [None] * 3, "f4": NGL}, status="crashed")
        (line,) = tables.verdict_counts(table)
        assert "measured 1 of 1" in line
        assert "printed none of 2" in line

    def test_in_the_csv(self):
        frame = tables.to_frame(cells({"CE": CE, "NGL": NGL}))
        assert list(frame.verdict) == ["", "better"]
        assert list(frame.paper_verdict) == ["", "same"]


class TestFormulas:
    @pytest.mark.parametrize("name", ["f3", "F3", " f3 ", "f3 (given)"])
    def test_a_reconstruction_can_be_replaced(self, name):
        assert script.named_formulas(["CE", "f3"], [f"{name}=y_true/y_pred"]) == (
            ["CE", "f3 (given)"],
            {"f3 (given)": "y_true/y_pred"},
        )

    @pytest.mark.parametrize(
        "name",
        ["CE", "ce", "CE + L2", "CE+L2", "NGL", "f5", "f5 (NGL)", "f4", "Baikal", "CE (given)"],
    )
    def test_no_other_row_can_be_replaced(self, name):
        with pytest.raises(UserError, match=r"is a row of the papers.*it can replace f1, f2, f3"):
            script.named_formulas(["CE"], [f"{name}=y_true/y_pred"])

    def test_the_reference_is_named_so(self):
        with pytest.raises(UserError, match="CE is a row of the papers, the reference of all"):
            script.named_formulas(["NGL"], ["CE=y_pred"])

    @pytest.mark.parametrize("texts", [["a=y_pred", "a=y_true"], ["f1=y_pred", "F1=y_true"]])
    def test_given_twice(self, texts):
        with pytest.raises(UserError, match="is given twice"):
            script.named_formulas(["CE"], texts)


class TestHistories:
    def table_of(self, lengths, status="ok"):
        """Notes and curves of networks that trained for some epochs each, of at most 6."""
        scale = replace(TABLE2_SCALES["small"], models=("small_cnn",), datasets=("mnist",))
        trials = plan(replace(scale, epochs=6, runs=len(lengths)), ["CE"])
        results = {
            trial.key: TrialResult(
                key=trial.key,
                trial={},
                status=status,
                accuracy=0.5,
                history=[{"val_accuracy": epoch / 10} for epoch in range(1, length + 1)],
            )
            for trial, length in zip(trials, lengths, strict=True)
        }
        return footnotes.of_plateaus(trials, results), tables.curves(trials, results)

    def test_ends_are_counted(self):
        (note,), curves = self.table_of([3, 6, 5])
        assert "after 10 epochs without a better" in note
        assert "so did 2 of 3 networks; the others ended at the limit on epochs" in note
        (runs,) = curves["MNIST, small_cnn"].values()
        assert [len(run) for run in runs] == [3, 6, 5]
        assert runs[0] == pytest.approx([10, 20, 30])

    def test_networks_that_failed_are_in_neither(self):
        assert self.table_of([3, 6], status="non_finite") == ([], {})

    def test_no_note_without_the_rule(self):
        trials, results = rows({"CE": CE})
        assert footnotes.of_plateaus(trials, results) == []
        # Rows without a history, of an earlier version.
        assert tables.curves(trials, results) == {}

    def test_limits_of_single_models_are_stated(self):
        trials, results = rows({"CE": CE})
        table = tables.cells(trials, results, tables.read_paper("table2"))
        note = experiment._notes(TABLE2_SCALES["small"], table)[1]
        assert "ResNet50: at most 5,120 training images. Layers in mixed_bfloat16." in note
        assert "32 pixels a side (without a backbone: the images' own)" in note
        note = experiment._notes(TABLE2_SCALES["demo"], table)[1]
        assert "at most" not in note.lower()
        assert "Layers in float32." in note

    def test_training_images_that_are_asked_for_are_those_of_all_models(self):
        parser = experiment.TABLE_2.parser()
        for given, expected in (([], 5_120), (["--train-images", "9000"], 9_000)):
            args = parser.parse_args(["--scale", "small", "--models", "ResNet50", *given])
            scale = experiment.TABLE_2.chosen_scale(args)
            assert {trial.train_images for trial in plan(scale, ["CE"])} == {expected}

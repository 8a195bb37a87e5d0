"""What templates compute agrees with the tables that the scripts have written."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from nglkeras.errors import UserError
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.trial import plan
from nglkeras.experiments.glo.tables import GLOCell
from nglkeras.experiments.learning_rates import protocol as rates_protocol
from nglkeras.experiments.verification import numbers, selection, texts
from nglkeras.experiments.verification.computed import difference, holds
from nglkeras.report.rates import FIRST_NEW
from nglkeras.report.statistics import Difference
from nglkeras.report.tables import Cell
from nglkeras.runs.trial import TrialResult

RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def functions():
    return numbers.Numbers(RESULTS).functions


def test_accuracies_are_those_of_table_2(functions):
    place = "table2/small_cnn_fashion_mnist"
    table = pd.read_csv(RESULTS / place / "table2.csv").set_index("loss")
    found = functions["accuracies"](place, runs=3)
    assert set(found) == set(table.index)
    for loss, row in table.iterrows():
        measured = found[loss].mean, found[loss].low, found[loss].high
        assert measured == pytest.approx((row.accuracy, row.low, row.high))
    assert found["NGL"].p == pytest.approx(table.p["NGL"])


def test_cells_of_paper_b_are_those_of_figure_1(functions):
    table = pd.read_csv(RESULTS / "glo/mnist/figure1_20000_mixed_bfloat16.csv")
    table = table[table.run < 7]
    found = functions["glo"]("glo/mnist", "test", runs=7, steps=20_000)
    for loss, rows in table.groupby("loss"):
        assert found[loss].mean == pytest.approx(rows.test_accuracy.mean())
    assert found["CE"].paper == 0.9899


@pytest.mark.parametrize(
    ("place", "runs"),
    [("table4/unet_camvid", 3), ("table4/small_camvid", 3), ("table4/small_camvid_balanced", 1)],
)
def test_segmentation_is_table_4(functions, place, runs):
    table = pd.read_csv(RESULTS / place / "table4.csv").set_index("loss")
    table = table[table.measure == "mean_iou"]
    found = functions["segmentation"](place, runs=runs)
    for loss, row in table.iterrows():
        assert (found[loss].mean, found[loss].paper) == pytest.approx((row["mean"], row.paper))


def test_a_search_counts_as_its_last_generation_does(functions):
    place = "search/small_cnn_mnist"
    last = pd.read_csv(RESULTS / place / "generations.csv").iloc[-1]
    found = functions["search"](place)
    for name in ("asked", "trained", "discarded", "failed"):
        assert found.counts[name] == last[name], name
    for name in ("duplicate", "equal", "gradient", "rejected"):
        assert found.counts[name] == last[f"saved_{name}"], name
    assert found.saved == last.asked - last.trained
    assert found.winner.evaluation.rank == pytest.approx([last.best])


def test_a_search_up_to_a_generation(functions):
    place = "glo/mnist/search/trees"
    table = pd.read_csv(RESULTS / place / "generations.csv").set_index("number")
    for number in (5, 12):
        found = functions["search"](place, generations=number)
        assert found.counts["asked"] == table.asked[number]


def test_a_comparison_is_what_the_search_has_printed(functions):
    found = functions["comparison"]("search/small_cnn_mnist")
    printed = (RESULTS / "search/small_cnn_mnist/best.md").read_text()
    cell = found["winner"]
    assert f"winner: {cell.mean:.2f} % over 5 runs, {cell.change:+.2f} % against CE" in printed
    with pytest.raises(UserError, match="no line with dataset='digits'"):
        functions["comparison"]("search/small_cnn_mnist", dataset="digits")


def test_a_comparison_on_several_data_sets_wants_one_named(tmp_path):
    lines = [f"{data},{loss},{0.5}" for data in ("mnist", "cifar10") for loss in ("CE", "winner")]
    (tmp_path / "comparison.csv").write_text("\n".join(["dataset,loss,accuracy", *lines]))
    comparison = numbers.Numbers(tmp_path).functions["comparison"]
    with pytest.raises(UserError, match="CE has several cells; name a model or data set"):
        comparison(".")
    assert set(comparison(".", dataset="mnist")) == {"CE", "winner"}


class TestDifference:
    def cell(self, runs, values=(1.0, 2.0, 4.0)):
        return GLOCell(loss="CE", values=values, run_numbers=runs)

    def test_is_in_points_and_of_the_same_runs(self):
        one, other = self.cell([2, 0, 1]), self.cell([1, 2, 5])
        found = difference(one, other)
        assert found.mean == pytest.approx(100 * ((4 - 1) + (1 - 2)) / 2)
        assert difference(one, other, skip=1).mean == pytest.approx(-100)

    def test_places_of_a_study_are_of_no_account(self):
        one, other = self.cell([("a", i) for i in range(3)]), self.cell(range(3), (0, 0, 0))
        assert difference(one, other).mean == pytest.approx(700 / 3)
        with pytest.raises(UserError, match="CE: runs of the same number, at several places"):
            difference(self.cell([("a", 0), ("b", 0), ("a", 1)]), other)


def test_a_sentence_holds_or_is_an_error():
    assert holds(True, "Focal is worse.") == "Focal is worse."
    with pytest.raises(UserError, match=r"no longer true, write it anew: 'Focal is worse\.'"):
        holds(False, "Focal is worse.")


def test_single_runs_by_their_numbers(functions):
    found = functions["glo"]("glo/mnist", "test", runs=[250], dataset="cifar10", steps=250)
    assert {cell.runs for cell in found.values()} == {1}


class TestTable:
    @pytest.fixture
    def table(self, functions):
        return functions["table"]("soak/soak.csv")

    def test_an_empty_cell_is_none(self, table):
        line = table.one(what="driver killed, local")
        assert (line["trials"], line["begun_again"]) == (160, None)
        assert len(table.values("begun_again")) == 3

    def test_lines_by_one_value_or_several(self, table):
        assert table.values("trials", kills=20) == [160, 160]
        assert table.values("trials", kills=[2, 20]) == [88, 160, 160]

    @pytest.mark.parametrize(
        ("ask", "message"),
        [
            (lambda table: table.one(kills=20), "2 lines with kills=20, not 1"),
            (lambda table: table.one(kills=3), "0 lines with kills=3, not 1"),
            (lambda table: table.one(kill=20), "unknown column of .* 'kill'; choose from: what"),
            (
                lambda table: table.values("trial"),
                "unknown column of .* 'trial'; choose from: what",
            ),
            (lambda table: table.values("trials", kills=3), "no line with kills=3"),
        ],
    )
    def test_what_is_not_there_is_an_error(self, ask, message, table):
        with pytest.raises(UserError, match=message):
            ask(table)


def write(folder, trials, accuracy):
    """Write a journal of these trials, whose accuracies are `accuracy(trial)`."""
    folder.mkdir(exist_ok=True)
    with (folder / "journal.jsonl").open("w") as file:
        for trial in trials:
            found = {"validation_accuracy": accuracy(trial), "accuracy": accuracy(trial)}
            row = TrialResult(key=trial.key, trial=asdict(trial), status="ok", **found)
            file.write(json.dumps(asdict(row)) + "\n")


def trials_of(losses=("CE", "NGL"), models=("small_cnn",), datasets=("mnist",), runs=2):
    scale = replace(TABLE2_SCALES["demo"], models=models, datasets=datasets, runs=runs)
    return plan(scale, losses)


class TestSelection:
    def accuracies(self, folder, trials, **settings):
        write(folder / "a", trials, lambda trial: 0.5 + 0.01 * trial.run)
        return numbers.Numbers(folder).functions["accuracies"]("a", **settings)

    def test_a_mean_over_models_needs_the_runs_of_each(self, tmp_path):
        trials = trials_of(models=("small_cnn", "head"))
        found = self.accuracies(tmp_path, trials, runs=2)
        assert found["CE"].values == pytest.approx([50, 51])
        found = self.accuracies(tmp_path, trials[:-1], runs=2)
        assert found["CE"].values == pytest.approx([50, 51])
        with pytest.raises(UserError, match=r"wanted are the runs 0 1 of NGL, there are 0$"):
            found["NGL"]

    def test_two_rows_of_one_run_do_not_stand_for_another(self, tmp_path):
        first, second = trials_of(losses=("CE",))
        trials = [first, replace(first, seed=1)]
        with pytest.raises(UserError, match=r"wanted are the runs 0 1 of CE, there are 0 0$"):
            self.accuracies(tmp_path, trials, runs=2)["CE"]
        assert self.accuracies(tmp_path, [*trials, second], runs=2, seed=0)["CE"].runs == 2

    def test_runs_that_differ_in_more_than_their_number(self, tmp_path):
        first, second = trials_of(losses=("CE",))
        trials = [first, replace(second, image_size=16)]
        with pytest.raises(UserError, match="runs 0 and 1 of CE differ in more than their number"):
            self.accuracies(tmp_path, trials, runs=2)

    def test_values_are_in_the_order_of_runs_not_of_lines(self, tmp_path):
        trials = trials_of(losses=("CE",), runs=3)
        found = self.accuracies(tmp_path, [trials[i] for i in (2, 0, 1)], runs=3)["CE"]
        assert found.run_numbers == [0, 1, 2]
        assert found.values == pytest.approx([50, 51, 52])

    def test_several_data_sets_want_one_named(self, tmp_path):
        trials = trials_of(datasets=("mnist", "fashion_mnist"))
        with pytest.raises(UserError, match=r"of CE, there are 0 0 1 1$"):
            self.accuracies(tmp_path, trials, runs=2)["CE"]
        assert self.accuracies(tmp_path, trials, runs=2, dataset="mnist")["CE"].runs == 2

    def test_settings_of_the_loss_and_of_the_schedule(self, tmp_path):
        (first, *_) = trials_of(losses=("NGL",))
        found = selection.setting
        assert found(first, "class_reduction") == "sum"
        mean = replace(first, loss_settings=(("class_reduction", "mean"),))
        assert found(mean, "class_reduction") == "mean"
        assert found(first, "learning_rate") == first.schedule.learning_rate
        with pytest.raises(UserError, match="unknown setting 'rate'; choose from: steps, "):
            found(first, "rate")

    def test_losses_that_are_compared_must_all_be_there(self, tmp_path):
        def accuracy(trial):
            return {"CE": 0.5, "NGL": 0.6, "Focal": 0.7}[trial.loss] + 0.01 * trial.run**2

        def jitter(trial):
            return accuracy(trial) + 0.002 * (trial.run % 2) * (trial.loss != "CE")

        write(tmp_path / "a", trials_of(("CE", "NGL", "Focal"), runs=4), jitter)
        accuracies = numbers.Numbers(tmp_path).functions["accuracies"]
        two = accuracies("a", runs=4, losses=["CE", "Focal"])
        assert set(two) == {"CE", "Focal"}
        assert two["Focal"].p_holm == pytest.approx(two["Focal"].p_paired)
        assert accuracies("a", runs=4)["Focal"].p_holm == pytest.approx(2 * two["Focal"].p_holm)
        with pytest.raises(UserError, match="of SCE, there are none"):
            accuracies("a", runs=4, losses=["CE", "SCE"])

    def test_a_loss_of_several_models_wants_one_named(self):
        cells = [Cell(loss="CE", model=model) for model in ("a", "b")]
        with pytest.raises(UserError, match="here: CE has several cells; name a model or data set"):
            selection.by_loss(cells, "here")


class TestRates:
    @pytest.fixture
    def study(self, tmp_path):
        """The functions, and what writes the journal of a study: two runs a rate, three new ones.

        NGL is best at 1, CE at 0.1, and has been tested at another rate as well, which was the best
        one before more was trained; Focal lacks a run at one rate.
        """
        scale = replace(rates_protocol.SCALES["demo"], runs=2)
        trials = rates_protocol.plan(scale, ["CE", "NGL", "Focal"])
        best = {"CE": 0.1, "NGL": 1.0, "Focal": 0.1}
        for loss, rate in best.items():
            first = next(t for t in trials if (t.loss, t.schedule.learning_rate) == (loss, rate))
            trials += [replace(first, run=FIRST_NEW + i, test=True) for i in range(3)]
        trials.append(replace(trials[0], run=FIRST_NEW, test=True))
        trials.remove(next(t for t in trials if t.loss == "Focal"))

        def accuracy(trial):
            away = abs(np.log10(trial.schedule.learning_rate / best[trial.loss]))
            return 0.9 - 0.1 * away + 0.02 * (trial.loss == "NGL") + 0.001 * (trial.run % 1000)

        write(tmp_path / "rates", trials, accuracy)
        return numbers.Numbers(tmp_path).functions

    def test_each_loss_at_its_best_rate(self, study):
        found = study["best_rates"]("rates", runs=2, new_runs=3)
        assert {loss: cell.rate for loss, cell in found.items()} == {"CE": 0.1, "NGL": 1.0}
        assert found["NGL"].values == pytest.approx([92.0, 92.1, 92.2])
        assert found["NGL"].paired.mean == pytest.approx(2.0)
        assert found["NGL"].validation == pytest.approx(92.05)
        assert found["NGL"].rate_seen is None

    def test_chosen_among_some_rates(self, study):
        rates = [0.01, 0.1]
        found = study["best_rates"]("rates", runs=2, new_runs=3, losses=["CE"], learning_rate=rates)
        assert found["CE"].rate == 0.1
        with pytest.raises(UserError, match=r"learning_rate=\[0.01\]: wanted are"):
            study["best_rates"]("rates", runs=2, new_runs=3, losses=["CE"], learning_rate=[0.01])

    def test_curves(self, study):
        found = study["rate_curves"]("rates", runs=2, losses=["CE", "NGL"])
        assert found["CE"].accuracies[0.01] == pytest.approx(0.8005)
        assert found["CE"].open_ends == ()

    def test_several_data_sets_want_one_named(self, tmp_path):
        write(tmp_path / "a", trials_of(datasets=("mnist", "fashion_mnist"), runs=1), lambda _: 0.5)
        curves = numbers.Numbers(tmp_path).functions["rate_curves"]
        with pytest.raises(UserError, match="several data sets; name one of "):
            curves("a", runs=1)

    def test_missing_networks_are_an_error(self, study):
        found = study["best_rates"]("rates", runs=2, new_runs=3)
        with pytest.raises(UserError, match=r"runs 0 1 1000 1001 1002 of Focal, there are 1$"):
            found["Focal"]
        with pytest.raises(UserError, match=r"of Focal, there are 1$"):
            study["rate_curves"]("rates", runs=2, losses=["Focal"])
        with pytest.raises(UserError, match=r"1002 1003 of CE, there are 0 1 1000 1001 1002$"):
            study["best_rates"]("rates", runs=2, new_runs=4, losses=["CE"])


def test_epochs_at_the_first_rate(functions):
    def row(*rates):
        return SimpleNamespace(history=[{"learning_rate": rate} for rate in rates])

    cell = SimpleNamespace(finished=[row(0.1, 0.1, 0.02), row(0.1), row(0.1, 0.02, 0.02)])
    assert functions["epochs_at_first_rate"](cell) == [2, 1, 1]


def test_printed_numbers(functions):
    assert functions["paper"]("table2", "f5 (NGL)", "CIFAR-10") == pytest.approx(
        pd.read_csv(ROOT / "nglkeras/experiments/paper/table2.csv", index_col=0).at[
            "f5 (NGL)", "CIFAR-10"
        ]
    )
    with pytest.raises(UserError, match="unknown column of the printed table2 'MNIST'; choose"):
        functions["paper"]("table2", "CE", "MNIST")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (texts.fixed(-0.5678, 2), "−0.57"),
        (texts.fixed(3.5), "4"),
        (texts.signed(7.24, 1), "+7.2"),
        (texts.signed(-7.24, 1), "−7.2"),
        (texts.percent(0.9251, 1), "92.5"),
        (texts.grouped(306_412.9), "306,413"),
        (texts.scientific(2.04e-7), "2.0e-7"),
        (texts.p(0.4812), "0.48"),
        (texts.p(0.0758), "0.076"),
        (texts.p(0.00234), "0.002"),
        (texts.p(0.000234), "2e-4"),
        (texts.word(7), "seven"),
        (texts.word(13), "13"),
    ],
)
def test_numbers_in_print(text, expected):
    assert text == expected


def test_intervals_in_print():
    cell = Cell(loss="CE", values=[-3.0, 1.0])
    assert texts.interval(cell, 1) == "[−26.4, 24.4]"
    assert texts.interval(Difference(0.0, -1.0, 1.0), 1) == "[−1.0, 1.0]"
    assert texts.interval((-1.0, 1.0)) == "[−1, 1]"
    assert texts.plus_minus(cell, 1) == "−1.0 ± 25.4"
    one = Cell(loss="CE", values=[1.0])
    for filter_ in (texts.interval, texts.plus_minus):
        with pytest.raises(UserError, match="there is no such number"):
            filter_(one)
    for filter_ in (texts.fixed, texts.percent, texts.p, texts.word, texts.scientific):
        for value in (None, float("nan")):
            with pytest.raises(UserError, match="there is no such number"):
                filter_(value)

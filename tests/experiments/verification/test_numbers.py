"""What templates compute agrees with the tables that the scripts have written."""

import pandas as pd
import pytest
from conftest import ROOT

from nglkeras.errors import UserError
from nglkeras.experiments.verification import numbers, texts

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
    found = functions["glo"]("glo/mnist", "test", runs=7, steps=20_000)
    for loss, rows in table.groupby("loss"):
        assert found[loss].mean == pytest.approx(rows.test_accuracy.mean())
    assert found["CE"].paper == 0.9899


def test_segmentation_is_table_4(functions):
    table = pd.read_csv(RESULTS / "table4/unet_camvid/table4.csv").set_index("loss")
    table = table[table.measure == "mean_iou"]
    found = functions["segmentation"]("table4/unet_camvid", runs=3)
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


def test_cells_of_several_models_want_one_named():
    cells = [numbers.Cell(loss="CE", model=model) for model in ("a", "b")]
    with pytest.raises(UserError, match="here: CE has several cells; name a model or data set"):
        numbers.Cells(cells, "here", {}, (0,))


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
    cell = numbers.Cell(loss="CE", values=[-3.0, 1.0])
    assert texts.interval(cell, 1) == "[−26.4, 24.4]"
    assert texts.plus_minus(cell, 1) == "−1.0 ± 25.4"
    one = numbers.Cell(loss="CE", values=[1.0])
    for filter_ in (texts.interval, texts.plus_minus):
        with pytest.raises(UserError, match="there is no such number"):
            filter_(one)
    for filter_ in (texts.fixed, texts.percent, texts.p, texts.word, texts.scientific):
        for value in (None, float("nan")):
            with pytest.raises(UserError, match="there is no such number"):
                filter_(value)

"""Figures: gradients that are gradients, files that can be made again, settings left alone."""

from typing import ClassVar

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from nglkeras import UserError, losses
from nglkeras.experiments.classification import plots
from nglkeras.experiments.glo import plots as glo_plots
from nglkeras.expression import Expression
from nglkeras.losses.curves import binary, value_and_gradient
from nglkeras.report import figures, loss_curves
from nglkeras.report import plots as report_plots
from nglkeras.search import plots as search_plots


def lines(axis):
    """The curves of an axis with a legend, by their labels."""
    return {line.get_label(): line.get_data() for line in axis.lines if line.get_label()[0] != "_"}


def test_gradient_is_the_slope():
    p = np.linspace(0.05, 0.95, 50, dtype="float32")
    for name in plots.CURVES:
        function = binary(losses.get(name))
        _, gradient = value_and_gradient(function, p)
        h = 1e-3
        slope = (
            value_and_gradient(function, p + h)[0] - value_and_gradient(function, p - h)[0]
        ) / (2 * h)
        np.testing.assert_allclose(gradient, slope, atol=0.02 * max(1, np.abs(slope).max()))


class TestFigure1:
    @pytest.fixture(scope="class")
    @staticmethod
    def axes():
        return plots.figure1().axes

    def test_ngl_has_the_minimum_of_the_binary_problem_and_rises_after_it(self, axes):
        p, value = lines(axes[0])["NGL"]
        least = value.argmin()
        assert p[least] == pytest.approx(0.5659, abs=0.002)
        assert value[least] == pytest.approx(4.76523, abs=1e-4)
        assert (np.diff(value[:least]) < 0).all()
        assert (np.diff(value[least:]) > 0).all()
        # Equation 2 for two classes at p = 1/2.
        half = (np.exp(2.4092 - 1) + np.exp(2.4092 - 0.5)) / 2 - np.cos(np.cos(np.sin(0.5)))
        assert np.interp(0.5, p, value) == pytest.approx(half, abs=1e-4)
        assert [text.get_text() for text in axes[0].texts] == ["min 0.57"]

    def test_ce_is_minus_log_p_and_no_gradient_has_a_spike(self, axes):
        p, value = lines(axes[0])["CE"]
        np.testing.assert_allclose(value, -np.log(p), rtol=1e-6)
        np.testing.assert_allclose(lines(axes[1])["CE"][1], -1 / p, rtol=1e-6)
        # Each gradient grows from end to end, as it does on paper.
        for _, gradient in lines(axes[1]).values():
            assert (np.diff(gradient) > 0).all()


def test_paper_bs_figure_2_carries_its_1_over_n():
    axes = glo_plots.figure2().axes
    values = {name: (x, y) for name, (x, y) in lines(axes[0]).items()}
    y0 = values["CE"][0]
    np.testing.assert_allclose(values["CE"][1], -np.log(y0) / 2, rtol=1e-6)
    baikal = -(np.log(y0) - 1 / y0 + np.log(1 - y0)) / 2
    np.testing.assert_allclose(values["Baikal"][1], baikal, rtol=1e-4)


def test_figure_a_shows_an_example_of_the_papers_shape_beside_ngl():
    titles = [axis.get_title() for axis in search_plots.figure_a().axes]
    assert any("- 1.05*cos(y_pred)" in title for title in titles)
    assert any("NGL" in title for title in titles)


@pytest.mark.parametrize("make", [plots.figure1, glo_plots.figure2])
def test_files_are_the_same_every_time(make, tmp_path):
    folders = tmp_path / "a", tmp_path / "b"
    first, again = (
        [path.read_bytes() for path in figures.save(make, folder, "figure", ("png", "svg", "pdf"))]
        for folder in folders
    )
    assert first == again
    assert [content[:5] for content in first] == [b"\x89PNG\r", b"<?xml", b"%PDF-"]
    # Not Type 3, which publishers refuse.
    assert b"/Type3" not in first[2]


@pytest.mark.parametrize("formula", ["exp(exp(exp(5*y_pred)))*y_true", "log(y_pred - 1)"])
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_loss_that_is_no_number_somewhere_is_drawn(formula, tmp_path):
    figure = Figure()
    loss_curves.draw_binary(figure.subplots(), losses.FormulaLoss(formula), "overflows")
    assert figures.save(figure, tmp_path, "overflows", "png")[0].exists()


class TestSave:
    def draw(self):
        return search_plots.tree(Expression.parse("1 - y_pred"))

    def test_width_and_font_size(self, tmp_path):
        sizes, made = [], []

        def draw():
            made.append(self.draw())
            return made[-1]

        for width, font_size in ((None, None), (3.5, None), (3.5, 20)):
            figures.save(draw, tmp_path, "tree", ["png"], width, font_size)
            text = made[-1].axes[0].texts[0]
            sizes.append((*made[-1].get_size_inches(), text.get_fontsize()))
        (width, height, small), narrow, large = sizes
        assert narrow[:2] == (3.5, pytest.approx(3.5 * height / width))
        assert narrow[2] == small
        assert large[2] == pytest.approx(2 * small)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"formats": ["gif"]}, "unknown format 'gif'; choose from: png, pdf, svg"),
            ({"formats": []}, "no format"),
            ({"width": 0.0}, "a width of 0 is not between"),
            ({"width": float("nan")}, "a width of nan is not between"),
            ({"font_size": 1e6}, "a font size of 1e"),
            ({"width": 0.3}, "figure does not fit into 0.3 inches"),
        ],
    )
    def test_what_cannot_be(self, tmp_path, arguments, message):
        with pytest.raises(UserError, match=message):
            figures.save(self.draw, tmp_path, "figure", **arguments)

    def test_a_finished_figure_keeps_its_font_size(self, tmp_path):
        assert figures.save(self.draw(), tmp_path / "new", "tree", "pdf")[0].exists()
        with pytest.raises(UserError, match="give a function that draws it"):
            figures.save(self.draw(), tmp_path, "tree", font_size=8)


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: plots.figure1(),
        lambda folder: search_plots.figure_a(),
        lambda folder: figures.save(plots.figure1, folder, "figure", ["png", "svg"], 5, 8),
    ],
    ids=["figure", "trees", "saved"],
)
def test_no_setting_of_the_user_changes(use, tmp_path):
    import random

    def settings():
        numpy = np.random.get_state()
        return dict(mpl.rcParams), random.getstate(), numpy[1].tolist(), numpy[2:]

    with mpl.rc_context({"axes.grid": False, "svg.hashsalt": "mine", "font.size": 13}):
        before = settings()
        use(tmp_path)
        assert settings() == before


def test_reconstructions_are_daggered():
    titles = [axis.get_title() for axis in plots.figure_b2().axes if axis.get_title()]
    assert titles == ["CE", "f1†", "f2†", "f3†", "f4", "f5 (NGL)"]


class TestEpochs:
    """Curves of trainings that ended at different epochs."""

    panels: ClassVar = {
        "long": {
            "CE": [[10.0, 20.0, 30.0, 40.0], [10.0, 30.0]],
            "NGL": [[0.0, 35.0]],
            "f4": [[1.0, 2.0, 3.0]],
        },
        "short": {"CE": [[50.0]]},
    }

    @pytest.fixture
    def axes(self):
        figure = report_plots.epoch_plot(self.panels, "t", ylabel="accuracy", within=10)
        return np.reshape(figure.axes, (2, 2))

    def test_a_network_that_ended_counts_with_its_last_value(self, axes):
        for axis in axes[0]:
            x, mean = lines(axis)["CE, 2 runs"]
            np.testing.assert_array_equal(x, [1, 2, 3, 4])
            np.testing.assert_array_equal(mean, [10, 25, 30, 35])

    def test_its_range_too(self, axes):
        (band,) = axes[0, 0].collections
        vertices = band.get_paths()[0].vertices
        ends = vertices[vertices[:, 0] == 4][:, 1]
        assert (ends.min(), ends.max()) == (30, 40)

    def test_a_line_ends_with_the_last_network_and_goes_on_dotted(self, axes):
        _, mean = lines(axes[0, 0])["f5 (NGL), 1 run"]
        np.testing.assert_array_equal(mean, [0, 35])
        (dotted,) = (
            line
            for line in axes[0, 0].lines
            if line.get_linestyle() == ":" and line.get_color() == losses.color("NGL")
        )
        np.testing.assert_array_equal(dotted.get_data(), [[2, 3, 4], [35, 35, 35]])

    def test_dots_mark_ends_before_the_longest_training(self, axes):
        dots = [line for line in axes[0, 0].lines if line.get_marker() == "o"]
        assert [np.transpose(dot.get_data()).tolist() for dot in dots] == [
            [[2, 30]],
            [[2, 35]],
            [[3, 3]],
        ]
        assert not [line for line in axes[1, 0].lines if line.get_marker() == "o"]

    def test_the_zoom_leaves_out_what_is_far_behind(self, axes):
        low, high = axes[0, 1].get_ylim()
        # From the first epoch on, a third of four, and with NGL alone within 10 points of CE.
        assert (low > -4, low < 0, high > 40) == (True, True, True)
        curves = {"CE": [[0.0] + [90.0] * 9], "f4": [[0.0] + [10.0] * 9]}
        figure = report_plots.epoch_plot({"a": curves}, "t", ylabel="accuracy", within=10)
        assert figure.axes[1].get_xlim() == (3, 10)
        assert figure.axes[1].get_ylim()[0] > 80

    def test_no_two_losses_of_a_table_have_one_colour(self):
        for table in ("table2", "table_b22", "table3", "glo", "learning_rates"):
            colors = [losses.color(name) for name in losses.rows_of(table)]
            assert None not in colors
            assert len(set(colors)) == len(colors)


@pytest.mark.parametrize("value", [0.0, 0.05, 1.0])
def test_courses_of_equal_values_are_drawn(value):
    flat = {"CE": [[value]], "NGL": [[value]]}
    assert report_plots.epoch_plot({"a": flat}, "t", ylabel="accuracy", within=10).axes

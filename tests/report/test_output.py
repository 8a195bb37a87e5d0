"""Files are named by what they hold: a smaller table does not replace a greater one."""

from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
from matplotlib.figure import Figure

from nglkeras.experiments.glo.protocol import SCALES, plan
from nglkeras.experiments.glo.tables import to_frame
from nglkeras.report import output
from nglkeras.report.figures import save
from nglkeras.runs.trial import TrialResult


def frame(losses, runs=5, dataset="digits"):
    return pd.DataFrame({"dataset": dataset, "loss": losses, "accuracy": 90.0, "runs": runs})


@pytest.fixture
def write(tmp_path, capsys):
    def write(table):
        parts = [[["loss"], *([loss] for loss in table.loss)]]
        output.write_table(
            tmp_path / "t", "T", parts, [], table, Figure, partial(save, formats=("png",))
        )
        return capsys.readouterr().out

    return partial(write)


def losses_in(path):
    return list(pd.read_csv(path, keep_default_na=False).loss)


class TestSmallerTables:
    def test_fewer_losses_have_a_name_of_their_own(self, write, tmp_path):
        write(frame(["CE", "NGL", "f4"]))
        out = write(frame(["CE", "NGL"]))
        assert "t.csv has more than this table and stays; this one is t_CE-NGL_5runs" in out
        assert losses_in(tmp_path / "t.csv") == ["CE", "NGL", "f4"]
        assert losses_in(tmp_path / "t_CE-NGL_5runs.csv") == ["CE", "NGL"]
        assert {path.suffix for path in tmp_path.glob("t_*")} == {".csv", ".md", ".tex", ".png"}

    def test_long_names_that_begin_alike_are_two(self, write, tmp_path):
        names = [f"loss number {number} of a long table" for number in range(8)]
        write(frame(names))
        write(frame(names[:6]))
        write(frame([*names[:5], names[7]]))
        tables = sorted(tmp_path.glob("t_*.csv"))
        assert {losses_in(path)[-1] for path in tables} == {names[5], names[7]}
        assert all(len(path.name) < 120 for path in tables)

    def test_names_that_differ_in_signs_are_two(self, write, tmp_path):
        names = ["f|1", "f{1}", "f1", "CE"]
        write(frame(names))
        for name in names[:3]:
            write(frame([name]))
        tables = sorted(tmp_path.glob("t_*.csv"))
        assert {tuple(losses_in(path)) for path in tables} == {(name,) for name in names[:3]}
        assert "t_f1_5runs.csv" in {path.name for path in tables}

    def test_fewer_runs_too(self, write, tmp_path):
        write(frame(["CE", "NGL"]))
        write(frame(["CE", "NGL"], runs=2))
        assert set(pd.read_csv(tmp_path / "t.csv").runs) == {5}
        assert set(pd.read_csv(tmp_path / "t_2runs.csv").runs) == {2}

    def test_a_network_a_line(self, write, tmp_path):
        table = pd.DataFrame({"loss": ["CE"] * 3, "run": range(3), "accuracy": 0.9})
        write(table)
        write(table[:2])
        assert len(pd.read_csv(tmp_path / "t.csv")) == 3
        assert len(pd.read_csv(tmp_path / "t_2runs.csv")) == 2

    @pytest.mark.parametrize("name", ["learning_rate", "task", "search", "scale_free", "epoch"])
    def test_what_a_line_is_about(self, write, tmp_path, name):
        table = pd.DataFrame({"loss": ["CE"] * 3, name: range(3)})
        write(table)
        write(table[:2])
        assert len(pd.read_csv(tmp_path / "t.csv")) == 3

    def test_another_data_set(self, write, tmp_path):
        write(frame(["CE"]))
        write(frame(["CE"], dataset="mnist"))
        assert (tmp_path / "t_mnist_5runs.csv").exists()


@pytest.mark.parametrize("more", [frame(["CE", "NGL"]), frame(["CE"]), frame(["CE"], runs=9)])
def test_as_much_or_more_replaces_the_files(write, tmp_path, more):
    write(frame(["CE"]))
    assert "has more" not in write(more)
    assert losses_in(tmp_path / "t.csv") == list(more.loss)


@pytest.mark.parametrize("content", ["", "\x00", "a,b\n1"])
def test_a_file_that_is_no_table_is_replaced(write, tmp_path, content):
    (tmp_path / "t.csv").write_text(content)
    write(frame(["CE"]))
    assert losses_in(tmp_path / "t.csv") == ["CE"]


def test_a_network_that_failed_and_was_tried_again_is_the_same_line(write, tmp_path):
    trials = plan(replace(SCALES["demo"], runs=1), ["CE"])
    (key,) = [trial.key for trial in trials]
    for status, sizes in (("crashed", None), ("ok", (1400, 180, 180))):
        row = TrialResult(key=key, trial={}, status=status, sizes=sizes)
        assert "has more" not in write(to_frame(trials, {key: row}))
    assert list(pd.read_csv(tmp_path / "t.csv").status) == ["ok"]

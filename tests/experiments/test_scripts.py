"""The scripts as a user runs them: what they print, write and refuse."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from conftest import HEAVY, ROOT, command_of, finish, run_python, wait_for_rows

from nglkeras.experiments import earlier
from nglkeras.experiments.classification import protocol
from nglkeras.experiments.classification.experiment import TABLE_2
from nglkeras.experiments.classification.trial import plan
from nglkeras.experiments.script import settings_of
from nglkeras.runs.journal import Journal

SMALL = ["--epochs", "1", "--train-images", "64", "--evaluation-images", "32"]


class TestTable2:
    def test_trains_then_prints_from_the_journal_then_mends_it(self, script, tmp_path, monkeypatch):
        reads, results = [], Journal.results
        monkeypatch.setattr(Journal, "results", lambda self: reads.append(self) or results(self))
        arguments = ["--losses", "CE", "NGL", "--runs", "2", *SMALL, "--out", tmp_path]
        code, out, _ = script("table2", *arguments)
        assert code == 0
        assert "4 of 4 trials to run" in out
        for part in (
            "f5 (NGL)",
            "95 % interval",
            "Welch's p",
            "with other runs, epochs, train images",
        ):
            assert part in out
        for name in ("table2.csv", "table2.md", "table2.tex", "table2.png", "table2_curves.png"):
            assert (tmp_path / name).stat().st_size > 100
        assert r"\toprule" in (tmp_path / "table2.tex").read_text(encoding="utf-8")
        table = out[out.index("Table 2:") :]
        # Once before, and once under the lock.
        assert len(reads) == 2

        start = time.perf_counter()
        code, out, err = script("table2", *arguments)
        assert (code, err) == (0, "")
        assert "to run" not in out
        assert out[out.index("Table 2:") :] == table
        assert len(reads) == 3
        assert time.perf_counter() - start < 5

        journal = tmp_path / "journal.jsonl"
        lines = journal.read_text().splitlines(keepends=True)
        journal.write_text("".join(lines[1:]))
        code, out, _ = script("table2", *arguments)
        assert code == 0
        assert "1 of 4 trials to run" in out
        assert out[out.index("Table 2:") :] == table

    def test_ends_on_a_plateau_and_says_so(self, script, tmp_path):
        arguments = ["--losses", "CE", "--runs", "1", *SMALL, "--epochs", "40", "--out", tmp_path]
        code, out, err = script("table2", *arguments, "--stop-after", "1", "--format", "svg")
        assert code == 0
        assert "epoch 1 of at most 15" in err
        assert "Training ends after 1 epochs without a better validation accuracy" in out
        assert f"written: {tmp_path / 'table2_curves.svg'}" in out
        assert not (tmp_path / "table2_curves.png").exists()

    @pytest.mark.slow
    def test_rows_from_before_networks_were_shared_count_and_are_not_mixed(self, script, tmp_path):
        from nglkeras.experiments.classification.protocol import TABLE2_SCALES
        from nglkeras.experiments.classification.shared_networks import run_trial
        from nglkeras.experiments.classification.trial import plan

        limits = {"runs": 1, "epochs": 1, "train_images": 64, "evaluation_images": 32}
        (trial,) = plan(replace(TABLE2_SCALES["demo"], **limits), ["CE"])
        Journal(tmp_path / "journal.jsonl").append(run_trial(replace(trial, compile_once=False)))
        arguments = ["--losses", "CE", "NGL", "--runs", "1", *SMALL, "--out", tmp_path]
        code, out, _ = script("table2", *arguments)
        assert code == 0
        assert "1 of 2 trials to run" in out
        assert "goes on with them: each network is compiled by itself." in out
        rows = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
        assert [row["trial"]["compile_once"] for row in rows] == [False, False]

    def test_a_row_that_is_never_shared_does_not_unshare_the_others(self, tmp_path):
        from nglkeras.experiments.classification.protocol import TABLE2_SCALES
        from nglkeras.experiments.classification.trial import plan
        from nglkeras.runs.attempt import make_row

        datasets = ("malaria", "cifar10")
        trials = plan(replace(TABLE2_SCALES["paper"], datasets=datasets, runs=1), ["CE"])
        journal = Journal(tmp_path / "journal.jsonl")
        for dataset in datasets:
            trial = next(trial for trial in trials if trial.dataset == dataset)
            journal.append(make_row(trial, status="ok", accuracy=0.5))
        assert earlier.settings_of(trials, journal.results()).changes == ()

    def test_formulas_given_on_the_command_line(self, script, tmp_path):
        code, out, _ = script(
            "table2", "--losses", "CE", "f3", "--runs", "1", *SMALL, "--out", tmp_path,
            "--formula", "f3=sqrt(y_true/y_pred)", "--formula", "mine = -(y_true*log(y_pred))",
        )  # fmt: skip
        assert code == 0
        rows = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
        assert [(row["trial"]["loss"], row["trial"]["formula"]) for row in rows] == [
            ("CE", None),
            ("f3 (given)", "sqrt(y_true/y_pred)"),
            ("mine", "-(y_true*log(y_pred))"),
        ]
        assert "f3 (given)" in out
        # Only what is guessed carries the dagger.
        assert "\u2020" not in out

    @pytest.mark.slow
    def test_a_damaged_line_is_reported_and_its_trial_runs_again(self, script, tmp_path):
        arguments = ["--losses", "CE", "--runs", "1", *SMALL, "--out", tmp_path]
        script("table2", *arguments)
        journal = tmp_path / "journal.jsonl"
        journal.write_text(journal.read_text()[:100])
        code, out, err = script("table2", *arguments)
        assert code == 0
        assert "1 of 1 trials to run" in out
        assert "journal.jsonl, line 1: cannot be read" in err

    @pytest.mark.slow
    def test_on_real_files_through_tfds_on_two_devices(self, script, tmp_path, tfds_directory):
        import keras

        if keras.backend.backend() == "torch":
            pytest.skip("PyTorch trains on one device")
        code, out, _ = script(
            "table2", "--scale", "reduced", "--datasets", "cifar10", "--models", "small_cnn",
            "--losses", "CE", "--runs", "1", "--epochs", "1", "--strategy", "mirrored",
            "--data-dir", _large_enough(tfds_directory, tmp_path), "--out", tmp_path / "out",
            "--tensorboard", tmp_path / "logs",
        )  # fmt: skip
        assert code == 0
        assert "CIFAR-10" in out
        (row,) = map(json.loads, (tmp_path / "out" / "journal.jsonl").read_text().splitlines())
        assert row["status"] == "ok", row["message"]
        assert row["environment"]["replicas"] == 2
        assert list((tmp_path / "logs").rglob("events.*"))

    @pytest.mark.slow
    def test_killed_in_the_middle_loses_only_the_running_trial(self, tmp_path):
        options = ["--losses", "CE", "NGL", "f4", "--runs", "1", *SMALL, "--out", tmp_path]
        journal = tmp_path / "journal.jsonl"
        command = command_of("table2", *options)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            wait_for_rows(tmp_path, 1, run)
            run.kill()
        before = journal.read_text()
        assert before.count("\n") in (1, 2)
        finish("table2", *options)
        assert journal.read_text().startswith(before)
        assert journal.read_text().count("\n") == 3

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--losses", "NLG"], "unknown loss 'NLG'; choose from: CE, SCE, Focal"),
            (["--datasets", "mnits"], "unknown data set 'mnits'; choose from: digits"),
            (["--models", "ResNet51"], "unknown model 'ResNet51'; choose from: small_cnn"),
            (["--scale", "huge"], "unknown scale 'huge'; choose from: demo, reduced, small, paper"),
            (["--strategy", "gpu"], "unknown strategy 'gpu'; choose from: auto, none, mirrored"),
            (["--precision", "half"], "unknown precision 'half'; choose from: float32, mixed_bf"),
            (["--stop-after", "0"], "0 is not a positive number"),
            (["--splits", "own"], "unknown splits 'own'; choose from: official, random"),
            (["--change", "percent"], "unknown change 'percent'; choose from: relative, points"),
            (["--formula", "CE=y_pred"], "CE is a row of the papers, the reference of all changes"),
            (["--image-size", "75", "96"], "--image-size has more than one upper limit"),
            (["--image-size", "digits=8", "digits=16"], "--image-size has two values for digits"),
            (["--upsampling", "digits=2", "digits=1"], "--upsampling has two values for digits"),
            (["--upsampling", "malaria=3"], "unknown data set 'malaria'; choose from: digits"),
            (["--image-size", "digits=x"], "x is not a positive number"),
            (["--image-size", "=8"], "=8 is neither N nor NAME=N"),
            (["--runs", "0"], "0 is not a positive number"),
            (["--runs", "many"], "many is not a positive number"),
            (["--colour"], "unrecognized arguments: --colour"),
            (["--formula", "y_pred"], "--formula y_pred: wanted is NAME=FORMULA"),
            (["--formula", "a$b=y_pred"], "--formula a$b=y_pred: a name has no $"),
            (
                ["--formula", "_mine=y_pred"],
                "--formula _mine=y_pred: a name has no",
            ),
            (["--formula", "mine=q + 1"], "unknown name 'q'; choose from: y_true, y_pred"),
            (["--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
            (["--format", "png", "gif"], "unknown format 'gif'; choose from: png, pdf, svg"),
            (["--format", ","], "no format of figures"),
            (["--width", "0"], "a width of 0 is not between 0 and 100"),
            (["--font-size", "nan"], "a font size of nan is not between 0 and 100"),
            (["--models", "InceptionV3"], "InceptionV3: Input size must be at least 75x75"),
        ],
    )
    def test_mistakes_end_in_one_line_and_exit_code_2(self, mistake, arguments, message):
        assert message in mistake("table2", *arguments)

    def test_missing_data_without_a_network(self, mistake, tmp_path, monkeypatch):
        import requests

        def no_network(url, timeout):
            raise requests.ConnectionError("no network")

        monkeypatch.setattr(requests, "head", no_network)
        error = mistake("table2", "--scale", "reduced", "--data-dir", tmp_path)
        assert error.startswith("data set fashion_mnist is not at")
        assert "TFDS_DATA_DIR" in error

    def test_ctrl_c_says_how_to_go_on(self, script, tmp_path, monkeypatch):
        from nglkeras.experiments.classification.shared_networks import SharedNetworks

        def interrupted(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr(SharedNetworks, "__call__", interrupted)
        code, _, err = script("table2", "--out", tmp_path)
        assert code == 130
        assert "the same command goes on from here" in err

    def test_help_is_the_docstring(self, script):
        code, out, _ = script("table2", "--help")
        assert code == 0
        assert "python reproduce/table2.py --scale reduced" in out


def _large_enough(tfds_directory, tmp_path):
    """Enough CIFAR-10 for one batch of 128, in TFDS' own form."""
    import tensorflow_datasets as tfds
    from conftest import _examples

    builder = tfds.builder("cifar10", data_dir=tmp_path / "tfds")
    features = builder.info.features
    tfds.dataset_builders.store_as_tfds_dataset(
        name="cifar10",
        version=str(builder.version),
        features=features,
        split_datasets={"train": _examples(features, 160), "test": _examples(features, 20)},
        data_dir=tmp_path / "tfds",
    )
    return tmp_path / "tfds"


class TestTableB22:
    @pytest.mark.slow
    def test_pretrains_once_and_fine_tunes(self, script, tmp_path):
        arguments = ["--losses", "CE", "NGL", "--runs", "1", *SMALL, "--out", tmp_path]
        code, out, _ = script("table_b22", *arguments)
        assert code == 0
        assert "pre-training on turned digits" in out
        assert "Table B.2.2: accuracy after pre-training, demo scale" in out
        rows = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
        (sha256,) = {row["trial"]["weights_sha256"] for row in rows}
        assert "Backbones start from: turned_digits_" in out
        assert sha256[:8] in (tmp_path / "table_b22.csv").read_text()
        code, out, _ = script("table_b22", *arguments)
        assert code == 0
        assert "pre-training" not in out.split("Table B.2.2")[0]

    def test_networks_that_start_from_different_tasks(self, mistake):
        error = mistake("table_b22", "--scale", "small")
        assert "give --models small_cnn or --models ResNet50" in error

    def test_weights_that_are_not_there(self, mistake):
        assert "no weights file no.weights.h5" in mistake("table_b22", "--weights", "no.weights.h5")


class TestOthers:
    def test_check_data(self, script, caplog, tfds_directory):
        with caplog.at_level("WARNING", "absl"):
            code, out, err = script("check_data", "--data-dir", tfds_directory)
        assert (code, err, caplog.records) == (0, "", [])
        ready = {line.split()[0]: line.split()[1] for line in out.splitlines() if " yes " in line}
        assert set(ready) == {
            "digits",
            "digits_turned",
            "fashion_mnist",
            "cifar10",
            "caltech101",
            "patch_camelyon",
            "malaria",
            "colorectal_histology",
        }
        assert "cifar100: with a network, any script downloads it (161 MiB)" in out

    def test_table1_counts_what_is_there(self, script, tfds_directory):
        code, out, _ = script("table1", "--data-dir", tfds_directory)
        assert code == 0
        lines = [line.split() for line in out.splitlines()]
        assert ["counted", "2", "60", "30", "differs"] in lines
        assert any(line[:3] == ["catalogue", "100", "60000"] for line in lines)
        assert ["PCam", "paper", "2", "327680", "163840", "96", "x", "96"] in lines
        assert ["counted", "2", "92", "46", "96", "x", "96", "x", "3"] in lines
        assert "PCam: tested on the official test split, validated on its own" in out

    def test_the_other_readings_of_table_b21_are_reached(self, script):
        """Each option that the script names is understood by the tables' scripts."""
        _, out, _ = script("table_b21")
        lines = [line for line in out.splitlines() if "--image-size" in line]
        sizes = protocol.OTHER_SIZES
        assert len(lines) == sum(map(len, sizes.values()))
        found = {}
        for line in lines:
            options = line[line.index("--") :].split()
            args = TABLE_2.parser().parse_args(["--scale", "paper", *options])
            scale = TABLE_2.chosen_scale(args)
            ((name, size),) = scale.image_sizes
            trial = next(trial for trial in plan(scale, ["CE"]) if trial.dataset == name)
            found.setdefault(name, []).append((trial.image_size, trial.upsampling))
            assert trial.image_size == size
        assert found == {name: list(readings) for name, readings in sizes.items()}

    @pytest.mark.parametrize(("models", "is_own"), [(["small_cnn"], True), (["head"], False)])
    def test_a_scale_with_its_own_models_is_that_scale(self, models, is_own):
        args = TABLE_2.parser().parse_args(["--scale", "demo", "--models", *models])
        note = TABLE_2.chosen_scale(args).note
        assert ("a demonstration" in note) == is_own
        assert ("with other models" in note) != is_own

    def test_a_table_says_what_its_trials_have_in_common(self):
        trials = plan(TABLE_2.scales["demo"], ["CE", "NGL"], seed=3)
        found = settings_of(trials)
        assert (found["seed"], found["epochs"]) == (3, trials[0].schedule.epochs)
        assert "seed" not in settings_of([*trials, replace(trials[0], seed=4)])
        assert "image_size" not in settings_of([replace(trials[0], image_size=None)])

    @pytest.mark.parametrize("option", [["--seed", "1"], ["--epochs", "2"]], ids=" ".join)
    def test_a_table_of_other_trainings_takes_no_ones_place(self, option, script, tmp_path):
        common = ["--losses", "CE", "--runs", "1", *SMALL, "--out", tmp_path]
        assert script("table2", *common)[0] == 0
        first = (tmp_path / "table2.csv").read_bytes()
        code, out, _ = script("table2", *common, *option)
        assert code == 0
        assert "has more than this table and stays" in out
        assert (tmp_path / "table2.csv").read_bytes() == first
        # The same again is the same.
        assert "stays" not in script("table2", *common)[1]
        assert len(list(tmp_path.glob("table2_*.csv"))) == 1

    def test_table_b21_agrees_with_the_paper(self, script):
        code, out, _ = script("table_b21")
        assert code == 0
        assert "momentum=0.9: Colorectal Histology" in out
        body = out[: out.index("The scan")]
        # Parentheses would mark a value that is not the printed one.
        assert "(" not in body

    @pytest.mark.parametrize("name", ["figure1", "figure_a", "figure_b2"])
    def test_figures(self, script, name, tmp_path):
        code, out, _ = script(name, "--out", tmp_path)
        assert code == 0
        for suffix in ("png", "svg"):
            assert (tmp_path / f"{name}.{suffix}").stat().st_size > 10_000
            assert str(tmp_path / f"{name}.{suffix}") in out

    def test_figures_go_into_the_working_directory_by_default(self, script, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        code, *_ = script("figure1", "--format", "PDF,svg", "--width", "4", "--font-size", "7")
        assert code == 0
        files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")]
        assert sorted(files) == [f"results/figures/figure1.{kind}" for kind in ("pdf", "svg")]

    @pytest.mark.parametrize("name", ["results/figures/figure1.png", "results/table2/reduced/x"])
    def test_what_scripts_write_by_default_leaves_a_clone_clean(self, name):
        run = subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False)
        if run.returncode > 1:
            pytest.skip("no clone")
        assert run.returncode == 0

    def test_figure_in_an_impossible_place(self, mistake):
        error = mistake("figure1", "--out", "/proc/nowhere")
        assert error.startswith("cannot write to /proc/nowhere")


def test_help_and_mistakes_need_neither_keras_nor_drawing():
    code = f"""
import contextlib, io, json, pathlib, runpy, sys

folder = pathlib.Path({str(ROOT / "reproduce")!r})
sys.path.insert(0, str(folder))
for path in sorted(folder.glob("*.py")):
    for arguments in (["--help"], ["--colour"], ["--scale", "huge"]):
        sys.argv, text, code = [path.name, *arguments], io.StringIO(), None
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            try:
                runpy.run_path(str(path), run_name="__main__")
            except SystemExit as end:
                code = end.code
        heavy = [name for name in {HEAVY} if name in sys.modules]
        print(json.dumps([path.stem, arguments, code, text.getvalue(), heavy]))
"""
    run = run_python(code)
    assert run.stderr == ""
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert {row[0] for row in rows} == {path.stem for path in (ROOT / "reproduce").glob("*.py")}
    for name, arguments, code, text, heavy in rows:
        assert heavy == [], (name, arguments)
        if arguments == ["--help"]:
            assert code == 0
            assert f"python reproduce/{name}.py" in text
        else:
            assert code == 2, (name, arguments)
            assert text.startswith("error: ")
            assert text.count("\n") == 1


@pytest.mark.slow
def test_the_first_line_is_ours(tmp_path):
    arguments = ["--losses", "CE", "--runs", "1", *SMALL, "--executor", "processes"]
    command = [sys.executable, ROOT / "reproduce" / "table2.py", *arguments, "--workers", "1"]
    run = subprocess.run(
        [*command, "--out", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert run.returncode == 0, run.stdout
    assert run.stdout.startswith("1 of 1 trials to run")
    # The worker is silent, too.
    assert "TensorFlow" not in run.stdout


@pytest.mark.parametrize("names", [["stderr"], ["stdout", "stderr"], ["stdin", "stderr"]])
def test_standard_streams_that_are_closed(monkeypatch, names):
    from nglkeras.experiments.script import main as run_script

    def main():
        print("lost", file=sys.stderr)
        sys.stderr.write("this too")
        assert os.get_inheritable(sys.stderr.fileno())

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    for name in names:
        monkeypatch.setattr(sys, name, None)
    run_script(main)
    streams = [getattr(sys, name) for name in names]
    assert all(stream.name == os.devnull for stream in streams)
    for stream in streams:
        stream.close()


def test_scripts_leave_the_working_directory_alone(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, *_ = script("table_b21")
    assert code == 0
    assert list(tmp_path.iterdir()) == []


def test_printed_numbers_that_are_missing_are_missed_before_a_training(
    tmp_path, mistake, monkeypatch
):
    from nglkeras import UserError
    from nglkeras.experiments.classification import tables

    def missing(name):
        raise UserError(f"no printed {name}")

    monkeypatch.setattr(tables, "read_paper", missing)
    assert mistake("table2", *SMALL, "--out", tmp_path) == "no printed table2"
    assert not (tmp_path / "journal.jsonl").exists()


def test_an_experiment_that_lacks_a_part_cannot_be_made():
    from nglkeras.experiments.script import Experiment

    with pytest.raises(TypeError, match="plan"):
        Experiment("mine")


@pytest.mark.parametrize("script", ["table_b21", "check_data"])
def test_a_reader_that_goes_is_not_complained_about(script):
    """As with `python reproduce/check_data.py | head -1`."""
    with subprocess.Popen(
        command_of(script), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        run.stdout.close()
        assert (run.stderr.read(), run.wait()) == (b"", 1)


def test_a_broken_pipe_that_is_not_the_reader_is_a_failure():
    """Such as one to a worker that has died."""
    run = run_python(
        "from nglkeras.experiments import script\n"
        "def work(): raise BrokenPipeError\n"
        "script.main(work)"
    )
    assert run.returncode == 1
    assert "BrokenPipeError" in run.stderr

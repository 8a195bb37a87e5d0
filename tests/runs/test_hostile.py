"""Files from elsewhere are read, never run: journals, best.json, weights and saved models."""

import importlib
import json
import pkgutil
import shutil
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from conftest import OF_ONE_BACKEND
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nglkeras
from nglkeras import Journal, UserError, losses, run_trials
from nglkeras.experiments.classification import models
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.trial import plan
from nglkeras.experiments.glo import tables
from nglkeras.runs.journal import Records
from nglkeras.runs.trial import TrialResult
from nglkeras.search import PAPER, GeneticProgramming, search
from nglkeras.search.records import Record

TRIAL = plan(TABLE2_SCALES["demo"], ["NGL"])[0]
SCHEDULE = replace(TRIAL.schedule, epochs=1, steps_per_epoch=10, plateau=None)
BY_STEPS = replace(TRIAL, monitored="test", schedule=SCHEDULE)
GOOD = TrialResult(
    key="a",
    trial={"loss": "NGL"},
    status="ok",
    accuracy=0.5,
    validation_accuracy=0.25,
    history=[{"test_accuracy": 0.5, "val_loss": None}],
    sizes=(3, 2, 1),
    seconds=1.5,
)
ROW = json.loads(json.dumps(asdict(GOOD)))
RECORD = {
    "id": "0-0",
    "expression": "y_pred*y_true",
    "generation": 0,
    "index": 0,
    "attempt": 0,
    "parents": [],
    "made_by": ["random"],
    "status": "ok",
    "fitness": [0.5],
    "message": "",
    "details": {},
    "seconds": 0.0,
    "twin": "",
    "why": "",
}
STEERING = "\x1b[2J\x9b31m\r\n\u202ea\ud800"
DEEP = "[" * 900 + "]" * 900


@pytest.fixture
def canary(tmp_path):
    """A file that must not come to be."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def payloads(canary):
    """What would make the file, if anything were to run it."""
    return [
        f"__import__('os').system('touch {canary}')",
        f"open('{canary}', 'w')",
        f"exp(y_pred) + __import__('pathlib').Path('{canary}').touch()",
        f"().__class__.__base__.__subclasses__() or open('{canary}', 'w')",
    ]


def read(path, content, convert=TrialResult.from_json):
    """What is made of a file's lines, and what is reported of the others."""
    path.write_bytes(content)
    reports = []
    return list(Records(path, report=reports.append).read(convert)), reports


def assert_is_a_line(text):
    assert text.isprintable()
    assert 0 < len(text) < 1500


class TestJournalLines:
    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("key", '["a"]'),
            ("key", "null"),
            ("trial", "[1]"),
            ("trial", '"NGL"'),
            ("status", "5"),
            ("status", '"fine"'),
            ("status", '["ok"]'),
            ("accuracy", '"0.5"'),
            ("accuracy", "true"),
            ("accuracy", "1e999"),
            ("accuracy", "NaN"),
            ("accuracy", "-0.1"),
            ("accuracy", "9" * 400),
            ("validation_accuracy", "[0.5]"),
            ("history", "5"),
            ("history", '{"loss": 1}'),
            ("history", "[[1]]"),
            ("history", '[{"loss": "1"}]'),
            ("history", '[{"loss": Infinity}]'),
            ("sizes", "[1, 2]"),
            ("sizes", "[1, 2, -3]"),
            ("sizes", '"123"'),
            ("seconds", "null"),
            ("seconds", "-Infinity"),
            ("message", '{"a": 1}'),
            ("environment", '"Linux"'),
            ("environment", DEEP),
            ("finished", "5"),
        ],
    )
    def test_a_row_of_wrong_types_is_passed_over(self, tmp_path, column, value):
        # By hand: Python would not write some of these.
        bad = json.dumps(ROW | {"key": "b", column: "HERE"}).replace('"HERE"', value)
        good = json.dumps(ROW)
        rows, reports = read(tmp_path / "j", f"{good}\n{bad}\n{good}\n".encode())
        assert rows == [GOOD] * 2
        (report,) = reports
        assert "j, line 2: cannot be read, passed over" in report
        assert f"$.{column}" in report or "nested deeper" in report
        assert_is_a_line(report)

    @pytest.mark.parametrize(
        "line",
        [
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"key": "' + b"x" * 3_000_000,
            b'{"key": ' + b"9" * 100_000 + b"}",
            b"\xff\xfe\x00\x00",
            b"\x00" * 50,
            b'{"key": "\x1b[2J"}',
            b'{"\x1b[2J": 1}',
            b'"settings"',
            b"NaN",
        ],
    )
    @pytest.mark.parametrize("convert", [TrialResult.from_json, Record.from_json])
    def test_what_is_no_row_at_all(self, tmp_path, line, convert):
        found, (report,) = read(tmp_path / "j", line + b"\n", convert)
        assert found == []
        assert_is_a_line(report)

    def test_neither_the_text_of_a_report_nor_of_an_error_steers_the_terminal(self, tmp_path):
        def convert(row):
            raise ValueError(row["message"])

        line = json.dumps({"message": STEERING * 1000}).encode()
        _, (report,) = read(tmp_path / "j", line, convert)
        assert_is_a_line(report)
        assert_is_a_line(str(UserError(STEERING * 1000)))

    @settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_anything_may_stand_in_a_journal(self, tmp_path, data):
        columns, row = data.draw(
            st.sampled_from([(TrialResult.from_json, ROW), (Record.from_json, RECORD)])
        )
        spoilt = st.tuples(st.sampled_from(sorted(row)), VALUES).map(
            lambda column: json.dumps(row | dict([column])).encode()
        )
        line = st.one_of(
            st.binary(max_size=40),
            st.builds(lambda value: json.dumps(value).encode(), VALUES),
            spoilt,
            spoilt.flatmap(lambda text: st.integers(0, len(text)).map(lambda end: text[:end])),
        )
        lines = data.draw(st.lists(line, min_size=1, max_size=4))
        found, reports = read(tmp_path / "j", b"\n".join(lines), columns)
        written = [one for one in b"\n".join(lines).splitlines() if one.strip()]
        assert len(found) + len(reports) == len(written)
        for report in reports:
            assert_is_a_line(report)
        for one in found:
            # Nothing in it stops the tables or a second journal.
            if isinstance(one, TrialResult):
                tables.cells([BY_STEPS], {BY_STEPS.key: one}, "validation")
                tables.to_frame([BY_STEPS], {BY_STEPS.key: one})
                if one.answers(BY_STEPS):
                    tables.curves([BY_STEPS], {BY_STEPS.key: one})
            else:
                Records(tmp_path / "k").append(one.to_json())


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.text(max_size=20)
    | st.sampled_from(["ok", "crashed", "y_pred", "0-0", STEERING]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


class TestRows:
    """What is there, but does not say what its trial was run for, is run again."""

    def laboratory(self, trial, on_epoch):
        return replace(GOOD, key=trial.key, accuracy=0.75)

    @pytest.mark.parametrize(
        ("change", "again"),
        [({}, False), ({"accuracy": None}, True), ({"status": "exploded"}, False)],
    )
    def test_ok_without_an_accuracy(self, tmp_path, change, again):
        journal = Journal(tmp_path / "journal.jsonl")
        journal.append(replace(GOOD, key=TRIAL.key, **change))
        rows = run_trials([TRIAL], journal, self.laboratory, quiet=True)
        assert (rows[TRIAL.key].accuracy == 0.75) == again

    @pytest.mark.parametrize("looks", [[], [{"loss": 1.0}], [{"test_accuracy": None}]])
    def test_a_curve_with_gaps(self, tmp_path, looks):
        journal = Journal(tmp_path / "journal.jsonl")
        journal.append(replace(GOOD, key=BY_STEPS.key, history=looks))
        (row,) = run_trials([BY_STEPS], journal, self.laboratory, quiet=True).values()
        assert row.accuracy == 0.75

    @pytest.mark.parametrize("trial", [{}, {"schedule": 5}, {"schedule": {"steps_per_epoch": "x"}}])
    def test_no_rate_without_its_parts(self, trial):
        row = replace(GOOD, trial=trial, history=[{}, {"training_seconds": 2.0}])
        assert tables.steps_per_second(row) is None

    def test_a_script_says_a_line_for_each(self, script, tmp_path):
        (trial,) = plan(replace(TABLE2_SCALES["demo"], runs=1), ["CE"])
        row = ROW | {"key": trial.key}
        lines = [row, row | {"accuracy": STEERING}, row | {"status": ["ok"]}]
        lines = [json.dumps(line).encode() for line in lines]
        (tmp_path / "journal.jsonl").write_bytes(b"\n".join([*lines, b"[" * 100_000, b""]))
        code, out, err = script("table2", "--losses", "CE", "--runs", "1", "--out", tmp_path)
        assert code == 0, err
        assert "to run" not in out
        assert (out + err).count("cannot be read, passed over") == err.count("\n") == 3
        assert err.replace("\n", "").isprintable()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a small search."""
    folder = tmp_path_factory.mktemp("search")
    go_on(folder)
    return folder


class TestSearchJournal:
    @pytest.mark.parametrize(
        "change",
        [
            {"expression": "__import__('os').system('touch canary')"},
            {"expression": "sin(" * 5000},
            {"expression": ["y_pred"]},
            {"generation": "2"},
            {"generation": 1.0},
            {"index": [1]},
            {"attempt": -1},
            {"parents": {"0-0": 1}},
            {"made_by": [["random"]]},
            {"status": "fine"},
            {"status": ["ok"]},
            {"fitness": 0.5},
            {"fitness": []},
            {"fitness": [None]},
            {"fitness": ["0.5"]},
            {"fitness": [10**400]},
            {"message": None},
            {"details": "text"},
            {"seconds": "1"},
            {"twin": ["0-0"]},
            {"why": "boredom"},
        ],
    )
    def test_a_record_of_wrong_types_is_passed_over_and_made_anew(
        self, whole, tmp_path, monkeypatch, capsys, change
    ):
        monkeypatch.chdir(tmp_path)
        rows = spoil(whole, tmp_path / "out", change)
        go_on(tmp_path / "out")
        printed = capsys.readouterr().out
        assert printed.count("passed over") == printed.count("\n") == 1
        assert_is_a_line(printed.strip())
        again = [json.loads(one) for one in journal_of(tmp_path / "out").splitlines()[len(rows) :]]
        assert [row["id"] for row in again] == [rows[4]["id"]]
        assert not (tmp_path / "canary").exists()

    @pytest.mark.parametrize(
        "change",
        [
            {"parents": ["9-9"]},
            {"parents": ["0-3"]},
            {"expression": "y_pred*y_true"},
        ],
    )
    def test_an_individual_with_another_descent_is_refused(self, whole, tmp_path, change):
        spoil(whole, tmp_path / "out", change)
        with pytest.raises(UserError, match="was made otherwise"):
            go_on(tmp_path / "out")

    @pytest.mark.parametrize("twin", ["9-9", "0-3", "../../etc/passwd"])
    def test_a_twin_that_does_not_exist_is_never_looked_for(self, whole, tmp_path, twin):
        spoil(whole, tmp_path / "out", {"twin": twin, "why": "equal"})
        result = go_on(tmp_path / "out")
        for name in result.records:
            assert name in result.ancestors(name)

    def test_strangers_in_a_cycle_are_not_part_of_the_search(self, whole, tmp_path):
        spoil(whole, tmp_path / "out", {})
        with (tmp_path / "out" / "search.jsonl").open("a") as file:
            for index, parent in ((77, "1-78"), (78, "1-77")):
                stranger = RECORD | {"generation": 1, "index": index, "parents": [parent]}
                file.write(json.dumps(stranger) + "\n")
        result = go_on(tmp_path / "out")
        assert not {"1-77", "1-78"} & set(result.records)

    def test_a_fitness_of_other_length(self, whole, tmp_path):
        spoil(whole, tmp_path / "out", {"fitness": [0.5, 0.5], "status": "ok"})
        with pytest.raises(UserError, match=r"the fitness of individual .* numbers, others have"):
            go_on(tmp_path / "out")

    def test_the_largest_fitness(self, whole, tmp_path):
        change = {"fitness": [1e300], "status": "ok", "twin": "", "why": ""}
        spoil(whole, tmp_path / "out", change, line=-1)
        assert go_on(tmp_path / "out").population[0].evaluation.fitness == (1e300,)

    @pytest.mark.parametrize("header", [5, None, "text", [["a", 1]], [{}]])
    def test_settings_that_are_none(self, whole, tmp_path, capsys, header):
        spoil(whole, tmp_path / "out", {"settings": header}, line=0)
        with pytest.raises(UserError, match="has lost its first line"):
            go_on(tmp_path / "out")
        assert capsys.readouterr().out.count("\n") == 1

    @pytest.mark.parametrize("header", [{}, {STEERING: 1}, {"seed": STEERING * 1000}])
    def test_other_settings_are_said_in_a_line(self, whole, tmp_path, header):
        spoil(whole, tmp_path / "out", {"settings": header}, line=0)
        with pytest.raises(UserError, match="a search with other settings") as error:
            go_on(tmp_path / "out")
        assert_is_a_line(str(error.value))


def go_on(folder):
    strategy = GeneticProgramming(3, population_size=4, generations=2)
    return search(strategy, lambda e: len(str(e)), out=folder, screening=PAPER, quiet=True)


def journal_of(folder):
    return (folder / "search.jsonl").read_text()


def spoil(whole, out, change, line=4):
    """A copy of a search with one line changed; the rows that it was."""
    shutil.copytree(whole, out)
    rows = [json.loads(one) for one in journal_of(out).splitlines()]
    changed = list(rows)
    changed[line] = rows[line] | change
    (out / "search.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
    return rows


class TestLossFiles:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[" * 100_000,
            b'{"formula":' * 100_000,
            b"\xff\xfe\xff",
            b"\x00",
            b"null",
            b"[]",
            b'"formula class_reduction"',
            b"{}",
            b'{"formula": "y_pred"}',
            b'{"formula": null, "class_reduction": "mean"}',
            b'{"formula": ["y_pred"], "class_reduction": "mean"}',
            b'{"formula": 1e999, "class_reduction": "mean"}',
            b'{"formula": "y_pred", "class_reduction": ["mean"]}',
            b'{"formula": "y_pred", "class_reduction": {}}',
            b'{"formula": "y_pred", "class_reduction": true}',
        ],
    )
    def test_what_is_no_loss_file(self, tmp_path, content):
        path = tmp_path / "best.json"
        path.write_bytes(content)
        with pytest.raises(UserError, match="is no loss file: wanted is JSON") as error:
            losses.load_loss(path)
        assert_is_a_line(str(error.value))

    @pytest.mark.parametrize(
        "change",
        [
            {"formula": ""},
            {"formula": "exp(" * 7000},
            {"formula": "y_pred+" * 10**6 + "1"},
            {"formula": "y_pred+" * 400 + "1"},
            {"formula": STEERING},
            {"formula": "y_pred\0"},
            {"class_reduction": "median"},
            {"class_reduction": STEERING * 100_000},
        ],
    )
    def test_what_is_no_loss(self, tmp_path, change):
        path = tmp_path / "best.json"
        path.write_text(json.dumps({"formula": "y_pred", "class_reduction": "sum"} | change))
        with pytest.raises(UserError) as error:
            losses.load_loss(path)
        assert_is_a_line(str(error.value))

    def test_nothing_is_run(self, tmp_path, canary):
        path = tmp_path / "best.json"
        for formula in payloads(canary):
            path.write_text(json.dumps({"formula": formula, "class_reduction": "mean"}))
            with pytest.raises(UserError, match=r"part of a formula|unknown function"):
                losses.load_loss(path)

    def test_other_keys_mean_nothing(self, tmp_path, canary):
        path = tmp_path / "best.json"
        content = {"formula": "y_pred", "class_reduction": "sum", "name": payloads(canary)[0]}
        path.write_text(json.dumps(content | {"dtype": 5, "function": "os.system"}))
        config = losses.load_loss(path).get_config()
        assert config == losses.FormulaLoss("y_pred", class_reduction="sum").get_config()


class TestWeights:
    @pytest.mark.filterwarnings("ignore:Skipping nested container")
    @pytest.mark.parametrize("name", ["small_cnn", "MobileNet"])
    def test_files_that_hold_none(self, tmp_path, name):
        (tmp_path / "junk.weights.h5").write_bytes(b"junk")
        (tmp_path / "junk.keras").write_bytes(b"junk")
        (tmp_path / "junk.npz").write_bytes(b"junk")
        with zipfile.ZipFile(tmp_path / "empty.keras", "w") as archive:
            archive.writestr("../config.json", "{}")
        with h5py.File(tmp_path / "odd.weights.h5", "w") as file:
            file["layers"], file["vars"] = 5, "x"
        with h5py.File(tmp_path / "link.weights.h5", "w") as file:
            file["layers"] = h5py.ExternalLink("/etc/passwd", "/x")
        for path in sorted(tmp_path.iterdir()):
            with pytest.raises(UserError) as error:
                models.build(name, (32, 32, 3), 3, weights=str(path))
            assert_is_a_line(str(error.value))


def changed_archive(source, target, change):
    """A copy of a .keras file whose configuration went through `change`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return target


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model with a loss by formula, on disk."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", losses.FormulaLoss("exp(1 - y_pred*y_true)"))
    model.save(path)
    return path


class TestSavedModels:
    def test_it_loads(self, saved, tmp_path):
        path = changed_archive(saved, tmp_path / "same.keras", lambda config: None)
        assert keras.saving.load_model(path).loss.formula == "exp(1 - y_pred*y_true)"

    def test_the_formula_of_a_loss_is_not_run(self, saved, tmp_path, canary):
        for formula in (*payloads(canary), "exp(" * 7000, ["y_pred"], 5):

            def change(config, formula=formula):
                config["compile_config"]["loss"]["config"]["formula"] = formula

            path = changed_archive(saved, tmp_path / "model.keras", change)
            with pytest.raises(UserError):
                keras.saving.load_model(path)

    @pytest.mark.parametrize(
        ("module", "name", "kind"),
        [
            ("os", "system", "function"),
            ("builtins", "eval", "function"),
            ("builtins", "exec", "function"),
            ("subprocess", "Popen", "class"),
            ("nglkeras.runs.journal", "Journal", "class"),
            ("nglkeras.runs.journal", "Records", "class"),
            ("nglkeras.losses.files", "save_loss", "function"),
            ("nglkeras", "save_loss", "function"),
            ("nglkeras.losses.interpreted", "InterpretedLoss", "class"),
            ("nglkeras.experiments.discovery.fitness", "TrialFitness", "class"),
        ],
    )
    @pytest.mark.parametrize("place", ["loss", "activation", "layer"])
    def test_nothing_but_losses_can_be_named(
        self, saved, tmp_path, canary, module, name, kind, place
    ):
        arguments = {"path": str(canary), "command": f"touch {canary}"}
        named = {"module": module, "class_name": name, "registered_name": name}
        named["config"] = arguments
        if kind == "function":
            named |= {"class_name": "function", "config": name}

        def change(config):
            if place == "loss":
                config["compile_config"]["loss"] = named
            elif place == "layer":
                config["config"]["layers"][1] = named
            else:
                config["config"]["layers"][1]["config"]["activation"] = named

        path = changed_archive(saved, tmp_path / "model.keras", change)
        with pytest.raises((TypeError, ValueError), match=f"'{name}'"):
            keras.saving.load_model(path)

    def test_lambda_layers_stay_refused_after_everything_is_imported(self, tmp_path, canary):
        for module in pkgutil.walk_packages(nglkeras.__path__, "nglkeras."):
            if module.name.rpartition(".")[2] not in OF_ONE_BACKEND:
                importlib.import_module(module.name)

        place = str(canary)
        touch = keras.layers.Lambda(lambda x: Path(place).touch() or x)
        model = keras.Sequential([keras.Input((2,)), touch])
        canary.unlink()  # Building the layer has called it.
        model.save(tmp_path / "model.keras")
        with pytest.raises(ValueError, match="safe_mode=False"):
            keras.saving.load_model(tmp_path / "model.keras")

    def test_a_loss_s_other_arguments_are_data(self, saved, tmp_path, canary):
        """They are refused, or taken for what they are, never looked up."""
        evil = {"module": "os", "class_name": "function", "config": "system"}
        for name in ("class_reduction", "label_smoothing", "from_logits", "axis", "name"):

            def change(config, name=name):
                config["compile_config"]["loss"]["config"][name] = evil

            path = changed_archive(saved, tmp_path / "model.keras", change)
            try:
                loss = keras.saving.load_model(path).loss
            except (TypeError, ValueError):
                continue
            assert not callable(getattr(loss, name))
            assert np.ndim(getattr(loss, name)) == 0

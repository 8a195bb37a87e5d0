"""Networks of a journal trained again and saved: which, with what accuracy, loaded by Keras."""

import csv
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import ROOT, fill, run_python

from nglkeras.data.catalog import files_sha256
from nglkeras.experiments.archive import networks
from nglkeras.experiments.classification import shared_networks, training
from nglkeras.experiments.classification.trial import Trial
from nglkeras.runs.attempt import make_row
from nglkeras.runs.journal import Journal
from nglkeras.runs.trial import initial_weights
from nglkeras.training.schedule import Schedule

SHARED = Trial(
    dataset="digits",
    model="head",
    loss="CE",
    schedule=Schedule(2, 32),
    train_images=256,
    evaluation_images=100,
    compile_once=True,
)
# Compiled by itself, with a loss of ours, and with layers in bfloat16.
ALONE = replace(SHARED, loss="NGL", compile_once=False, precision="mixed_bfloat16")


@pytest.fixture
def planned(tmp_path):
    """Writes rows as if networks had been trained."""

    def write(*trials, status="ok", accuracy=0.5):
        journal = Journal(tmp_path / "planned" / "journal.jsonl")
        for trial in trials:
            journal.append(make_row(trial, status=status, accuracy=accuracy))
        return journal.path.parent

    return write


def lines_of(folder):
    with (folder / "networks.csv").open(encoding="utf-8", newline="") as file:
        return {line["key"]: line for line in csv.DictReader(file)}


def images_and_labels(trial):
    load = shared_networks.load_streams if trial.compile_once else training._splits
    streams = load(trial, None)
    images, labels = [], []
    for x, y, *weights in streams.test.as_numpy_iterator():
        keep = weights[0] > 0 if weights else slice(None)
        images.append(np.asarray(x)[keep])
        labels.append(np.asarray(y)[keep])
    return np.concatenate(images), np.concatenate(labels)


def test_keras_alone_loads_what_the_row_says(planned, script, tmp_path):
    out = tmp_path / "weights"
    code, printed, err = script("weights", planned(SHARED, ALONE), "--out", out)
    assert code == 0, err
    assert "2 of 2 trials to run" in printed
    rows, lines = Journal(out / "journal.jsonl").results(), lines_of(out)
    assert lines.keys() == {SHARED.key, ALONE.key}
    data = {}
    for trial in (SHARED, ALONE):
        line, row = lines[trial.key], rows[trial.key]
        assert float(line["committed_test_accuracy"]) == 0.5
        assert float(line["test_accuracy"]) == row.accuracy
        assert row.status == "ok"
        assert (line["loss"], line["precision"]) == (trial.loss, trial.precision)
        assert line["sha256"] == networks.sha256(out / line["file"])
        assert int(line["bytes"]) == (out / line["file"]).stat().st_size
        assert f"keras {keras.__version__}" in line["versions"]
        images, labels = images_and_labels(trial)
        assert len(images) == row.sizes[2]
        data |= {f"{trial.key}_x": images, f"{trial.key}_y": labels}
    np.savez(tmp_path / "data.npz", **data)
    code = f"""
import sys
sys.modules["nglkeras"] = None
import keras, numpy as np
data = np.load({str(tmp_path / "data.npz")!r})
for key, file in {[(key, str(out / line["file"])) for key, line in lines.items()]}:
    model = keras.models.load_model(file)
    outputs = model.predict(data[key + "_x"], verbose=0)
    print(key, np.mean(outputs.argmax(-1) == data[key + "_y"].argmax(-1)), model.compiled)
"""
    run = run_python(code)
    assert run.returncode == 0, run.stderr
    loaded = dict(line.split(maxsplit=1) for line in run.stdout.splitlines())
    for key, line in lines.items():
        accuracy, compiled = loaded[key].split()
        assert float(accuracy) == pytest.approx(float(line["test_accuracy"]), abs=1e-6)
        assert compiled == "False"


@pytest.fixture
def untrained(monkeypatch):
    """Replaces trainings: networks are saved as they are built."""

    def build(trial, *, on_model, **settings):
        inputs = keras.Input((8, 8, 3))
        outputs = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
        on_model(keras.Model(inputs, outputs))
        return make_row(trial, status="ok", accuracy=0.25, validation_accuracy=0.25)

    monkeypatch.setattr(shared_networks, "run_trial", build)


@pytest.mark.usefixtures("untrained")
def test_what_is_there_is_not_trained_again(planned, script, tmp_path):
    folder, out = planned(SHARED, ALONE), tmp_path / "weights"
    script("weights", folder, "--out", out)
    before = lines_of(out)
    first, second = (out / before[trial.key]["file"] for trial in (SHARED, ALONE))
    times = [path.stat().st_mtime_ns for path in (first, second)]
    code, printed, _ = script("weights", folder, "--out", out)
    assert (code, lines_of(out)) == (0, before)
    assert [path.stat().st_mtime_ns for path in (first, second)] == times
    assert "to run" not in printed
    # A network whose file is gone is trained again, and the list has it.
    first.unlink()
    code, printed, _ = script("weights", folder, "--out", out)
    assert code == 0
    assert "1 of 2 trials to run" in printed
    assert second.stat().st_mtime_ns == times[1]
    assert lines_of(out)[SHARED.key]["sha256"] == networks.sha256(first)


@pytest.mark.usefixtures("untrained")
def test_each_file_is_hashed_once(planned, script, tmp_path, monkeypatch):
    hashed, sha256 = [], networks.sha256
    monkeypatch.setattr(networks, "sha256", lambda path: hashed.append(path) or sha256(path))
    trials = [replace(SHARED, run=run) for run in range(3)]
    script("weights", planned(*trials), "--out", tmp_path / "weights")
    assert len(hashed) == len(set(hashed)) == 3


@pytest.mark.usefixtures("untrained")
def test_a_file_that_was_damaged_keeps_its_listed_hash(planned, script, tmp_path):
    out, folder = tmp_path / "weights", planned(SHARED, ALONE)
    script("weights", folder, "--losses", "CE", "--out", out)
    before = lines_of(out)[SHARED.key]
    (out / before["file"]).write_bytes(b"half of it")
    script("weights", folder, "--out", out)
    after = lines_of(out)
    assert after[SHARED.key]["sha256"] == before["sha256"]
    assert after[ALONE.key]["sha256"] == networks.sha256(out / after[ALONE.key]["file"])


@pytest.mark.usefixtures("untrained")
def test_networks_of_several_journals_are_in_one_list(planned, script, tmp_path):
    folder, out = planned(SHARED, ALONE), tmp_path / "weights"
    for loss in ("CE", "NGL"):
        script("weights", folder, "--losses", loss, "--out", out)
    assert {line["loss"] for line in lines_of(out).values()} == {"CE", "NGL"}


def test_a_network_that_fails_is_named_and_has_no_file(planned, script, tmp_path, monkeypatch):
    def fail(trial, **settings):
        return make_row(trial, status="non_finite", message="the loss is nan")

    monkeypatch.setattr(shared_networks, "run_trial", fail)
    out = tmp_path / "weights"
    code, printed, err = script("weights", planned(SHARED), "--out", out)
    assert code == 2
    assert f"the first is {SHARED.key}: non_finite (the loss is nan)" in err
    assert "non_finite" in printed
    assert list(out.glob("*.keras")) == []


def some_trials():
    slow = replace(SHARED, schedule=Schedule(4, 32))
    return [
        *(replace(SHARED, run=run, loss=loss) for run in (8, 9, 11) for loss in ("CE", "NGL")),
        slow,
        replace(SHARED, run=12, test=False),
    ]


@pytest.mark.parametrize(
    ("losses", "runs", "settings", "found"),
    [
        (None, None, {}, [("CE", 0), ("CE", 8), ("NGL", 8), ("CE", 9), ("NGL", 9), ("CE", 11),
                          ("NGL", 11)]),
        (None, 1, {}, [("CE", 0), ("CE", 8), ("NGL", 8)]),
        (["NGL"], 2, {}, [("NGL", 8), ("NGL", 9)]),
        (None, None, {"epochs": 4}, [("CE", 0)]),
        (None, 1, {"epochs": 2, "loss": "CE"}, [("CE", 8)]),
    ],
)  # fmt: skip
def test_which_networks(losses, runs, settings, found, planned):
    journal = planned(*some_trials()) / "journal.jsonl"
    chosen = networks.of_journal(journal, losses, runs, settings)
    assert [(trial.loss, trial.run) for trial in chosen] == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--losses", "NLG"], "unknown loss of the journal 'NLG'; choose from: CE, NGL"),
        (["--where", "step=3"], "unknown setting 'step'; choose from: steps, class_reduction"),
        (["--where", "epochs=3"], "epochs=3: no tested network"),
        (["--where", "test=false"], "test=False: no tested network"),
        (["--where", "epochs"], "epochs is not NAME=VALUE"),
        (["--where", "run=1", "run=2"], "--where has two values for run"),
        (["--runs", "0"], "0 is not a positive number"),
        (["--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
    ],
)
def test_mistakes(arguments, message, planned, mistake):
    assert message in mistake("weights", planned(*some_trials()), *arguments)


def test_a_failed_row_is_no_network(planned, mistake):
    folder = planned(SHARED, status="non_finite", accuracy=None)
    assert mistake("weights", folder).endswith("journal.jsonl: no tested network")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "cannot read"),
        ("table4/unet_camvid", "is of no classifier of this version"),
    ],
)
def test_journals_of_others(place, message, mistake):
    assert message in mistake("weights", ROOT / "results" / place)


def test_another_backend_is_refused(planned, mistake, tmp_path):
    ours = keras.backend.backend()
    other = next(name for name in ("jax", "tensorflow") if name != ours)
    folder = planned(SHARED, replace(SHARED, backend=other))
    error = mistake("weights", folder)
    assert f"set KERAS_BACKEND={other}, or choose with --where backend={ours}" in error
    assert not (tmp_path / "journal.jsonl").exists()


def test_rows_of_the_trainings_themselves_are_not_replaced(planned, mistake):
    folder = planned(ALONE)
    before = (folder / "journal.jsonl").read_bytes()
    error = mistake("weights", folder, "--out", folder)
    assert error == f"{folder}/journal.jsonl has rows of other trainings; choose another folder"
    assert (folder / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("field", ["files_sha256", "weights_sha256"])
def test_other_files_are_refused(field, planned, mistake, tmp_path):
    fill(tmp_path, "train", 6)
    fill(tmp_path, "test", 2)
    weights = tmp_path / "start.weights.h5"
    weights.write_bytes(b"others")
    now = {"files_sha256": files_sha256("folder", tmp_path), **initial_weights(weights)}
    trial = replace(ALONE, dataset="folder", **now | {field: "0" * 64})
    error = mistake("weights", planned(trial), "--data-dir", tmp_path)
    what, where = {
        "files_sha256": ("images", tmp_path),
        "weights_sha256": ("initial weights", weights),
    }[field]
    assert error.endswith(f"{trial} was trained with other {what} than are in {where}")


def test_a_file_is_named_by_its_trial():
    trial = vars(replace(SHARED, loss="CE + L2/3", run=7))
    assert networks.file_name("0123", trial) == "digits_head_CE-+-L2-3_run7_0123.keras"

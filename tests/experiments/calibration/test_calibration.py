"""The tasks of the calibration are what they say, and its script resumes."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from nglkeras.errors import UserError
from nglkeras.experiments.calibration import tasks
from nglkeras.experiments.calibration.study import Searches

TRAIN = tasks.TRAIN


def parts(name, seed=0):
    task = tasks.make(name, seed)
    data = [task.fitness.targets(part) for part in ("train", "validation")]
    return [*data, task.test]


class TestTasks:
    def test_shuffled_labels_say_nothing_of_the_inputs(self):
        x, y = (
            np.concatenate(each) for each in zip(*map(_indices, parts("shuffled")), strict=True)
        )
        true = _labels_of(x)
        assert len(y) == 1797
        assert 0.05 < (y == true).mean() < 0.15
        np.testing.assert_array_equal(np.bincount(y), np.bincount(true))

    def test_outliers_are_a_fifth_but_for_the_test_data(self):
        train, validation, test = map(_indices, parts("outliers"))
        for x, y in (train, validation):
            bad = x.max(axis=1) > 1
            assert 0.12 < bad.mean() < 0.28
            true = _labels_of(np.where(bad[:, None], x / tasks.FACTOR, x))
            assert (y[~bad] == true[~bad]).all()
            assert (y[bad] != true[bad]).all()
        assert test[0].max() <= 1
        assert (test[1] == _labels_of(test[0])).all()

    def test_seeds_differ_and_recur(self):
        first, again, other = (parts("outliers", seed)[0][0] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_unknown(self):
        with pytest.raises(UserError, match="unknown task 'all'; choose from: shuffled, outliers"):
            tasks.make("all", 0)


def _indices(part):
    x, y = part
    return x, y if np.ndim(y) == 1 else y.argmax(axis=-1)


def _labels_of(x):
    """The digits' own labels, found by the image."""
    images, labels = load_digits(return_X_y=True)
    known = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    return np.array([known[np.round(16.0 * row).astype(images.dtype).tobytes()] for row in x])


def test_another_seed_has_other_searches(monkeypatch, script, tmp_path):
    line = {"verdict": "no", "formula": "f", "runs_alone": "worse", "difference": 0.0}

    def search(self, case):
        assert self.timeout == 9
        return {"task": case.task, "search": case.number, "low": -1.0, "high": 1.0, **line}

    monkeypatch.setattr(Searches, "__call__", search)
    found = []
    for seed in (0, 1):
        options = ("--seed", seed, "--searches", 3, "--timeout", 9, "--out", tmp_path / str(seed))
        code, _, err = script("calibration", *options)
        assert code == 0, err
        found += pd.read_csv(tmp_path / str(seed) / "calibration.csv").search.unique().tolist()
    assert found == [0, 1, 2, 1000, 1001, 1002]


@pytest.mark.slow
def test_the_script_counts_verdicts_and_trains_nothing_twice(script, tmp_path):
    options = ("--searches", 1, "--out", tmp_path)
    code, first, err = script("calibration", *options)
    assert code == 0, err
    journals = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    assert len(journals) == 4
    table = pd.read_csv(tmp_path / "calibration.csv").set_index("task")
    assert table.loc["outliers", "verdict"] == "yes"
    assert table.loc["shuffled", "verdict"] != "yes"
    assert (tmp_path / "calibration.png").is_file()
    code, second, _ = script("calibration", *options)
    assert code == 0
    assert second == first
    assert journals == {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}

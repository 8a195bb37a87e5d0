"""Every committed table and search prints from its journal, without a training.

A new setting is a field whose default is the old behaviour: rows keep their keys, and a command
that begins anew with other settings goes on with those that a folder was begun with.
"""

import os
import shutil

import pandas as pd
import pytest
from conftest import ROOT, needs_tensorflow

pytestmark = needs_tensorflow

RESULTS = ROOT / "results"
MNIST = ("--scale", "reduced", "--precision", "mixed_bfloat16")
# The rows of f1 to f3 are older than their keys, which name the formula.
KEPT = ("CE", "SCE", "Focal", "CE + L2", "f4", "NGL")
FASHION = ("--scale", "reduced", "--datasets", "fashion_mnist")
# Folder, script, the options that results/README.md gives, and the table that they print again.
COMMITTED = [
    (
        "table2/small_cnn_fashion_mnist",
        "table2",
        (*FASHION, "--models", "small_cnn", "--image-size", 28, "--runs", 3, "--losses", *KEPT),
        "table2.csv",
    ),
    (
        "table2/inceptionv3_fashion_mnist",
        "table2",
        (*FASHION, "--losses", "CE", "NGL", "--runs", 1, "--epochs", 3)
        + ("--train-images", 5120, "--evaluation-images", 1000),
        "table2.csv",
    ),
    (
        "search/small_cnn_mnist",
        "search",
        ("--scale", "reduced", "--datasets", "mnist", "--model", "small_cnn")
        + ("--image-size", 14, "--train-images", 2000, "--evaluation-images", 1000)
        + ("--epochs", 14, "--generations", 100),
        "comparison.csv",
    ),
    (
        "search/inceptionv3_fashion_mnist",
        "search",
        ("--experiment", 2, "--scale", "reduced", "--population", 2, "--generations", 1)
        + ("--seed", 2, "--compare-runs", 1),
        "comparison.csv",
    ),
    (
        "glo/mnist",
        "glo_figure1",
        (*MNIST, "--formula", "10 CE=-10*(y_true*log(y_pred))"),
        "figure1_2000_mixed_bfloat16.csv",
    ),
    ("glo/mnist", "glo_figure3", MNIST, "figure3_2000_mixed_bfloat16.csv"),
    ("glo/mnist", "glo_data", MNIST, "data_2000_mixed_bfloat16.csv"),
    (
        "glo/mnist",
        "glo_search",
        (*MNIST, "--generations", 12, "--coefficient-generations", 5, "--compare-runs", 3),
        "search/coefficients_12-59/comparison.csv",
    ),
]


@pytest.fixture
def folder(tmp_path):
    """A copy of a folder of results, in which every file that is written shows."""

    def copy(name):
        shutil.copytree(RESULTS / name, tmp_path / "results")
        return tmp_path / "results"

    return copy


def journals(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.jsonl")}


@pytest.mark.parametrize(
    ("name", "command", "options", "table"),
    COMMITTED,
    ids=[f"{command}-{name}" for name, command, _, _ in COMMITTED],
)
def test_prints_from_its_journal(name, command, options, table, folder, script, monkeypatch):
    # Whoever reads data or trains after all fails.
    monkeypatch.setenv("TFDS_DATA_DIR", os.devnull)
    there = folder(name)
    before = journals(there)
    committed = pd.read_csv(there / table)
    if KEPT[0] in options:
        committed = committed[committed["loss"].isin(options)].reset_index(drop=True)
    (there / table).unlink()
    code, out, err = script(command, *options, "--out", there)
    assert code == 0, err
    assert "trials to run" not in out
    assert journals(there) == before
    printed = pd.read_csv(there / table)
    shared = [column for column in committed if column in printed]
    assert len(shared) >= 3
    pd.testing.assert_frame_equal(printed[shared], committed[shared], check_dtype=False)

"""Every committed table and search prints from its journal, without a training.

A new setting is a field whose default is the old behaviour: rows keep their keys, and a command
that begins anew with other settings goes on with those that a folder was begun with.
"""

import os
import shlex
import shutil

import pandas as pd
import pytest
from conftest import ROOT, needs_tensorflow

pytestmark = needs_tensorflow

RESULTS = ROOT / "results"
# Folder, table and the command that results/README.md gives for it.
COMMITTED = [
    (
        "table2/small_cnn_fashion_mnist",
        "table2.csv",
        "table2 --scale reduced --datasets fashion_mnist --models small_cnn --image-size 28 "
        "--runs 3",
    ),
    (
        "table2/inceptionv3_fashion_mnist",
        "table2.csv",
        "table2 --scale reduced --datasets fashion_mnist --losses CE NGL --runs 1 --epochs 3 "
        "--train-images 5120 --evaluation-images 1000",
    ),
    (
        "search/small_cnn_mnist/fashion_mnist",
        "table2.csv",
        "table2 --scale reduced --datasets fashion_mnist --models small_cnn --image-size 14 "
        "--train-images 5120 --runs 10 --losses CE NGL Baikal "
        "--formula 'winner=-exp(y_pred)*(y_true - 2.8314 + exp(y_true))'",
    ),
    (
        "search/small_cnn_mnist",
        "comparison.csv",
        "search --scale reduced --datasets mnist --model small_cnn --image-size 14 "
        "--train-images 2000 --evaluation-images 1000 --epochs 14 --generations 100 "
        "--confirm-runs 0 --compare-runs 5",
    ),
    (
        "search/small_cnn_mnist_raced",
        "confirmation.csv",
        "search --scale reduced --datasets mnist --model small_cnn --image-size 14 "
        "--train-images 2000 --evaluation-images 1000 --epochs 14 --generations 100 "
        "--confirm-minutes 20",
    ),
    (
        "search/inceptionv3_fashion_mnist",
        "comparison.csv",
        "search --experiment 2 --scale reduced --population 2 --generations 1 --seed 2 "
        "--confirm-runs 0 --compare-runs 1",
    ),
    (
        "table2/small_fashion_mnist_cpu",
        "table2.csv",
        "table2 --scale small --datasets fashion_mnist --models small_cnn --runs 2 "
        "--losses CE NGL Focal SCE 'CE + L2' f4",
    ),
    (
        "table2/small_fashion_mnist_cpu",
        "table2_CE-NGL-f4_5runs.csv",
        "table2 --scale small --datasets fashion_mnist --models small_cnn --runs 5 "
        "--losses CE NGL f4",
    ),
    (
        "table2/small_fashion_mnist",
        "table2.csv",
        "table2 --scale small --datasets fashion_mnist --models small_cnn --runs 2 "
        "--losses CE NGL Focal SCE 'CE + L2' f4",
    ),
    (
        "table2/small_cifar10",
        "table2.csv",
        "table2 --scale small --datasets cifar10 --models small_cnn --losses CE NGL --runs 5",
    ),
    (
        "table2/small_cifar10",
        "table2_CE-SCE-Focal-CE+L2-f4-NGL_3runs.csv",
        "table2 --scale small --datasets cifar10 --models small_cnn --runs 3 "
        "--losses CE SCE Focal 'CE + L2' f4 NGL",
    ),
    (
        "table2/small_inceptionv3",
        "table2.csv",
        "table2 --scale small --datasets fashion_mnist cifar10 --models InceptionV3 --upsampling 3 "
        "--train-images 10240 --losses CE NGL --runs 2",
    ),
    (
        "learning_rates/mnist",
        "mnist_glo_mnist_SGD_2000.csv",
        "learning_rates --scale reduced",
    ),
    *(
        (
            "learning_rates/fashion_mnist",
            f"fashion_mnist_small_cnn_{optimizer}_4220_cosine.csv",
            "learning_rates --scale reduced --dataset fashion_mnist --model small_cnn "
            f"--image-size 14 --optimizer {optimizer} --decay cosine --batch-size 128 "
            f"--steps 4220 --evaluate-every 422 --rates {rates} --runs 1",
        )
        for optimizer, rates in (("Adam", "1e-3,3.2e-3,1e-2"), ("momentum", "1e-2,3.2e-2,1e-1"))
    ),
    (
        "learning_rates/fashion_mnist",
        "fashion_mnist_small_cnn_momentum_4220_cosine_CE-NGL_0.01-0.032-0.1_13runs.csv",
        "learning_rates --scale reduced --dataset fashion_mnist --model small_cnn --image-size 14 "
        "--optimizer momentum --decay cosine --batch-size 128 --steps 4220 --evaluate-every 422 "
        "--rates 1e-2,3.2e-2,1e-1 --runs 3 --new-runs 10 --losses CE NGL",
    ),
    (
        "learning_rates/fashion_mnist",
        "fashion_mnist_small_cnn_momentum_4220_cosine_CE-Poly-1-CE+L2-SCE-Focal-GCE-f4-"
        "ASLsingle-label-SparseLSR-Baikal_0.01-0.032-0.1-0.0032-0.3-e5aa784b.csv",
        "learning_rates --scale reduced --dataset fashion_mnist --model small_cnn --image-size 14 "
        "--optimizer momentum --decay cosine --batch-size 128 --steps 4220 --evaluate-every 422 "
        "--rates 1e-2,3.2e-2,1e-1 --runs 3 --new-runs 5 "
        "--losses CE Poly-1 'CE + L2' SCE Focal GCE f4 'ASL (single-label)' SparseLSR Baikal",
    ),
    (
        "learning_rates/fashion_mnist",
        "fashion_mnist_small_cnn_Adam_4220_cosine_CE-Poly-1-CE+L2-SCE-Focal-GCE-f4-ASLsingle-label-"
        "SparseLSR-MAE-CSE-Autoloss-B-TaylorGLO-Bai-6941431a.csv",
        "learning_rates --scale reduced --dataset fashion_mnist --model small_cnn --image-size 14 "
        "--optimizer Adam --decay cosine --batch-size 128 --steps 4220 --evaluate-every 422 "
        "--rates 1e-3,3.2e-3,1e-2 --runs 3 --new-runs 5 "
        "--losses CE Poly-1 'CE + L2' SCE Focal GCE f4 'ASL (single-label)' SparseLSR MAE "
        "CSE-Autoloss-B TaylorGLO Baikal BaikalCMA",
    ),
    (
        "learning_rates/fashion_mnist",
        "fashion_mnist_small_cnn_Adam_4220_cosine_CE-NGL_0.001-0.0032-0.01-0.032_13runs.csv",
        "learning_rates --scale reduced --dataset fashion_mnist --model small_cnn --image-size 14 "
        "--optimizer Adam --decay cosine --batch-size 128 --steps 4220 --evaluate-every 422 "
        "--rates 1e-3,3.2e-3,1e-2 --runs 3 --new-runs 10 --losses CE NGL",
    ),
    (
        "learning_rates/cifar10",
        "cifar10_small_cnn_Adam_3520_cosine.csv",
        "learning_rates --scale reduced --dataset cifar10 --model small_cnn --image-size 16 "
        "--optimizer Adam --decay cosine --batch-size 128 --steps 3520 --evaluate-every 352 "
        "--rates 1e-3,3.2e-3,1e-2 --runs 3 --new-runs 10 --losses CE NGL",
    ),
    (
        "glo/mnist",
        "transfer_mixed_bfloat16.csv",
        "glo_transfer --scale reduced --precision mixed_bfloat16 --losses CE Baikal "
        "--formula '10 CE=-10*(y_true*log(y_pred))' --durations "
        + ",".join(str(steps) for steps in range(50, 901, 50)),
    ),
    (
        "glo/mnist",
        "figure1_2000_mixed_bfloat16.csv",
        "glo_figure1 --scale reduced --precision mixed_bfloat16 "
        "--formula '10 CE=-10*(y_true*log(y_pred))'",
    ),
    (
        "glo/mnist",
        "figure1_20000_mixed_bfloat16.csv",
        "glo_figure1 --scale paper --precision mixed_bfloat16",
    ),
    (
        "glo/mnist",
        "figure3_2000_mixed_bfloat16.csv",
        "glo_figure3 --scale reduced --precision mixed_bfloat16",
    ),
    (
        "glo/mnist",
        "data_2000_mixed_bfloat16.csv",
        "glo_data --scale reduced --runs 5 --precision mixed_bfloat16 "
        "--formula '32 CE=-32*(y_true*log(y_pred))'",
    ),
    (
        "glo/mnist",
        "search/coefficients_12-59/comparison.csv",
        "glo_search --scale reduced --precision mixed_bfloat16 --generations 12 "
        "--coefficient-generations 5 --confirm-runs 0 --compare-runs 3",
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
    ("name", "table", "command"), COMMITTED, ids=[f"{row[0]}/{row[1]}" for row in COMMITTED]
)
def test_prints_from_its_journal(name, table, command, folder, script, monkeypatch):
    # Whoever reads data or trains after all fails.
    monkeypatch.setenv("TFDS_DATA_DIR", os.devnull)
    there = folder(name)
    before = journals(there)
    committed = pd.read_csv(there / table)
    best = [path.read_text() for path in there.glob("best.json")]
    arguments = shlex.split(command)
    (there / table).unlink()
    code, out, err = script(*arguments, "--out", there)
    assert code == 0, err
    assert "trials to run" not in out
    assert journals(there) == before
    if table == "confirmation.csv":
        # The verdict, too.
        assert [path.read_text() for path in there.glob("best.json")] == best
    printed = pd.read_csv(there / table)
    shared = [column for column in committed if column in printed]
    assert len(shared) >= 3
    pd.testing.assert_frame_equal(printed[shared], committed[shared], check_dtype=False)

"""What runs on JAX and PyTorch in an environment without TensorFlow; `.ci/run` makes one."""

import importlib
import io
import pkgutil
import re
import struct
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import ROOT, fill
from PIL import Image

import nglkeras
from nglkeras import UserError
from nglkeras.data import datasets, sources
from nglkeras.startup.extras import MissingPackageError

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is not None, reason="TensorFlow is installed"
)
# Modules for its backend, and for what is streamed from disk; the rest does without TensorFlow.
TENSORFLOWS = (
    *("data.tensorflow_changes", "data.decoding", "data.pipeline"),
    *("training.compiled_epochs", "training.tensorflow_streams"),
    *(f"experiments.imagenet.{name}" for name in ("augmentation", "data", "sources", "training")),
    *(f"experiments.segmentation.{name}" for name in ("data", "scenes", "sources", "training")),
)


def test_all_modules_but_those_are_imported():
    missing = {"tensorflow": set(), "jax": set(), "torch": set()}
    for module in pkgutil.walk_packages(nglkeras.__path__, "nglkeras."):
        try:
            importlib.import_module(module.name)
        except (ModuleNotFoundError, MissingPackageError) as error:
            missing[error.name].add(module.name.removeprefix("nglkeras."))
    assert missing["tensorflow"] == set(TENSORFLOWS)
    # Modules for the backend alone.
    assert not missing[keras.backend.backend()]


def test_the_readme_s_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n([^`]*GeneticProgramming[^`]*)```", readme)
    small = re.sub(
        r"population_size=\d+, generations=\d+", "population_size=6, generations=1", code
    )
    # A confirmation takes minutes on PyTorch.
    small = re.sub(r"(?m)^confirm\(.*$", "", small)
    assert "generations=1)" in small
    exec(small, {"__name__": "readme"})
    assert (tmp_path / "my_search" / "best.json").exists()
    assert "tensorflow" not in sys.modules


def test_a_table_s_demonstration(script, tmp_path):
    options = ["--losses", "CE", "NGL", "--runs", "1", "--epochs", "2", "--out", tmp_path]
    code, out, err = script("table2", *options)
    assert code == 0, err
    assert f"written: {tmp_path}" in out
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("name", ["table3", "table4", "table5"])
def test_what_is_streamed_says_what_it_needs(mistake, name):
    assert mistake(name) == "tensorflow is not installed: pip install 'nglkeras[tensorflow]'"


def test_a_data_set_that_is_streamed_says_what_it_needs():
    with pytest.raises(UserError, match=r"digits is streamed .* pip install 'nglkeras\[tensorf"):
        datasets.load("digits")


def test_folders(tmp_path):
    fill(tmp_path, "train", 20)
    arrays = datasets.load_arrays("folder", image_size=16, test=True, data_dir=tmp_path)
    assert [len(part[1]) for part in (arrays.train, arrays.validation, arrays.test)] == [32, 4, 4]
    # Blue and red, in the order of their names.
    for images, labels in (arrays.train, arrays.test):
        assert images.shape[1:] == (16, 16, 3)
        np.testing.assert_array_equal(images[:, 0, 0, 0] > 0, labels == 1)
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "red" / "0.png")
    (tmp_path / "train" / "red" / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cannot read .*train/red/1\.png"):
        datasets.load_arrays("folder", image_size=16, splits="random", test=True, data_dir=tmp_path)


def test_files_of_tfds(tmp_path):
    features = sources.find_builder("mnist", tmp_path).info.features
    pictures = np.random.default_rng(0).integers(0, 256, (30, 28, 28, 1), dtype="uint8")
    paths = [tmp_path / "first", tmp_path / "second"]
    for path, rows in zip(paths, (range(20), range(20, 30)), strict=True):
        with path.open("wb") as file:
            for i in rows:
                png = io.BytesIO()
                Image.fromarray(pictures[i, ..., 0]).save(png, "png")
                png.seek(0)
                record = features.serialize_example(
                    features.encode_example({"image": png, "label": i % 10})
                )
                # Nobody looks at the checksums.
                file.write(struct.pack("<QI", len(record), 0) + record + bytes(4))
    split = SimpleNamespace(filepaths=paths)
    info = SimpleNamespace(
        features=features, splits={"train": split}, file_format=SimpleNamespace(value="tfrecord")
    )
    rows = np.array([0, 7, 19, 20, 28])
    found = list(sources._without_tensorflow(SimpleNamespace(info=info), "train", rows))
    assert [example["label"] for example in found] == [0, 7, 9, 0, 8]
    np.testing.assert_array_equal([example["image"] for example in found], pictures[rows])


def test_what_tfds_has_not_prepared(tmp_path):
    with pytest.raises(UserError, match=r"mnist is not at .* prepares it with TensorFlow"):
        datasets.load_arrays("mnist", data_dir=tmp_path)

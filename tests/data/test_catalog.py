"""What is known of data sets without reading them, and what a user is told when one is missing."""

from dataclasses import replace

import pytest
from conftest import fill

from nglkeras import UserError
from nglkeras.data import catalog, datasets, sources


def test_a_folder_is_listed(tmp_path):
    info = catalog.get_info("folder", fill(tmp_path, "train", 20))
    assert (info.classes, info.images, info.splits) == (2, 40, ("train",))
    assert info.fits_in_memory(16)


def test_the_list_of_files_counts(tmp_path):
    root = fill(tmp_path, "train", 20)
    first = catalog.files_sha256("folder", root)
    assert first == catalog.files_sha256("folder", root)
    (root / "train" / "red" / "0.png").unlink()
    assert catalog.files_sha256("folder", root) != first
    assert catalog.files_sha256("cifar10", root) == ""


class TestMissing:
    @pytest.mark.parametrize("name", [n for n in catalog.INFO if n not in catalog.BUNDLED])
    def test_no_network_gives_advice(self, name, tmp_path, monkeypatch):
        import requests

        def no_network(url, timeout):
            raise requests.ConnectionError(f"no way to {url}")

        monkeypatch.setattr(requests, "head", no_network)
        with pytest.raises(UserError) as error:
            datasets.load(name, image_size=32, data_dir=tmp_path)
        message = str(error.value)
        assert "\n" not in message
        for part in (
            name,
            "no way to",
            str(tmp_path / "downloads" / "manual" / name),
            "TFDS_DATA_DIR",
        ):
            assert part in message
        if name in ("caltech101", "patch_camelyon", "malaria"):
            assert "known trouble" in message

    def test_unknown_name_lists_the_valid_ones(self):
        with pytest.raises(
            UserError, match=r"unknown data set 'mnits'; choose from: digits, .*cifar"
        ):
            datasets.load("mnits")


class TestEntries:
    """An entry of the catalogue is compared with what TFDS has."""

    def test_a_name_that_tfds_lacks(self, monkeypatch):
        monkeypatch.setitem(catalog.INFO, "emnizt", catalog.INFO["mnist"])
        with pytest.raises(UserError, match="tensorflow-datasets has no data set 'emnizt'"):
            sources.find_builder("emnizt")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"classes": 5}, "the catalogue's classes of mnist is 5, that of TFDS 10"),
            ({"image_size": (32, 32, 3)}, r"image_size of mnist is \(32, 32, 3\), that of TFDS"),
        ],
    )
    def test_what_does_not_fit_is_told(self, monkeypatch, tmp_path, change, message):
        monkeypatch.setitem(catalog.INFO, "mnist", replace(catalog.INFO["mnist"], **change))
        with pytest.raises(UserError, match=message):
            sources.find_builder("mnist", tmp_path)

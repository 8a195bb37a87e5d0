"""The settings are those of the printed table B.2.1."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nglkeras import UserError
from nglkeras.data import catalog
from nglkeras.experiments.classification import data_sets, protocol
from nglkeras.experiments.classification.shared_networks import SharedNetworks
from nglkeras.experiments.classification.trial import plan
from nglkeras.report.printed import read_printed


def test_every_setting_is_the_printed_one():
    printed = read_printed("table_b21")
    names = {info.title: name for name, info in catalog.INFO.items()}
    for title in printed.columns:
        ours = data_sets._settings(protocol.SETTINGS[names[title]])
        assert ours == printed[title].to_dict()


def test_every_data_set_has_settings_and_the_papers_numbers():
    assert protocol.SETTINGS.keys() <= catalog.INFO.keys()
    for title, row in read_printed("table1").iterrows():
        info = catalog.INFO[row.tfds_name]
        assert info.title == title
        assert info.classes == int(row.classes)
        assert info.images == int(row.dataset_size)


def test_scales_name_what_exists():
    for scale in protocol.TABLE2_SCALES.values():
        assert set(scale.datasets) <= protocol.SETTINGS.keys()
        assert scale.runs > 0


class TestDataSetsOfOnesOwn:
    scale = replace(protocol.TABLE2_SCALES["demo"], runs=1, epochs=1, image_size=16)

    def rows(self, trials, **places):
        run = SharedNetworks(trials, **places)
        return [run(trial) for trial in trials]

    def test_an_entry_of_the_catalogue_suffices(self, monkeypatch, tfds_directory):
        info = replace(catalog.INFO["malaria"], title="Cells")
        monkeypatch.delitem(catalog.INFO, "malaria")
        monkeypatch.delitem(protocol.SETTINGS, "malaria")
        with pytest.raises(UserError, match="unknown data set 'malaria'; choose from: digits,"):
            plan(replace(self.scale, datasets=("malaria",)), ["CE"])
        monkeypatch.setitem(catalog.INFO, "malaria", info)
        trials = plan(replace(self.scale, datasets=("malaria",)), ["CE", "NGL"])
        assert {(trial.image_size, trial.splits) for trial in trials} == {(16, "random")}
        rows = self.rows(trials, data_dir=tfds_directory)
        assert [(row.status, row.sizes) for row in rows] == [("ok", (48, 6, 6))] * 2

    @pytest.mark.parametrize("memory", [2**30, 0])
    def test_a_folder(self, tmp_path, monkeypatch, memory):
        monkeypatch.setattr(catalog, "MEMORY_BYTES", memory)
        random = np.random.default_rng(0)
        for i in range(80):
            path = (
                tmp_path / ("train", "test")[i % 4 == 0] / ("cat", "dog")[i % 3 == 0] / f"{i}.png"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (20, 30 + i, 3), "uint8")).save(path)
        scale = replace(self.scale, datasets=("folder",))
        (trial,) = plan(scale, ["NGL"], data_dir=tmp_path)
        assert (trial.splits, trial.compile_once) == ("official", memory > 0)
        ((row,), path) = self.rows([trial], data_dir=tmp_path), next(tmp_path.glob("train/cat/*"))
        assert (row.status, row.sizes) == ("ok", (54, 6, 20))
        path.unlink()
        (other,) = plan(scale, ["NGL"], data_dir=tmp_path)
        assert other.key != trial.key
        with pytest.raises(UserError, match="say which with --data-dir"):
            plan(scale, ["NGL"])

"""The settings are those of the printed table B.2.1."""

import runpy

from conftest import ROOT

from nglkeras.data import catalog
from nglkeras.experiments.classification import protocol
from nglkeras.report.printed import read_printed


def test_every_setting_is_the_printed_one():
    settings = runpy.run_path(str(ROOT / "reproduce" / "table_b21.py"))["settings"]
    printed = read_printed("table_b21")
    names = {info.title: name for name, info in catalog.INFO.items()}
    for title in printed.columns:
        assert settings(names[title]) == printed[title].to_dict()


def test_every_data_set_has_settings_and_the_papers_numbers():
    assert protocol.SETTINGS.keys() == catalog.INFO.keys()
    for title, row in read_printed("table1").iterrows():
        info = catalog.INFO[row.tfds_name]
        assert info.title == title
        assert info.classes == int(row.classes)
        assert info.images == int(row.dataset_size)


def test_scales_name_what_exists():
    for scale in protocol.TABLE2_SCALES.values():
        assert set(scale.datasets) <= protocol.SETTINGS.keys()
        assert scale.runs > 0

"""Which images are for training, validation and test."""

from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from conftest import images_of

from nglkeras import UserError
from nglkeras.data import datasets, division, pipeline
from nglkeras.data.division import SPLITS, TEST, TRAIN, UNUSED, VALIDATION, Division
from nglkeras.experiments.classification import protocol, shared_networks
from nglkeras.experiments.classification.trial import plan

ALONE, WITH_TEST = {"train": 100}, {"train": 100, "test": 50}
ALL = {"train": 100, "validation": 20, "test": 30}


def counts(parts):
    whole = np.concatenate(list(parts.values()))
    return tuple(int((whole == part).sum()) for part in (TRAIN, VALIDATION, TEST))


class TestDivision:
    @pytest.mark.parametrize(
        ("kind", "sizes", "expected"),
        [
            ("official", ALONE, (80, 10, 10)),
            ("official", WITH_TEST, (90, 10, 50)),
            ("official", ALL, (90, 10, 30)),
            ("random", ALONE, (80, 10, 10)),
            ("random", WITH_TEST, (120, 15, 15)),
            ("random", ALL, (120, 15, 15)),
        ],
    )
    def test_sizes(self, kind, sizes, expected):
        parts = Division(kind).parts(sizes, 0)
        assert {split: len(part) for split, part in parts.items()} == sizes
        assert counts(parts) == expected

    def test_own_validation_split(self):
        parts = Division(own_validation=True).parts(ALL, 0)
        assert counts(parts) == (100, 20, 30)
        assert set(parts["validation"]) == {VALIDATION}

    def test_a_validation_split_that_is_not_asked_for_is_left_out(self):
        assert set(Division().parts(ALL, 0)["validation"]) == {UNUSED}

    @pytest.mark.parametrize("sizes", [WITH_TEST, ALL])
    def test_random_draws_from_every_split_anew_for_every_seed(self, sizes):
        first, again, other = (Division("random").parts(sizes, seed) for seed in (1, 1, 2))
        for split in sizes:
            np.testing.assert_array_equal(first[split], again[split])
            assert (first[split] == TEST).any()
            assert (first[split] != other[split]).any()

    @pytest.mark.parametrize("kind", SPLITS)
    def test_limits(self, kind):
        limited = Division(kind, False, 30, 5, 12)
        whole = Division(kind, False, None, None, 12)
        assert counts(limited.parts(ALL, 3)) == (30, 5, 5)
        for split, part in limited.parts(ALL, 3).items():
            used = part != UNUSED
            np.testing.assert_array_equal(part[used], whole.parts(ALL, 3)[split][used])

    @pytest.mark.parametrize("name", ["train_images", "evaluation_images", "validation_images"])
    def test_a_limit_below_one(self, name):
        with pytest.raises(UserError, match=f"{name}=0 is not a whole number of at least 1"):
            Division(**{name: 0})

    @pytest.mark.parametrize("load", [datasets.load, datasets.load_arrays])
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"train_images": 1.5}, "train_images=1.5 is not a whole number"),
            ({"train_images": "5"}, "train_images='5' is not a whole number"),
            ({"evaluation_images": True}, "evaluation_images=True is not a whole number"),
            ({"image_size": 8.5}, "image_size=8.5 is not a whole number"),
            ({"image_size": 0}, "image_size=0 is not a whole number of at least 1"),
            ({"seed": "x"}, "seed='x' is not a whole number"),
            ({"split": "random"}, "unknown setting of the division 'split'; choose from: splits"),
        ],
    )
    def test_numbers_and_names(self, load, settings, message):
        with pytest.raises(UserError, match=message):
            load("digits", **settings)

    def test_a_batch_and_a_seed_of_the_test(self):
        for size in (0, -5, 2.5):
            with pytest.raises(UserError, match=f"batch_size={size} is not a whole number"):
                datasets.load("digits", batch_size=size)
        with pytest.raises(UserError, match="test_seed=-1 is not a whole number of at least 0"):
            datasets.load_arrays("digits", test=True, test_seed=-1)

    @pytest.mark.parametrize("load", [datasets.load, datasets.load_arrays])
    def test_none_of_the_parts_is_empty(self, load):
        said = "1,797 images of digits cannot be divided: 0 would be for training, 1617 for valid"
        with pytest.raises(UserError, match=said):
            load("digits", validation_images=5000)

    def test_limits_of_an_own_validation_split(self):
        assert counts(Division("official", True, 30, 5, 12).parts(ALL, 0)) == (30, 5, 5)
        assert counts(Division("official", True, None, None, 12).parts(ALL, 0)) == (100, 12, 30)

    def test_unknown(self):
        with pytest.raises(UserError, match="unknown splits 'own'; choose from: official, random"):
            datasets.load("digits", splits="own")


class TestPlan:
    def test_each_data_set_has_its_own(self):
        found = {t.dataset: t for t in plan(protocol.TABLE2_SCALES["paper"], ["CE"])}
        random = {"malaria", "colorectal_histology", "caltech101"}
        assert {name for name, trial in found.items() if trial.splits == "random"} == random
        assert [name for name, t in found.items() if t.own_validation] == ["patch_camelyon"]

    @pytest.mark.parametrize("kind", SPLITS)
    def test_the_scale_decides_for_all(self, kind):
        scale = replace(protocol.TABLE2_SCALES["paper"], splits=kind)
        assert {trial.splits for trial in plan(scale, ["CE"])} == {kind}
        own = {trial.dataset for trial in plan(scale, ["CE"]) if trial.own_validation}
        assert own == ({"patch_camelyon"} if kind == "official" else set())

    def test_unknown(self):
        scale = replace(protocol.TABLE2_SCALES["demo"], splits="own")
        with pytest.raises(UserError, match="unknown splits 'own'; choose from: official, random"):
            plan(scale, ["CE"])

    def test_described(self):
        trial = plan(protocol.TABLE2_SCALES["demo"], ["CE"])[0]
        assert division.describe(trial) == "all images divided 80/10/10 at random for every run"
        official = replace(trial, splits="official")
        assert division.describe(official).endswith("one test set for all runs")
        cifar = replace(official, dataset="cifar10")
        assert "a tenth of train" in division.describe(cifar)
        assert "own validation" in division.describe(replace(cifar, own_validation=True))


class TestStreams:
    @pytest.mark.parametrize(
        ("name", "memory"),
        # Kept in memory and streamed; images of many sizes; three splits.
        [("cifar10", 2**30), ("cifar10", 0), ("caltech101", 2**30), ("patch_camelyon", 0)],
    )
    def test_random_is_all_of_the_data_set(self, name, memory, tfds_directory, monkeypatch):
        monkeypatch.setattr(pipeline, "MEMORY_BYTES", memory)
        settings = {"batch_size": 2, "image_size": 32, "data_dir": tfds_directory}
        first, again, other = (
            datasets.load(name, seed, splits="random", **settings) for seed in (0, 0, 1)
        )
        official = datasets.load(name, own_validation=True, **settings)
        assert sum(first.sizes) == sum(official.sizes)
        train = images_of(first.train)
        parts = train, images_of(first.validation), images_of(first.test)
        assert tuple(map(len, parts)) == first.sizes
        everything = Counter(chain(*parts))
        assert everything == Counter(
            chain(*map(images_of, (official.train, official.validation, official.test)))
        )
        assert images_of(again.train) == train
        assert set(images_of(other.test)) != set(parts[2])

    def test_own_validation_split(self, tfds_directory):
        splits = datasets.load(
            "patch_camelyon", batch_size=4, own_validation=True, data_dir=tfds_directory
        )
        assert splits.sizes == (60, 12, 20)
        assert len(images_of(splits.validation)) == 12

    def test_in_memory_alike(self, tfds_directory):
        places = {"splits": "random", "data_dir": tfds_directory}
        streamed = datasets.load("fashion_mnist", 5, batch_size=4, **places)
        arrays = datasets.load_arrays("fashion_mnist", 5, test=True, test_seed=7, **places)
        grey = np.stack([images for b, _, _ in streamed.test for images in b.numpy()])[..., :1]
        assert {image.astype("uint8").tobytes() for image in grey if image.any()} == {
            image.tobytes() for image in arrays.test[0]
        }

    @pytest.mark.parametrize(("kind", "same"), [("official", True), ("random", False)])
    def test_every_run_has_its_own_test_set_where_networks_are_shared(self, kind, same):
        scale = replace(protocol.TABLE2_SCALES["demo"], splits=kind, runs=2)
        tests = [
            set(images_of(shared_networks.load_streams(trial).test))
            for trial in plan(scale, ["CE"])
        ]
        assert (tests[0] == tests[1]) == same

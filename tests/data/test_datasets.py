"""Splits and streams of data sets."""

import os

import numpy as np
import pytest
from conftest import TINY, fill, images_of, needs_tensorflow

from nglkeras import UserError
from nglkeras.data import catalog, datasets, pipeline, sources, tensorflow_changes
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.reader import Reader
from nglkeras.experiments.classification.protocol import SETTINGS


class TestDigits:
    def test_sizes_shapes_and_range(self):
        splits = datasets.load("digits", batch_size=32)
        assert splits.sizes == (1437, 180, 180)
        assert splits.image_shape == (8, 8, 3)
        images, labels = next(iter(splits.train))
        assert images.shape == (32, 8, 8, 3)
        assert labels.shape == (32, 10)
        assert images.dtype == "float32"
        assert images.numpy().min() == 0
        assert images.numpy().max() == 255
        np.testing.assert_array_equal(labels.numpy().sum(-1), 1)

    def test_splits_are_apart_and_complete(self):
        splits = datasets.load("digits", batch_size=3)
        parts = [images_of(part) for part in (splits.train, splits.validation, splits.test)]
        assert [len(part) for part in parts] == [1437, 180, 180]
        everything = [image for part in parts for image in part]
        # A few of the scans are equal to the pixel.
        assert len(set(everything)) > 1780
        assert len(set(parts[0]) & set(parts[1] + parts[2])) < 10

    def test_the_seed_decides_everything(self):
        first, again, other = (
            datasets.load("digits", seed, augmentation=Augmentation()) for seed in (1, 1, 2)
        )
        for stream in ("train", "test"):
            batches = [list(getattr(s, stream)) for s in (first, again, other)]
            for a, b in zip(batches[0], batches[1], strict=True):
                np.testing.assert_array_equal(a[0], b[0])
            assert not np.array_equal(batches[0][0][0], batches[2][0][0])

    def test_every_epoch_is_another_order(self):
        splits = datasets.load("digits", batch_size=64)
        assert images_of(splits.train)[:64] != images_of(splits.train)[:64]

    def test_training_batches_are_whole(self):
        splits = datasets.load("digits", batch_size=100)
        assert [len(images) for images, _ in splits.train] == [100] * 14
        assert splits.train.cardinality() == 14

    def test_padding_leaves_means_exact(self):
        splits = datasets.load("digits", batch_size=100)
        per_image, weights = [], []
        for images, _, weight in splits.test:
            assert images.shape[0] == 100
            per_image.append(images.numpy().mean((1, 2, 3)))
            weights.append(weight.numpy())
        per_image, weights = np.concatenate(per_image), np.concatenate(weights)
        real = per_image[weights > 0]
        assert len(real) == 180
        # As Keras reduces a loss: by the number of images, padding included.
        assert (per_image * weights).sum() / len(weights) == pytest.approx(real.mean(), rel=1e-5)

    def test_limits(self):
        splits = datasets.load("digits", batch_size=8, train_images=50, evaluation_images=20)
        assert splits.sizes == (50, 20, 20)

    def test_turned_digits_have_their_turns_as_labels(self):
        _, labels, _ = next(iter(datasets.load("digits_turned", batch_size=64).test))
        assert labels.shape == (64, 4)
        assert datasets.class_counts("digits_turned").tolist() == [450, 449, 449, 449]

    def test_too_few_images_for_a_batch(self):
        with pytest.raises(UserError, match="10 training images of digits do not fill a batch"):
            datasets.load("digits", train_images=10)


class TestAugmentation:
    def test_keeps_shape_range_and_most_of_the_picture(self):
        plain, changed = (
            next(iter(datasets.load("digits", augmentation=a).train))[0].numpy()
            for a in (None, Augmentation())
        )
        assert plain.shape == changed.shape
        assert changed.min() >= 0
        assert changed.max() <= 255.01
        different = (plain != changed).any((1, 2, 3))
        assert different.mean() > 0.9
        assert np.abs(plain - changed).mean() < np.abs(plain - plain[::-1]).mean()

    def test_what_moves_in_is_the_nearest_pixel(self):
        white = np.full((4, 8, 8, 3), 200.0, "float32")
        for layer in tensorflow_changes.augmentation_layers(Augmentation(), 0):
            np.testing.assert_allclose(np.asarray(layer(white, training=True)), 200.0, rtol=1e-5)

    def test_several_batches_at_a_time_are_changed_as_one_after_the_other(self, monkeypatch):
        streams = []
        for parallel in (1, 3):
            monkeypatch.setattr(tensorflow_changes, "PARALLEL", parallel)
            data = datasets.load("digits", batch_size=16, augmentation=Augmentation()).train
            streams.append(list(data.as_numpy_iterator()))
        assert len(streams[0]) > 80
        for (x, y), (other_x, other_y) in zip(*streams, strict=True):
            np.testing.assert_array_equal(x, other_x)
            np.testing.assert_array_equal(y, other_y)

    def test_every_epoch_is_another_augmentation_of_the_same_images(self):
        one = datasets.load("digits", batch_size=1, train_images=1, augmentation=Augmentation())
        again = datasets.load("digits", batch_size=1, train_images=1, augmentation=Augmentation())
        epochs = [images_of(one.train)[0] for _ in range(8)]
        assert len(set(epochs)) == 8
        assert [images_of(again.train)[0] for _ in range(8)] == epochs

    def test_a_look_at_the_first_batch_changes_no_later_one(self):
        looked, plain = (
            datasets.load("digits", batch_size=32, augmentation=Augmentation()) for _ in range(2)
        )
        next(iter(looked.train))
        images_of(plain.train)
        assert images_of(looked.train) == images_of(plain.train)

    def test_flips_shifts_and_zooms(self):
        layers = tensorflow_changes.augmentation_layers(Augmentation(), 0)
        kinds = [type(layer).__name__ for layer in layers]
        assert kinds == ["RandomFlip", "RandomTranslation", "RandomZoom"]

    def test_only_what_is_asked_for(self):
        assert tensorflow_changes.augmentation_layers(Augmentation(False, 0.0, 0.0), 0) == []


class TestTFDS:
    @pytest.mark.parametrize("name", TINY)
    def test_loads_as_table_b21_says(self, name, tfds_directory):
        setting, info = SETTINGS[name], catalog.get_info(name)
        splits = datasets.load(
            name,
            batch_size=8,
            image_size=setting.image_size,
            augmentation=setting.augmentation,
            data_dir=tfds_directory,
        )
        assert splits.sizes == ((54, 6, 20) if info.has_test else (48, 6, 6))
        for stream in (splits.train, splits.validation, splits.test):
            images, labels, *_ = next(iter(stream))
            assert images.shape == (8, setting.image_size, setting.image_size, 3)
            assert labels.shape == (8, info.classes)
            assert images.numpy().min() >= 0
            assert 50 < images.numpy().mean() < 205

    @needs_tensorflow
    @pytest.mark.parametrize(
        ("name", "size", "tolerance"),
        [("fashion_mnist", None, 0), ("fashion_mnist", 20, 0.01), ("malaria", 30, 0.01)],
    )
    def test_arrays_are_the_same_without_tensorflow(
        self, name, size, tolerance, tfds_directory, monkeypatch
    ):
        settings = {"image_size": size, "test": True, "data_dir": tfds_directory}
        theirs = datasets.load_arrays(name, 3, **settings)
        monkeypatch.setattr(datasets, "_reader", lambda: Reader)
        datasets._whole_split.cache_clear()
        ours = datasets.load_arrays(name, 3, **settings)
        for part in ("train", "validation", "test"):
            for a, b in zip(getattr(ours, part), getattr(theirs, part), strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
        datasets._whole_split.cache_clear()

    def test_own_test_split_is_the_test_set(self, tfds_directory):
        train_seeds = [
            datasets.load("cifar10", seed, batch_size=4, data_dir=tfds_directory) for seed in (0, 1)
        ]
        tests = [set(images_of(splits.test)) for splits in train_seeds]
        validations = [set(images_of(splits.validation)) for splits in train_seeds]
        assert tests[0] == tests[1]
        assert validations[0] != validations[1]
        assert len(tests[0]) == 20

    def test_grey_images_become_rgb(self, tfds_directory):
        splits = datasets.load("fashion_mnist", batch_size=8, data_dir=tfds_directory)
        images = next(iter(splits.test))[0].numpy()
        assert splits.image_shape == (28, 28, 3)
        np.testing.assert_array_equal(images[..., 0], images[..., 2])

    def test_larger_than_the_cache_is_streamed_alike(self, tfds_directory, monkeypatch):
        def evaluation():
            splits = datasets.load("cifar10", batch_size=4, data_dir=tfds_directory)
            assert len(images_of(splits.train)) == 52
            assert len(images_of(splits.train)) == 52
            return images_of(splits.test)

        cached = evaluation()
        monkeypatch.setattr(pipeline, "MEMORY_BYTES", 0)
        assert evaluation() == cached

    def test_classes_are_counted(self, tfds_directory):
        assert datasets.class_counts("malaria", tfds_directory).tolist() == [30, 30]

    def test_size_is_needed_where_images_differ(self, tfds_directory):
        with pytest.raises(UserError, match="give image_size"):
            datasets.load("malaria", data_dir=tfds_directory)

    def test_ready_or_not(self, tfds_directory):
        assert sources.is_ready("cifar10", tfds_directory)
        assert not sources.is_ready("cifar100", tfds_directory)
        assert sources.is_ready("digits")


class TestFolder:
    @pytest.fixture
    @staticmethod
    def root(tmp_path):
        """Two classes, red and blue, of images of several sizes; train alone."""
        return fill(tmp_path, "train", 20)

    def test_train_alone_is_divided(self, root):
        splits = datasets.load("folder", batch_size=4, image_size=16, data_dir=root)
        assert splits.sizes == (32, 4, 4)
        for images, labels, *_ in (*splits.train, *splits.test):
            assert images.shape == (4, 16, 16, 3)
            np.testing.assert_array_equal(images.numpy()[:, 0, 0, 0] > 0, labels.numpy()[:, 1])

    @pytest.mark.parametrize(
        ("folders", "sizes"),
        [
            (("val",), (18 * 2, 4, 10)),
            (("validation", "test"), (40, 10, 10)),
            (("test",), (18 * 2, 4, 10)),
        ],
    )
    def test_further_splits(self, root, folders, sizes):
        for name in folders:
            fill(root, name, 5)
        arrays = datasets.load_arrays(
            "folder", image_size=16, own_validation=True, test=True, data_dir=root
        )
        found = tuple(len(part[1]) for part in (arrays.train, arrays.validation, arrays.test))
        assert found == sizes
        splits = datasets.load(
            "folder", batch_size=2, image_size=16, own_validation=True, data_dir=root
        )
        assert splits.sizes == sizes

    def test_larger_than_the_shuffle_window_is_mixed(self, root, monkeypatch):
        monkeypatch.setattr(pipeline, "STREAM_SHUFFLE", 1)
        splits = datasets.load("folder", batch_size=16, image_size=16, data_dir=root)
        labels = next(iter(splits.train))[1].numpy()
        assert 0 < labels[:, 0].sum() < 16

    def test_survey(self, root):
        fill(root, "val", 5)
        assert sources.survey(root) == (
            f"{root}: 2 classes (blue, red), images: 40 train, 10 test", [],
        )  # fmt: skip

    @pytest.mark.parametrize("load", [datasets.load, datasets.load_arrays])
    def test_what_is_refused(self, root, load):
        with pytest.raises(UserError, match="data set folder: say which with --data-dir"):
            load("folder", image_size=16)
        with pytest.raises(UserError, match="the images of folder differ in size"):
            load("folder", data_dir=root)
        with pytest.raises(UserError, match=r"there is no folder .*/none/train; wanted are train"):
            load("folder", image_size=16, data_dir=root / "none")
        for name in ("val", "validation"):
            (root / name).mkdir()
        with pytest.raises(UserError, match="has val and validation: keep one of them"):
            load("folder", image_size=16, data_dir=root)

    def test_a_damaged_file_is_named(self, root):
        (root / "train" / "red" / "0.png").write_bytes(b"no image")
        with pytest.raises(UserError, match=r"cannot read .*train/red/0\.png"):
            datasets.load_arrays("folder", image_size=16, splits="random", test=True, data_dir=root)
        with pytest.raises(UserError, match=r"cannot read .*train/red/0\.png"):
            sources.survey(root)


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set")
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_real_data(name):
    if not sources.is_ready(name):
        pytest.skip(f"{name} is not in TFDS_DATA_DIR")
    splits = datasets.load(name, train_images=1000, evaluation_images=1000)
    assert splits.sizes == (1000, 1000, 1000)
    counts = sum(labels.numpy().sum(0) for _, labels in splits.train)
    assert (counts > 50).all()

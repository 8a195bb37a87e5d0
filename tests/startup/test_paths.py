"""Paths as users write them: ~ is the home folder wherever a path may be given; text is UTF-8."""

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from nglkeras import UserError, paths
from nglkeras.data.catalog import data_directory
from nglkeras.expression import Expression
from nglkeras.losses import load_loss, save_loss
from nglkeras.report import figures, output
from nglkeras.runs.journal import Journal, Records
from nglkeras.search import GeneticProgramming, search
from nglkeras.search.plots import tree
from nglkeras.training.checkpoint import Checkpoint, Checkpoints

BOM = b"\xef\xbb\xbf"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of its own, and an empty working directory beside it."""
    folder, work = tmp_path / "home", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.chdir(work)
    yield folder
    assert list(work.iterdir()) == []


def run_search(path):
    strategy = GeneticProgramming(population_size=2, generations=0)
    search(strategy, lambda e: -float(e.size), out=path, quiet=True)


def draw():
    return tree(Expression.parse("1 - y_pred"))


class TestHome:
    @pytest.mark.parametrize("kind", [str, Path])
    @pytest.mark.parametrize(
        "write",
        [
            run_search,
            Journal,
            lambda path: save_loss(path, "1 - y_pred"),
            lambda path: figures.save(draw, path, "tree", ["svg"]),
            lambda path: Checkpoint(path, "key").write({}, {}),
            lambda path: Checkpoints(path).of("key", 1).write({}, {}),
        ],
        ids=["search", "Journal", "save_loss", "figures.save", "Checkpoint", "Checkpoints"],
    )
    def test_what_is_written_goes_there(self, home, write, kind):
        write(kind("~/found"))
        assert (home / "found").exists()

    def test_a_script_writes_there(self, home, script):
        code, *_ = script("figure_a", "--out", "~/found", "--format", "svg")
        assert code == 0
        assert (home / "found" / "figure_a.svg").exists()

    def test_a_loss_is_read_from_there(self, home):
        save_loss(home / "best.json", "1 - y_pred")
        assert load_loss("~/best.json").formula == "1 - y_pred"

    def test_weights_are_read_from_there(self, home):
        from nglkeras.experiments.classification import models
        from nglkeras.experiments.segmentation.architectures import check_weights
        from nglkeras.runs.trial import initial_weights

        model = models.build("small_cnn", (28, 28, 1), 10)
        model.get_layer("small_trunk").save_weights(home / "trunk.weights.h5")
        models.build("small_cnn", (28, 28, 1), 10, weights="~/trunk.weights.h5")
        assert initial_weights("~/trunk.weights.h5")["weights"] == str(home / "trunk.weights.h5")
        check_weights("unet", "~/trunk.weights.h5")

    def test_data_are_read_from_there(self, home, monkeypatch):
        from nglkeras.experiments.imagenet import sources as imagenet_sources
        from nglkeras.experiments.segmentation import catalog, sources

        (home / "classes.txt").write_text("sky\nroad\n", encoding="utf-8")
        assert catalog.get_info("folder", "~").classes == ("sky", "road")
        with pytest.raises(UserError) as error:
            sources.load("folder", "~")
        assert str(home) in str(error.value)
        with pytest.raises(UserError) as error:
            imagenet_sources.load("folder", "~/images")
        assert str(home / "images") in str(error.value)
        assert data_directory("~/tfds") == home / "tfds"
        monkeypatch.setenv("TFDS_DATA_DIR", "~/elsewhere")
        assert data_directory(None) == home / "elsewhere"

    def test_a_status_is_read_from_there(self, home, script):
        run_search(home / "found")
        code, out, _ = script("status", "~/found")
        assert code == 0
        assert str(home / "found") in out

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("~nobody-of-this-name/x", "is not a path"),
            (3, "3 is not a path"),
            (None, "None"),
        ],
    )
    def test_what_cannot_be_is_a_line(self, path, message):
        with pytest.raises(UserError, match=message):
            paths.expand(path)


class TestByteOrderMark:
    def test_before_a_loss_file(self, tmp_path):
        path = tmp_path / "best.json"
        save_loss(path, "1 - y_pred")
        path.write_bytes(BOM + path.read_bytes())
        assert load_loss(path).formula == "1 - y_pred"

    def test_before_a_journal(self, tmp_path):
        run_search(tmp_path)
        path = tmp_path / "search.jsonl"
        path.write_bytes(BOM + path.read_bytes())
        reported = []
        records = list(Records(path, reported.append).read())
        assert len(records) == len(path.read_bytes().splitlines())
        assert reported == []


MODULES = sorted([*(ROOT / "nglkeras").rglob("*.py"), *(ROOT / "reproduce").glob("*.py")])


def names_its_encoding(call):
    """Whether a call that may open a text file says in which encoding."""
    given = {keyword.arg for keyword in call.keywords}
    match call.func.attr:
        case "read_text":
            return "encoding" in given or bool(call.args)
        case "write_text":
            return "encoding" in given or len(call.args) > 1
        case "open":
            is_file = ast.unparse(call.func.value) not in ("os", "Image", "tarfile", "zipfile")
            modes = [a.value for a in call.args if isinstance(a, ast.Constant)]
            is_text = not any(isinstance(mode, str) and "b" in mode for mode in modes)
            return "encoding" in given or not (is_file and is_text)
    return True


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_read_and_written_in_an_encoding_that_the_code_names(path):
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    silent = [call for call in calls if not names_its_encoding(call)]
    assert [f"line {call.lineno}: {ast.unparse(call)}" for call in silent] == []


class TestOtherEncodings:
    def test_a_screen_of_ascii_shows_other_characters_as_question_marks(self):
        command = [sys.executable, ROOT / "reproduce" / "table1.py"]
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
        run = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout.isascii()

    def test_so_does_a_search_without_a_script(self, monkeypatch):
        screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", screen)
        output.say("f1†", "α")
        screen.flush()
        assert screen.buffer.getvalue() == b"f1?\n?\n"


class TestReplacing:
    def test_text_and_bytes(self, tmp_path):
        path = tmp_path / "kept"
        for mode, content in (("w", "ü\r\n"), ("wb", b"\x00")):
            with paths.replacing(path, mode) as file:
                file.write(content)
            raw = content if mode == "wb" else content.encode()
            assert path.read_bytes() == raw
        assert list(tmp_path.iterdir()) == [path]

    def test_what_is_broken_off_replaces_nothing(self, tmp_path):
        path = tmp_path / "kept"
        path.write_text("before")
        with pytest.raises(TypeError), paths.replacing(path) as file:
            file.writelines(["half", None])
        assert path.read_text() == "before"

"""The archive of a release: what is in it, the same bytes from the same content, checksums."""

import hashlib
import os
import shutil
import subprocess
import tarfile

import pytest
from conftest import ROOT

import nglkeras
from nglkeras.errors import UserError
from nglkeras.experiments.archive import packing
from nglkeras.report import output

NAME = f"nglkeras-results-{nglkeras.__version__}"
KEPT = {
    "results/DATASHEET.md": "# Data sheet",
    "results/studies.toml": "[[study]]",
    "results/paper/README.md": "no folder of a table",
    "results/table2/kept/journal.jsonl": '{"key": "a"}\n{"key": "b"}\n',
    "results/table2/kept/table2.csv": "loss\nCE\n",
    "LICENSE": "MIT",
}
LEFT_OUT = (
    *("results/table2/kept/table2.png", "results/table2/kept/journal.jsonl.lock"),
    *("results/table2/kept/journal.status.json", "results/table2/kept/.hidden.csv.tmp"),
    *("results/table2/demo/journal.jsonl", "results/glo/paper/a/journal.jsonl"),
    *("results/benchmark/new/a.csv", "results/calibration/full/searches/1/search.jsonl"),
    *("results/DATASHEET.md.j2", "results/queue.txt", "README.md"),
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Networks in the working directory would be packed, too."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    for name, text in [*KEPT.items(), *((name, "left out") for name in LEFT_OUT)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def weights(tmp_path):
    """A folder of networks as `weights.py` leaves it; packing does not load them."""
    folder = tmp_path / "weights"
    folder.mkdir()
    content = b"a network"
    (folder / "a.keras").write_bytes(content)
    (folder / "part-b.keras").write_bytes(b"half a network")
    (folder / "journal.jsonl").write_text('{"key": "a"}\n')
    digest = hashlib.sha256(content).hexdigest()
    (folder / "networks.csv").write_text(f"file,key,sha256\na.keras,a,{digest}\n")
    return folder


def contents(path):
    with tarfile.open(path) as archive:
        return {
            member.name.removeprefix(f"{NAME}/"): archive.extractfile(member).read()
            for member in archive
        }


def test_has_rows_and_tables_and_says_how_many(project, script, tmp_path, monkeypatch):
    monkeypatch.chdir(project)
    code, out, err = script("pack", "--out", tmp_path)
    assert (code, err) == (0, "")
    found = contents(tmp_path / f"{NAME}.tar.gz")
    assert found.pop("SHA256SUMS")
    assert found == {name: text.encode() for name, text in KEPT.items()}
    assert "6 files, 0 of them networks; 2 lines of journals; 0.0 MB; all checksums agree" in out


def test_has_the_listed_networks(project, weights, script, tmp_path):
    arguments = ["--results", project / "results", "--weights", weights, "--out", tmp_path]
    code, out, _ = script("pack", *arguments)
    assert code == 0
    found = contents(tmp_path / f"{NAME}.tar.gz")
    there = {name for name in found if name.startswith("weights/")}
    assert there == {f"weights/{name}" for name in ("a.keras", "journal.jsonl", "networks.csv")}
    assert "9 files, 1 of them networks; 3 lines of journals" in out


def test_networks_are_found_where_weights_writes_them(project, weights, script, monkeypatch):
    monkeypatch.chdir(project)
    shutil.copytree(weights, "build/weights")
    code, out, _ = script("pack")
    assert code == 0
    assert "1 of them networks" in out
    assert (project / "dist" / f"{NAME}.tar.gz").is_file()
    # As it is before the first network is trained.
    (project / "build/weights/networks.csv").unlink()
    assert script("pack")[0] == 0


def test_same_content_same_bytes(project, script, tmp_path):
    archives = []
    for i in range(2):
        copy = shutil.copytree(project, tmp_path / f"copy{i}")
        for path in copy.rglob("*"):
            os.utime(path, (i, i))
        (copy / "LICENSE").chmod(0o600 + i)
        script("pack", "--results", copy / "results", "--out", copy / "dist")
        archives.append((copy / "dist" / f"{NAME}.tar.gz").read_bytes())
    assert archives[0] == archives[1]


def test_what_a_broken_off_one_has_left_is_removed(project, script, tmp_path):
    left = tmp_path / "part" / "nglkeras-results-0.0.1.tar.gz"
    left.parent.mkdir()
    left.write_bytes(b"half an archive")
    code, _, err = script("pack", "--results", project / "results", "--out", tmp_path)
    assert (code, err) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} >= {f"{NAME}.tar.gz", f"{NAME}.tar.gz.sha256"}
    assert not left.parent.exists()


def test_sha256sum_agrees(project, script, tmp_path):
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum")
    script("pack", "--results", project / "results", "--out", tmp_path)
    shutil.unpack_archive(tmp_path / f"{NAME}.tar.gz", tmp_path, filter="data")
    for folder, sums in ((tmp_path, f"{NAME}.tar.gz.sha256"), (tmp_path / NAME, "SHA256SUMS")):
        command = ["sha256sum", "--check", "--strict", sums]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    lines = (tmp_path / NAME / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == len(KEPT)


@pytest.fixture
def archive(project, tmp_path):
    path = tmp_path / f"{NAME}.tar.gz"
    packing.write(path, packing.members(project / "results"))
    return path


def test_every_cut_and_every_changed_byte_is_found(archive):
    good = archive.read_bytes()
    assert packing.check(archive) == sorted(KEPT)
    # The first ten bytes are gzip's header, which holds nothing but its magic number and method.
    for place in range(10, len(good), 7):
        for bad in (good[:place], good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]):
            archive.write_bytes(bad)
            with pytest.raises(UserError, match=f"{archive}"):
                packing.check(archive)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.update({"LICENSE": b"another"}), "LICENSE is not what SHA256SUMS"),
        (lambda found: found.update({"more": b""}), "more is not what SHA256SUMS says"),
        (lambda found: found.pop("LICENSE"), "LICENSE is not what SHA256SUMS says"),
        (lambda found: found.pop("SHA256SUMS"), "is no archive with SHA256SUMS"),
    ],
)
def test_another_archive_is_refused(change, message, archive, tmp_path):
    found = contents(archive)
    change(found)
    for name, content in found.items():
        path = tmp_path / NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with tarfile.open(archive, "w:gz") as changed:
        for name in found:
            changed.add(tmp_path / NAME / name, f"{NAME}/{name}")
    with pytest.raises(UserError, match=message):
        packing.check(archive)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "a.keras").write_text("other"), "a.keras is not the file that"),
        (lambda folder: (folder / "a.keras").unlink(), "a.keras: No such file or directory"),
        (lambda folder: (folder / "networks.csv").unlink(), "networks.csv: No such file or"),
        (lambda folder: (folder / "networks.csv").write_text("a,b\n1,2\n"), "is no list of netwo"),
    ],
)
def test_a_network_that_is_not_the_listed_one_is_refused(
    change, message, project, weights, mistake, tmp_path
):
    change(weights)
    arguments = "--results", project / "results", "--weights", weights, "--out", tmp_path / "out"
    assert message in mistake("pack", *arguments)
    assert not (tmp_path / "out").exists()


def test_mistakes(project, mistake, tmp_path):
    assert mistake("pack", "--results", tmp_path / "none").startswith("no journals in ")
    assert "cannot write to" in mistake(
        *("pack", "--results", project / "results", "--out", "/proc/nowhere")
    )


def test_the_committed_results_are_packed(tmp_path):
    files = packing.members(ROOT / "results")
    for name in ("results/DATASHEET.md", "results/glo/mnist/journal.jsonl", "LICENSE"):
        assert name in files
    path = tmp_path / f"{NAME}.tar.gz"
    assert packing.write(path, files) > 1_000
    assert packing.check(path) == list(files)


def test_scratch_folders_are_those_that_git_ignores():
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = [line for line in lines if line.startswith("/results/")]
    assert [f"/results/{pattern}/" for pattern in output.SCRATCH] == ignored

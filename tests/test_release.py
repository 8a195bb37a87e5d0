"""What a release consists of: documents that agree, a wheel that works alone, the whole source."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from email.parser import HeaderParser
from zipfile import ZipFile

import pytest
import yaml
from conftest import ROOT

import nglkeras
from nglkeras.report.printed import read_printed


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


class TestDocuments:
    @pytest.fixture(scope="class")
    @staticmethod
    def citation():
        return yaml.safe_load(text_of("CITATION.cff"))

    def test_versions_and_dates_agree(self, citation):
        headings = re.findall(r"^## (.*)", text_of("CHANGELOG.md"), re.MULTILINE)
        released = [line for line in headings if line != "Unreleased"]
        assert released[0] == f"{nglkeras.__version__} - {citation['date-released']}"
        assert citation["version"] == nglkeras.__version__
        assert headings.index(released[0]) <= 1
        assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", line) for line in released)

    def test_sections_of_the_changelog_are_those_of_its_format(self):
        sections = re.findall(r"^### (.*)", text_of("CHANGELOG.md"), re.MULTILINE)
        assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}

    def test_both_papers_are_cited(self, citation):
        addresses = [reference["url"] for reference in citation["references"]]
        assert addresses == [f"https://arxiv.org/abs/{n}" for n in ("2404.12948", "1905.11528")]
        assert all(address in text_of("README.md") for address in addresses)

    def test_the_citation_is_valid(self):
        from_file = pytest.importorskip("cffconvert").Citation
        from_file(text_of("CITATION.cff")).validate()

    @pytest.mark.parametrize(
        ("name", "requirements"),
        [
            ("Dockerfile", "requirements-cpu.txt"),
            ("Dockerfile.gpu", "requirements.txt"),
            ("environment.yml", "requirements-cpu.txt"),
            (".devcontainer/devcontainer.json", "requirements-cpu.txt"),
        ],
    )
    def test_environments_install_what_the_readme_does(self, name, requirements):
        text = text_of(name)
        found = yaml.safe_load(text) if name.endswith("yml") else {}
        lines = found.get("dependencies", [{}])[-1].get("pip") or re.findall(
            r"pip install (?:--no-cache-dir )?([^\"\n]+)", text
        )
        assert lines == [f"-r {requirements}"]
        assert (ROOT / requirements).exists()


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def files():
    """Names of the repository's files, those not yet committed too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no clone")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def built(files, tmp_path_factory):
    """The folder with wheel and source archive, built from a copy of the repository's files."""
    pytest.importorskip("build")
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    run(sys.executable, "-m", "build", "--outdir", out, tree)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.mark.slow
class TestArchives:
    def test_the_source_archive_is_the_repository(self, built, files):
        (path,) = built.glob("*.tar.gz")
        with tarfile.open(path) as archive:
            names = [member.name.partition("/")[2] for member in archive if member.isfile()]
        made = {"PKG-INFO", "setup.cfg"} | {name for name in names if "egg-info/" in name}
        assert set(names) - made == files

    def test_the_wheel_is_the_package_and_its_licence(self, wheel, files):
        names = ZipFile(wheel).namelist()
        ours = {name for name in names if ".dist-info/" not in name}
        assert ours == {name for name in files if name.startswith("nglkeras/")}
        licence = f"nglkeras-{nglkeras.__version__}.dist-info/licenses/LICENSE"
        assert ZipFile(wheel).read(licence).decode() == text_of("LICENSE")

    def test_the_losses_require_keras_alone(self, wheel):
        name = f"nglkeras-{nglkeras.__version__}.dist-info/METADATA"
        metadata = HeaderParser().parsestr(ZipFile(wheel).read(name).decode())
        required = [one for one in metadata.get_all("Requires-Dist") if "extra ==" not in one]
        assert [re.match(r"\w+", one)[0] for one in required] == ["keras"]
        assert metadata["License-Expression"] == "MIT"

    def test_an_installed_wheel_has_losses_data_and_the_command(self, wheel, tmp_path):
        install = ["-m", "pip", "install", "--no-deps", "--no-index", "--target", tmp_path, wheel]
        run(sys.executable, *install)
        code = """
import nglkeras
from nglkeras.report import printed
print(nglkeras.__file__, float(nglkeras.NGL()([[0.0, 1.0]], [[0.3, 0.7]])))
print(*printed.read_printed("table2").index, sep=",")
"""
        place = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(tmp_path)}}
        values, rows = run(sys.executable, "-c", code, **place).splitlines()
        file, loss = values.split()
        assert file == str(tmp_path / "nglkeras" / "__init__.py")
        assert float(loss) == pytest.approx(float(nglkeras.NGL()([[0.0, 1.0]], [[0.3, 0.7]])))
        assert rows == ",".join(read_printed("table2").index)
        version = run(sys.executable, tmp_path / "bin" / "nglkeras", "--version", **place)
        assert version == f"nglkeras {nglkeras.__version__}\n"

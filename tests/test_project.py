"""What holds for the project as a whole."""

import re
import subprocess
import sys

from conftest import ROOT


def test_both_requirements_are_the_same_but_for_tensorflow():
    pins = [
        {
            line.split(";")[0].split("#")[0].strip()
            for line in (ROOT / name).read_text().splitlines()
            if line and not line.startswith("#")
        }
        for name in ("requirements.txt", "requirements-cpu.txt")
    ]
    assert pins[0] ^ pins[1] == {"tensorflow[and-cuda]==2.21.0", "tensorflow-cpu==2.21.0"}


def test_import_is_quick():
    code = (
        "import keras, time; start = time.perf_counter(); import nglkeras;"
        "print(time.perf_counter() - start)"
    )
    seconds = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
        for _ in range(2)
    )
    assert seconds < 0.3


def test_import_needs_nothing_but_keras():
    code = (
        "import keras, sys; before = set(sys.modules); import nglkeras;"
        "print({name.split('.')[0] for name in set(sys.modules) - before})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "{'nglkeras'}"
    # Keras has loaded its backend by then: that we do not must be read.
    package = ROOT / "nglkeras"
    for path in (package / "__init__.py", package / "errors.py", *package.glob("losses/*.py")):
        source = path.read_text()
        assert not re.search(r"^(import|from) (tensorflow|jax|torch)", source, re.MULTILINE)


def test_everything_public_can_be_had():
    import nglkeras

    for name in nglkeras.__all__:
        assert getattr(nglkeras, name) is not None
    assert set(nglkeras._LAZY) <= set(nglkeras.__all__)


def test_readme_names_only_what_exists():
    readmes = [(ROOT / folder / "README.md").read_text() for folder in ("", "results")]
    for path in re.findall(
        r"(?:reproduce|figures|results|nglkeras|tests)/[\w./-]*\w", "".join(readmes)
    ):
        assert (ROOT / path).exists(), path
    for folder, readme in zip((ROOT, ROOT / "results"), readmes, strict=True):
        for path in re.findall(r"\]\((?!http|#)([^)#]+)", readme):
            assert (folder / path).exists(), path

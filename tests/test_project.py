"""What holds for the project as a whole."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import conftest
import keras
import matplotlib
import pytest
from conftest import ROOT, run_python

import nglkeras


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


def test_import_is_quick_quiet_and_needs_nothing_but_keras(tmp_path):
    """And a saved model finds the losses, though Keras is imported after them."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs))
    losses = nglkeras.NGL(alpha=2.5), nglkeras.losses.ngl, nglkeras.SparseDice()
    paths = [tmp_path / f"{i}.keras" for i in range(len(losses))]
    for path, loss in zip(paths, losses, strict=True):
        model.compile("sgd", loss)
        model.optimizer.build(model.trainable_variables)
        model.save(path)
    code = f"""
import sys, threading, time

def imported():
    return {{name.split(".")[0] for name in sys.modules}} - sys.stdlib_module_names

before, start = imported(), time.perf_counter()
import nglkeras
from nglkeras.experiments import discovery
seconds = time.perf_counter() - start
print(*imported() - before)
# Two threads at a time, one through Keras and one through the losses.
thread = threading.Thread(target=lambda: nglkeras.NGL)
thread.start()
import keras
thread.join()
for path in {list(map(str, paths))}:
    loss = keras.models.load_model(path).loss
    print(getattr(loss, "__name__", type(loss).__name__), getattr(loss, "alpha", ""))
assert seconds < 0.3, seconds
"""
    run = run_python(code)
    assert (run.stderr, run.stdout.split()) == ("", ["nglkeras", "NGL", "2.5", "ngl", "SparseDice"])
    # Keras loads its backend itself: that we do not must be read. Only the kernels of PyTorch need
    # it in their module, which is imported where PyTorch is the backend.
    package = ROOT / "nglkeras"
    paths = {package / "__init__.py", package / "errors.py", *package.rglob("losses/**/*.py")}
    for path in paths - {package / "losses/kernel_torch.py"}:
        source = path.read_text()
        assert not re.search(r"^(import|from) (tensorflow|jax|torch)", source, re.MULTILINE)


def test_everything_public_can_be_had():
    assert dir(nglkeras) == sorted(nglkeras.__all__)
    # A room without public names shows its modules.
    assert {"compiled", "schedule"} <= set(dir(nglkeras.training))
    with pytest.raises(AttributeError, match="module 'nglkeras' has no attribute 'NLG'"):
        nglkeras.NLG  # noqa: B018 - it is looked up


@pytest.mark.parametrize(
    "package",
    [
        nglkeras,
        nglkeras.search,
    ],
)
def test_what_type_checkers_see_of_a_package_is_what_it_has(package):
    source = ast.parse(Path(package.__file__).read_text())
    (block,) = (node for node in source.body if isinstance(node, ast.If))
    declared = {name.name for node in block.body for name in node.names}
    assert declared == set(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_readme_names_only_what_exists():
    readmes = [(ROOT / folder / "README.md").read_text() for folder in ("", "results")]
    for path in re.findall(
        r"(?:reproduce|figures|results|nglkeras|tests)/[\w./-]*\w", "".join(readmes)
    ):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("*.md"), *(ROOT / "results").glob("*.md"), *(ROOT / "docs").glob("**/*.md")],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_links_between_files_lead_somewhere(path):
    # Pages with elements of HTML are made for the site.
    in_the_site = "explorer" in path.parts
    text = path.read_text(encoding="utf-8")
    assert "{{" not in text
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", text):
        assert in_the_site or (path.parent / link).exists(), link


# Guides whose blocks build on the ones before.
IN_ORDER = ["search.md"]


def blocks_of(path):
    """Return the Python blocks of a guide but for doctests, and the lines where they stand."""
    text = path.read_text(encoding="utf-8")
    for block in re.finditer(r"^```python\n(?!>>>)(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text[: block.start()].count("\n") + 2, block[1]


def run_block(path, line, code, namespace):
    # Errors name the line of the guide.
    exec(compile("\n" * (line - 1) + code, path, "exec"), namespace)


@pytest.mark.parametrize(
    ("path", "line", "code"),
    [
        # A confirmation takes a minute.
        pytest.param(
            *(path, line, code),
            id=f"{path.name}:{line}",
            marks=[pytest.mark.slow] * ("confirm(" in code),
        )
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        if path.name not in IN_ORDER
        for line, code in blocks_of(path)
    ],
)
def test_blocks_of_the_guides_run_as_they_stand(path, line, code, tmp_path, monkeypatch):
    own = re.match("import (jax|torch)\n", code)
    if own and own[1] != keras.backend.backend():
        pytest.skip(f"is for {own[1]}")
    monkeypatch.chdir(tmp_path)
    # Some read committed rows.
    Path("results").symlink_to(ROOT / "results")
    try:
        run_block(path, line, code, {})
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_ORDER)
def test_blocks_of_these_guides_run_in_order(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    path = ROOT / "docs" / name
    namespace = {"__name__": "docs"}
    for line, code in blocks_of(path):
        run_block(path, line, code, namespace)


def test_skipped_tests_are_run_once_their_packages_are_there():
    cache, deselected = {}, []
    config = SimpleNamespace(
        cache=SimpleNamespace(get=cache.get, set=cache.__setitem__),
        getoption={"--skipped": True}.get,
        hook=SimpleNamespace(pytest_deselected=lambda items: deselected.extend(items)),
    )

    def run(**outcomes):
        stats = {
            outcome: [SimpleNamespace(nodeid=name, user_properties=[]) for name in names.split()]
            for outcome, names in outcomes.items()
        }
        conftest.pytest_terminal_summary(SimpleNamespace(stats=stats, config=config))

    run(passed="a b", skipped="c d")
    # Another run: other tests, and one whose package has come since.
    run(passed="d e", skipped="f")
    items = [SimpleNamespace(nodeid=name) for name in "abcdef"]
    conftest.pytest_collection_modifyitems(config, items)
    assert [item.nodeid for item in items] == ["c", "f"]
    assert [item.nodeid for item in deselected] == ["a", "b", "d", "e"]

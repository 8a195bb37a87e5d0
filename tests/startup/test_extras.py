"""A package that is missing is said in a line that names it and the extra that has it."""

import json
import os
import pickle
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT, run_python

from nglkeras.startup.extras import (
    _PROJECTS,
    EXTRAS,
    MissingBackendError,
    MissingPackageError,
    needed,
    require,
)

# For each package, code that cannot do without it.
USES = {
    "matplotlib": "import nglkeras.experiments.classification.plots as plots; plots.figure1()",
    "pandas": "from nglkeras.experiments.classification.tables import cells; cells([], {}, None)",
    "jinja2": "from nglkeras.experiments.verification import documents",
    "scipy": "from nglkeras.report import statistics; statistics.interval([0.1, 0.2])",
    "msgspec": "from nglkeras import Journal",
    "tqdm": "from nglkeras.search import search",
    "gplearn": (
        "from nglkeras.search import Variation; import numpy;"
        "Variation().random_tree(numpy.random.RandomState(0))"
    ),
    "cma": (
        "from nglkeras.search import CoefficientSearch; from nglkeras import Expression;"
        "CoefficientSearch(Expression.parse('y_true/y_pred'))"
    ),
    "sympy": "from nglkeras import Expression; Expression.parse('y_pred*1').simplify()",
    "cloudpickle": "from nglkeras.executors import Processes; Processes(1)",
    "sklearn": "from nglkeras.data import sources; sources.source('digits', None)",
    "tensorflow_datasets": (
        "from nglkeras.data import sources; sources.source('cifar10', '/nowhere')"
    ),
    "tensorboard": (
        "from nglkeras.experiments.classification.shared_networks import SharedNetworks; "
        "from nglkeras.experiments.classification.protocol import TABLE2_SCALES as S; "
        "from nglkeras.experiments.classification.trial import plan; "
        "SharedNetworks(plan(S['demo'], ['CE'])[:1], log_dir='logs')"
    ),
    "ray": "from nglkeras.executors import Ray; Ray()",
    "deap": (
        f"import sys; sys.path.append({str(ROOT / 'reproduce')!r}); "
        "from benchmark import gp; gp._deap()"
    ),
    "bokeh": "from nglkeras.search import page; page.write_page('nowhere')",
    "PIL": "from nglkeras.data import image_files",
}
# For each package, a script that needs it before its first training.
SCRIPTS = {"pandas": "table2", "matplotlib": "figure1", "gplearn": "search", "cma": "glo_search"}
RUN = "import runpy, sys; sys.argv = {!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
# Runs pieces of code without a package each, as if it were not installed, and collects what they
# say. What several of them import is imported once for all.
WITHOUT = """
import json, os, sys, traceback
import cloudpickle, gplearn.functions, keras, matplotlib.figure, pandas, scipy.stats, tqdm

def run(package, code):
    for name in list(sys.modules):
        if name.split(".")[0] in (package, "nglkeras"):
            del sys.modules[name]
    sys.modules[package] = None
    try:
        exec(code, {"__name__": "case"})
    except ImportError as error:
        print(type(error).__name__, error, sep="|")
    except SystemExit as end:
        print("exit", end.code, sep="|")

for number, (package, code) in enumerate(json.load(sys.stdin)):
    if os.fork():
        os.wait()
        continue
    out = os.open(str(number), os.O_CREAT | os.O_WRONLY)
    os.dup2(out, 1)
    os.dup2(out, 2)
    try:
        run(package, code)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
    sys.stdout.flush()
    os._exit(0)
"""


def message(package):
    project = _PROJECTS.get(package, package)
    return f"{project} is not installed: pip install 'nglkeras[{EXTRAS[package]}]'"


def without(cases, folder):
    """Run (package, code) cases without their packages; returns what each has written."""
    if sys.platform == "win32":
        pytest.skip("cases are forked")
    subprocess.run(
        [sys.executable, "-c", WITHOUT],
        input=json.dumps(cases),
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    return [(folder / str(i)).read_text(encoding="utf-8") for i in range(len(cases))]


class TestMissing:
    @pytest.fixture(scope="class")
    @staticmethod
    def said(tmp_path_factory):
        """What each case says, by package, for uses and for scripts."""
        cases = list(USES.items())
        for package, script in SCRIPTS.items():
            cases.append((package, RUN.format([str(ROOT / "reproduce" / f"{script}.py")])))
        texts = without(cases, tmp_path_factory.mktemp("cases"))
        of_scripts = texts[len(USES) :]
        return [dict(zip(USES, texts, strict=False)), dict(zip(SCRIPTS, of_scripts, strict=True))]

    @pytest.mark.parametrize("package", USES)
    def test_is_said_in_a_line(self, package, said):
        assert said[0][package].splitlines()[-1] == f"MissingPackageError|{message(package)}"

    @pytest.mark.parametrize("package", SCRIPTS)
    def test_ends_a_script_in_that_line_before_it_trains(self, package, said):
        *before, line, end = said[1][package].splitlines()
        assert line == f"error: {message(package)}", said[1][package]
        assert end == "exit|2"
        assert before == []


@pytest.mark.parametrize("code", ["from nglkeras.losses import NGL", "import nglkeras, keras"])
def test_a_missing_backend_names_the_installed_ones(code, tmp_path):
    (tmp_path / "jax.py").touch()
    setting = "import os, sys; os.environ['KERAS_BACKEND'] = 'tensorflow'"
    missing = "sys.modules.update(tensorflow=None, torch=None)"
    run = run_python(f"{setting}; {missing}; sys.path[:0] = [{str(tmp_path)!r}]; {code}")
    assert run.stderr.splitlines()[-1] == (
        "nglkeras.startup.extras.MissingBackendError: tensorflow, the backend that Keras is to "
        "use, is not installed: set KERAS_BACKEND=jax, or pip install tensorflow"
    )


def test_every_package_of_the_extras_is_known():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)
    listed = {
        line.split(">=")[0].split("[")[0]
        for extra in set(EXTRAS.values())
        for line in extras[extra]
    }
    assert listed <= {_PROJECTS.get(package, package) for package in EXTRAS}


def test_other_errors_stay_what_they_are():
    with pytest.raises(ModuleNotFoundError, match="nowhere"), needed():
        require("nowhere")
    with pytest.raises(KeyError), needed():
        raise KeyError
    require("json")


def test_it_is_an_import_error_and_a_mistake_of_the_user():
    assert issubclass(MissingPackageError, ImportError)
    assert MissingPackageError("sklearn").name == "sklearn"
    assert "scikit-learn" in str(MissingPackageError("sklearn"))


@pytest.mark.parametrize("error", [MissingPackageError("tqdm"), MissingBackendError("jax")])
def test_an_error_comes_whole_out_of_a_worker(error):
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), found.name) == (type(error), str(error), error.name)

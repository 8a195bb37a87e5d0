"""Importing the package changes nothing for whoever imports it."""

import subprocess
import sys

import pytest
from conftest import OF_ONE_BACKEND, ROOT

# What others bring is imported first; then every module of ours, and the state is compared.
CODE = """
import locale, logging, os, pkgutil, random, signal, sys, warnings
import importlib
for name in ("keras", "tensorflow", "matplotlib.figure", "matplotlib.patches", "pandas",
             "scipy.stats", "sklearn.datasets", "tqdm", "cloudpickle", "requests",
             "bokeh.plotting"):
    importlib.import_module(name)
import matplotlib as mpl
import numpy as np

def state():
    numpy = np.random.get_state()
    return {
        "matplotlib": {key: str(value) for key, value in dict.items(mpl.rcParams)},
        "pyplot": "matplotlib.pyplot" in sys.modules,
        "random": random.getstate(),
        "numpy": (numpy[1].tolist(), numpy[2:]),
        "warnings": list(warnings.filters),
        "numpy's errors": np.geterr(),
        "numpy's print": np.get_printoptions(),
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": {
            name: (logger.level, list(logger.handlers), logger.propagate)
            for name, logger in [("", logging.root), *logging.root.manager.loggerDict.items()]
            if isinstance(logger, logging.Logger)
        },
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "precision": __import__("keras").config.floatx(),
        "excepthook": sys.excepthook,
        "stdout": (sys.stdout, sys.stdout.errors),
    }

before = state()
import nglkeras
for module in pkgutil.walk_packages(nglkeras.__path__, "nglkeras."):
    if module.name.rpartition(".")[2] not in sys.argv[1:]:
        importlib.import_module(module.name)
after = state()
for what in before:
    if what == "logging":  # loggers may be made, those that were there stay as they were
        after[what] = {name: after[what][name] for name in before[what]}
    if before[what] != after[what]:
        print(what, before[what], after[what])
"""


@pytest.mark.slow
def test_importing_every_module_changes_no_setting():
    command = [sys.executable, "-c", CODE, *OF_ONE_BACKEND]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout == ""

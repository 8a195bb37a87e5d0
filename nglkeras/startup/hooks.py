"""What is added to the imports of this package's modules, of TensorFlow and of Keras.

A module of ours that lacks a package says which extra installs it. TensorFlow is imported quietly.
Our losses are registered as soon as Keras is there: a saved model finds no others.
"""

import importlib
import os
import shutil
import sys
from functools import partial
from importlib.abc import FileLoader, MetaPathFinder

from nglkeras.startup.extras import needed
from nglkeras.startup.quiet import quiet

_LOSSES = "nglkeras.losses"


def _import_ours(execute, module):
    with needed():
        execute(module)


def _import_tensorflow(execute, module):
    with quiet():
        execute(module)
        # Where there is no GPU, it says so once, at the first look: now rather than later.
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        if module.test.is_built_with_cuda() and (hidden or shutil.which("nvidia-smi") is None):
            module.config.list_physical_devices("GPU")


def _import_keras(execute, module):
    execute(module)
    # If another thread is importing them and waits for Keras, neither may wait for the other.
    if _LOSSES not in sys.modules:
        importlib.import_module(_LOSSES)


_IMPORTS = {"tensorflow": _import_tensorflow, "keras": _import_keras}


class _Finder(MetaPathFinder):
    """Lets the other finders find a module, and wraps the execution of those named above."""

    def find_spec(self, name, path=None, target=None):
        """Find as the others do; see `importlib.abc.MetaPathFinder`."""
        wrapper = _import_ours if name.startswith("nglkeras.") else _IMPORTS.get(name)
        if wrapper is None or name in sys.modules:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        # Loaders of another kind, such as that of a zip file, may serve other modules too.
        if spec is not None and isinstance(spec.loader, FileLoader):
            spec.loader.exec_module = partial(wrapper, spec.loader.exec_module)
        return spec


def install() -> None:
    """Wrap these imports from now on, once; if Keras is there, register our losses now."""
    if "keras" in sys.modules:
        importlib.import_module(_LOSSES)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())

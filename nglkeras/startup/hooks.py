"""Hooks for the imports of our own modules, TensorFlow and Keras.

If one of our modules needs a missing package, the error names the extra that installs it; if Keras
needs a missing backend, the error says how to choose another. TensorFlow is imported quietly. When
Keras is imported, our losses are registered with it, so that saved models can be loaded.
"""

import importlib
import os
import shutil
import sys
from functools import partial
from importlib.abc import FileLoader, MetaPathFinder

from nglkeras.startup.extras import BACKENDS, MissingBackendError, needed
from nglkeras.startup.quiet import quiet

_LOSSES = "nglkeras.losses"


def _import_ours(execute, module):
    with needed():
        execute(module)


def _import_tensorflow(execute, module):
    with quiet():
        execute(module)
        # Without a GPU TensorFlow writes warnings when it first looks for one: do that now.
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        if module.test.is_built_with_cuda() and (hidden or shutil.which("nvidia-smi") is None):
            module.config.list_physical_devices("GPU")


def _import_keras(execute, module):
    try:
        execute(module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in BACKENDS:
            raise
        raise MissingBackendError(package) from error
    # If another thread is importing the losses, it waits for Keras: waiting for it would deadlock.
    if _LOSSES not in sys.modules:
        importlib.import_module(_LOSSES)


_IMPORTS = {"tensorflow": _import_tensorflow, "keras": _import_keras}


class _Finder(MetaPathFinder):
    """Wraps the execution of our modules and those of `_IMPORTS`; other finders find them."""

    def find_spec(self, name, path=None, target=None):
        """Return the spec that another finder gives: see `importlib.abc.MetaPathFinder`."""
        wrapper = _import_ours if name.startswith("nglkeras.") else _IMPORTS.get(name)
        if wrapper is None or name in sys.modules:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        # Other loaders, such as that of a zip file, may be shared between modules.
        if spec is not None and isinstance(spec.loader, FileLoader):
            spec.loader.exec_module = partial(wrapper, spec.loader.exec_module)
        return spec


def install() -> None:
    """Install the hooks, once; if Keras is already imported, register our losses now."""
    if "keras" in sys.modules:
        importlib.import_module(_LOSSES)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())

"""Optional packages and the extras that install them.

The losses need only Keras. If a module of ours imports a package that is missing, the error says
what to install (see `hooks`). Functions that import a package are decorated with `needed()`.
"""

import contextlib
import importlib
from collections.abc import Iterator
from importlib.util import find_spec

from nglkeras.errors import UserError

# Extras of pyproject.toml by import name.
EXTRAS = {
    **dict.fromkeys(
        (
            *("PIL", "cloudpickle", "cma", "gplearn", "importlib_resources", "jinja2"),
            *("matplotlib", "msgspec", "pandas", "requests", "scipy", "sklearn", "sympy"),
            *("tensorboard", "tensorflow_datasets", "tqdm"),
        ),
        "reproduce",
    ),
    "tensorflow": "tensorflow",
    "ray": "ray",
    "deap": "benchmark",
    "bokeh": "page",
}
# Names on PyPI that differ from the import name.
_PROJECTS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "tensorflow_datasets": "tensorflow-datasets",
}
# Without KERAS_BACKEND and a keras.json that name another, Keras takes the first.
BACKENDS = ("tensorflow", "jax", "torch")


class MissingPackageError(UserError, ImportError):
    """Says that a package is not installed, and which extra installs it."""

    def __init__(self, package: str):
        project, extra = _PROJECTS.get(package, package), EXTRAS[package]
        super().__init__(f"{project} is not installed: pip install 'nglkeras[{extra}]'")
        self.name = package

    def __reduce__(self):
        return type(self), (self.name,)


class MissingBackendError(UserError, ImportError):
    """Says that Keras' backend is not installed, and which installed one to choose instead."""

    def __init__(self, backend: str):
        there = [name for name in BACKENDS if name != backend and find_spec(name)]
        choose = f"set KERAS_BACKEND={' or '.join(there)}, or " if there else ""
        super().__init__(
            f"{backend}, the backend that Keras is to use, is not installed: "
            f"{choose}pip install {backend}"
        )
        self.name = backend

    def __reduce__(self):
        return type(self), (self.name,)


@contextlib.contextmanager
def needed() -> Iterator[None]:
    """Turn the error for a missing package into a `MissingPackageError`.

    Raises:
        MissingPackageError: If the package is one of `EXTRAS`; other errors are not changed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingPackageError(package) from error


def require(*packages: str) -> None:
    """Import packages that are used later, so that a missing one is reported now.

    Raises:
        MissingPackageError: If one is not installed.
    """
    with needed():
        for package in packages:
            importlib.import_module(package)

"""Packages that import a module when something of it is first used.

Keras with TensorFlow takes seconds to import, and neither `import nglkeras` nor a script's
`--help` needs it. A module that is imported before options are parsed reaches what needs Keras as
an attribute of its package, such as `nglkeras.plots`, and thus imports it only when it gets there.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def attributes(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: Its `__name__`.
        modules: Its modules, each with the names that the package has from there.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name):
        if name in homes:
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
            setattr(sys.modules[package], name, value)
            return value
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names():
        own = getattr(sys.modules[package], "__all__", [*homes, *modules])
        return sorted(own)

    return get, names

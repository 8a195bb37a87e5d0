"""Packages that import a module when something of it is first used.

Keras with TensorFlow takes seconds to import, and neither `import nglkeras` nor a script's
`--help` needs it. A module that is imported before options are parsed reaches a module that needs
Keras, Matplotlib or pandas as an attribute of its room, such as `report.figures`, and thus imports
it only when it gets there.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec


def attributes(
    package: str, public: Mapping[str, Sequence[str]] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` of a package (PEP 562).

    Every module of the package is an attribute of it.

    Args:
        package: The package's `__name__`.
        public: Full names of modules, each with the names that the package takes from there; a
            module without names is itself taken, under the last part of its name.
    """
    homes, modules = {}, {}
    for module, names in (public or {}).items():
        homes |= dict.fromkeys(names, module)
        if not names:
            modules[module.rpartition(".")[2]] = module

    def get(name):
        if name in homes:
            value = getattr(importlib.import_module(homes[name]), name)
            setattr(sys.modules[package], name, value)
            return value
        module = modules.get(name, f"{package}.{name}")
        if name in modules or (not name.startswith("__") and find_spec(module) is not None):
            return importlib.import_module(module)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    names = sorted([*homes, *modules])
    return get, lambda: names

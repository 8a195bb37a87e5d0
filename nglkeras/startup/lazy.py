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
        public: The names that `__dir__` lists, by the module or package that each comes from.
    """
    homes = {name: module for module, names in (public or {}).items() for name in names}

    def get(name):
        if homes.get(name, package) != package:
            value = getattr(importlib.import_module(homes[name]), name)
            setattr(sys.modules[package], name, value)
            return value
        module = f"{package}.{name}"
        if not name.startswith("__") and find_spec(module) is not None:
            return importlib.import_module(module)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted(homes)

"""Packages whose modules are imported when they are first used.

Keras with TensorFlow takes seconds to import, and neither `import nglkeras` nor a script's
`--help` needs it. Modules that are imported before options are parsed therefore reach a module
that needs Keras, Matplotlib or pandas as an attribute of its package, such as `report.figures`.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pkgutil import iter_modules


def attributes(
    package: str, public: Mapping[str, Sequence[str]] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package (PEP 562).

    All modules of the package become attributes of it. `dir` lists its public names, or its
    modules where it has none.
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

    def names():
        modules = (module.name for module in iter_modules(sys.modules[package].__path__))
        return sorted(homes) if public else sorted(modules)

    return get, names

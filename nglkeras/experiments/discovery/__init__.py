"""The searches of paper A's five experiments and of paper B, on their data sets."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

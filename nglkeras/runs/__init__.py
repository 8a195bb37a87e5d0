"""Many networks: trials and their rows, the journal that keeps them, and what is running now."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

"""How often a search with confirmation says "better" where nothing is, and where something is."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

"""The papers' experiments, one room each, and what they share."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

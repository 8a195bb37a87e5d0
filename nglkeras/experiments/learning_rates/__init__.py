"""Each loss at its own best learning rate: the comparison that neither paper makes."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

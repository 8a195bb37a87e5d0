"""Paper B (GLO): figures 1 to 3 and further experiments; its search is `nglkeras.search.glo`."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

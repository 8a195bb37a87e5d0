"""Tables 1, 2, B.2.1 and B.2.2 of paper A: accuracies of classifiers."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

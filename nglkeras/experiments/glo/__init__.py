"""Paper B (GLO): figures 1 to 3 and further experiments.

`protocol` plans the trials of an experiment, `tables` computes numbers from their rows, `plots`
draws them, and `figures` holds the experiments that scripts run. The search that found these losses
is `nglkeras.search.glo`.
"""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

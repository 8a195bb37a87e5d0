"""Paper B (GLO): its experiments as data, as tables, as figures, and what its scripts share.

`protocol` says which networks an experiment trains, `tables` makes numbers of their rows, `plots`
draws them, `script` is what the scripts of reproduce/ have in common. The search that found these
losses is `nglkeras.search.glo`.
"""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

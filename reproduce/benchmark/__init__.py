"""What `benchmark.py` measures: ratios of interleaved runs in one process.

A time alone says more about a machine and its load than about a program. The contestants therefore
take turns, each round gives a ratio, and the median over the rounds counts. One module a
measurement; `measure` has what they share.
"""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

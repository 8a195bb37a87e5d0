"""Documents whose numbers are computed from committed rows: rendered, compared, written.

A template `NAME.md.j2` (Jinja2) stands beside its document `NAME.md`. Every measured number in it
is an expression over the rows, such as `{{ at_2000.CE.mean | fixed(4) }}`: see `numbers` for the
functions and `texts` for the filters. Nothing here imports Keras.
"""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

"""Tables 4 and 5 of paper A: semantic segmentation with U-Net and DeepLabv2.

`recipes` holds what the paper prints, `protocol` plans a table's trials, `architectures` names the
networks and `models` builds them, `pytorch` reads published weights, `sources` finds and checks
files, `data` streams them, `metrics` measures, `training` turns a trial into a row, `tables` and
`plots` show the rows, `experiment` has the experiments that the scripts run.
"""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

# Label of pixels that do not count, whatever label they have on disk.
VOID = 255

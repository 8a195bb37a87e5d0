"""Tables 4 and 5 of paper A: semantic segmentation with U-Net and DeepLabv2.

`recipes` holds what the paper prints, `protocol` says which networks a table trains, `models`
builds them, `pytorch` reads published weights, `data` reads images and masks, `survey` looks at
them before a training, `metrics` measures, `training` makes a row of a trial, `tables` and `plots`
show the rows, `script` is what the scripts of reproduce/ have in common.
"""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

# The label of pixels that count nowhere, whatever number a data set gives them on disk.
VOID = 255

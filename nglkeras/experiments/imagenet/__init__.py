"""Classification at scale: table 3 and figure 2 of paper A.

ResNets and Swin Transformers trained from scratch with AdamW, warm-up and cosine, Mixup and
CutMix. `protocol` plans trials, `training.run_trial` turns a trial into a row,
`experiment` has the experiments that the scripts run.
"""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

"""Classification at scale: table 3 and figure 2 of paper A.

ResNets and Swin Transformers trained from scratch with AdamW, warm-up and cosine, Mixup and
CutMix: `protocol` says what a trial is, `training.run_trial` turns one into a row.
"""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

"""Classification at scale: table 3 and figure 2 of paper A.

ResNets and Swin Transformers trained from scratch with AdamW, warm-up and cosine, Mixup and
CutMix: `protocol` says what a trial is, `training.run_trial` turns one into a row.
"""

from typing import TYPE_CHECKING

from nglkeras import lazy

if TYPE_CHECKING:
    from nglkeras.imagenet import plots, protocol, script, sources, tables, training

__all__ = ["plots", "protocol", "script", "sources", "tables", "training"]
__getattr__, __dir__ = lazy.attributes(__name__, dict.fromkeys(__all__, ()))

"""How one network is trained: schedule, optimizer, monitor, devices, checkpoints."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

"""Data sets: what is known of them, where they come from, how they are divided and streamed."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

"""The data of a release: networks trained again and saved, and all rows packed with checksums."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

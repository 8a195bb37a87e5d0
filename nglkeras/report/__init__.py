"""What people see of results: statistics, tables as text and LaTeX, figures, files."""

from nglkeras.startup import lazy

__getattr__, __dir__ = lazy.attributes(__name__)

"""Figure A of paper A: a loss as a tree, and the exchange of subtrees in a crossover.

    python reproduce/figure_a.py [--out DIR]

The trees are NGL, and two random trees with their child by the search's own crossover.
"""

from nglkeras import search
from nglkeras.experiments import script

if __name__ == "__main__":
    script.draw(__doc__, lambda: search.plots.figure_a(), "figure_a")

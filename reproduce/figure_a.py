"""Figure A of paper A: a loss as a tree, and the exchange of subtrees in a crossover.

    python reproduce/figure_a.py [--out DIR]

The trees are real: NGL, and two random ones that the search's own crossover has worked on.
"""

from nglkeras import search
from nglkeras.experiments import cli

if __name__ == "__main__":
    cli.run(lambda: cli.draw(__doc__, lambda: search.plots.figure_a(), "figure_a"))

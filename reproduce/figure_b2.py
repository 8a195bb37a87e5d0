"""Figure B.2 of paper A: f1 to f5 and cross entropy, and their gradients, in the binary case.

    python reproduce/figure_b2.py [--out DIR]

Values and automatic gradients come from the loss objects themselves. f1 to f3 are
reconstructions and daggered.
"""

from nglkeras.experiments import classification, script

if __name__ == "__main__":
    script.draw(__doc__, lambda: classification.plots.figure_b2(), "figure_b2")

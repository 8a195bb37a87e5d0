"""Figure 1 of paper A: NGL and cross entropy, and their gradients, for the true class.

    python reproduce/figure1.py [--out DIR]

Values and automatic gradients come from the loss objects themselves.
"""

from nglkeras.experiments import classification, script

if __name__ == "__main__":
    script.draw(__doc__, lambda: classification.plots.figure1(), "figure1")

"""Figure 1 of paper A: NGL and cross entropy, and their gradients, for the true class.

    python reproduce/figure1.py [--out DIR]

Values and automatic gradients come from the loss objects themselves.
"""

from nglkeras.experiments import classification, cli

if __name__ == "__main__":
    cli.run(lambda: cli.draw(__doc__, lambda: classification.plots.figure1(), "figure1"))

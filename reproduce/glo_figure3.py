"""Figure 3 of paper B: test accuracy in the course of training, for each loss.

    python reproduce/glo_figure3.py                    a demonstration: digits, a minute or so
    python reproduce/glo_figure3.py --scale paper      MNIST, 20,000 steps, every 250 steps

The rows are those of glo_figure1.py with the same options; what is missing is trained.
"""

from nglkeras.experiments.glo.figures import FIGURE_3

if __name__ == "__main__":
    FIGURE_3.run(__doc__)

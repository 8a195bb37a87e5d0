"""Figure 1 of paper B: mean accuracy of networks trained with each loss, and Welch's test.

    python reproduce/glo_figure1.py                    a demonstration: digits, a minute or so
    python reproduce/glo_figure1.py --scale reduced    MNIST, 2,000 steps, five networks a loss
    python reproduce/glo_figure1.py --scale paper      MNIST, 20,000 steps, ten networks a loss
    python reproduce/glo_figure1.py --scale reduced --class-reduction mean --losses Baikal --runs 2

Rows are journalled as they come: stop it when you like, the same command goes on. glo_figure3.py
draws the training curves of the same rows.
"""

from nglkeras.experiments.glo.figures import FIGURE_1

if __name__ == "__main__":
    FIGURE_1.run(__doc__)

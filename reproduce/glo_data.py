"""Paper B's data-portion experiment: test accuracy against the share of the training images.

    python reproduce/glo_data.py                     a demonstration: digits, two minutes
    python reproduce/glo_data.py --scale reduced     MNIST, 2,000 steps, four shares, three networks
    python reproduce/glo_data.py --scale paper       MNIST, 20,000 steps, nine shares, five networks
    python reproduce/glo_data.py --scale reduced --portions 0.05,0.5

Rows are journalled as they come: stop it when you like, the same command goes on.
"""

from nglkeras.experiments.glo.figures import DATA_PORTIONS

if __name__ == "__main__":
    DATA_PORTIONS.run(__doc__)

"""The search of paper A (Algorithm 1): evolution designs losses in one of five experiments.

    python reproduce/search.py                     a demonstration: digits, minutes on two cores
    python reproduce/search.py --experiment 2 --scale reduced      InceptionV3 on Fashion-MNIST,
                                                   fewer images, epochs and generations
    python reproduce/search.py --experiment 5 --scale paper        the full protocol
    python reproduce/search.py --generations 3 --population 8 --seed 1

Every trained network and every individual is on the disk before the next: stop it when you like,
the same command goes on. At the end stand the best losses as formulas, LaTeX and plots, the
convergence, the winner's family tree, its test accuracy beside that of CE and NGL, and
best.json, which `nglkeras.load_loss` turns into a loss. At paper scale every candidate is trained,
with a split and initial weights of its own, as in the paper; elsewhere some need no training, and
they are counted: --screen, --without and --draws choose.
"""

from nglkeras.experiments.discovery.searches import PAPER_A

if __name__ == "__main__":
    PAPER_A.run(__doc__)

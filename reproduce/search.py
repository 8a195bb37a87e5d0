"""The search of paper A (Algorithm 1): evolution designs losses in one of five experiments.

    python reproduce/search.py                     a demonstration: digits, minutes on two cores
    python reproduce/search.py --experiment 2 --scale reduced      InceptionV3 on Fashion-MNIST,
                                                   fewer images, epochs and generations
    python reproduce/search.py --experiment 5 --scale paper        the full protocol
    python reproduce/search.py --generations 3 --population 8 --seed 1

Every trained network and every individual is written to the disk at once: stop it when you like,
the same command goes on. At the end it writes the best losses as formulas, LaTeX and figures, the
convergence, the winner's family tree, and best.json for `nglkeras.load_loss`. Then it confirms: are
the best losses better than cross entropy, each at its own best learning rate, on new runs and the
test set? --confirm-runs N and --confirm-minutes M change how long that takes; 0 runs leave it out.
At paper scale every candidate is trained with its own split and initial weights, as in the paper.
At other scales checks spare some trainings, which are counted, and a training that falls behind all
survivors is stopped. --screen, --without, --draws and --racing change that.
"""

from nglkeras.experiments.discovery.searches import PAPER_A

if __name__ == "__main__":
    PAPER_A.run(__doc__)

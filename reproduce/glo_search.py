"""The search of paper B (GLO): a genetic algorithm designs a tree, CMA-ES its coefficients.

    python reproduce/glo_search.py                    a demonstration: digits, minutes on two cores
    python reproduce/glo_search.py --scale reduced    MNIST, the paper's network, 200 steps each
    python reproduce/glo_search.py --scale paper      100 generations, 2,000 steps each

Every candidate is written to the disk at once: stop it when you like, the same command goes on.
Each stage writes its best losses, the course of the fitness, and best.json for
`nglkeras.load_loss`. At the end the winner is confirmed: is it better than cross entropy, each loss
at its own best learning rate, on new runs and the test set (--confirm-runs, --confirm-minutes)? A
tree that comes again keeps its fitness, as in the paper. At paper scale nothing else spares a
training, and every evaluation has its own split and initial weights. --screen, --without, --draws
and --racing change that.
"""

from nglkeras.experiments.discovery.searches import GLO

if __name__ == "__main__":
    GLO.run(__doc__)

"""The search of paper B (GLO): a genetic algorithm designs a tree, CMA-ES its coefficients.

    python reproduce/glo_search.py                    a demonstration: digits, minutes on two cores
    python reproduce/glo_search.py --scale reduced    MNIST, the paper's network, 200 steps each
    python reproduce/glo_search.py --scale paper      100 generations, 2,000 steps each

Every candidate is on the disk before the next: stop it when you like, the same command goes on.
Each stage leaves its best losses, their course, and best.json, which `nglkeras.load_loss` turns
into a loss. At the end the winner is compared with cross entropy, Baikal and BaikalCMA on the test
set. The fitness of a tree that comes again is kept, as in the paper. What else spares trainings is
done but at paper scale, where every evaluation also has a split and initial weights of its own:
--screen, --without and --draws choose.
"""

from nglkeras.experiments.discovery.searches import GLO

if __name__ == "__main__":
    GLO.run(__doc__)

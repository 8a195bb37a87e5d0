"""How often does a search with confirmation say "better" where nothing is, and where something is?

    python reproduce/calibration.py                    two searches a task: minutes on two cores
    python reproduce/calibration.py --scale full --executor processes --workers 2     twenty

Both tasks are scikit-learn's digits: with shuffled labels no loss is better than another; with
outliers in the training data generalized cross entropy is better than cross entropy at any learning
rate. Every search begins with CE, NGL and generalized cross entropy. Every network is written to
the disk at once: stop it when you like, the same command goes on.
"""

from nglkeras.experiments.calibration.study import CALIBRATION

if __name__ == "__main__":
    CALIBRATION.run(__doc__)

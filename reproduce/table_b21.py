"""Table B.2.1 of paper A: the training settings of each data set, ours beside the printed ones.

    python reproduce/table_b21.py

A value on which both agree is shown once; where they differ, the printed one is in parentheses.
What else the illegible image sizes could be stands below.
"""

from nglkeras.experiments import script
from nglkeras.experiments.classification import data_sets

if __name__ == "__main__":
    script.main(lambda: data_sets.table_b21(__doc__))

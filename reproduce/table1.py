"""Table 1 of paper A: the data sets, as printed and as they are.

    python reproduce/table1.py [--data-dir DIR]

Where a data set is ready on this machine its images are counted, in all of its splits; else what
is known of it is shown. Nothing is downloaded.
"""

from nglkeras.experiments import script
from nglkeras.experiments.classification import data_sets

if __name__ == "__main__":
    script.main(lambda: data_sets.table1(__doc__))

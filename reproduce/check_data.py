"""Which data sets are ready, how large they are, on what terms, and how to get the rest.

python reproduce/check_data.py [--data-dir DIR]
"""

from nglkeras.experiments import script
from nglkeras.experiments.classification import data_sets

if __name__ == "__main__":
    script.main(lambda: data_sets.check_data(__doc__))

"""How often does paper B's search find Baikal again, and what does it find otherwise?

    python reproduce/rediscovery.py                    two small searches of each kind: two minutes
    python reproduce/rediscovery.py --scale full       ten of each: three quarters of an hour
    python reproduce/rediscovery.py --scale full --executor processes --workers 2     on two cores

The genetic algorithm of paper B with its network, on scikit-learn's digits; with losses as they
are, and with each brought to cross entropy's size (scale-free). The table says in how many searches
the best loss is Baikal, trains like it, has its pole t/p, or is cross entropy but for a factor, and
what the best losses reach. Every network is written to the disk at once: stop it when you like, the
same command goes on.
"""

from nglkeras.experiments.discovery.rediscovery import REDISCOVERY

if __name__ == "__main__":
    REDISCOVERY.run(__doc__)

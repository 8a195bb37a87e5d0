"""Paper B's transfer experiment: Baikal, found on MNIST, on CIFAR-10, by training duration.

    python reproduce/glo_transfer.py                     a demonstration: digits, a minute or so
    python reproduce/glo_transfer.py --scale reduced     CIFAR-10, four durations
    python reproduce/glo_transfer.py --scale paper       CIFAR-10, 18 durations
    python reproduce/glo_transfer.py --scale reduced --durations 500,1000

One network for each loss and duration, each duration with its own initial weights. The text gives
neither the network nor the durations: ours are models.build("glo_cifar10") and 1,000 to 18,000
steps. Rows are journalled as they come: stop it when you like, the same command goes on.
"""

from nglkeras.experiments.glo.figures import TRANSFER

if __name__ == "__main__":
    TRANSFER.run(__doc__)

"""Table B.2.2 of paper A: test accuracy of pre-trained networks fine-tuned with each loss.

    python reproduce/table_b22.py                    a demonstration: digits, minutes on two cores
    python reproduce/table_b22.py --scale reduced    from ImageNet weights, Fashion-MNIST and
                                                     CIFAR-10; sized for an hour on a GPU
    python reproduce/table_b22.py --scale small --models ResNet50
                                                     on small images, to a plateau
    python reproduce/table_b22.py --scale paper      630 networks: the full protocol
    python reproduce/table_b22.py --weights FILE     from a .weights.h5 file of the backbone

The demonstration has no ImageNet: its small network is first trained with cross entropy to
tell by how many quarter turns a digit is turned, and then fine-tuned on the digits. Everything
else is as in table2.py.
"""

from nglkeras.experiments.classification.pretraining import TABLE_B22

if __name__ == "__main__":
    TABLE_B22.run(__doc__)

"""Table 2 of paper A: test accuracy of networks trained from scratch with each loss.

    python reproduce/table2.py                     a demonstration: digits, minutes on two cores
    python reproduce/table2.py --scale reduced     Fashion-MNIST and CIFAR-10 on InceptionV3,
                                                   sized for about an hour on a GPU
    python reproduce/table2.py --scale small       Fashion-MNIST, CIFAR-10 and MNIST on small
                                                   images, to a plateau: a small CNN and ResNet50,
                                                   at most 15 minutes a network on two cores
    python reproduce/table2.py --scale paper       630 networks: the full protocol
    python reproduce/table2.py --scale reduced --datasets cifar10 --losses CE NGL --runs 1

Rows are journalled as they come: stop it when you like, the same command goes on. With all
GPUs of a machine: --strategy mirrored. What is there is printed in the paper's layout and
written as CSV, Markdown, LaTeX and PNG.
"""

from nglkeras.experiments.classification.experiment import TABLE_2

if __name__ == "__main__":
    TABLE_2.run(__doc__)

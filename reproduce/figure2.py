"""Figure 2 of paper A: ResNet101's mean validation accuracy by epoch: NGL, SCE and focal loss.

    python reproduce/figure2.py                    a demonstration: digits, a small ResNet, a minute
                                                   or two on two cores
    python reproduce/figure2.py --scale reduced    ResNet101 on Imagenette: some hours on a GPU
    python reproduce/figure2.py --scale paper      ResNet101 on ImageNet: each network some days on
                                                   eight GPUs
    python reproduce/figure2.py --scale reduced --model Swin-T --losses NGL CE

Curves are means over the runs (--runs), with the runs' range around them. Whole, and zoomed
from 100/180 of the epochs on as in the paper. Its networks are table 3's: rows that table3.py has
journalled are drawn as they are, what is missing is trained and counts there too. The same options
must be given for that.
"""

from nglkeras.experiments.imagenet.experiment import FIGURE_2

if __name__ == "__main__":
    FIGURE_2.run(__doc__)

r"""Table 5 of paper A: DeepLabv2 on COCO-Stuff164k, by pixel accuracy, mean IoU, mean accuracy.

    python reproduce/table5.py                     a demonstration: digits on photographs, minutes
    python reproduce/table5.py --scale reduced --data-dir COCO
                                                   10,000 images, crops of 161 pixels, one run
    python reproduce/table5.py --scale paper --data-dir COCO \
        --weights deeplabv2_multiscale=deeplabv1_resnet101-coco.npz
                                                   300,000 steps, 20 networks: the full protocol
    python reproduce/table5.py --dataset camvid --data-dir CAMVID --models unet

Rows are journalled as they come, and a training leaves checkpoints: stop it when you like, the
same command goes on in the middle of an epoch. COCO holds images/{train2017,val2017} and
annotations/{train2017,val2017}, the masks of stuffthingmaps_trainval2017. --help says what files of
weights are.
"""

from nglkeras.experiments.segmentation.experiment import TABLE_5

if __name__ == "__main__":
    TABLE_5.run(__doc__)

r"""Table 4 of paper A: mean IoU of U-Net and DeepLabv2, trained with each loss; and what they see.

    python reproduce/table4.py                     a demonstration: digits on photographs, minutes
    python reproduce/table4.py --scale reduced --data-dir CAMVID
                                                   U-Net (ResNet34) from random weights on CamVid
    python reproduce/table4.py --scale small --data-dir CAMVID --class-weights balanced
                                                   a narrow U-Net on CamVid, to a plateau
    python reproduce/table4.py --scale paper --data-dir VOC \
        --weights unet=resnet34.npz deeplabv2_multiscale=deeplabv1_resnet101-coco.npz
                                                   VOC 2012, 40 networks: the full protocol
    python reproduce/table4.py --dataset folder --data-dir MINE --models unet --image-size 128

Rows are journalled as they come, and a training leaves checkpoints: stop it when you like, the
same command goes on in the middle of an epoch. A folder holds {train,val,test}/images/NAME.jpg
and {train,val,test}/masks/NAME.png, whose pixels are labels; VOC is its official tar, unpacked, at
paper scale with the augmented list for DeepLabv2 (SegmentationClassAug, trainaug.txt). --help says
what files of weights are.
"""

from nglkeras.experiments.segmentation.experiment import TABLE_4

if __name__ == "__main__":
    TABLE_4.run(__doc__)

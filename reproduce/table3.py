"""Table 3 of paper A: ImageNet's top-1 accuracy of ResNets and Swin Transformers with each loss.

    python reproduce/table3.py                     a demonstration: digits, small networks, some
                                                   minutes on two cores
    python reproduce/table3.py --scale reduced     ResNet101 and Swin-T on Imagenette (10 classes,
                                                   160 pixels, 90 epochs): about a day on a GPU
    python reproduce/table3.py --scale paper       sixteen networks, 180 or 400 epochs of ImageNet:
                                                   some 1,240 hours of a GPU together
    python reproduce/table3.py --scale paper --dataset folder --data-dir /data/imagenet
    python reproduce/table3.py --scale reduced --models Swin-T --precision mixed_bfloat16

ImageNet is TFDS' imagenet2012: put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, which
image-net.org gives to those who register, into TFDS_DATA_DIR/downloads/manual; or a folder with
train/CLASS/*.JPEG and val/CLASS/*.JPEG. With all GPUs of a machine: --strategy mirrored; on a
cluster: --executor ray.

Every ten minutes, and after each epoch, a training writes down its state. Stop it when you like:
the same command goes on in the middle of the epoch. figure2.py draws the epochs of the same rows.
"""

from nglkeras.experiments.imagenet.experiment import TABLE_3

if __name__ == "__main__":
    TABLE_3.run(__doc__)

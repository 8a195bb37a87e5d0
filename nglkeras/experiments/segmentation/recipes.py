"""How tables 4 and 5 train each network, and what part of it each scale of a script does.

Printed in paper A: U-Net with a ResNet34 encoder on images resized to 224 x 224, Adam 1e-4, 100
epochs, batch 32, rate reduced on a plateau of the validation IoU (factor 0.2, patience 5), on
VOC 2012. DeepLabv2 with ResNet101 "[Nakashima 2018]", Adam 2.5e-5, polynomial decay of power 0.9,
weight decay 5e-4, 20,000 iterations on VOC 2012 and 300,000 on COCO-Stuff164k. Five runs.

The citation is the repository kazuto1011/deeplab-pytorch. What paper A does not print of DeepLabv2
follows its configs/voc12.yaml, configs/cocostuff164k.yaml and main.py. The rest is `PAPER_SILENT`.
"""

from dataclasses import dataclass, replace
from typing import Literal

from nglkeras.experiments.options import Scale, by_name
from nglkeras.training.schedule import ADAM, Decay, Plateau, Schedule

PAPER_SILENT = (
    "Not in paper A, and our choice: U-Net is trained and scored on images and masks resized to "
    "224 x 224, without crops, scaling or flips, since the paper says no more than resized; its "
    "least learning rate is illegible in print, and 1e-5 is our reading; its encoder starts from "
    "the weights that are given, else at random. DeepLabv2 follows the repository that the paper "
    "cites (kazuto1011/deeplab-pytorch): VOC's augmented training list, all of it, inputs at the "
    "scales 0.5, 0.75 and 1 with a loss for each scale and one for the maximum over them, "
    "BatchNormalization frozen as it is in the starting weights, two batches of 5 to an update, "
    "crops of 321 pixels after scaling by 0.5, 0.75, 1, 1.25 or 1.5, flips, no CRF. Our own in "
    "it: one learning rate for all layers, where the repository's SGD gives the head's kernels "
    "10 times and its biases 20 times the rate; weight decay as an L2 penalty of 2.5e-4 on "
    "kernels, whose gradient is 5e-4 w; labels of the nearest pixel to where each logit stands. "
    "Scores are of the published val sets. The definition of dice is ours."
)


@dataclass(frozen=True)
class SegmentationSchedule(Schedule):
    """A schedule whose learning rate may fall by a polynomial, to 0 over the training.

    Attributes:
        power: Exponent of the polynomial; `None` where the rate does not fall so.
    """

    power: float | None = None

    def decay(self, steps: int) -> Decay | None:
        """Return how the learning rate changes over a training of so many updates, if it does."""
        return self.power and Decay(steps * self.accumulation, power=self.power)


@dataclass(frozen=True)
class Views:
    """What is done to training images and their masks.

    Attributes:
        crop: Side of the square that is cut out, in pixels.
        scale: Smallest and largest factor of the random scaling before the crop.
        flip: Whether half of the images are mirrored.
        resize: Height and width to which all images are resized first, in evaluation too.
        scales: The only factors to draw from, each equally likely, instead of `scale`'s range.
    """

    crop: int
    scale: tuple[float, float] = (0.5, 1.5)
    flip: bool = True
    resize: int | None = None
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained on a data set.

    Attributes:
        schedule: Epochs, batches, optimizer and changes of the learning rate.
        views: What is done to training images and their masks.
        l2: Factor of an L2 penalty on the kernels; its gradient is twice that, times the kernel.
        weights: Initial weights that are downloaded, "imagenet"; `None` for random ones.
        validation: Whether a validation set is evaluated after each epoch. A data set without one
            gives a tenth of its training images for it.
        start: Initial weights of the source that the project cannot download by itself.
    """

    schedule: SegmentationSchedule
    views: Views
    l2: float = 0.0
    weights: str | None = None
    validation: bool = True
    start: str = ""


_UNET = Recipe(
    # The exponent of the least rate reads 3 or 5 elsewhere in the paper, and never 6.
    SegmentationSchedule(
        100, 32, "Adam", ADAM, 1e-4, Plateau(0.2, 5, 1e-5, monitor="val_mean_iou")
    ),
    Views(224, scale=(1.0, 1.0), flip=False, resize=224),
    start="a pre-trained ResNet34 encoder",
)


def _deeplab(iterations, between_evaluations):
    # SOLVER.ITER_SIZE: gradients of two batches of 5 are averaged for an update.
    length = {"steps_per_epoch": between_evaluations, "accumulation": 2, "power": 0.9}
    epochs = iterations // between_evaluations
    schedule = SegmentationSchedule(epochs, 10, "Adam", ADAM, 2.5e-5, plateau=None, **length)
    views = Views(321, scales=(0.5, 0.75, 1.0, 1.25, 1.5))
    # Nothing in the schedule depends on a validation set.
    return Recipe(schedule, views, 2.5e-4, "imagenet", validation=False, start="COCO weights")


_DEEPLAB = {
    "voc2012": _deeplab(20_000, 1_000),
    "voc2012_aug": _deeplab(20_000, 1_000),
    "coco_stuff164k": _deeplab(300_000, 10_000),
}
# The paper's recipes, by architecture and data set. "deeplabv2" has one of the three scales: less
# than the cited recipe, in a third of its time.
RECIPES = {
    **{("unet", dataset): _UNET for dataset in ("voc2012", "voc2012_aug")},
    **{("deeplabv2_multiscale", dataset): recipe for dataset, recipe in _DEEPLAB.items()},
    **{("deeplabv2", dataset): recipe for dataset, recipe in _DEEPLAB.items()},
}
# DeepLabv2's logits are sums over ten thousand features and more, and Adam's steps are of one size
# for all of them: at a higher rate dice and NGL leave it with a saturated softmax, where they have
# no gradient. Pairs of model and rate, for recipes that are not the paper's.
_DEEPLAB_RATES = (
    ("deeplabv2_narrow", 3e-4),
    ("deeplabv2", 2.5e-5),
    ("deeplabv2_multiscale", 2.5e-5),
    ("deeplabv2_multiscale_narrow", 3e-4),
)
# Our short trainings from random weights, on images at their own size. After 135 steps on CamVid
# the rate 1e-3 has a validation IoU of 27 %, the paper's 1e-4 24 % (cross entropy, one run each).
_FROM_SCRATCH = SegmentationSchedule(10, 8, "Adam", ADAM, 1e-3, plateau=None, power=0.9)
_SHORT = replace(_FROM_SCRATCH, epochs=6, steps_per_epoch=90)
# As the paper's, the rate may fall to a tenth of its first value.
_ON_IOU = Plateau(0.2, 5, 1e-4, monitor="val_mean_iou", stop_after=10)


@dataclass(frozen=True, kw_only=True)
class SegmentationScale(Scale):
    """The part of the protocol of tables 4 and 5 that a script carries out.

    Attributes:
        runs: Networks for each model and loss.
        train_images: Upper limit on training images.
        evaluation_images: Upper limit on images for validation, and for test.
        dataset: Data set: scenes, camvid, voc2012, voc2012_aug, coco_stuff164k or folder.
        models: Models: unet, deeplabv2, deeplabv2_multiscale, or one of these with _narrow.
        recipe: The recipe of all networks; `None` for the paper's.
        image_size: Side of the training images after cropping (and of all images where the recipe
            resizes them), in pixels; `None` for the recipe's.
        weights: Initial weights of encoders and trunks, for all models or for one: none, imagenet,
            a .weights.h5 file that Keras wrote of the encoder or trunk, or an .npz file with the
            state dict of torchvision's resnet34 (for unet) or of kazuto1011/deeplab-pytorch (for
            deeplabv2_multiscale; the paper's start is its deeplabv1_resnet101-coco.pth):
            numpy.savez(FILE, **{k: v.numpy() for k, v in torch.load(PTH).items()})
        precision: Dtype policy of the layers, float32 or mixed_bfloat16.
        learning_rates: Pairs of a model and its rate, where that is not the recipe's.
        datasets: Pairs of a model and its data set, where that is not `dataset`.
        class_weights: Weights of the classes in the loss; balanced: all classes have the same total
            weight over the training pixels; `None` for none.
    """

    dataset: str
    models: tuple[str, ...]
    recipe: Recipe | None = None
    image_size: int | None = None
    weights: tuple[str, ...] = ()
    precision: str = "float32"
    learning_rates: tuple[tuple[str, float], ...] = ()
    datasets: tuple[tuple[str, str], ...] = ()
    class_weights: Literal["balanced"] | None = None

    def dataset_of(self, model: str) -> str:
        """Return the name of the data set that a model is trained on."""
        return dict(self.datasets).get(model, self.dataset)


_DEMO = SegmentationScale(
    name="demo",
    note="a demonstration of the protocol on scikit-learn's digits painted on photographs, with "
    "narrow networks: not the paper's experiment, and no evidence for or against its numbers",
    dataset="scenes",
    models=("unet_narrow", "deeplabv2_narrow"),
    runs=2,
    recipe=Recipe(replace(_FROM_SCRATCH, epochs=8, learning_rate=5e-3), Views(64, (0.75, 1.25))),
    learning_rates=_DEEPLAB_RATES,
)
_PAPER = SegmentationScale(
    name="paper",
    note="the full protocol of the paper",
    dataset="coco_stuff164k",
    models=("deeplabv2_multiscale",),
    runs=5,
)
TABLE4_SCALES = by_name(
    _DEMO,
    SegmentationScale(
        name="reduced",
        note="U-Net with the paper's encoder from random weights on CamVid at half resolution, few "
        "steps, small crops: not the paper's data set",
        dataset="camvid",
        models=("unet",),
        runs=3,
        # 540 steps, evaluated every other pass over the 367 images.
        recipe=Recipe(_SHORT, Views(128, (0.75, 1.25))),
        precision="mixed_bfloat16",
        learning_rates=_DEEPLAB_RATES,
    ),
    SegmentationScale(
        name="small",
        note="a narrow U-Net from random weights on CamVid's scenes at 96 x 96 pixels, to a "
        "plateau: training ends when the validation IoU has not improved for 10 epochs at the "
        "least learning rate, or at the limit on epochs; not the paper's data set",
        dataset="camvid",
        models=("unet_narrow",),
        runs=3,
        recipe=Recipe(
            SegmentationSchedule(100, 8, "Adam", ADAM, 1e-3, _ON_IOU),
            Views(96, (0.75, 1.25), resize=96),
        ),
        precision="mixed_bfloat16",
        learning_rates=_DEEPLAB_RATES,
    ),
    replace(
        _PAPER,
        dataset="voc2012",
        models=("unet", "deeplabv2_multiscale"),
        datasets=(("deeplabv2", "voc2012_aug"), ("deeplabv2_multiscale", "voc2012_aug")),
    ),
)
TABLE5_SCALES = by_name(
    replace(_DEMO, models=("deeplabv2_narrow",)),
    SegmentationScale(
        name="reduced",
        note="the paper's data with one scale of its network, from random weights, with fewer "
        "images, iterations and runs and smaller crops: expect far less than the paper's "
        "numbers",
        dataset="coco_stuff164k",
        models=("deeplabv2",),
        recipe=Recipe(_FROM_SCRATCH, Views(161)),
        learning_rates=_DEEPLAB_RATES,
        train_images=10_000,
        evaluation_images=500,
    ),
    _PAPER,
)

"""What paper A fixes before a segmentation network is trained, and what we add; all of it data.

Printed: U-Net with a ResNet34 encoder at 224 x 224, Adam 1e-4, 100 epochs, batch 32, rate reduced
on a plateau of the validation IoU (factor 0.2, patience 5, least 1e-6 as far as it is legible), on
VOC 2012. DeepLabv2 with ResNet101, Adam 2.5e-5, polynomial decay of power 0.9, weight decay 5e-4,
20,000 iterations on VOC 2012 and 300,000 on COCO-Stuff164k. Five runs. The rest is `PAPER_SILENT`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import nglkeras
from nglkeras import protocol, segmentation
from nglkeras.devices import backend
from nglkeras.errors import UserError, unknown
from nglkeras.protocol import ADAM, PRECISIONS, Plateau, at_most
from nglkeras.segmentation.catalog import get_info
from nglkeras.trial import key_of, start_of

if TYPE_CHECKING:
    import keras

LOSSES = ("CE", "Focal", "Dice", "NGL")
# Of `models.ARCHITECTURES`.
MODELS = ("unet", "deeplabv2", "deeplabv2_multiscale", "unet_narrow", "deeplabv2_narrow")
PAPER_SILENT = (
    "Paper A does not give, and these are our choices: for U-Net, images and masks resized to 224 "
    "x 224, random scale 0.75 to 1.25, crop and flip, an encoder from random weights; for "
    "DeepLabv2, batch 10 and crops of 321 pixels with random scale 0.5 to 1.5 and flip, as "
    "DeepLabv2's authors have them, weight decay as an L2 penalty of 2.5e-4 on kernels (whose "
    "gradient is 5e-4 w, as with PyTorch's Adam), one scale and no CRF; the definition of dice; "
    "evaluation on the published val sets, a tenth of train set aside for what decides on a "
    "training; VOC's own 1,464 training images (voc2012_aug has the 10,582 that others use)."
)


@dataclass(frozen=True)
class Schedule(protocol.Schedule):
    """A schedule whose rate may fall by a polynomial, or on a plateau of the validation IoU.

    Attributes:
        power: Of the polynomial by which the rate falls to 0, step by step, over the whole
            training; `None` for none.
    """

    power: float | None = None


@dataclass(frozen=True)
class Views:
    """What is done to images and masks alike.

    Attributes:
        crop: Side of the square that a training image is cut to.
        scale: Smallest and largest factor by which it is enlarged before.
        flip: Whether half of them are mirrored.
        resize: Height and width that all images have, in evaluation too; `None` for their own.
    """

    crop: int
    scale: tuple[float, float] = (0.5, 1.5)
    flip: bool = True
    resize: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained on a data set.

    Attributes:
        schedule: How.
        views: On what.
        l2: Factor of an L2 penalty on the kernels; its gradient is twice that, times the kernel.
        weights: What the encoder or trunk starts from.
    """

    schedule: Schedule
    views: Views
    l2: float = 0.0
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class SegmentationTrial:
    """One network to be trained, and everything that can change the outcome.

    Attributes:
        dataset: One of `catalog.NAMES`.
        model: One of `models.NAMES`.
        loss: One of `LOSSES`.
        schedule: How the network is trained.
        views: What is done to images and masks.
        l2: As in `Recipe`.
        weights: What the encoder or trunk starts from: `None`, "imagenet" or a file.
        weights_sha256: Of that file.
        files_sha256: Of which files a "folder" consists.
        run: Number of the repetition. All losses share a run's split and initial weights.
        seed: Root of all randomness.
        train_images: At most so many.
        evaluation_images: At most so many for validation, and for test.
        replicas: Devices that share each batch.
        test: Whether the test set is looked at.
        monitored: The part that is looked at after each epoch.
        precision: Keras' dtype policy of the layers.
        backend: Keras' backend.
    """

    measure: ClassVar[str] = "mean_iou"

    dataset: str
    model: str
    loss: str
    schedule: Schedule
    views: Views
    l2: float = 0.0
    weights: str | None = None
    weights_sha256: str = ""
    files_sha256: str = ""
    run: int = 0
    seed: int = 0
    train_images: int | None = None
    evaluation_images: int | None = None
    replicas: int = 1
    test: bool = True
    monitored: str = "validation"
    precision: str = "float32"
    backend: str = field(default_factory=backend)

    @property
    def key(self) -> str:
        """A hash of everything above and of the version of the protocol."""
        return key_of(self)

    @property
    def kind(self) -> "SegmentationTrial":
        """What it shares with those that differ in loss and run alone."""
        return replace(self, loss="", run=0)

    def __str__(self):
        loss = nglkeras.losses.label(self.loss)
        return f"{self.dataset}, {self.model}, {loss}, run {self.run + 1}"


def make_loss(name: str) -> "keras.losses.Loss":
    """The loss of a row, for labels with void and for logits."""
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    import keras

    losses = nglkeras.losses
    make = {
        "CE": keras.losses.SparseCategoricalCrossentropy,
        # γ = 2 and α = 0.25.
        "Focal": losses.SparseFocal,
        "Dice": losses.SparseDice,
        "NGL": losses.SparseNGL,
    }[name]
    return make(from_logits=True, ignore_class=segmentation.VOID)


_UNET = Recipe(
    Schedule(
        100, 32, "Adam", ADAM, 1e-4, plateau=Plateau(factor=0.2, patience=5, min_learning_rate=1e-6)
    ),
    Views(224, (0.75, 1.25), resize=224),
)


def _deeplab(iterations, between_evaluations):
    schedule = Schedule(
        iterations // between_evaluations,
        10,
        "Adam",
        ADAM,
        2.5e-5,
        plateau=None,
        steps_per_epoch=between_evaluations,
        power=0.9,
    )
    return Recipe(schedule, Views(321), l2=2.5e-4, weights="imagenet")


# Of the paper, by architecture and data set.
RECIPES = {
    ("unet", "voc2012"): _UNET,
    ("unet", "voc2012_aug"): _UNET,
    ("deeplabv2", "voc2012"): _deeplab(20_000, 1_000),
    ("deeplabv2", "voc2012_aug"): _deeplab(20_000, 1_000),
    ("deeplabv2", "coco_stuff164k"): _deeplab(300_000, 10_000),
}
# DeepLabv2's logits are sums over ten thousand features and more, and Adam's steps are of one size
# for all of them: at a higher rate dice and NGL leave it with a saturated softmax, where they have
# no gradient. Pairs of model and rate, for recipes that are not the paper's.
_DEEPLAB_RATES = (
    ("deeplabv2_narrow", 3e-4),
    ("deeplabv2", 2.5e-5),
    ("deeplabv2_multiscale", 2.5e-5),
)
# Short trainings from random weights, on images at their own size: ours. After 135 steps on CamVid
# the rate 1e-3 has a validation IoU of 27 %, the paper's 1e-4 24 % (cross entropy, one run each).
_FROM_SCRATCH = Schedule(10, 8, "Adam", ADAM, 1e-3, plateau=None, power=0.9)


@dataclass(frozen=True)
class SegmentationScale:
    """How much of the protocol a script takes on.

    Attributes:
        name: What `--scale` calls it.
        note: What a reader must know of numbers at this scale.
        dataset: Which data set.
        models: Which networks.
        runs: Networks trained for each model and loss.
        recipe: Of all of them; `None` for the paper's.
        epochs: At most so many.
        train_images: At most so many.
        evaluation_images: At most so many for validation, and for test.
        image_size: Side of the training images after cropping (and of all where the recipe
            resizes them); `None` for the recipe's.
        weights: What encoders and trunks start from: for all of them, or "MODEL=WEIGHTS" for one;
            without any the recipe's, "none" for nothing.
        precision: Keras' dtype policy of the layers.
        learning_rates: Of models that want another than the recipe's, as pairs.
    """

    name: str
    note: str
    dataset: str
    models: tuple[str, ...]
    runs: int
    recipe: Recipe | None = None
    epochs: int | None = None
    train_images: int | None = None
    evaluation_images: int | None = None
    image_size: int | None = None
    weights: tuple[str, ...] = ()
    precision: str = "float32"
    learning_rates: tuple[tuple[str, float], ...] = ()


_DEMO = SegmentationScale(
    "demo",
    "a demonstration of the protocol on scikit-learn's digits painted on photographs, with narrow "
    "networks: not the paper's experiment, and no evidence for or against its numbers",
    dataset="scenes",
    models=("unet_narrow", "deeplabv2_narrow"),
    runs=2,
    recipe=Recipe(replace(_FROM_SCRATCH, epochs=8, learning_rate=5e-3), Views(64, (0.75, 1.25))),
    learning_rates=_DEEPLAB_RATES,
)
_REDUCED = SegmentationScale(
    "reduced",
    "U-Net with the paper's encoder from random weights on CamVid at half resolution, few "
    "steps, small crops: not the paper's data set",
    dataset="camvid",
    models=("unet",),
    runs=3,
    # 540 steps, evaluated every other pass over the 367 images.
    recipe=Recipe(replace(_FROM_SCRATCH, epochs=6, steps_per_epoch=90), Views(128, (0.75, 1.25))),
    precision="mixed_bfloat16",
    learning_rates=_DEEPLAB_RATES,
)
TABLE4_SCALES = {
    scale.name: scale
    for scale in (
        _DEMO,
        _REDUCED,
        SegmentationScale(
            "paper",
            "the full protocol of the paper",
            dataset="voc2012",
            models=("unet", "deeplabv2"),
            runs=5,
        ),
    )
}
TABLE5_SCALES = {
    scale.name: scale
    for scale in (
        replace(_DEMO, models=("deeplabv2_narrow",)),
        SegmentationScale(
            "reduced",
            "the paper's network and data from random weights with fewer images, iterations and "
            "runs and smaller crops: expect far less than the paper's numbers",
            dataset="coco_stuff164k",
            models=("deeplabv2",),
            runs=1,
            recipe=Recipe(_FROM_SCRATCH, Views(161)),
            learning_rates=_DEEPLAB_RATES,
            train_images=10_000,
            evaluation_images=500,
        ),
        SegmentationScale(
            "paper",
            "the full protocol of the paper",
            dataset="coco_stuff164k",
            models=("deeplabv2",),
            runs=5,
        ),
    )
}


def plan(
    scale: SegmentationScale,
    loss_names: Iterable[str] = LOSSES,
    *,
    seed: int = 0,
    replicas: int = 1,
    data_dir: str | Path | None = None,
) -> list[SegmentationTrial]:
    """The networks of a table, run by run: an interrupted table has every cell.

    Args:
        scale: How much of the protocol.
        loss_names: Of `LOSSES`, whatever their case.
        seed: Root of all randomness.
        replicas: Devices that share a batch.
        data_dir: Where the data set is, for what a "folder" consists of.

    Raises:
        UserError: If a name is unknown, or the paper has no recipe for what is asked.
    """
    get_info(scale.dataset, data_dir)
    if scale.precision not in PRECISIONS:
        raise unknown("precision", scale.precision, PRECISIONS)
    names = list(dict.fromkeys(map(_loss_name, loss_names)))
    files = segmentation.sources.fingerprint(scale.dataset, data_dir)
    blanks = [_blank(scale, model) for model in scale.models]
    return [
        SegmentationTrial(
            dataset=scale.dataset,
            loss=loss,
            run=run,
            seed=seed,
            train_images=scale.train_images,
            evaluation_images=scale.evaluation_images,
            precision=scale.precision,
            replicas=replicas,
            files_sha256=files,
            **blank,
        )
        for run in range(scale.runs)
        for blank in blanks
        for loss in names
    ]


def _loss_name(name):
    for valid in LOSSES:
        if str(name).lower() == valid.lower():
            return valid
    raise unknown("loss", name, LOSSES)


def _blank(scale, model):
    """What the trials of a model share."""
    architecture = segmentation.models.get_architecture(model)
    recipe = scale.recipe or RECIPES.get((model, scale.dataset))
    if recipe is None:
        pairs = ", ".join(f"{model} on {dataset}" for model, dataset in RECIPES)
        raise UserError(
            f"the paper does not train {model} on {scale.dataset}; it does: {pairs}. Another "
            "scale has a recipe for all"
        )
    views = recipe.views
    if scale.image_size is not None:
        size = scale.image_size
        views = replace(views, crop=size, resize=views.resize and size)
    if views.crop % architecture.multiple:
        raise UserError(f"{model} takes image sizes that are multiples of {architecture.multiple}")
    weights = _weights(scale.weights, model) or recipe.weights
    weights = None if weights == "none" else weights
    segmentation.models.check_weights(model, weights)
    schedule = recipe.schedule
    return {
        "model": model,
        "schedule": replace(
            schedule,
            epochs=at_most(schedule.epochs, scale.epochs),
            learning_rate=dict(scale.learning_rates).get(model, schedule.learning_rate),
        ),
        "views": views,
        "l2": recipe.l2,
        **start_of(weights),
    }


def _weights(given, model):
    """What is given for a model, or for all; nothing without either."""
    find, found = segmentation.models.get_architecture, None
    for text in given:
        name, equals, weights = text.partition("=")
        if not equals:
            found = found or text
        elif find(name) is find(model):
            found = weights
    return found


def describe(trial: SegmentationTrial) -> str:
    """How the network of a trial is trained, in a line."""
    schedule, views = trial.schedule, trial.views
    length = f"{schedule.epochs} epochs"
    if schedule.steps_per_epoch:
        length = f"{schedule.epochs * schedule.steps_per_epoch:,} steps"
    rate = f"{schedule.optimizer} {schedule.learning_rate:g}"
    if schedule.power is not None:
        rate += f", polynomial decay of power {schedule.power:g}"
    if schedule.plateau is not None:
        rate += ", reduced on a plateau of the validation IoU"
    own = "" if views.resize is None else f" of images resized to {views.resize} x {views.resize}"
    start = "random weights" if trial.weights is None else Path(trial.weights).name
    architecture = segmentation.models.get_architecture(trial.model)
    return (
        f"{architecture.title} ({trial.model}): {length}, batch "
        f"{schedule.batch_size}, {rate}, crops of {views.crop} pixels{own}, random scale "
        f"{views.scale[0]:g} to {views.scale[1]:g}, L2 {trial.l2:g}, from {start}, "
        f"{trial.precision}."
    )

"""What paper A fixes of its ImageNet trainings, as data: recipes, trials, scales.

The paper gives optimizer, learning rate, weight decay, epochs, warm-up and batch, and refers to
Swin (Liu et al. 2021) for augmentation and regularisation. Where it is silent, we choose:

- Swin's augmentation for the ResNets too, as strong as in the authors' code; Mixup and CutMix draw
  for each image where that draws for each batch. They soften the labels of every loss.
- Gradients of the Swin Transformers are cut to a norm of 5, as in the authors' code (the text of
  their paper says 1), those of the ResNets are not.
- "CE runs with label smoothing and L2": 0.1, and 1e-4 on all kernels (the factor is ours, that of
  CE + L2 in table 2) with CE alone, in addition to AdamW's weight decay, which all losses have.
- The warm-up begins at 0 and the cosine ends there, step by step; AdamW has Keras' betas.
- Symmetric cross entropy has its authors' settings for CIFAR-100 (α 6, β 0.1) from 100 classes on,
  and those for CIFAR-10 (0.1, 1) elsewhere.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import nglkeras
from nglkeras.errors import UserError, unknown
from nglkeras.experiments.options import Scale, by_name
from nglkeras.numbers import at_most
from nglkeras.runs.trial import Trial
from nglkeras.training.schedule import Decay, Schedule, check_precision

CE_L2 = 1e-4


@dataclass(frozen=True)
class Policy:
    """Random changes to training images and their labels; Swin's by default.

    Attributes:
        crop_area: Least share of an image that its crop covers; the crop becomes the input.
        crop_ratio: Least and largest width to height of a crop.
        flip: Whether half of the images are mirrored.
        operations: Operations of RandAugment for each image.
        magnitude: Strength of the operations, of 10 at most.
        operation_rate: Share of the operations that is carried out.
        erasing: Share of images with an erased rectangle.
        mixup: α of Mixup's Beta(α, α); 0 for none.
        cutmix: α of CutMix's; 0 for none.
        switch: Share of batches that CutMix gets where there is Mixup too.
    """

    crop_area: float = 0.08
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    operations: int = 2
    magnitude: float = 9.0
    operation_rate: float = 0.5
    erasing: float = 0.25
    mixup: float = 0.8
    cutmix: float = 1.0
    switch: float = 0.5


# A mirrored digit is no digit, and a small part of one is not either.
_DIGITS = Policy(crop_area=0.6, flip=False, operations=1, magnitude=5.0)
POLICIES = {"digits": _DIGITS, "mnist": _DIGITS}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, with AdamW, linear warm-up and a cosine, step by step.

    Attributes:
        epochs: Passes over the training images.
        warmup_epochs: Epochs in which the learning rate rises linearly from 0.
        batch_size: Images an update, over all devices together.
        learning_rate: Rate at the end of the warm-up.
        weight_decay: AdamW's, times the learning rate; not on biases, norms and position tables.
        drop_path: Stochastic depth of the last block.
        clip_norm: Upper limit on the norm of all gradients together; `None` for none.
        policy: Random changes to training images and their labels.
        accumulation: Parts into which a batch is divided where memory has no room for it.
    """

    epochs: int
    warmup_epochs: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    drop_path: float = 0.0
    clip_norm: float | None = None
    policy: Policy = field(default_factory=Policy)
    accumulation: int = 1

    part_size = Schedule.part_size
    optimizer = "AdamW"

    @property
    def optimizer_settings(self) -> tuple[tuple[str, float | None], ...]:
        """The optimizer's arguments."""
        return (("weight_decay", self.weight_decay), ("global_clipnorm", self.clip_norm))

    def decay(self, steps: int) -> Decay:
        """Return how the learning rate changes; parts of batches count as steps of an epoch."""
        return Decay(self.epochs * steps, round(self.warmup_epochs * steps))

    def limited(self, epochs: int | None, batch_size: int | None) -> "Recipe":
        """Return the recipe with upper limits on epochs and batch size; `None` is no limit."""
        fewer, smaller = at_most(self.epochs, epochs), at_most(self.batch_size, batch_size)
        return replace(
            self,
            epochs=fewer,
            warmup_epochs=self.warmup_epochs * fewer / self.epochs,
            batch_size=smaller,
            learning_rate=self.learning_rate * math.sqrt(smaller / self.batch_size),
        )


_RESNET = Recipe(180, 30, 256, 0.003, 0.01)
_SWIN = Recipe(400, 60, 1024, 0.001, 0.05, clip_norm=5.0)
# The latter two are ours, for demonstrations.
RECIPES = {
    "ResNet101": _RESNET,
    "ResNet152": _RESNET,
    "Swin-T": replace(_SWIN, drop_path=0.2),
    "Swin-S": replace(_SWIN, drop_path=0.3),
    "ResNet-small": replace(_RESNET, batch_size=64),
    "Swin-small": replace(_SWIN, batch_size=64, learning_rate=0.003, drop_path=0.1),
}


@dataclass(frozen=True, kw_only=True)
class ImageNetTrial(Trial):
    """One classifier of table 3 to be trained; see `runs.trial.Trial`.

    The paper reports the accuracy on ImageNet's validation split. No training looks at it to decide
    anything: rows call it a test set.

    Attributes:
        schedule: How the network is trained.
        image_size: Height and width of its input, in pixels.
        files: Hash of the names and sizes of a folder's files.
    """

    schedule: Recipe
    image_size: int
    files: str = ""
    monitored: str = "test"

    @property
    def kind(self) -> "ImageNetTrial":
        """The trial without loss, L2 penalty and run: equal for trials of the same kind."""
        return replace(super().kind, l2=0.0)


@dataclass(frozen=True, kw_only=True)
class ImageNetScale(Scale):
    """The part of the protocol of table 3 and figure 2 that a script carries out.

    Attributes:
        dataset: Data set: digits, folder, or a TFDS image data set by name.
        models: Models, instead of the scale's own.
        figure_model: Another model.
        runs: Networks for each model and loss.
        epochs: Upper limit on epochs; the warm-up keeps its share.
        batch_size: Upper limit on images a batch; the learning rate changes by the root of the
            ratio.
        evaluation_images: Upper limit on evaluation images.
        image_size: Height and width of a network's input, in pixels.
    """

    dataset: str
    models: tuple[str, ...]
    figure_model: str
    image_size: int = 224
    batch_size: int | None = None


SCALES = by_name(
    ImageNetScale(
        name="demo",
        note="a demonstration of the protocol on scikit-learn's digits, enlarged, with small "
        "networks: not the paper's experiment, and no evidence for or against its numbers",
        dataset="digits",
        models=("ResNet-small", "Swin-small"),
        figure_model="ResNet-small",
        image_size=32,
        epochs=10,
    ),
    ImageNetScale(
        name="reduced",
        note="the paper's networks and recipes on Imagenette, ten classes of ImageNet, with "
        "smaller images and fewer epochs: its accuracies are of another task than the paper's",
        dataset="imagenette/160px-v2",
        models=("ResNet101", "Swin-T"),
        figure_model="ResNet101",
        image_size=160,
        epochs=90,
        batch_size=256,
    ),
    ImageNetScale(
        name="paper",
        note="the full protocol of the paper",
        dataset="imagenet2012",
        models=("ResNet101", "ResNet152", "Swin-T", "Swin-S"),
        figure_model="ResNet101",
    ),
)


def plan(
    scale: ImageNetScale,
    loss_names: Iterable[str] | None = None,
    *,
    classes: int,
    seed: int = 0,
    precision: str = "float32",
    files: str = "",
) -> list[ImageNetTrial]:
    """List the trials of table 3, run by run; raise `UserError` if a name is unknown."""
    for model in scale.models:
        if model not in RECIPES:
            raise unknown("model", model, RECIPES)
    check_precision(precision)
    if loss_names is None:
        loss_names = nglkeras.losses.rows_of("table3")
    rows = {row.name: row for row in map(nglkeras.losses.row, loss_names)}.values()
    for row in rows:
        if row.activation != "softmax":
            raise UserError(f"{row.name} is of {row.activation} outputs; table 3 has a softmax")
    return [
        ImageNetTrial(
            dataset=scale.dataset,
            model=model,
            loss=row.name,
            schedule=_recipe(scale, model),
            image_size=scale.image_size,
            # A reconstruction counts by its formula: a corrected one runs anew.
            formula=row.formula,
            loss_settings=_settings(row.name, classes),
            l2=CE_L2 if row.name == "CE" else row.l2,
            run=run,
            seed=seed,
            files=files,
            train_images=scale.train_images,
            evaluation_images=scale.evaluation_images,
            precision=precision,
        )
        for run in range(scale.runs)
        for model in scale.models
        for row in rows
    ]


def zoomed_from(epochs: int) -> int:
    """Return the first epoch of figure 2's zoomed panel: 100 of the paper's 180."""
    return max(round(epochs * (100 / 180)), 1)


def _recipe(scale, model):
    recipe = RECIPES[model].limited(scale.epochs, scale.batch_size)
    return replace(recipe, policy=POLICIES.get(scale.dataset, recipe.policy))


def _settings(loss, classes):
    if loss == "CE":
        return (("label_smoothing", 0.1),)
    return (("alpha", 6.0), ("beta", 0.1)) if loss == "SCE" and classes >= 100 else ()

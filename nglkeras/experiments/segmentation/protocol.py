"""The networks that tables 4 and 5 train, as trials: what is trained with which loss from what.

`recipes` holds what the paper prints and what the scales of the scripts are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import nglkeras
from nglkeras.errors import UserError, unknown
from nglkeras.experiments import segmentation
from nglkeras.experiments.segmentation.architectures import check_weights, get_architecture
from nglkeras.experiments.segmentation.catalog import get_info
from nglkeras.experiments.segmentation.recipes import (
    RECIPES,
    SegmentationScale,
    SegmentationSchedule,
    Views,
)
from nglkeras.numbers import at_most
from nglkeras.runs.trial import Trial, initial_weights
from nglkeras.training.schedule import check_precision

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class SegmentationTrial(Trial):
    """One segmentation network to be trained; see `runs.trial.Trial`.

    Attributes:
        schedule: How the network is trained.
        views: What is done to images and masks.
        files_sha256: Hash of the list of files of a "folder".
        scale_losses: Whether a network that reads its images at several scales has a loss for each
            scale and one for their maximum, instead of one for the enlarged maximum.
        validation: As in `Recipe`.
        class_weights: As in `SegmentationScale`.
    """

    measure: ClassVar[str] = "mean_iou"

    schedule: SegmentationSchedule
    views: Views
    files_sha256: str = ""
    scale_losses: bool = False
    validation: bool = True
    class_weights: str | None = None


def make_loss(name: str, class_weights: Sequence[float] | None = None) -> "keras.losses.Loss":
    """Make the loss of a row of `losses.ROWS`, for labels with void pixels and for logits."""
    arguments = {"from_logits": True, "ignore_class": segmentation.VOID}
    if class_weights is not None:
        arguments["class_weights"] = class_weights
        if nglkeras.losses.row(name).make_sparse is nglkeras.losses.ROWS["CE"].make_sparse:
            # Cross entropy: Keras' own has no such weights.
            return nglkeras.losses.Poly1(epsilon=0.0, sparse=True, **arguments)
    return nglkeras.losses.get(name, sparse=True, **arguments)


def plan(
    scale: SegmentationScale,
    loss_names: Iterable[str] | None = None,
    *,
    seed: int = 0,
    replicas: int = 1,
    data_dir: str | Path | None = None,
) -> list[SegmentationTrial]:
    """List the networks of a table, run by run: an interrupted table has every cell.

    Args:
        scale: How much of the protocol.
        loss_names: Rows of `losses.ROWS` for class indices; by default those of table 4.
        seed: Root of all randomness.
        replicas: Devices that share a batch.
        data_dir: Where the data set is; of a "folder" the list of files is part of the trials.

    Raises:
        UserError: If a name is unknown, or the paper has no recipe for what is asked.
    """
    check_precision(scale.precision)
    names = nglkeras.losses.rows_of("table4") if loss_names is None else loss_names
    rows = {row.name: row for row in map(nglkeras.losses.row, names)}
    for name in rows:
        make_loss(name)  # raises an error for rows without a loss for class indices
    given = _given_weights(scale)
    blanks = [_blank(scale, model, given, data_dir) for model in scale.models]
    return [
        SegmentationTrial(
            loss=row.name,
            formula=row.formula,
            l2=l2 + row.l2,
            run=run,
            seed=seed,
            train_images=scale.train_images,
            evaluation_images=scale.evaluation_images,
            precision=scale.precision,
            replicas=replicas,
            **blank,
        )
        for run in range(scale.runs)
        for l2, blank in blanks
        for row in rows.values()
    ]


def _recipe(scale, model):
    dataset = scale.dataset_of(model)
    recipe = scale.recipe or RECIPES.get((model, dataset))
    if recipe is None:
        pairs = ", ".join(f"{model} on {dataset}" for model, dataset in RECIPES)
        raise UserError(
            f"the paper does not train {model} on {dataset}; it does: {pairs}. Another scale has "
            "a recipe for all"
        )
    return recipe


def _blank(scale, model, given, data_dir):
    """Return the L2 factor of a model and the other fields that all of its trials share."""
    dataset = scale.dataset_of(model)
    get_info(dataset, data_dir)
    architecture = get_architecture(model)
    recipe = _recipe(scale, model)
    views, size = recipe.views, scale.image_size
    if size is not None:
        views = replace(views, crop=size, resize=views.resize and size)
    if views.crop % architecture.multiple:
        raise UserError(f"{model} takes image sizes that are multiples of {architecture.multiple}")
    weights = given.get(model) or given.get(None) or recipe.weights
    weights = None if weights == "none" else weights
    check_weights(model, weights)
    epochs = at_most(recipe.schedule.epochs, scale.epochs)
    rate = dict(scale.learning_rates).get(model, recipe.schedule.learning_rate)
    return recipe.l2, {
        "dataset": dataset,
        "files_sha256": segmentation.sources.fingerprint(dataset, data_dir),
        "model": model,
        "schedule": replace(recipe.schedule, epochs=epochs, learning_rate=rate),
        "views": views,
        "scale_losses": architecture.is_multiscale,
        "validation": recipe.validation,
        "class_weights": scale.class_weights,
        **initial_weights(weights),
    }


def _given_weights(scale):
    """Return the weights that `--weights` gives, by model; `None` stands for all models."""
    found = {}
    for text in scale.weights:
        name, equals, weights = text.partition("=")
        # A path may have the sign in it.
        model = name if equals and "/" not in name else None
        if model is not None and model not in scale.models:
            raise unknown("model of --weights", model, scale.models)
        if model in found:
            raise UserError(f"--weights has two values for {model or 'all models'}")
        found[model] = text if model is None else weights
    return found


def missing_starts(scale: SegmentationScale, trials: Iterable[SegmentationTrial]) -> list[str]:
    """Say in a line which models do not start from the weights that their recipe names."""
    lines = []
    for model, trial in {trial.model: trial for trial in trials}.items():
        start = _recipe(scale, model).start
        if start and not trial.weights_sha256:
            own = {None: "random weights", "imagenet": "ImageNet weights"}[trial.weights]
            lines.append(
                f"The paper's start of {model}, {start}, was not given (--weights {model}=FILE): "
                f"it starts from {own}; expect less."
            )
    return lines


def describe(trial: SegmentationTrial) -> str:
    """Describe in a line how the network of a trial is trained."""
    schedule, views = trial.schedule, trial.views
    length = f"{schedule.epochs} epochs"
    if schedule.steps_per_epoch:
        length = f"{schedule.epochs * schedule.steps_per_epoch:,} steps"
    batch = f"batch {schedule.batch_size}"
    if schedule.accumulation > 1:
        batch += f" in {schedule.accumulation} parts"
    rate = f"{schedule.optimizer} {schedule.learning_rate:g}"
    if schedule.power is not None:
        rate += f", polynomial decay of power {schedule.power:g}"
    if schedule.plateau is not None:
        rate += ", reduced on a plateau of the validation IoU"
    parts = [length, batch, rate, *_described_views(views)]
    if trial.scale_losses:
        parts.append("a loss for each scale and for their maximum")
    if trial.class_weights is not None:
        parts.append(f"{trial.class_weights} class weights")
    if not trial.validation:
        parts.append("no validation set")
    start = "random weights" if trial.weights is None else Path(trial.weights).name
    parts += [f"L2 {trial.l2:g}", f"from {start}", trial.precision]
    title = get_architecture(trial.model).title
    return f"{title} ({trial.model}): {', '.join(parts)}."


def _described_views(views):
    if views.resize is not None:
        yield f"images resized to {views.resize} x {views.resize}"
    if views.crop != views.resize or views.scale != (1, 1):
        yield f"crops of {views.crop} pixels"
    if views.scales:
        yield f"random scale of {', '.join(f'{scale:g}' for scale in views.scales)}"
    elif views.scale != (1, 1):
        yield f"random scale {views.scale[0]:g} to {views.scale[1]:g}"
    if not views.flip:
        yield "no flips"

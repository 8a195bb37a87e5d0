"""A classifier to be trained, as data, and the list of trials that makes a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

# Losses are reached through it when a plan is made: they need Keras, see `lazy`.
import nglkeras
from nglkeras import runs
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.catalog import files_sha256, get_info
from nglkeras.data.division import SPLITS
from nglkeras.errors import unknown
from nglkeras.experiments.classification import architectures, protocol
from nglkeras.experiments.classification.protocol import ClassificationScale
from nglkeras.expression import Expression
from nglkeras.numbers import at_most
from nglkeras.runs.trial import initial_weights
from nglkeras.training.schedule import Schedule, check_precision


@dataclass(frozen=True, kw_only=True)
class Trial(runs.trial.Trial):
    """One classifier to be trained; see `runs.trial.Trial`.

    Attributes:
        schedule: How the network is trained.
        image_size: Height and width of the images, in pixels.
        upsampling: Factor by which the network enlarges them.
        augmentation: Random changes to the training images.
        compile_once: Whether the network shares one compiled step with others, on data in memory:
            its batches then come in another order. With "official" splits, a data set without a
            test split then has one test set for all runs.
        validation_images: Number of validation images, instead of a tenth of the train split.
        splits: How the images are divided; one of `data.division.SPLITS`.
        own_validation: Whether the data set's own validation split is the validation set, where
            splits are official; otherwise that split is left out.
        files_sha256: Hash of the list of files of a "folder".
        model_sha256: Hash of the file of a model of one's own; see `architectures`.
        activation: Activation of the last layer: "softmax", or "sigmoid" for losses of outputs
            that are independent of each other.
    """

    schedule: Schedule
    image_size: int | None = None
    upsampling: int = 1
    augmentation: Augmentation | None = None
    compile_once: bool = False
    validation_images: int | None = None
    splits: str = "official"
    own_validation: bool = False
    files_sha256: str = ""
    model_sha256: str = ""
    activation: str = "softmax"

    @property
    def key(self) -> str:
        """Hash as in `runs.trial.Trial`; a file with a model counts by its content."""
        return super(Trial, self._labelled).key

    def __str__(self):
        return super(Trial, self._labelled).__str__()

    @property
    def _labelled(self):
        """The trial with the label of its model, which has no path."""
        return replace(self, model=architectures.label(self.model))

    @property
    def kind(self) -> "Trial":
        """The trial without loss, rate, run and initial weights: equal for trials of one kind."""
        schedule = replace(self.schedule, learning_rate=0.0)
        return replace(super().kind, schedule=schedule, weights=None, weights_sha256="")


def plan(
    scale: ClassificationScale,
    loss_names: Iterable[str],
    *,
    seed: int = 0,
    weights: str | Sequence[str] | None = None,
    formulas: dict[str, str] | None = None,
    data_dir: str | Path | None = None,
) -> list[Trial]:
    """Return the trials of a table: every data set, model and loss, run by run.

    All of a run comes before the next run, so that an interrupted table has every cell.
    `loss_names` are rows of `losses.ROWS`, `formulas` further losses by name, each as
    `Expression.parse` takes it. Backbones start from `weights`: `None`, "imagenet", a file, or a
    file for each run. `data_dir` is where the data set "folder" is.

    Raises:
        UserError: If a data set, model, loss, kind of splits or precision is unknown, or a formula
            is none.
    """
    facts = {name: get_info(name, data_dir) for name in scale.datasets}
    files = {name: files_sha256(name, data_dir) for name in scale.datasets}
    if scale.splits not in (None, *SPLITS):
        raise unknown("splits", scale.splits, SPLITS)
    check_precision(scale.precision)
    models = [architectures.identity(name) for name in scale.models]
    given = {name: str(Expression.parse(text)) for name, text in (formulas or {}).items()}
    losses = nglkeras.losses
    rows = [_given(name, given) if name in given else losses.row(name) for name in loss_names]
    rows += [_given(name, given) for name in given if name not in loss_names]
    shared = weights is None or isinstance(weights, str)
    starts = [initial_weights(weights if shared else weights[run]) for run in range(scale.runs)]
    return [
        replace(
            _trial(scale, dataset, facts[dataset], model, row),
            files_sha256=files[dataset],
            # A reconstruction counts by its formula: a corrected one runs anew.
            formula=given.get(row.name, row.formula),
            run=run,
            seed=seed,
            # A model of one's own brings its weights with it.
            **({} if "model_sha256" in model else starts[run]),
        )
        for run in range(scale.runs)
        for dataset in scale.datasets
        for model in models
        for row in rows
    ]


def _given(name, formulas):
    return nglkeras.losses.Row(name, partial(nglkeras.losses.FormulaLoss, formulas[name]))


def _trial(scale, dataset, info, model, row):
    setting = protocol.setting_of(dataset, info)
    schedule = replace(setting.schedule, epochs=at_most(setting.schedule.epochs, scale.epochs))
    if scale.stop_after is not None and schedule.plateau is not None:
        plateau = replace(schedule.plateau, stop_after=scale.stop_after)
        schedule = replace(schedule, plateau=plateau)
    upsampling = at_most(setting.upsampling, scale.upsampling)
    image_size = at_most(setting.image_size, scale.image_size)
    if model["model"] not in architectures.BACKBONES:
        # Only backbones need large images.
        upsampling = 1
        image_size = at_most(image_size, info.image_size[0] if scale.own_size else None)
    elif scale.own_size:
        upsampling = scale.upsampling or 1
    image_size = dict(scale.image_sizes).get(dataset, image_size)
    splits = scale.splits or setting.splits
    # The other scales' keys rest on the size of table B.2.1.
    in_memory = image_size if scale.own_size else setting.image_size
    if info.image_size[0] is None:
        in_memory = max(in_memory, image_size)
    return Trial(
        dataset=dataset,
        loss=row.name,
        loss_settings=dict(setting.loss_settings).get(row.name, ()),
        l2=row.l2,
        activation=row.activation,
        schedule=schedule,
        image_size=image_size,
        upsampling=dict(scale.upsamplings).get(dataset, upsampling),
        augmentation=setting.augmentation,
        train_images=dict(scale.model_images).get(model["model"], scale.train_images),
        evaluation_images=scale.evaluation_images,
        compile_once=info.fits_in_memory(in_memory),
        splits=splits,
        precision=scale.precision,
        own_validation=splits == "official" and info.has_validation,
        **model,
    )

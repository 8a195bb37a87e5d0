"""A trial and its result, as data, and the list of trials that makes a table.

A `Trial` names everything that decides its result, so that its hash can stand for it in a
journal. `training.run_trial` turns one into a `TrialResult`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar

# Losses and models are reached through it when a plan is made: they need Keras, see `lazy`.
import nglkeras
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.catalog import get_info
from nglkeras.data.division import SPLITS
from nglkeras.errors import unknown
from nglkeras.experiments import classification
from nglkeras.experiments.classification import protocol
from nglkeras.experiments.classification.protocol import Scale
from nglkeras.expression import Expression
from nglkeras.runs.trial import key_of, start_of
from nglkeras.seeds import at_most
from nglkeras.training.devices import backend
from nglkeras.training.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One network to be trained, and everything that can change the outcome.

    Attributes:
        dataset: One of `catalog.INFO`.
        model: One of `models.NAMES`.
        loss: A row of `losses.ROWS`; any name, where a formula says what it is.
        formula: Of the loss, as `Expression.parse` takes it; it overrules the row.
        loss_settings: Arguments of the loss, as pairs.
        l2: Factor of the L2 penalty on the kernels.
        weights: What the backbone starts from: `None`, "imagenet" or a file.
        weights_sha256: Of that file.
        run: Number of the repetition. All losses share a run's split and initial weights.
        seed: Root of all randomness; see `protocol.derive_seed`.
        schedule: How the network is trained.
        image_size: Height and width of the images, in pixels.
        upsampling: Factor by which the network enlarges them.
        augmentation: Of the training images.
        train_images: Upper limit on training images.
        evaluation_images: Upper limit on images for validation, and for test.
        replicas: Devices that share each batch. On TensorFlow BatchNormalization and dropout are
            each one's own, so their number changes the result; on JAX they are the batch's.
        test: Whether the test set is looked at; a search must not.
        validation_images: So many for validation instead of a tenth of the train split.
        monitored: The part that is looked at after each epoch, "validation" or "test".
        precision: Keras' dtype policy of the layers; weights and softmax are float32 in each.
        compile_once: Whether the network shares one compiled step with others, on data in memory:
            its batches then come in another order. With "official" splits, a data set without a
            test split then has one test set for all runs.
        backend: Keras' backend; the same seed means other numbers on another.
        splits: How the images are divided; one of `protocol.SPLITS`.
        own_validation: Whether the data set's own validation split is the validation set, where
            splits are official; otherwise that split is left out.
    """

    # What progress lines show.
    measure: ClassVar[str] = "accuracy"

    dataset: str
    model: str
    loss: str
    schedule: Schedule
    loss_settings: tuple[tuple[str, float], ...] = ()
    l2: float = 0.0
    weights: str | None = None
    weights_sha256: str = ""
    run: int = 0
    seed: int = 0
    image_size: int | None = None
    upsampling: int = 1
    augmentation: Augmentation | None = None
    train_images: int | None = None
    evaluation_images: int | None = None
    replicas: int = 1
    test: bool = True
    formula: str | None = None
    compile_once: bool = False
    validation_images: int | None = None
    monitored: str = "validation"
    precision: str = "float32"
    splits: str = "official"
    own_validation: bool = False
    backend: str = field(default_factory=backend)

    @property
    def key(self) -> str:
        """A hash of everything above and of the version of the protocol.

        A file of weights counts by its content, wherever it lies.
        """
        return key_of(self)

    @property
    def kind(self) -> "Trial":
        """What it shares with those that differ in loss, run and initial weights alone."""
        return replace(
            self, loss="", loss_settings=(), formula=None, run=0, weights=None, weights_sha256=""
        )

    def __str__(self):
        loss = nglkeras.losses.label(self.loss)
        return f"{self.dataset}, {self.model}, {loss}, run {self.run + 1}"


def plan(
    scale: Scale,
    loss_names: Iterable[str],
    *,
    seed: int = 0,
    weights: str | Sequence[str] | None = None,
    formulas: dict[str, str] | None = None,
) -> list[Trial]:
    """The trials of a table: every data set, model and loss, run by run.

    All of a run comes before the next run, so that an interrupted table has every cell.

    Args:
        scale: Which data sets, models and runs, and how much of each.
        loss_names: Rows of `losses.ROWS`.
        seed: Root of all randomness.
        weights: What the backbones start from: `None`, "imagenet", a file, or a file for each run.
        formulas: Further losses by name, each as `Expression.parse` takes it.

    Raises:
        UserError: If a data set, model, loss or kind of splits is unknown, or a formula is none.
    """
    for dataset in scale.datasets:
        if dataset not in protocol.SETTINGS:
            raise unknown("data set", dataset, protocol.SETTINGS)
    if scale.splits not in (None, *SPLITS):
        raise unknown("splits", scale.splits, SPLITS)
    for model in scale.models:
        if model not in classification.models.NAMES:
            raise unknown("model", model, classification.models.NAMES)
    given = {name: str(Expression.parse(text)) for name, text in (formulas or {}).items()}
    losses = nglkeras.losses
    rows = [_given(name, given) if name in given else losses.row(name) for name in loss_names]
    rows += [_given(name, given) for name in given if name not in loss_names]
    shared = weights is None or isinstance(weights, str)
    starts = [start_of(weights if shared else weights[run]) for run in range(scale.runs)]
    return [
        replace(
            _trial(scale, dataset, model, row),
            # A reconstruction counts by its formula: a corrected one runs anew.
            formula=given.get(row.name, losses.FORMULAS[row.name] if row.reconstructed else None),
            run=run,
            seed=seed,
            **starts[run],
        )
        for run in range(scale.runs)
        for dataset in scale.datasets
        for model in scale.models
        for row in rows
    ]


def _given(name, formulas):
    return nglkeras.losses.Row(name, partial(nglkeras.losses.FormulaLoss, formulas[name]))


def _trial(scale, dataset, model, row):
    setting = protocol.SETTINGS[dataset]
    schedule = replace(setting.schedule, epochs=at_most(setting.schedule.epochs, scale.epochs))
    # Enlarging is for backbones that take no small images.
    upsampling = at_most(setting.upsampling, scale.upsampling)
    if model in classification.models.SMALL:
        upsampling = 1
    image_size = at_most(setting.image_size, scale.image_size)
    splits = scale.splits or setting.splits
    return Trial(
        dataset=dataset,
        model=model,
        loss=row.name,
        loss_settings=dict(setting.loss_settings).get(row.name, ()),
        l2=row.l2,
        schedule=schedule,
        image_size=dict(scale.image_sizes).get(dataset, image_size),
        upsampling=dict(scale.upsamplings).get(dataset, upsampling),
        augmentation=setting.augmentation,
        train_images=scale.train_images,
        evaluation_images=scale.evaluation_images,
        compile_once=get_info(dataset).fits_in_memory(setting.image_size),
        splits=splits,
        own_validation=splits == "official" and get_info(dataset).has_validation,
    )

"""A trial and its result, as data, and the list of trials that makes a table.

A `Trial` names everything that decides its result, so that its hash can stand for it in a
journal. `training.run_trial` turns one into a `TrialResult`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import ClassVar

# Losses and models are reached through it when a plan is made: they need Keras, see `lazy`.
import nglkeras
from nglkeras import foreign, paths, protocol
from nglkeras.catalog import get_info
from nglkeras.devices import backend
from nglkeras.errors import unknown
from nglkeras.expression import Expression
from nglkeras.protocol import Augmentation, Scale, Schedule, at_most

STATUSES = ("ok", "non_finite", "exploded", "rejected", "timeout", "out_of_memory", "crashed")
# Statuses that the trial itself brings about: it would end in them again.
FINAL_STATUSES = ("ok", "non_finite", "exploded", "rejected")


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


def key_of(trial) -> str:
    """The key of a trial of any kind: see `Trial.key`."""
    content = essentials(trial)
    if "weights_sha256" in content:
        content.pop("weights", None)
    text = json.dumps([protocol.VERSION, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def essentials(value: object) -> object:
    """What of a dataclass differs from the defaults, as JSON takes it.

    A field that is added later thus leaves older keys valid.

    The price is that a default, once published, must not change.
    """
    if not is_dataclass(value):
        return value
    return {
        field.name: essentials(getattr(value, field.name))
        for field in fields(value)
        if getattr(value, field.name) != field.default
    }


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The row that a trial leaves behind.

    Attributes:
        key: Of the trial.
        trial: The trial, as JSON has it.
        status: One of `STATUSES`.
        accuracy: On the test set after the last epoch, in [0, 1]; `None` if it was not reached.
        validation_accuracy: On the validation set after the last epoch.
        history: For each finished epoch its training loss and accuracy, those of the monitored
            part ("val_..." or "test_..."), learning rate and seconds.
        sizes: Images in train, validation and test.
        seconds: Wall time of the whole trial.
        message: What went wrong.
        attempts: How often it was begun; more than once where workers were lost.
        environment: Hardware and versions.
        finished: When, as an ISO date and time in UTC.
        accumulation: Parts of a batch that memory had room for, 1 for all of it; the last that
            were tried, where it had room for none.
        metrics: Further measures on the test set, by name.
    """

    key: str
    trial: dict
    status: str
    accuracy: float | None = None
    validation_accuracy: float | None = None
    history: list[dict] = field(default_factory=list)
    sizes: tuple[int, int, int] | None = None
    seconds: float = 0.0
    message: str = ""
    attempts: int = 1
    environment: dict = field(default_factory=dict)
    finished: str = ""
    accumulation: int = 1
    metrics: dict = field(default_factory=dict)

    @classmethod
    def from_json(cls, row: dict) -> "TrialResult":
        """The result of a line of a journal; columns of a later version are passed over.

        Raises:
            UserError: If a column holds what it cannot hold.
            TypeError: If one that must be there is missing.
        """
        foreign.check(row, _RULES)
        known = {field.name for field in fields(cls)}
        return cls(**{name: row[name] for name in row.keys() & known})

    def answers(self, trial: Trial) -> bool:
        """Whether the trial need not be run again: it would end so again, or all is measured."""
        if self.status != "ok":
            return self.status in FINAL_STATUSES
        if trial.monitored == "test":
            looks = [epoch.get("test_accuracy") for epoch in self.history]
            if len(looks) != trial.schedule.epochs or None in looks:
                return False
        return (self.accuracy if trial.test else self.validation_accuracy) is not None


def _is_epoch(value):
    number = foreign.optional(foreign.is_number)
    return foreign.is_object(value) and all(map(number, value.values()))


def _are_sizes(value):
    return foreign.list_of(foreign.is_count)(value) and len(value) == 3


_RULES = {
    "key": foreign.is_text,
    "trial": foreign.is_object,
    "status": foreign.one_of(STATUSES),
    "accuracy": foreign.optional(foreign.is_share),
    "validation_accuracy": foreign.optional(foreign.is_share),
    "history": foreign.list_of(_is_epoch),
    "sizes": foreign.optional(_are_sizes),
    "seconds": foreign.is_number,
    "message": foreign.is_text,
    "environment": foreign.is_object,
    "finished": foreign.is_text,
    "attempts": foreign.is_count,
    "accumulation": foreign.is_count,
    "metrics": _is_epoch,
}


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
    if scale.splits not in (None, *protocol.SPLITS):
        raise unknown("splits", scale.splits, protocol.SPLITS)
    for model in scale.models:
        if model not in nglkeras.models.NAMES:
            raise unknown("model", model, nglkeras.models.NAMES)
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


def start_of(weights: str | None) -> dict:
    """What a trial says of the weights that it starts from."""
    path = weights and paths.absolute(weights)
    if not path or not path.is_file():
        return {"weights": weights}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"weights": str(path), "weights_sha256": digest}


def _trial(scale, dataset, model, row):
    setting = protocol.SETTINGS[dataset]
    schedule = replace(setting.schedule, epochs=at_most(setting.schedule.epochs, scale.epochs))
    # Enlarging is for backbones that take no small images.
    upsampling = at_most(setting.upsampling, scale.upsampling)
    if model in nglkeras.models.SMALL:
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

"""A trial and its result, as data: what every experiment shares."""

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import ClassVar, Literal

import msgspec

# Losses are reached through it: see `startup.lazy`.
import nglkeras
from nglkeras import paths
from nglkeras.runs.columns import Count, Measures, Number, Share
from nglkeras.seeds import derive_seed
from nglkeras.training.devices import backend
from nglkeras.training.outcome import FINAL_STATUSES, STATUSES

# Raise it when the same trial would give another result than before: old rows no longer count.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One network to be trained, and everything that can change the outcome.

    Each experiment has a class of its own, with further fields.

    Attributes:
        dataset: Name of the data set.
        model: Name of the network.
        loss: A row of `losses.ROWS`; any name, where a formula says what it is.
        schedule: How the network is trained; it has `epochs`, `batch_size` and `accumulation`.
        formula: Formula of the loss, as `Expression.parse` takes it; it overrules the row.
        loss_settings: Arguments of the loss, as pairs.
        l2: Factor of the L2 penalty on the kernels.
        weights: What the network starts from: `None`, "imagenet" or a file.
        weights_sha256: Hash of that file's content.
        run: Number of the repetition. All losses share a run's split and initial weights.
        seed: Root of all randomness; see `seeds.derive_seed`.
        train_images: Upper limit on training images.
        evaluation_images: Upper limit on images for validation, and for test.
        replicas: Devices that share each batch. On TensorFlow BatchNormalization and dropout are
            each one's own, so their number changes the result; on JAX they are the batch's.
        test: Whether the test set is looked at; a search must not.
        monitored: The part that is looked at after each epoch, "validation" or "test".
        precision: Keras' dtype policy of the layers; weights and outputs are float32 in each.
        backend: Keras' backend; the same seed means other numbers on another.
    """

    # What progress lines show.
    measure: ClassVar[str] = "accuracy"

    dataset: str
    model: str
    loss: str
    schedule: object
    formula: str | None = None
    loss_settings: tuple[tuple[str, float], ...] = ()
    l2: float = 0.0
    weights: str | None = None
    weights_sha256: str = ""
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
        """Hash of all fields that differ from their defaults, and of the protocol's version.

        A file of weights counts by its content, wherever it lies.
        """
        return key_of(self)

    @property
    def kind(self) -> "Trial":
        """The trial without loss and run: equal for trials of the same kind."""
        return replace(self, loss="", loss_settings=(), formula=None, run=0)

    @property
    def run_seed(self) -> int:
        """Root of the randomness of the trial's run, which all losses share."""
        return derive_seed(self.seed, "run", self.run)

    def __str__(self):
        loss = nglkeras.losses.label(self.loss)
        return f"{self.dataset}, {self.model}, {loss}, run {self.run + 1}"


def key_of(trial) -> str:
    """The key of a trial of any kind: see `Trial.key`."""
    content = essentials(trial)
    if "weights_sha256" in content:
        content.pop("weights", None)
    text = json.dumps([VERSION, content], sort_keys=True)
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
    status: Literal[*STATUSES]
    accuracy: Share | None = None
    validation_accuracy: Share | None = None
    history: list[Measures] = field(default_factory=list)
    sizes: tuple[Count, Count, Count] | None = None
    seconds: Number = 0.0
    message: str = ""
    attempts: Count = 1
    environment: dict = field(default_factory=dict)
    finished: str = ""
    accumulation: Count = 1
    metrics: Measures = field(default_factory=dict)

    @classmethod
    def from_json(cls, row: dict) -> "TrialResult":
        """Return the result in a row of a journal; columns that it does not know are ignored.

        Raises:
            ValueError: If a column is missing or holds a value that it cannot hold.
        """
        return msgspec.convert(row, cls)

    def answers(self, trial: Trial) -> bool:
        """Whether the trial need not be run again: it would end so again, or all is measured."""
        if self.status != "ok":
            return self.status in FINAL_STATUSES
        if trial.monitored == "test":
            looks = [epoch.get("test_accuracy") for epoch in self.history]
            if len(looks) != trial.schedule.epochs or None in looks:
                return False
        return (self.accuracy if trial.test else self.validation_accuracy) is not None


def start_of(weights: str | None) -> dict:
    """What a trial says of the weights that it starts from."""
    path = weights and paths.absolute(weights)
    if not path or not path.is_file():
        return {"weights": weights}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"weights": str(path), "weights_sha256": digest}

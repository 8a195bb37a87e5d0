"""Trials and their results as data, shared by all experiments."""

import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import ClassVar, Literal

import msgspec

# `losses` needs Keras and is imported when a trial is printed: see `startup.lazy`.
import nglkeras
from nglkeras import paths
from nglkeras.runs.columns import Count, Measures, Number, Share
from nglkeras.seeds import derive_seed
from nglkeras.training.devices import backend
from nglkeras.training.outcome import FINAL_STATUSES, STATUSES

# To be raised when the same trial would give another result than before; old rows are then ignored.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One network to train, with every setting that can change the result.

    Each experiment has a subclass with further fields.

    Attributes:
        dataset: Name of the data set.
        model: Name of the network.
        loss: Name of a row of `losses.ROWS`; any name if there is a formula.
        schedule: The training schedule, with `epochs`, `batch_size` and `accumulation`.
        formula: Formula of the loss for `Expression.parse`; replaces that of the row.
        loss_settings: Arguments of the loss as pairs of name and value.
        l2: Factor of the L2 penalty on the kernels.
        weights: Initial weights: `None` for random ones, "imagenet" or a file.
        weights_sha256: Hash of that file's content.
        run: Number of the repetition, from 0. All losses of a run share split and initial weights.
        seed: Seed from which all others are derived; see `seeds.derive_seed`.
        train_images: Upper limit on training images.
        evaluation_images: Upper limit on images for validation, and for test.
        replicas: Number of devices that share each batch. On TensorFlow each device has its own
            BatchNormalization statistics and dropout, so the number changes the result; on JAX
            they are those of the whole batch.
        test: Whether the test set is evaluated; a search must not do that.
        monitored: The part that is evaluated after each epoch, "validation" or "test".
        precision: Keras dtype policy of the layers; weights and outputs are always float32.
        backend: Keras backend; the same seed gives other numbers on another backend.
    """

    # The measure in progress lines.
    measure: ClassVar[str] = "accuracy"
    # Whether the row of a training that was stopped answers the trial.
    may_stop: ClassVar[bool] = False

    dataset: str
    model: str
    loss: str
    schedule: object
    formula: str | None = None
    loss_settings: tuple[tuple[str, float | str], ...] = ()
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

        A file of weights counts by its content, not by its path.
        """
        content = _non_defaults(self)
        if "weights_sha256" in content:
            content.pop("weights", None)
        text = json.dumps([VERSION, content], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def kind(self) -> "Trial":
        """The trial without loss and run; equal for trials of the same kind."""
        return replace(self, loss="", loss_settings=(), formula=None, run=0)

    @property
    def run_seed(self) -> int:
        """Seed of the run, which all losses share."""
        return derive_seed(self.seed, "run", self.run)

    def progress(self, epoch: int) -> str:
        """Say which epoch of how many it is; a training that may stop on a plateau has "at most".

        Schedules of some experiments know no plateau.
        """
        plateau = getattr(self.schedule, "plateau", None)
        of = "/" if plateau is None or plateau.stop_after is None else " of at most "
        return f"epoch {epoch}{of}{self.schedule.epochs}"

    def __str__(self):
        loss, rate = nglkeras.losses.label(self.loss), self.schedule.learning_rate
        return f"{self.dataset}, {self.model}, {loss} at {rate:g}, run {self.run + 1}"


def _non_defaults(value: object) -> object:
    """Return the fields of a dataclass that differ from their defaults, for JSON; else the value.

    Keys thus stay valid when a field is added. In return, a published default must not change.
    """
    if not is_dataclass(value):
        return value
    return {
        field.name: _non_defaults(getattr(value, field.name))
        for field in fields(value)
        if getattr(value, field.name) != field.default
    }


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The result of a trial, one row of the journal.

    Attributes:
        key: Key of the trial.
        trial: The trial as JSON.
        status: One of `STATUSES`.
        accuracy: Test accuracy after the last epoch, in [0, 1]; `None` if it was not reached.
        validation_accuracy: Validation accuracy after the last epoch, in [0, 1].
        history: For each finished epoch the loss and accuracy on the training images and on the
            monitored part ("val_..." or "test_..."), the learning rate and the seconds.
        sizes: Number of images for training, validation and test.
        seconds: Wall time of the whole trial.
        message: What went wrong; empty if nothing did.
        attempts: How often the trial was started; more than once if workers were lost.
        environment: Hardware and versions.
        finished: ISO date and time in UTC.
        accumulation: Number of parts that each batch was divided into for lack of memory.
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
        """Return whether the trial need not run again: it is complete, or would fail again."""
        if self.status == "stopped":
            # By bars, of which a trial without them knows nothing.
            return trial.may_stop
        if self.status != "ok":
            return self.status in FINAL_STATUSES
        if trial.monitored == "test":
            curve = [epoch.get("test_accuracy") for epoch in self.history]
            if len(curve) != trial.schedule.epochs or None in curve:
                return False
        return (self.accuracy if trial.test else self.validation_accuracy) is not None


def initial_weights(weights: str | None) -> dict:
    """Return the fields of a trial for its initial weights."""
    path = weights and paths.absolute(weights)
    if not path or not path.is_file():
        return {"weights": weights}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"weights": str(path), "weights_sha256": digest}

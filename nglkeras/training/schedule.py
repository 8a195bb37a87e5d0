"""How a network is trained, as data: optimizer, batches, epochs, changes of the learning rate."""

from dataclasses import dataclass, field

from nglkeras.errors import UserError, unknown
from nglkeras.numbers import convert_whole_numbers

ADAM = (("beta_1", 0.9), ("beta_2", 0.999), ("epsilon", 1e-7))
SGD = (("momentum", 0.9),)
# Keras' dtype policies of a network's layers.
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclass(frozen=True)
class Plateau:
    """Reduce the learning rate when a validation measure stops improving.

    Attributes:
        factor: Multiplies the learning rate.
        patience: Epochs without an improvement before that.
        min_learning_rate: The least learning rate, below which it is not reduced.
        monitor: The measure, as Keras names it; smaller is better if it ends in "loss".
        stop_after: Epochs without an improvement at the least learning rate after which training
            ends; `None` for training all epochs.
    """

    factor: float = 0.2
    patience: int = 5
    min_learning_rate: float = 1e-4
    # Keys of committed rows rest on this default; the papers' recipes set `ON_ACCURACY`.
    monitor: str = "val_loss"
    stop_after: int | None = None

    def __post_init__(self):
        if self.stop_after is not None and self.stop_after < 1:
            raise UserError(f"training cannot stop after {self.stop_after} epochs on a plateau")

    @property
    def mode(self) -> str:
        """Whether the measure should fall ("min") or rise ("max")."""
        return "min" if self.monitor.endswith("loss") else "max"


# Paper A names no monitor; the authors' example script uses validation accuracy. The loss would
# be unfair to NGL: between a uniform prediction and the optimum it spans 0.02 to 0.12, where cross
# entropy spans 0.7 to 4.6, and Keras counts an improvement from 1e-4 on.
ON_ACCURACY = Plateau(monitor="val_accuracy")


@dataclass(frozen=True)
class Decay:
    """Raise the learning rate linearly in a warm-up, then let it fall to 0, step by step.

    Attributes:
        steps: Steps of the whole training. Keras counts each part of a batch as a step.
        warmup: Number of these steps in which the rate rises from 0.
        power: Exponent of the polynomial by which the rate falls; `None` for half a cosine. There
            is no polynomial after a warm-up.
    """

    steps: int
    warmup: int = 0
    power: float | None = None

    def __post_init__(self):
        if self.warmup and self.power is not None:
            raise UserError(
                f"a warm-up of {self.warmup} steps and a polynomial of power {self.power:g} do not "
                "go together: leave one out"
            )


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images; evaluations, if an epoch counts steps.
        batch_size: Images per update, over all devices together.
        optimizer: Name of a Keras optimizer.
        optimizer_settings: Its further arguments, as pairs of name and value.
        learning_rate: The learning rate at the beginning; a serialised Keras schedule is a dict.
        plateau: When the rate is reduced; `None` for never.
        steps_per_epoch: Updates between two evaluations; `None` for one pass over the images.
        accumulation: Parts into which a batch is divided; their gradients are averaged before
            each update.
        cosine: Whether the rate falls from epoch to epoch along half a cosine, which would reach 0
            after the last one.
    """

    epochs: int
    batch_size: int
    optimizer: str = "Adam"
    optimizer_settings: tuple[tuple[str, float], ...] = ADAM
    learning_rate: float = 1e-3
    plateau: Plateau | None = field(default_factory=Plateau)
    steps_per_epoch: int | None = None
    accumulation: int = 1
    cosine: bool = False

    def __post_init__(self):
        convert_whole_numbers(self, epochs=1, batch_size=1, accumulation=1)
        if self.steps_per_epoch is not None:
            convert_whole_numbers(self, steps_per_epoch=1)
        if self.cosine and self.plateau is not None:
            raise UserError(
                "the rate falls along half a cosine or on a plateau, not both: plateau=None"
            )

    @property
    def part_size(self) -> int:
        """Number of images in a part of a batch; `UserError` if the parts are not whole."""
        if self.batch_size % self.accumulation:
            raise UserError(
                f"a batch of {self.batch_size} does not divide into {self.accumulation} parts"
            )
        return self.batch_size // self.accumulation


def constant(
    steps: int,
    evaluate_every: int,
    batch_size: int,
    optimizer: str,
    settings: tuple[tuple[str, float], ...],
    learning_rate: float,
) -> Schedule:
    """Return a training of some steps at a constant rate, evaluated every `evaluate_every` of them.

    Raises:
        UserError: If the steps between evaluations do not divide those of the training.
    """
    if steps % evaluate_every:
        raise UserError(
            f"{steps} steps are not a multiple of the {evaluate_every} between evaluations"
        )
    return Schedule(
        steps // evaluate_every,
        batch_size,
        optimizer,
        settings,
        learning_rate,
        plateau=None,
        steps_per_epoch=evaluate_every,
    )


def check_precision(name: str) -> None:
    """Raise `UserError` if there is no such dtype policy."""
    if name not in PRECISIONS:
        raise unknown("precision", name, PRECISIONS)

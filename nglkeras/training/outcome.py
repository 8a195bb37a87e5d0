"""How a training ended."""

from dataclasses import dataclass, field

STATUSES = ("ok", "non_finite", "exploded", "rejected", "timeout", "out_of_memory", "crashed")


# Statuses that the trial itself brings about: it would end in them again.
FINAL_STATUSES = ("ok", "non_finite", "exploded", "rejected")


@dataclass(frozen=True)
class Training:
    """What came of training with one loss.

    Attributes:
        status: One of `trial.STATUSES`.
        accuracy: On the test set after the last epoch, in [0, 1]; `None` if it was not reached or
            is not in the streams.
        validation_accuracy: On the validation set after the last epoch.
        message: What went wrong.
        history: A row for each finished epoch.
        sizes: Images in train, validation and test, where they come from a data set.
        seconds: Wall time.
        accumulation: As `trial.TrialResult` has it.
    """

    status: str
    accuracy: float | None = None
    validation_accuracy: float | None = None
    message: str = ""
    history: list[dict] = field(default_factory=list)
    sizes: tuple[int, int, int] | None = None
    seconds: float = 0.0
    accumulation: int = 1

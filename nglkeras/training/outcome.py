"""Say how a training ended."""

from dataclasses import dataclass, field

STATUSES = ("ok", "non_finite", "exploded", "rejected", "stopped")
STATUSES += ("timeout", "out_of_memory", "crashed")
# Statuses that depend on the trial alone: it would end with the same status again.
FINAL_STATUSES = ("ok", "non_finite", "exploded", "rejected", "stopped")
# What trains a network.
FIT, ONE_PROGRAM, COMPILED_EPOCHS = "fit", "one program", "compiled epochs"


@dataclass(frozen=True)
class Training:
    """The outcome of training a network with one loss.

    Attributes:
        status: One of `STATUSES`.
        accuracy: Accuracy on the test set after the last epoch, in [0, 1]; `None` if that epoch
            was not reached or there is no test set.
        validation_accuracy: The same on the validation set.
        message: What went wrong; "" if nothing did.
        history: For each finished epoch the logs of Keras, the learning rate and the seconds.
        sizes: Number of images in train, validation and test, where they come from a data set.
        seconds: Wall time, of all attempts together.
        accumulation: Number of parts into which batches were divided.
        path: What trained it: "fit" of Keras, "one program" (JAX), "compiled epochs" (TensorFlow).
    """

    status: str
    accuracy: float | None = None
    validation_accuracy: float | None = None
    message: str = ""
    history: list[dict] = field(default_factory=list)
    sizes: tuple[int, int, int] | None = None
    seconds: float = 0.0
    accumulation: int = 1
    path: str = FIT

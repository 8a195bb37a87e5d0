"""Whole training steps on a card: their time by network, precision and loss, and memory's end."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from benchmark.gpu_limits import Context
from benchmark.gpu_rows import Row
from nglkeras import losses
from nglkeras.experiments import classification, segmentation
from nglkeras.training import accumulation
from nglkeras.training.compiled import steps_per_execution
from nglkeras.training.monitor import Monitor
from nglkeras.training.optimizer import make_optimizer
from nglkeras.training.outcome import Training
from nglkeras.training.schedule import Schedule

STEP, MEMORY = "step", "memory"
GIB = 2**30
# Classes of CIFAR-10 and of VOC 2012.
CLASSES, PIXEL_CLASSES = 10, 21
LOSSES = ("NGL", "CE")
# Share of the memory that the greatest batch is expected to take, and the factor by which the
# batches that are tried after it grow.
SHARE, GROWTH = 0.95, 1.15
# Batches that are tried are multiples of it.
MULTIPLE = 8


@dataclass(frozen=True)
class Network:
    """A network and the images of its training step.

    Attributes:
        name: Name of the classifier or the segmentation network.
        size: Height and width of the images, in pixels.
        batch: Images of a step.
    """

    name: str
    size: int
    batch: int

    @property
    def is_segmentation(self) -> bool:
        """Whether it has an output for every pixel."""
        return self.name in segmentation.architectures.ARCHITECTURES

    @property
    def title(self) -> str:
        """Its name with the size of its images."""
        return f"{self.name}, {self.size} x {self.size}"

    def build(self, precision: str) -> keras.Model:
        """Return the network, uncompiled."""
        keras.utils.set_random_seed(0)
        size = self.size, self.size
        if self.is_segmentation:
            classes = PIXEL_CLASSES
            return segmentation.models.build(self.name, classes, precision=precision, size=size)
        return classification.models.build(self.name, (*size, 3), CLASSES, precision=precision)

    def loss(self, name: str) -> keras.losses.Loss:
        """Return a loss as table 2 or table 4 has it."""
        if self.is_segmentation:
            return segmentation.protocol.make_loss(name)
        return losses.get(name)

    def data(self, count: int) -> tuple:
        """Return random images and labels, on the device."""
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (count, self.size, self.size, 3)).astype("float32")
        if self.is_segmentation:
            labels = random.integers(0, PIXEL_CLASSES, images.shape[:3]).astype("int32")
        else:
            labels = np.eye(CLASSES, dtype="float32")[random.integers(0, CLASSES, count)]
        return keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(labels)


def steps(
    context: Context, *, network: Network, precision: str, count: int, rounds: int
) -> Iterator[Row]:
    """Measure the training step of a network with each loss.

    Args:
        context: What the task is told.
        network: The network.
        precision: Dtype policy of its layers.
        count: Steps of a round.
        rounds: Number of rounds, after the one that compiles.
    """
    case = f"{network.title}, batch {network.batch}, {precision}"
    schedule = Schedule(1 + rounds, network.batch, plateau=None)
    for name in LOSSES:
        if (case, name) in context.measured:
            continue
        first, *others = train(network, precision, name, schedule, count)
        seconds = float(np.median(others)) / count
        yield Row(
            part=STEP,
            case=case,
            name=name,
            seconds=seconds,
            images_per_second=round(network.batch / seconds, 1),
            first=round(first, 3),
            batch=network.batch,
            rounds=rounds,
            **memory(),
        )
        accumulation.release()


def train(
    network: Network, precision: str, loss: str, schedule: Schedule, count: int
) -> list[float]:
    """Train with one batch, compiled as `fit` does, and return the seconds of each epoch.

    Args:
        network: The network.
        precision: Dtype policy of its layers.
        loss: Name of the loss.
        schedule: Its epochs, and batches with their parts.
        count: Updates of an epoch.
    """
    model = network.build(precision)
    taken = count * schedule.accumulation
    model.compile(
        make_optimizer(schedule),
        network.loss(loss),
        steps_per_execution=steps_per_execution(taken, 1),
    )
    model.optimizer.build(model.trainable_variables)
    clock = _Clock()
    model.fit(
        _repeated(network.data(schedule.part_size)),
        epochs=schedule.epochs,
        steps_per_epoch=taken,
        callbacks=[clock],
        shuffle=False,
        verbose=0,
    )
    return clock.seconds


def _repeated(batch):
    # Keras passes on a batch that lies on the device, but on TensorFlow through the host.
    while True:
        yield batch


class _Clock(keras.callbacks.Callback):
    """Take the time of each epoch until the device has done its last step."""

    # It reads no metrics during an epoch: Keras need not wait for the device at every step.
    async_safe = True

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        """Keras' hook."""
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Keras' hook."""
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        self.seconds.append(time.perf_counter() - self.began)


def memory() -> dict[str, float]:
    """Return the device's memory and this process' peak in it, in GiB; nothing on a CPU."""
    backend, peak, limit = keras.backend.backend(), None, None
    if backend == "jax":
        import jax

        found = jax.local_devices()[0].memory_stats() or {}
        peak, limit = found.get("peak_bytes_in_use"), found.get("bytes_limit")
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            peak, limit = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    else:
        import tensorflow as tf

        if tf.config.list_logical_devices("GPU"):
            peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    sizes = {"peak_gib": peak, "memory_gib": limit}
    return {name: round(size / GIB, 3) for name, size in sizes.items() if size}


def memory_end(context: Context, *, network: Network, precision: str, most: int) -> Iterator[Row]:
    """Find the greatest batch that fits into memory, and divide one that does not.

    The peak of a small batch tells which should fit. Twice that batch is tried next, in parts where
    it does not fit; then batches grow from the greatest that did. Without a device that tells its
    peak, batches are doubled.

    Args:
        context: What the task is told.
        network: The network, with the first batch that is tried.
        precision: Dtype policy of its layers.
        most: Images of the greatest batch that is tried.
    """
    case = f"{network.title}, {precision}"
    batch, fits, fails, slowest = network.batch, 0, None, 0.0
    while batch <= most and (fails is None or batch < fails) and context.left > 2 * slowest:
        attempt = partial(_attempt, network, precision)
        schedule = Schedule(1, batch, plateau=None)
        # Once batches were divided, it is known that they can be.
        found = attempt(schedule) if fails else accumulation.with_room(attempt, schedule)
        used = memory()
        yield Row(
            part=MEMORY,
            case=case,
            name=f"batch of {batch}",
            status=found.status,
            message=found.message,
            batch=batch,
            parts=found.accumulation,
            seconds=found.seconds,
            **used,
        )
        if found.status not in ("ok", "out_of_memory"):
            raise RuntimeError(found.message)
        slowest = max(slowest, found.seconds)
        is_whole = found.status == "ok" and found.accumulation == 1
        if found.status == "ok":
            fits = max(fits, batch // found.accumulation)
        if not is_whole:
            fails = batch
        batch = _next(batch, fits, fails, used)
    text = f"of {fails} none fits" if fails else f"none above {fits} was tried"
    yield Row(part=MEMORY, case=case, name="greatest batch", batch=fits, message=text, **memory())


def _attempt(network, precision, schedule):
    """Train one step by a schedule, and return how it ended."""
    started, monitor = time.perf_counter(), Monitor()
    accumulation.release()
    try:
        train(network, precision, LOSSES[0], schedule, 1)
    # What does not fit ends with an error, whose kind depends on the backend.
    except Exception as error:
        monitor.fail(error)
    return Training(
        monitor.status,
        message=monitor.message,
        seconds=round(time.perf_counter() - started, 3),
        accumulation=schedule.accumulation,
    )


def _next(batch, fits, fails, used):
    """Return the next batch to try."""
    least, following = batch, 2 * batch
    if fails is not None:
        least, following = fits, GROWTH * fits
    elif {"peak_gib", "memory_gib"} <= set(used):
        following *= SHARE * used["memory_gib"] / used["peak_gib"]
    return max(MULTIPLE * round(following / MULTIPLE), least + MULTIPLE)

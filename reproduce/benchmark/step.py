"""A training step of each network at the paper's scale: its time and peak memory.

Each step is measured in a process of its own. Where the paper's batch does not fit into the memory
limit, the batch is the largest power of two that does; two small batches tell what an image takes.
The memory is the process', not a GPU's.
"""

import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmark import measure as harness
from benchmark.measure import in_new_process, seconds_of
from nglkeras.errors import UserError, unknown
from nglkeras.experiments import imagenet, segmentation
from nglkeras.experiments.segmentation.recipes import RECIPES, TABLE4_SCALES, TABLE5_SCALES

GIB = 2**30
PROBES = (4, 8)
# Classes of ImageNet.
CLASSES = 1000


@dataclass(frozen=True)
class Configuration:
    """A network as the paper trains it.

    Attributes:
        name: Name of the network, and of its data set where there are several.
        batch_size: Images an update in the paper.
        image_size: Height and width of the images, in pixels.
        make: Function of a batch size that returns the compiled network, images and labels.
    """

    name: str
    batch_size: int
    image_size: int
    make: Callable[[int], tuple[object, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Step:
    """A measured training step.

    Attributes:
        name: Name of the configuration.
        parameters: Number of the network's parameters.
        image_size: Height and width of the images, in pixels.
        paper_batch: Images an update in the paper.
        batch: Images of the step.
        seconds: Median time of a step; of the first, if no other was timed.
        images_per_second: At that time.
        first: Seconds of the first step, which traces.
        peak_gib: Peak memory of the whole process.
        rounds: Steps that were timed.
    """

    name: str
    parameters: int
    image_size: int
    paper_batch: int
    batch: int
    seconds: float
    images_per_second: float
    first: float
    peak_gib: float
    rounds: int


def configurations() -> dict[str, Configuration]:
    """Return every network of the paper's tables 3 to 5 with NGL, by name."""
    found = []
    for name in imagenet.protocol.SCALES["paper"].models:
        sizes = imagenet.protocol.RECIPES[name].batch_size, 224
        found.append(Configuration(name, *sizes, partial(classification_step, name)))
    for scale in (TABLE4_SCALES["paper"], TABLE5_SCALES["paper"]):
        for name in scale.models:
            dataset = scale.dataset_of(name)
            recipe = RECIPES[name, dataset]
            sizes = recipe.schedule.part_size, recipe.views.crop
            make = partial(segmentation_step, name, dataset)
            found.append(Configuration(f"{name}/{dataset}", *sizes, make))
    return {one.name: one for one in found}


def classification_step(name: str, batch_size: int):
    """Return a network of table 3, compiled with NGL, random images and one-hot labels."""
    scale = replace(imagenet.protocol.SCALES["paper"], models=(name,))
    (trial,) = imagenet.protocol.plan(scale, ["NGL"], classes=CLASSES)
    model = imagenet.training.compiled(trial, CLASSES, steps=1)
    size = (batch_size, trial.image_size, trial.image_size, 3)
    images = np.random.default_rng(0).uniform(0, 255, size).astype("float32")
    return model, images, np.eye(CLASSES, dtype="float32")[np.arange(batch_size) % CLASSES]


def segmentation_step(name: str, dataset: str, batch_size: int):
    """Return a network of `RECIPES`, compiled with NGL, random images, and labels, some void.

    Its weights are random, which needs no download. BatchNormalization is then trained, where it
    is frozen with the paper's weights: a step takes more memory than in a real training.
    """
    recipe = RECIPES[name, dataset]
    schedule = recipe.schedule
    trial = segmentation.protocol.SegmentationTrial(
        dataset=dataset,
        model=name,
        loss="NGL",
        schedule=schedule,
        views=recipe.views,
        l2=recipe.l2,
        scale_losses=segmentation.architectures.get_architecture(name).is_multiscale,
    )
    info = segmentation.catalog.get_info(dataset)
    random = np.random.default_rng(0)
    shape = (batch_size, recipe.views.crop, recipe.views.crop)
    images = random.uniform(0, 255, (*shape, 3)).astype("float32")
    labels = random.integers(0, len(info.classes), shape, dtype="int32")
    labels[:, :8] = segmentation.VOID
    steps = schedule.epochs * (schedule.steps_per_epoch or 1)
    return segmentation.training.build(trial, info, steps), images, labels


def measure(rounds: int, names: Sequence[str] | None = None, memory: float = 12) -> list[Step]:
    """Measure a step of each of these networks, or of all.

    Raises:
        UserError: If there is no such network, or none could be measured.
    """
    known = configurations()
    for name in names or ():
        if name not in known:
            raise unknown("model", name, known)
    steps = []
    for name in dict.fromkeys(names or known):
        try:
            batch = largest_batch(known[name], memory)
            print(f"{name}: a step of {batch} images", flush=True)
            steps.append(in_new_process(step, known[name], batch, rounds))
        # One that fails, or is killed for its memory, does not stop the others.
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            print(f"{name} failed: {reason.splitlines()[-1]}")
    if not steps:
        raise UserError("no step could be measured")
    return steps


def largest_batch(configuration: Configuration, memory: float) -> int:
    """Return the paper's batch, or the largest power of two that fits into `memory` GiB."""
    small, large = (in_new_process(step, configuration, n, 0).peak_gib for n in PROBES)
    image = max(large - small, 1e-6) / (PROBES[1] - PROBES[0])
    room = int((memory - small) / image) + PROBES[0]
    if room >= configuration.batch_size:
        return configuration.batch_size
    return 2 ** max(int(np.log2(max(room, 1))), 0)


def step(configuration: Configuration, batch: int, rounds: int) -> Step:
    """Measure steps in this process, whose peak memory is part of the result."""
    model, x, y = configuration.make(batch)
    first, *others = (seconds_of(lambda: model.train_on_batch(x, y)) for _ in range(1 + rounds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    usual = float(np.median(others or [first]))
    return Step(
        name=configuration.name,
        parameters=model.count_params(),
        image_size=configuration.image_size,
        paper_batch=configuration.batch_size,
        batch=batch,
        seconds=round(usual, 3),
        images_per_second=round(batch / usual, 3),
        first=round(first, 3),
        # Linux counts KiB, macOS bytes.
        peak_gib=round(peak * (1 if sys.platform == "darwin" else 1024) / GIB, 3),
        rounds=rounds,
    )


COLUMNS = {
    "network": lambda row: row.name,
    "parameters": lambda row: f"{row.parameters:,}",
    "pixels": lambda row: str(row.image_size),
    "paper's batch": lambda row: str(row.paper_batch),
    "batch": lambda row: str(row.batch),
    "step": lambda row: f"{row.seconds:.2f} s",
    "peak memory": lambda row: f"{row.peak_gib:.1f} GiB",
}
report = partial(harness.report, columns=COLUMNS, draw=None, update="name")

"""What the papers' experiments would cost, counted from the plans that their own scripts make.

Every network of every experiment is planned as at `--scale paper`. The multiply-adds of its forward
pass are those of the convolutions and matrix products in TensorFlow's graph of it, for one image of
the training's size, which some networks enlarge. A training is 3 forward passes for each image that
it sees (one forward, and twice as much backward), at 2 operations a multiply-add.

Not counted are the validation and test passes (up to 4 % more; 13 % in paper B's figure 1 and data
portions), reading and changing images, the optimizer, and what has no product of matrices
(normalisation, activations, losses). Nor are pre-trainings, whose weights are downloaded, learning
rates that a study adds at an edge, and the confirmation at the end of a search. Figure 2's networks
are among table 3's, paper B's figure 3 has those of its figure 1.

Searches are upper bounds: every candidate of every generation is trained to its end, though the
training of a loss that diverges is stopped, and paper B's search trains no tree twice.

Hours are operations divided by a rate. That of a GPU is an assumption (`--tflops`), too high for
the small networks of paper B, which keep no GPU busy. By default it is about what one A100 does in
a training of ResNet50 v1.5 in mixed precision: NVIDIA's DeepLearningExamples publish 2,470 images a
second, of 4.1 billion multiply-adds each. In TF32, which the scripts' float32 becomes on such a
card, it is 938 images a second, or 23 TFLOP/s. The rate of two CPU cores is that of U-Net's step in
`results/benchmark/step.csv`, in float32: the ResNets and Swins there were timed beside other work.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import pandas as pd
import tensorflow as tf

import nglkeras
from benchmark import measure as harness
from benchmark.step import CLASSES
from nglkeras.data.catalog import get_info
from nglkeras.data.division import TRAIN, Division
from nglkeras.experiments import (
    classification,
    discovery,
    glo,
    imagenet,
    learning_rates,
    segmentation,
)
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.imagenet.protocol import ImageNetTrial
from nglkeras.experiments.segmentation.protocol import SegmentationTrial
from nglkeras.experiments.segmentation.recipes import TABLE4_SCALES, TABLE5_SCALES
from nglkeras.report.tables import as_text
from nglkeras.runs.trial import Trial
from nglkeras.search.glo import MAX_SIZE, GLOParameters
from nglkeras.search.known import cross_entropy

# Images outside train of the data sets that are not divided at random.
HELD = {name: {"test": 10_000} for name in ("cifar10", "cifar100", "fashion_mnist")}
HELD["patch_camelyon"] = {"validation": 32_768, "test": 32_768}
# Training images of the data sets that `data.catalog` does not have.
TRAINING_IMAGES = {"imagenet2012": 1_281_167, "voc2012": 1_464}
# Operations of a training for a multiply-add of the forward pass.
OPERATIONS = 2 * 3
# The network that the rate of two CPU cores is of, and where its step was measured.
REFERENCE = "unet", "voc2012"
MEASURED = Path(__file__).resolve().parents[2] / "results" / "benchmark" / "step.csv"


@dataclass(frozen=True)
class Cost:
    """The trainings of a network on a data set in an experiment.

    Attributes:
        experiment: Table, figure or search.
        dataset: Name of the data set.
        network: Name of the network.
        networks: Number of trainings.
        images: Training images that each sees, counting repetitions; the mean where they differ.
        image_size: Height and width of the images that enter the network, in pixels.
        multiply_adds: Of the forward pass for an image.
        eflop: Operations of all trainings together, in 1e18.
        assumed_tflops: Assumed rate of a GPU, in 1e12 operations a second.
        gpu_hours: Hours on one GPU at that rate.
        cpu_gflops: Rate of two CPU cores, in 1e9 operations a second.
        cpu_hours: Hours on them at that rate.
    """

    experiment: str
    dataset: str
    network: str
    networks: int
    images: int
    image_size: int
    multiply_adds: int
    eflop: float
    assumed_tflops: float
    gpu_hours: float
    cpu_gflops: float
    cpu_hours: float


def experiments() -> dict[str, list[tuple[Trial, int]]]:
    """Return the networks of every experiment at the paper's scale, and how often each is trained.

    Those that several experiments share are in the first of them.
    """
    rows_of = nglkeras.losses.rows_of
    table2 = partial(classification.trial.plan, TABLE2_SCALES["paper"], rows_of("table2"))
    table4, table5 = (
        segmentation.protocol.plan(scales["paper"], rows_of(table))
        for table, scales in (("table4", TABLE4_SCALES), ("table5", TABLE5_SCALES))
    )
    paper_b = glo.protocol.SCALES["paper"]
    figure1 = glo.protocol.plan(paper_b)
    planned = {
        "table 2": table2(),
        "table B.2.2": table2(weights="imagenet"),
        "table 3": imagenet.protocol.plan(imagenet.protocol.SCALES["paper"], classes=CLASSES),
        "table 4": table4,
        "table 5": table5,
        "B: figure 1": figure1,
        "B: data portions": [t for t in glo.protocol.by_portion(paper_b) if t not in figure1],
        "B: transfer": glo.protocol.by_duration(paper_b),
    }
    once = {name: [(trial, 1) for trial in trials] for name, trials in planned.items()}
    return once | {"learning rates": _learning_rates()} | _searches()


def _learning_rates():
    scale = learning_rates.protocol.SCALES["paper"]
    trials = learning_rates.protocol.plan(scale, nglkeras.losses.rows_of("learning_rates"))
    of_loss = {trial.loss: trial for trial in trials}
    new_seeds = [(trial, scale.new_runs) for trial in of_loss.values()]
    return [*((trial, 1) for trial in trials), *new_seeds]


def _searches():
    loss = str(cross_entropy(10, "sum"))
    scale, found = discovery.protocol.SCALES["paper"], {}
    for number, experiment in discovery.protocol.EXPERIMENTS.items():
        # Where candidates are compared with cross entropy, it is trained too.
        times = scale.population * (scale.generations + 1) + experiment.against_ce
        trials = discovery.experiments.trials(experiment, scale, loss)
        found[f"search {number}"] = [(trial, times) for trial in trials]
    scale = glo.protocol.SCALES["paper"]
    trees = scale.population + scale.generations * (scale.population - GLOParameters().elites)
    # CMA-ES begins with the tree itself, and a tree of the greatest size has the largest samples.
    vectors = 1 + scale.coefficient_generations * (4 + int(3 * math.log(MAX_SIZE)))
    trials = glo.protocol.candidate(scale, loss)
    return found | {"B: search": [(trial, trees + vectors) for trial in trials]}


def by_network(planned: Sequence[tuple[Trial, int]]) -> list[list[tuple[Trial, int]]]:
    """Return the networks of an experiment in groups of one network on one data set."""
    groups = {}
    for trial, times in planned:
        groups.setdefault((trial.dataset, trial.model), []).append((trial, times))
    return list(groups.values())


def amount(pairs: Sequence[tuple[Trial, int]]) -> tuple[int, int]:
    """Return the number of trainings, and of the training images that they see together."""
    return sum(times for _, times in pairs), sum(times * images_of(one) for one, times in pairs)


def images_of(trial: Trial) -> int:
    """Return how many training images a training sees, counting repetitions."""
    schedule = trial.schedule
    # ImageNet's recipes count whole passes only.
    steps = getattr(schedule, "steps_per_epoch", None)
    # What does not fill a batch is left out of a pass.
    steps = steps or _training_images(trial) // schedule.batch_size
    return schedule.epochs * steps * schedule.batch_size


def _training_images(trial):
    if isinstance(trial, ImageNetTrial):
        return TRAINING_IMAGES[trial.dataset]
    if isinstance(trial, SegmentationTrial):
        splits = {"train": range(TRAINING_IMAGES[trial.dataset]), "test": range(1)}
        return segmentation.data.divide(splits, 0, validation=trial.validation).sizes[0]
    held = HELD.get(trial.dataset, {})
    sizes = {"train": get_info(trial.dataset).images - sum(held.values()), **held}
    names = ("train_images", "evaluation_images", "validation_images", "splits", "own_validation")
    division = Division(**{name: getattr(trial, name) for name in names})
    return sum(int((part == TRAIN).sum()) for part in division.parts(sizes, seed=0).values())


def network(trial: Trial) -> tuple[keras.Model, int]:
    """Return the network of a trial, with random weights, and the side of its images in pixels."""
    if isinstance(trial, ImageNetTrial):
        size = trial.image_size
        return imagenet.models.build(trial.model, size, CLASSES), size
    if isinstance(trial, SegmentationTrial):
        classes = len(segmentation.catalog.get_info(trial.dataset).classes)
        return segmentation.models.build(trial.model, classes), trial.views.crop
    model = classification.training.build_network(replace(trial, weights=None))
    return model, model.input_shape[1]


def multiply_adds(model: keras.Model, size: int) -> int:
    """Return the multiply-adds of a model's convolutions and matrix products for one image."""
    image = tf.TensorSpec((1, size, size, 3))
    traced = tf.function(partial(model, training=False)).get_concrete_function(image)
    return sum(map(_products, traced.graph.get_operations()))


def _products(operation):
    if operation.type not in ("Conv2D", "MatMul", "BatchMatMulV2"):
        return 0
    left, right = operation.inputs
    (found,) = operation.outputs
    if operation.type != "Conv2D":
        # Keras transposes beforehand.
        return found.shape.num_elements() * left.shape[-1]
    # TensorFlow makes a dilated convolution of an ordinary one, on images that it pads for that.
    whole = [after.outputs[0] for after in found.consumers() if after.type == "BatchToSpaceND"]
    (found,) = whole or [found]
    return found.shape.num_elements() * math.prod(right.shape[:-1])


def measure(rounds: None, tflops: float) -> list[Cost]:
    """Count every experiment, for GPUs of an assumed rate in 1e12 operations a second.

    Nothing is timed, and so there are no rounds.
    """
    gflops = cpu_gflops()
    costs = []
    for experiment, planned in experiments().items():
        print(f"counting {experiment}", flush=True)
        costs += [cost(experiment, pairs, tflops, gflops) for pairs in by_network(planned)]
    return costs


def cpu_gflops() -> float:
    """Return the measured rate of two CPU cores, in 1e9 operations of a training a second."""
    name, dataset = REFERENCE
    measured = pd.read_csv(MEASURED).set_index("name").loc["/".join(REFERENCE)]
    classes = len(segmentation.catalog.get_info(dataset).classes)
    products = multiply_adds(segmentation.models.build(name, classes), measured.image_size)
    return OPERATIONS * products * measured.images_per_second / 1e9


def cost(experiment: str, pairs: Sequence[tuple[Trial, int]], tflops: float, gflops: float) -> Cost:
    """Return what trials of one network on one data set cost, each trained so many times."""
    first, _ = pairs[0]
    model, size = network(first)
    products = multiply_adds(model, size)
    networks, images = amount(pairs)
    operations = OPERATIONS * products * images
    return Cost(
        experiment=experiment,
        dataset=first.dataset,
        network=first.model,
        networks=networks,
        images=round(images / networks),
        image_size=size,
        multiply_adds=products,
        eflop=operations / 1e18,
        assumed_tflops=tflops,
        gpu_hours=operations / (tflops * 1e12) / 3600,
        cpu_gflops=gflops,
        cpu_hours=operations / (gflops * 1e9) / 3600,
    )


COLUMNS = {
    "experiment": lambda row: row.experiment,
    "data set": lambda row: row.dataset,
    "network": lambda row: row.network,
    "networks": lambda row: f"{row.networks:,}",
    "images each": lambda row: f"{row.images:,}",
    "pixels": lambda row: str(row.image_size),
    "GMAC": lambda row: f"{row.multiply_adds / 1e9:.3g}",
    "EFLOP": lambda row: _short(row.eflop),
    "GPU hours (assumed rate)": lambda row: _short(row.gpu_hours),
    "CPU hours": lambda row: _short(row.cpu_hours),
}


def _short(number):
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def report(rows: Sequence[Cost], title: str, path: Path, save: Callable[..., list[Path]]) -> None:
    """Print and write the lines as `measure.report` does, then print the sum of each experiment."""
    harness.report(rows, title, path, save, columns=COLUMNS, draw=None, update=None)
    sums = pd.DataFrame(rows).groupby("experiment", sort=False)
    sums = sums[["networks", "eflop", "gpu_hours", "cpu_hours"]].sum()
    sums.loc["all"] = sums.sum()
    heads = "experiment", "networks", "EFLOP", "GPU hours (assumed rate)", "CPU hours"
    lines = [
        [name, f"{int(networks):,}", *map(_short, others)]
        for name, networks, *others in sums.itertuples()
    ]
    print(as_text([heads, *lines]))
    print(
        f"\nThe GPU's rate is an assumption: {rows[0].assumed_tflops:g} TFLOP/s sustained (an A100 "
        "trains ResNet50 at about 60 in mixed precision and 23 in TF32). That of two CPU cores, "
        f"{rows[0].cpu_gflops:.0f} GFLOP/s in float32, was measured with {'/'.join(REFERENCE)}. "
        "Validation and test passes are not counted. Searches are upper bounds."
    )

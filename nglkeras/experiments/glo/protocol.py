"""What paper B fixes before a network is trained, as trials.

The text gives the number of steps, of evaluations and of networks for each loss, the shortened
training of a candidate (2,000 steps on MNIST), and the initial σ of CMA-ES. Everything else is
remembered, published with the follow-up (TaylorGLO), or our choice: `PAPER_SILENT`,
`PAPER_SILENT_ON_TRANSFER` (CIFAR-10) and `PAPER_SILENT_ON_SEARCH` say which.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import nglkeras
from nglkeras.data.catalog import get_info
from nglkeras.errors import UserError, unknown
from nglkeras.experiments import draws
from nglkeras.experiments.classification import architectures
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.options import Scale, by_name
from nglkeras.expression import Expression
from nglkeras.expression.papers import CROSS_ENTROPY
from nglkeras.search.screening import CHECKS
from nglkeras.training.schedule import Schedule, check_precision, constant

BATCH_SIZE = 100
LEARNING_RATE = 0.01
PAPER_SILENT = (
    "The text of paper B does not give network, optimizer, learning rate and batch: convolutions "
    "5x5x32 and 5x5x64 with max-pooling, dense 1024, dropout 0.4, plain SGD 0.01 and batches of "
    "100 are of its supplement as remembered and of its follow-up's published configuration; the "
    "division into 55,000 images for training, 5,000 for validation and 10,000 for test is "
    "remembered; same-padding, pixels divided by 255, a constant learning rate and the portions "
    "of the training set are our choice."
)
PAPER_SILENT_ON_TRANSFER = (
    "The text of paper B gives neither the network nor the durations of its CIFAR-10 experiment: "
    "two convolutions 5x5x64 with max-pooling 3x3, dense 384 and 192 after TensorFlow's tutorial "
    "of the time, whole images of 32 x 32, plain SGD 0.01 without decay and batches of 100 as on "
    "MNIST are our choice. From memory, and unverified: the arXiv version uses a network like "
    "AlexNet with local response normalisation, crops of 24 x 24, batches of 1,024, rate 0.05 and "
    "weight decay 0.004."
)
PAPER_SILENT_ON_SEARCH = (
    "The text of paper B does not give the parameters of its genetic algorithm: 80 trees, 6 "
    "elites, a roulette of parents, recombination 0.8, node mutations 0.05 with half of that for "
    "deletion and insertion, random trees of height 2 at most and the weights by which nodes are "
    "drawn are of its supplement as remembered; 100 generations of trees, 50 of coefficients, the "
    "limit of 40 nodes and CMA-ES's population of 4 + 3 log(coefficients) are our choice."
)


@dataclass(frozen=True, kw_only=True)
class GLOScale(Scale):
    """The part of paper B's protocol that a script carries out.

    Attributes:
        runs: Networks for each loss.
        dataset: Name of the data set.
        model: Name of the network.
        steps: Steps of a training.
        evaluate_every: Steps from one look at the test set to the next.
        portions: Shares of the training images, for the data-portion experiment.
        portion_runs: Networks for each loss and share.
        train_images: Upper limit on training images.
        durations: Steps of each training of the transfer experiment.
        search_steps: Steps of a candidate's training in the search.
        population: Trees in a generation of the search.
        generations: Generations of trees.
        coefficient_generations: Generations of CMA-ES.
        transfer_dataset: Data set of the transfer experiment.
        transfer_images: Upper limit on training images of the transfer experiment.
        validation_images: Number of validation images; `None` for a tenth of the train split.
        screening: Checks that spare a tree's training: some of `search.screening.CHECKS`. The paper
            only keeps the fitness of a tree that comes again ("duplicates").
        racing: Whether trainings that fall behind the survivors are stopped; `None` for yes where
            it is possible, but not in a folder that was begun without it. The paper trains all to
            their end.
        draws: "fresh", a new split and new initial weights for every evaluation of the search, or
            "shared" (default: the scale's, fresh at paper scale).
    """

    dataset: str
    model: str = "glo_mnist"
    steps: int
    evaluate_every: int
    portions: tuple[float, ...]
    portion_runs: int
    train_images: int
    durations: tuple[int, ...]
    search_steps: int
    population: int
    generations: int
    coefficient_generations: int
    transfer_dataset: str = "cifar10"
    transfer_images: int = 45_000
    validation_images: int | None = 5_000
    screening: tuple[str, ...] = CHECKS
    racing: bool | None = None
    draws: str = "shared"

    def images_of(self, portion: float) -> int:
        """Return the number of training images of a share."""
        return round(portion * self.train_images)


SCALES = by_name(
    GLOScale(
        name="demo",
        note="a demonstration of the protocol on scikit-learn's digits: not the paper's "
        "experiment, and no evidence for or against its numbers",
        dataset="digits",
        steps=300,
        evaluate_every=50,
        runs=3,
        portions=(0.1, 0.3, 1.0),
        portion_runs=3,
        train_images=1_400,
        durations=(50, 100, 200, 400),
        search_steps=100,
        population=40,
        generations=6,
        coefficient_generations=4,
        transfer_dataset="digits",
        transfer_images=1_400,
        validation_images=None,
    ),
    GLOScale(
        name="reduced",
        note="the paper's network and data, with fewer networks and shorter trainings",
        dataset="mnist",
        steps=2_000,
        evaluate_every=500,
        runs=5,
        portions=(0.02, 0.1, 0.3, 1.0),
        portion_runs=3,
        train_images=55_000,
        durations=(500, 1_000, 2_000, 4_000),
        search_steps=200,
        population=80,
        generations=15,
        coefficient_generations=8,
    ),
    GLOScale(
        name="paper",
        note="the full protocol of the paper",
        dataset="mnist",
        steps=20_000,
        evaluate_every=250,
        runs=10,
        # The text gives the number of tests (18) but neither portions nor durations: ours.
        portions=(0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
        portion_runs=5,
        train_images=55_000,
        durations=tuple(range(1_000, 18_001, 1_000)),
        search_steps=2_000,
        population=80,
        generations=100,
        coefficient_generations=50,
        screening=("duplicates",),
        racing=False,
        draws="fresh",
    ),
)


def schedule(steps: int, evaluate_every: int) -> Schedule:
    """Plain SGD at a constant rate, evaluated every `evaluate_every` steps."""
    return constant(steps, evaluate_every, BATCH_SIZE, "SGD", (), LEARNING_RATE)


def plan(
    scale: GLOScale,
    loss_names: Iterable[str] | None = None,
    *,
    class_reduction: str = "sum",
    formulas: dict[str, str] | None = None,
    **arguments,
) -> list[Trial]:
    """Return the networks of an experiment, run by run, each loss in turn.

    `loss_names` are rows of `losses.ROWS` that can be summed over the classes, by default "CE",
    "Baikal" and "BaikalCMA"; `formulas` are further losses by name. The `class_reduction` is "sum",
    as GLO must have trained: only so do the paper's numbers come out (plain SGD sees the factor
    1/n). "mean" is the printed formula. Further arguments are fields of `Trial`.

    Raises:
        UserError: If a name is unknown, or a formula is none.
    """
    get_info(scale.dataset)
    if scale.model not in architectures.NAMES:
        raise unknown("model", scale.model, architectures.NAMES)
    check_precision(arguments.get("precision", "float32"))
    nglkeras.losses.options.check_class_reduction(class_reduction)
    if loss_names is None:
        loss_names = nglkeras.losses.rows_of("glo")
    rows = {row.name: row for row in map(nglkeras.losses.row, loss_names)}
    blanks = [_blank(row, class_reduction) for row in rows.values()]
    for name, text in (formulas or {}).items():
        formula = str(Expression.parse(text))
        blanks.append({"loss": name, "formula": formula, **_reduced(class_reduction)})
    return [
        Trial(
            dataset=scale.dataset,
            model=scale.model,
            schedule=schedule(scale.steps, scale.evaluate_every),
            run=run,
            train_images=scale.train_images,
            evaluation_images=scale.evaluation_images,
            validation_images=scale.validation_images,
            monitored="test",
            **arguments,
            **blank,
        )
        for run in range(scale.runs)
        for blank in blanks
    ]


def candidate(scale: GLOScale, formula: str, **arguments) -> list[Trial]:
    """Return the short training of a candidate, whose validation accuracy is its fitness."""
    steps = scale.search_steps
    # Four looks at whether the loss is finite: many need not be trained to their end.
    short = replace(scale, runs=1, steps=steps, evaluate_every=steps // 4)
    (trial,) = plan(short, (), formulas={"candidate": formula}, **arguments)
    trial = replace(trial, monitored="validation", test=False, compile_once=True)
    return draws.planned([trial], scale.draws)


def _blank(row, class_reduction):
    """Return what a trial says of its loss."""
    blank = row.of_trial
    if row.make is nglkeras.losses.ROWS["CE"].make:
        # Keras' is the sum; the mean, as paper B prints it, is a tenth of it with ten classes.
        if class_reduction == "sum":
            return blank
        blank["formula"] = CROSS_ENTROPY
    elif not row.takes_reduction:
        rows = nglkeras.losses.ROWS.values()
        valid = ", ".join(other.name for other in rows if other.takes_reduction)
        raise UserError(
            f"{row.name} has no sum over the classes; choose from: CE, CE + L2, {valid}"
        )
    return blank | _reduced(class_reduction)


def _reduced(class_reduction):
    return {"loss_settings": (("class_reduction", class_reduction),)}


def by_portion(
    scale: GLOScale, loss_names: Iterable[str] | None = None, **arguments
) -> list[Trial]:
    """Return the networks of the data-portion experiment, share by share.

    The shares of a run lie within each other: they are the beginning of one random order.
    """
    trials = []
    for portion in scale.portions:
        if not 0 < portion <= 1:
            raise UserError(f"a portion of {portion} is not in (0, 1]")
        images = scale.images_of(portion)
        if images < BATCH_SIZE:
            raise UserError(
                f"a portion of {portion} is {images} images, fewer than a batch of {BATCH_SIZE}"
            )
        part = replace(scale, train_images=images, runs=scale.portion_runs)
        trials += plan(part, loss_names, **arguments)
    return trials


def by_duration(
    scale: GLOScale, loss_names: Iterable[str] | None = None, **arguments
) -> list[Trial]:
    """Return the networks of the transfer experiment, duration by duration.

    Each duration is the number of its run, and so has its own initial weights: as many tests.
    The losses are "CE" and "Baikal" by default.
    """
    if loss_names is None:
        loss_names = nglkeras.losses.rows_of("glo_transfer")
    images = min(scale.train_images, scale.transfer_images)
    transfer = {"dataset": scale.transfer_dataset, "model": "glo_cifar10", "train_images": images}
    trials = []
    for steps in scale.durations:
        part = replace(scale, steps=steps, evaluate_every=steps, runs=1, **transfer)
        trials += [replace(trial, run=steps) for trial in plan(part, loss_names, **arguments)]
    return trials

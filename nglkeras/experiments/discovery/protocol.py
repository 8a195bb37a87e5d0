"""The five experiments of paper A, and how much of one a search takes on, as data."""

from dataclasses import dataclass

from nglkeras.search.screening import CHECKS


@dataclass(frozen=True)
class Experiment:
    """A row of the paper's list of experiments (section 4.1).

    Attributes:
        weights: What the backbone starts from: `None` or "imagenet".
        datasets: Data sets, each with its own fitness.
        runs: Networks for each candidate and data set.
        found: The loss that the paper found in it.
        against_ce: Whether the fitness is (wins over CE, mean % improvement) instead of the
            validation accuracy.
    """

    weights: str | None
    datasets: tuple[str, ...]
    runs: int
    found: str
    against_ce: bool = False


EXPERIMENTS = {
    1: Experiment(None, ("cifar10",), 1, "f1"),
    2: Experiment(None, ("fashion_mnist",), 3, "f2"),
    3: Experiment("imagenet", ("cifar10",), 1, "f3"),
    4: Experiment("imagenet", ("fashion_mnist",), 3, "f4"),
    5: Experiment(None, ("cifar10", "fashion_mnist", "cifar100"), 1, "f5 = NGL", against_ce=True),
}

# Epochs of a candidate's training (section 4.1); fewer than those of table 2.
EPOCHS = {"cifar10": 50, "cifar100": 50, "fashion_mnist": 35}


@dataclass(frozen=True)
class SearchScale:
    """The part of the protocol that a search carries out; `None` keeps the paper's values.

    Attributes:
        name: What `--scale` calls it.
        note: What a reader must know of results at this scale.
        model: The network.
        generations: T.
        population: n.
        datasets: Instead of an experiment's own.
        epochs: Upper limit on epochs.
        train_images: Upper limit on training images, drawn at random.
        evaluation_images: Upper limit on images for validation, drawn at random.
        image_size: Upper limit on the image size, in pixels.
        upsampling: Upper limit on the factor by which networks enlarge images.
        plateau: Whether the learning rate is reduced on a plateau, which takes a validation
            after every epoch.
        pretrained: Whether the weights of experiments 3 and 4 are used.
        screening: Those of `CHECKS` that are made. The paper makes none: it only discards losses
            whose values leave the bounds, which is done at every scale.
        draws: "fresh", a new split and new initial weights for every evaluation, as in the paper
            (B.1), or "shared".
    """

    name: str
    note: str
    model: str = "InceptionV3"
    generations: int = 100
    population: int = 16
    datasets: tuple[str, ...] | None = None
    epochs: int | None = None
    train_images: int | None = None
    evaluation_images: int | None = None
    image_size: int | None = None
    upsampling: int | None = None
    plateau: bool = True
    pretrained: bool = True
    screening: tuple[str, ...] = CHECKS
    draws: str = "shared"


SCALES = {
    scale.name: scale
    for scale in (
        SearchScale(
            "demo",
            "a demonstration on scikit-learn's digits with a small network, from scratch: not the "
            "paper's experiment",
            model="small_cnn",
            generations=10,
            datasets=("digits",),
            epochs=8,
            plateau=False,
            pretrained=False,
        ),
        SearchScale(
            "reduced",
            "the paper's network and data with fewer images, epochs and generations and smaller "
            "inputs",
            generations=10,
            epochs=4,
            train_images=2_560,
            evaluation_images=1_000,
            image_size=75,
            upsampling=3,
        ),
        SearchScale("paper", "the full protocol of the paper", screening=(), draws="fresh"),
    )
}

"""The five experiments of paper A and the scales of its search, as data."""

from dataclasses import dataclass

from nglkeras.experiments.options import Scale, by_name
from nglkeras.search.screening import CHECKS


@dataclass(frozen=True)
class Experiment:
    """An experiment of the paper (section 4.1).

    Attributes:
        weights: Initial weights of the backbone: `None` or "imagenet".
        datasets: Data sets that a candidate is trained on.
        runs: Networks for each candidate and data set.
        found: Name of the loss that the paper found in it.
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


@dataclass(frozen=True, kw_only=True)
class SearchScale(Scale):
    """The part of paper A's search that the script carries out.

    Attributes:
        model: Network that candidates are trained with.
        generations: Number of the last generation (T).
        population: Number of survivors (n).
        datasets: Data sets instead of the experiment's own.
        image_size: Upper limit on the image size, in pixels; `None` for the protocol's own.
        upsampling: Upper limit on the factor by which networks enlarge images; `None` for the
            protocol's own.
        plateau: Whether the learning rate is reduced on a plateau, which takes a validation
            after every epoch.
        pretrained: Whether the weights of experiments 3 and 4 are used.
        screening: Checks that spare trainings: some of `CHECKS`. The paper makes none: it only
            discards losses whose values leave the bounds, which is done at every scale.
        distinct: Whether only one of several survivors with the same formula is kept; `None` for
            yes, but not in a folder that was begun without it. The paper has no such rule.
        parsimony: Whether the smaller of two losses with the same fitness survives; `None` as
            above. In the paper the older survives.
        adaptation: "success_history" to adapt the rates of crossover and mutation; `None` for the
            fixed rates that the paper prints.
        racing: Whether trainings that fall behind the survivors are stopped; `None` for yes where
            it is possible, but not in a folder that was begun without it. The paper trains all to
            their end.
        draws: "fresh", a new split and new initial weights for every evaluation, as in the paper
            (B.1), or "shared" (default: the scale's, fresh at paper scale).
    """

    model: str = "InceptionV3"
    generations: int = 100
    population: int = 16
    datasets: tuple[str, ...] | None = None
    image_size: int | None = None
    upsampling: int | None = None
    plateau: bool = True
    pretrained: bool = True
    screening: tuple[str, ...] = CHECKS
    distinct: bool | None = None
    parsimony: bool | None = None
    adaptation: str | None = None
    racing: bool | None = None
    draws: str = "shared"


SCALES = by_name(
    SearchScale(
        name="demo",
        note="a demonstration on scikit-learn's digits with a small network, from scratch: not the "
        "paper's experiment",
        model="small_cnn",
        generations=10,
        datasets=("digits",),
        epochs=8,
        plateau=False,
        pretrained=False,
    ),
    SearchScale(
        name="reduced",
        note="the paper's network and data with fewer images, epochs and generations and smaller "
        "inputs",
        generations=10,
        epochs=4,
        train_images=2_560,
        evaluation_images=1_000,
        image_size=75,
        upsampling=3,
    ),
    SearchScale(
        name="paper",
        note="the full protocol of the paper",
        screening=(),
        distinct=False,
        parsimony=False,
        racing=False,
        draws="fresh",
    ),
)

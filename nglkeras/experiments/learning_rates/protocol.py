"""Which networks tell a loss's best learning rate, and what the loss is worth at it.

Under plain SGD a factor on a loss is a factor on the learning rate: losses compared at one shared
rate are compared by their size as well as by their shape. Here every loss is trained at rates half
a decade apart, and at more while its best one has no neighbour on one side; validation chooses,
and networks with new seeds (other splits, other initial weights), which nothing was chosen by, are
tested.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

# Losses and Keras are reached through it when a plan is made: see `startup.lazy`.
import nglkeras
from nglkeras.data.catalog import files_sha256, get_info
from nglkeras.errors import UserError, unknown
from nglkeras.experiments.classification import architectures, protocol
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.options import Scale, by_name
from nglkeras.expression import Expression
from nglkeras.report.rates import FIRST_NEW, RateCurve, curve_of
from nglkeras.runs.trial import TrialResult
from nglkeras.training.schedule import ADAM, SGD, Schedule, check_precision, constant


@dataclass(frozen=True)
class Optimizer:
    """An optimizer with the rates that a study begins with, half a decade apart.

    Attributes:
        keras: Keras' name of it.
        settings: Its settings but for the rate, as pairs of name and value.
        rates: The rates.
    """

    keras: str
    settings: tuple[tuple[str, float], ...]
    rates: tuple[float, ...]


OPTIMIZERS = {
    "SGD": Optimizer("SGD", (), (0.01, 0.032, 0.1, 0.32, 1.0, 3.2)),
    "momentum": Optimizer("SGD", SGD, (0.001, 0.0032, 0.01, 0.032, 0.1, 0.32)),
    "Adam": Optimizer("Adam", ADAM, (1e-4, 3.2e-4, 1e-3, 3.2e-3, 1e-2, 3.2e-2)),
}

# Courses of the rate, and what notes say of each.
DECAYS = {
    "constant": "is constant",
    "cosine": "falls from evaluation to evaluation along half a cosine",
}


@dataclass(frozen=True, kw_only=True)
class LearningRateScale(Scale):
    """A study of learning rates.

    Attributes:
        runs: Networks for each loss and rate, by which the rate is chosen.
        new_runs: Networks with new seeds for each loss at its own best rate.
        dataset: Name of the data set.
        model: Name of the network, or FILE.py:FUNCTION, see `architectures`.
        optimizer: Optimizer: SGD (plain), momentum (SGD with momentum 0.9) or Adam.
        decay: Course of the rate: constant, or cosine, which falls from evaluation to evaluation
            along half a cosine; after the last one it would be 0.
        rates: Rates that every loss begins with (default: six for each optimizer); more follow
            while the best one of a loss is the least or the greatest.
        steps: Steps of a training.
        evaluate_every: Steps from one look at the validation set to the next.
        batch_size: Images per step.
        image_size: Pixels a side; `None` for the data set's own.
        validation_images: Number of validation images; `None` for a tenth of the train split.
        precision: Dtype policy of the layers, float32 or mixed_bfloat16.
    """

    new_runs: int = 5
    dataset: str
    model: str
    optimizer: str = "SGD"
    decay: str = "constant"
    rates: tuple[float, ...] | None = None
    steps: int
    evaluate_every: int
    batch_size: int = 100
    image_size: int | None = None
    validation_images: int | None = None
    precision: str = "float32"


SCALES = by_name(
    LearningRateScale(
        name="demo",
        note="a demonstration on scikit-learn's digits with one network a rate: the best rates are "
        "those of this data set, network and number of steps, and say nothing of any other",
        dataset="digits",
        model="glo_mnist",
        steps=200,
        evaluate_every=50,
        runs=1,
        new_runs=3,
        batch_size=32,
    ),
    LearningRateScale(
        name="reduced",
        note="paper B's network and data at its shortened training of 2,000 steps; the best rate "
        "of a longer training may be another one",
        dataset="mnist",
        model="glo_mnist",
        steps=2_000,
        evaluate_every=500,
        runs=3,
        train_images=55_000,
        validation_images=5_000,
        precision="mixed_bfloat16",
    ),
    LearningRateScale(
        name="paper",
        note="paper B's network, data and number of steps (the paper has one rate for all losses)",
        dataset="mnist",
        model="glo_mnist",
        steps=20_000,
        evaluate_every=1_000,
        runs=3,
        new_runs=10,
        train_images=55_000,
        validation_images=5_000,
    ),
)


def plan(
    scale: LearningRateScale,
    loss_names: Iterable[str],
    *,
    formulas: Mapping[str, str] | None = None,
    **arguments,
) -> list[Trial]:
    """Return the networks that every loss begins with, run by run: each loss at each rate.

    `loss_names` are rows of `losses.ROWS`, `formulas` further losses by name; further arguments are
    fields of `Trial`.

    Raises:
        UserError: If something is unknown, or steps and rates cannot be.
    """
    if scale.optimizer not in OPTIMIZERS:
        raise unknown("optimizer", scale.optimizer, OPTIMIZERS)
    if scale.decay not in DECAYS:
        raise unknown("decay", scale.decay, DECAYS)
    if scale.decay == "cosine" and scale.steps == scale.evaluate_every:
        raise UserError("a rate that falls from evaluation to evaluation needs two or more of them")
    check_precision(scale.precision)
    if scale.runs > FIRST_NEW:
        raise UserError(f"{scale.runs} runs a rate; the numbers of new runs begin at {FIRST_NEW}")
    rates = scale.rates or OPTIMIZERS[scale.optimizer].rates
    if len(set(rates)) < 3 or not all(0 < rate < math.inf for rate in rates):
        raise UserError(
            f"rates {', '.join(f'{rate:g}' for rate in rates)}: wanted are at least three "
            f"different positive numbers, since the best one must have a neighbour on either side"
        )
    registry = nglkeras.losses.registry
    rows = [registry.row(name) for name in loss_names]
    for name, text in (formulas or {}).items():
        rows.append(registry.Row(name, formula=str(Expression.parse(text))))
    blanks = [row.of_trial | {"loss_settings": row.summed} for row in rows]
    common = _common(scale, arguments.pop("data_dir", None)) | arguments
    return [
        Trial(schedule=schedule(scale, rate), run=run, **common, **blank)
        for run in range(scale.runs)
        for blank in blanks
        for rate in sorted(rates)
    ]


def schedule(scale: LearningRateScale, rate: float) -> Schedule:
    """Return a training that begins with this rate."""
    optimizer = OPTIMIZERS[scale.optimizer]
    every, size = scale.evaluate_every, scale.batch_size
    made = constant(scale.steps, every, size, optimizer.keras, optimizer.settings, rate)
    return replace(made, cosine=scale.decay == "cosine")


def _common(scale, data_dir):
    """Return what all trials of a study share."""
    info = get_info(scale.dataset, data_dir)
    setting = protocol.setting_of(scale.dataset, info)
    return {
        **architectures.identity(scale.model),
        "dataset": scale.dataset,
        "files_sha256": files_sha256(scale.dataset, data_dir),
        "image_size": scale.image_size,
        "augmentation": setting.augmentation,
        "train_images": scale.train_images,
        "evaluation_images": scale.evaluation_images,
        "validation_images": scale.validation_images,
        # Random ones would test on images by which a rate was chosen.
        "splits": "official",
        "own_validation": info.has_validation,
        "precision": scale.precision,
        "compile_once": True,
        # What chooses a rate must not look at the test set.
        "test": False,
    }


def curves(
    trials: Iterable[Trial], results: Mapping[str, TrialResult], classes: int | None
) -> dict[str, RateCurve]:
    """Return the curve of each loss from the trials that choose a rate, in the order of the losses.

    Without the number of `classes`, as of a folder that is not at hand, chance is not known.
    """
    chance = 1 / classes if classes else None
    by_loss = {}
    for trial in trials:
        if trial.run < FIRST_NEW:
            rows = by_loss.setdefault(trial.loss, {}).setdefault(trial.schedule.learning_rate, [])
            row = results.get(trial.key)
            if row is not None:
                rows.append((row.status, row.validation_accuracy))
    return {loss: curve_of(outcomes, chance) for loss, outcomes in by_loss.items()}


def further(
    scale: LearningRateScale,
    trials: Sequence[Trial],
    results: Mapping[str, TrialResult],
    classes: int,
) -> list[Trial]:
    """Return the networks that are wanted next: more rates first, then new seeds at the best ones.

    Nothing when all is trained. A loss with a best rate at an edge after `MAX_ADDED` rates there
    goes on with it, and the table says so.
    """
    begun = scale.rates or OPTIMIZERS[scale.optimizer].rates
    found = curves(trials, results, classes)
    of_run = {(trial.loss, trial.run): trial for trial in trials if trial.run < FIRST_NEW}
    wanted = [
        _at(trial, scale, rate)
        for loss, curve in found.items()
        for rate in curve.wanted(begun)
        for (of_loss, _), trial in of_run.items()
        if of_loss == loss
    ]
    if not wanted:
        wanted = [
            replace(_at(of_run[loss, 0], scale, curve.best), run=FIRST_NEW + run, test=True)
            for loss, curve in found.items()
            if curve.best is not None
            for run in range(scale.new_runs)
        ]
    planned = {trial.key for trial in trials}
    return [trial for trial in wanted if trial.key not in planned]


def _at(trial, scale, rate):
    return replace(trial, schedule=schedule(scale, rate))

"""The five experiments of paper A as data, and their fitness (Algorithm B.1)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nglkeras import datasets, models, protocol, streams
from nglkeras.catalog import get_info
from nglkeras.errors import UserError, unknown
from nglkeras.expression import Expression
from nglkeras.journal import Journal
from nglkeras.protocol import at_most, derive_seed
from nglkeras.search.evolution import Evaluation
from nglkeras.search.fitness import SCALE_FREE, Comparison, cross_entropy, fresh_values
from nglkeras.search.screening import BOUNDS
from nglkeras.training import failure, make_row
from nglkeras.trial import FINAL_STATUSES, Trial
from nglkeras.workbench import Workbench


@dataclass(frozen=True)
class Experiment:
    """A row of the paper's list of experiments (section 4.1).

    Attributes:
        weights: What the backbone starts from: `None` or "imagenet".
        datasets: Data sets, each with its own fitness.
        runs: Networks for each candidate and data set.
        against_ce: Whether the fitness is (wins over CE, mean % improvement) instead of the
            validation accuracy.
    """

    weights: str | None
    datasets: tuple[str, ...]
    runs: int
    against_ce: bool = False


EXPERIMENTS = {
    1: Experiment(None, ("cifar10",), 1),
    2: Experiment(None, ("fashion_mnist",), 3),
    3: Experiment("imagenet", ("cifar10",), 1),
    4: Experiment("imagenet", ("fashion_mnist",), 3),
    5: Experiment(None, ("cifar10", "fashion_mnist", "cifar100"), 1, against_ce=True),
}

# Epochs of a candidate's training (section 4.1); fewer than those of table 2.
EPOCHS = {"cifar10": 50, "cifar100": 50, "fashion_mnist": 35}


@dataclass(frozen=True)
class SearchScale:
    """How much of the protocol a search takes on; `None` leaves the paper's.

    Attributes:
        name: What `--scale` calls it.
        note: What a reader must know of results at this scale.
        model: The network.
        generations: T.
        population: n.
        datasets: Instead of an experiment's own.
        epochs: At most so many.
        train_images: At most so many, drawn at random.
        evaluation_images: At most so many for validation, drawn at random.
        image_size: At most so large, in pixels.
        upsampling: At most this factor.
        plateau: Whether the learning rate is reduced on a plateau, which takes a validation
            after every epoch.
        pretrained: Whether the weights of experiments 3 and 4 are used.
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
        SearchScale("paper", "the full protocol of the paper"),
    )
}


def trials(
    experiment: Experiment,
    scale: SearchScale,
    formula: str,
    *,
    seed: int = 0,
    replicas: Callable[[int], int] = lambda batch_size: 1,
) -> list[Trial]:
    """The networks that one candidate's fitness takes: every data set, run by run.

    Args:
        experiment: One of `EXPERIMENTS`.
        scale: How much of it.
        formula: Of the candidate.
        seed: Root of all randomness.
        replicas: Devices that share a batch, by its size.

    Raises:
        UserError: If a data set or the model is unknown.
    """
    if scale.model not in models.NAMES:
        raise unknown("model", scale.model, models.NAMES)
    found = []
    for dataset in scale.datasets or experiment.datasets:
        if dataset not in protocol.SETTINGS:
            raise unknown("data set", dataset, protocol.SETTINGS)
        setting = protocol.SETTINGS[dataset]
        epochs = at_most(EPOCHS.get(dataset, setting.schedule.epochs), scale.epochs)
        schedule = replace(setting.schedule, epochs=epochs)
        if not scale.plateau:
            schedule = replace(schedule, plateau=None)
        upsampling = at_most(setting.upsampling, scale.upsampling)
        trial = Trial(
            dataset=dataset,
            model=scale.model,
            loss="candidate",
            formula=formula,
            schedule=schedule,
            weights=experiment.weights if scale.pretrained else None,
            seed=seed,
            image_size=at_most(setting.image_size, scale.image_size),
            upsampling=1 if scale.model in models.SMALL else upsampling,
            augmentation=setting.augmentation,
            train_images=scale.train_images,
            evaluation_images=scale.evaluation_images,
            replicas=replicas(schedule.batch_size),
            test=False,
            compile_once=True,
        )
        found += [replace(trial, run=run) for run in range(experiment.runs)]
    return found


class ExperimentFitness:
    """Fitness of a loss in one of the paper's experiments (Algorithm B.1).

    Each trained network is a row of the journal, on the disk before the next one starts.
    Algorithm B.1 evaluates on the test set, section 4.1 speaks of the validation error: the
    validation set is used here, and the test set is not even read.

    Args:
        experiment: One of `EXPERIMENTS`, 1 to 5.
        scale: How much of it.
        journal: Where the rows go.
        seed: Root of all randomness.
        replicas: Devices that share a batch, by its size.
        data_dir: Where TFDS keeps its data.
        timeout: Seconds after which the training of a network stops.
    """

    def __init__(
        self,
        experiment: int,
        scale: SearchScale,
        journal: Journal,
        *,
        seed: int = 0,
        replicas: Callable[[int], int] = lambda batch_size: 1,
        data_dir: str | Path | None = None,
        timeout: float | None = None,
    ):
        if experiment not in EXPERIMENTS:
            raise unknown("experiment", experiment, map(str, EXPERIMENTS))
        self.experiment = EXPERIMENTS[experiment]
        self.scale = scale
        self.journal = journal
        self.data_dir = data_dir
        self.timeout = timeout
        self._trials = partial(trials, self.experiment, scale, seed=seed, replicas=replicas)
        # Trials of no formula in particular: what they share identifies the search.
        self.blanks = self._trials("y_pred")
        self.settings = {
            "fitness": type(self).__name__,
            "experiment": experiment,
            "trials": [blank.key for blank in self.blanks],
            "datasets": list(dict.fromkeys(blank.dataset for blank in self.blanks)),
            "model": scale.model,
        }
        optimizers = {blank.schedule.optimizer.lower() for blank in self.blanks}
        self.gradients = "scaled" if optimizers <= set(SCALE_FREE) else "exact"
        self.rows = journal.results()
        self.benches = {}
        for blank in self.blanks:
            self.benches.setdefault(blank.dataset, make_workbench(blank, data_dir))
        self._references: dict[str, float] = {}
        self._tests: dict[tuple[str, int], tf.data.Dataset] = {}

    @property
    def classes(self) -> int:
        """Of the first data set; what the screening's checks assume."""
        return get_info(self.blanks[0].dataset).classes

    def prepare(self) -> None:
        """Have the data, and for experiment 5 the cross entropy's rows, before the search.

        Raises:
            UserError: If data can neither be found nor downloaded, or the cross entropy fails.
        """
        for dataset in self.benches:
            datasets.prepare(dataset, self.data_dir)
        if not self.experiment.against_ce:
            return
        for dataset in self.benches:
            formula = cross_entropy(get_info(dataset).classes)
            rows = [self._row(t) for t in self._trials(str(formula)) if t.dataset == dataset]
            bad = [row for row in rows if row.status != "ok"]
            if bad:
                raise UserError(f"the cross entropy failed on {dataset}: {bad[0].message}")
            self._references[dataset] = float(np.mean([row.validation_accuracy for row in rows]))

    def values(self, expression: Expression) -> np.ndarray:
        """Loss of each sample of a batch of the freshly initialised model."""
        return fresh_values(self.benches[self.blanks[0].dataset], expression)

    def __call__(self, expression: Expression) -> Evaluation:
        """Train with this loss on every data set, as often as the experiment says."""
        accuracies, seconds = {}, 0.0
        for trial in self._trials(str(expression)):
            row = self._row(trial)
            seconds += row.seconds
            if row.status != "ok":
                return Evaluation(row.status, message=row.message, seconds=seconds)
            accuracies.setdefault(trial.dataset, []).append(row.validation_accuracy)
        means = {dataset: float(np.mean(values)) for dataset, values in accuracies.items()}
        if self.experiment.against_ce:
            fitness = wins_and_improvement(means, self._references)
        else:
            fitness = (float(np.mean(list(means.values()))),)
        return Evaluation("ok", fitness, details={"accuracies": accuracies}, seconds=seconds)

    def _row(self, trial):
        row = self.rows.get(trial.key)
        if row is None or row.status not in FINAL_STATUSES:
            row = self._train(trial)
            self.journal.append(row)
            self.rows[trial.key] = row
        return row

    def _train(self, trial):
        bench = self.benches[trial.dataset]
        expression = Expression.parse(trial.formula)
        training = bench.train(expression, trial.run, timeout=self.timeout)
        status, message, accuracy = training.status, training.message, None
        if status == "ok" and trial.test:
            try:
                accuracy = bench.evaluate(self._test_stream(trial))["accuracy"]
            except UserError:
                raise
            except Exception as error:
                status, message = failure(error)
        return make_row(
            trial,
            status=status,
            message=message,
            history=training.history,
            seconds=training.seconds,
            validation_accuracy=training.validation_accuracy,
            accuracy=accuracy,
        )

    def _test_stream(self, trial):
        place = trial.dataset, trial.run
        if place not in self._tests:
            arrays = _arrays(trial, trial.run, self.data_dir, test=True)
            self._tests[place] = _held(arrays, arrays.test, trial)
        return self._tests[place]

    def compare(
        self, losses: dict[str, Expression | None], runs: int
    ) -> dict[str, list[Comparison]]:
        """Test accuracy of some losses, by data set, over runs that the search has not had.

        Only to be called when the search is over: this reads the test sets.

        Args:
            losses: By name; `None` stands for the cross entropy.
            runs: Networks for each loss and data set.
        """
        first = self.experiment.runs
        results = {}
        for dataset in self.benches:
            results[dataset] = []
            for name, expression in losses.items():
                formula = str(expression or cross_entropy(get_info(dataset).classes))
                blank = next(t for t in self._trials(formula) if t.dataset == dataset)
                rows = [
                    self._row(replace(blank, run=run, test=True))
                    for run in range(first, first + runs)
                ]
                accuracies = tuple(row.accuracy for row in rows if row.status == "ok")
                results[dataset].append(Comparison(name, formula, accuracies))
        return results


def wins_and_improvement(
    accuracies: dict[str, float], references: dict[str, float]
) -> tuple[float, float]:
    """Fitness of experiment 5: data sets on which CE is beaten, and the mean change in %.

    The mean is over the data sets that were won; without any, over all of them. Compared one
    after the other, more is better: who wins once is better than who never does; of as many
    wins, the greater improvement; without wins, the smaller deterioration. More wins beat
    fewer: our reading, the paper does not say.
    """
    changes = [
        100 * (accuracy - references[name]) / max(references[name], 1e-12)
        for name, accuracy in accuracies.items()
    ]
    won = [change for change in changes if change > 0]
    return float(len(won)), float(np.mean(won or changes))


def make_workbench(blank: Trial, data_dir: str | Path | None = None) -> Workbench:
    """The workbench for all trials that differ from this one only in formula and run."""

    def build(run):
        info = get_info(blank.dataset)
        size = blank.image_size or info.image_size[0]
        keras.utils.set_random_seed(derive_seed(_run_seed(blank, run), "model"))
        return models.build(
            blank.model,
            (size, size, 3),
            info.classes,
            weights=blank.weights,
            upsampling=blank.upsampling,
            l2=blank.l2,
        )

    return Workbench(
        build,
        lambda run: _streams(blank, run, data_dir),
        blank.schedule,
        replicas=blank.replicas,
        bound=BOUNDS[1],
    )


def _run_seed(blank, run):
    return derive_seed(blank.seed, "run", run)


def _arrays(blank, run, data_dir, test=False):
    return datasets.load_arrays(
        blank.dataset,
        _run_seed(blank, run),
        image_size=blank.image_size,
        train_images=blank.train_images,
        evaluation_images=blank.evaluation_images,
        test=test,
        # The same for all runs: no image of it has been validated with in any of them.
        test_seed=derive_seed(blank.seed, "test"),
        data_dir=data_dir,
    )


def _streams(blank, run, data_dir):
    """Training and validation of a run, as its split, order and augmentation are drawn."""
    arrays = _arrays(blank, run, data_dir)
    seed = _run_seed(blank, run)
    augmentation = blank.augmentation
    train, steps = streams.training(
        arrays.train[0],
        keras.utils.to_categorical(arrays.train[1], arrays.classes),
        batch_size=blank.schedule.batch_size,
        epochs=blank.schedule.epochs,
        seed=seed,
        augment=None if augmentation is None else datasets.augmenter(augmentation, seed),
        finish=lambda images: datasets.finish(images, arrays.size),
    )
    return streams.Streams(train, _held(arrays, arrays.validation, blank), steps)


def _held(arrays, part, blank):
    return streams.evaluation(
        part[0],
        keras.utils.to_categorical(part[1], arrays.classes),
        batch_size=blank.schedule.batch_size,
        finish=lambda images: datasets.finish(images, arrays.size),
    )

"""The fitness of a loss in the five experiments of paper A (Algorithm B.1)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from nglkeras.data.catalog import FOLDER, get_info
from nglkeras.errors import UserError, unknown
from nglkeras.experiments import draws
from nglkeras.experiments.classification import architectures, protocol
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.discovery.fitness import TrialFitness
from nglkeras.experiments.discovery.protocol import EPOCHS, EXPERIMENTS, Experiment, SearchScale
from nglkeras.numbers import at_most
from nglkeras.runs.journal import Journal
from nglkeras.search.screening import BOUNDS


def trials(
    experiment: Experiment,
    scale: SearchScale,
    formula: str,
    *,
    seed: int = 0,
    replicas: Callable[[int], int] = lambda batch_size: 1,
) -> list[Trial]:
    """Return the trials of a candidate: all runs on every data set.

    Raises:
        UserError: If a data set, the model or the kind of draws is unknown.
    """
    if scale.model not in architectures.NAMES:
        raise unknown("model", scale.model, architectures.NAMES)
    found = []
    for dataset in scale.datasets or experiment.datasets:
        if dataset == FOLDER:
            raise unknown("data set", dataset, protocol.SETTINGS)
        setting = protocol.setting_of(dataset, get_info(dataset))
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
            upsampling=1 if scale.model in architectures.SMALL else upsampling,
            augmentation=setting.augmentation,
            train_images=scale.train_images,
            evaluation_images=scale.evaluation_images,
            replicas=replicas(schedule.batch_size),
            test=False,
            compile_once=True,
        )
        found += [replace(trial, run=run) for run in range(experiment.runs)]
    return draws.planned(found, scale.draws)


class ExperimentFitness(TrialFitness):
    """Fitness of a loss in one of the paper's experiments (Algorithm B.1).

    Algorithm B.1 evaluates on the test set, section 4.1 speaks of the validation error: the
    validation set is used here, and the test set is not even read.
    """

    def __init__(
        self,
        experiment: int,
        scale: SearchScale,
        journal: Journal,
        *,
        seed: int = 0,
        replicas: Callable[[int], int] = lambda batch_size: 1,
        bounds: tuple[float, float] | None = BOUNDS,
        **settings,
    ):
        if experiment not in EXPERIMENTS:
            raise unknown("experiment", experiment, map(str, EXPERIMENTS))
        self.experiment = EXPERIMENTS[experiment]
        super().__init__(
            partial(trials, self.experiment, scale, seed=seed, replicas=replicas),
            journal,
            bound=np.inf if bounds is None else bounds[1],
            **settings,
        )
        self.number = experiment
        self.bounds = bounds
        if self.experiment.against_ce:
            self.fitness_name = "mean % improvement over CE"
        self._references: dict[str, float] = {}

    @property
    def settings(self) -> dict:
        """Everything that decides the fitness, as JSON data."""
        settings = {"experiment": self.number, **super().settings}
        return settings | ({"improvement": "errors"} if self.experiment.against_ce else {})

    def prepare(self) -> None:
        """Find or download the data; in experiment 5, train the cross entropy.

        Raises:
            UserError: If data can neither be found nor downloaded, or the cross entropy fails.
        """
        super().prepare()
        if not self.experiment.against_ce:
            return
        for dataset in self.datasets:
            formula = str(self.cross_entropy(dataset))
            rows = self.rows_of([t for t in self.trials(formula) if t.dataset == dataset])
            bad = [row for row in rows if row.status != "ok"]
            if bad:
                raise UserError(f"the cross entropy failed on {dataset}: {bad[0].message}")
            self._references[dataset] = float(np.mean([row.validation_accuracy for row in rows]))

    def combine(self, accuracies: dict[str, float]) -> tuple[float, ...]:
        """Return the fitness for the mean validation accuracy of each data set."""
        if self.experiment.against_ce:
            return wins_and_improvement(accuracies, self._references)
        return super().combine(accuracies)


def wins_and_improvement(
    accuracies: dict[str, float], references: dict[str, float]
) -> tuple[float, float]:
    """Return the fitness of experiment 5: number of wins over CE, mean improvement over CE in %.

    The improvement on a data set is 100 (err_CE - err) / err_CE, with validation errors
    err = 1 - accuracy. A loss wins on a data set if its improvement is above 0. Where err_CE = 0
    no loss can win, and the improvement is -100 err. The mean is over the data sets on which the
    loss wins; without any, over all of them.

    The paper (section 4.1) says: a loss that beats CE at least once is better than one that never
    does; with equally many wins, the higher mean improvement is better; without wins, the smaller
    mean deterioration. Our readings: more wins are better than fewer, and the mean improvement of
    a loss with wins is over the data sets on which it wins.

    Args:
        accuracies: Mean validation accuracy by data set, in [0, 1].
        references: Mean validation accuracy of the cross entropy by data set.
    """
    changes = []
    for name, accuracy in accuracies.items():
        reference = references[name]
        base = 1 - reference if reference < 1 else 1.0
        changes.append(100 * (accuracy - reference) / base)
    # The same number of hits may differ in the last digit in float32.
    won = [change for change in changes if change > 1e-4]
    return float(len(won)), float(np.mean(won or changes))

"""The fitness of a loss in the five experiments of paper A (Algorithm B.1)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from nglkeras import models, protocol
from nglkeras.errors import UserError, unknown
from nglkeras.executors import Executor
from nglkeras.journal import Journal
from nglkeras.protocol import at_most
from nglkeras.search.protocol import EPOCHS, EXPERIMENTS, Experiment, SearchScale
from nglkeras.search.screening import BOUNDS
from nglkeras.search.trials import TrialFitness
from nglkeras.trial import Trial


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


class ExperimentFitness(TrialFitness):
    """Fitness of a loss in one of the paper's experiments (Algorithm B.1).

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
        executor: Where networks are trained; in this process by default.
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
        executor: Executor | None = None,
    ):
        if experiment not in EXPERIMENTS:
            raise unknown("experiment", experiment, map(str, EXPERIMENTS))
        self.experiment = EXPERIMENTS[experiment]
        super().__init__(
            partial(trials, self.experiment, scale, seed=seed, replicas=replicas),
            journal,
            bound=BOUNDS[1],
            data_dir=data_dir,
            timeout=timeout,
            executor=executor,
        )
        self.settings = {"experiment": experiment, **self.settings}
        if self.experiment.against_ce:
            self.fitness_name = "mean % improvement over CE"
        self._references: dict[str, float] = {}

    def prepare(self) -> None:
        """Have the data, and for experiment 5 the cross entropy's rows, before the search.

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
        """The fitness of mean validation accuracies by data set."""
        if self.experiment.against_ce:
            return wins_and_improvement(accuracies, self._references)
        return super().combine(accuracies)


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

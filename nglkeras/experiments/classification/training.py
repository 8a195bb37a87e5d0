"""`run_trial`: build a network, train it, evaluate it, write down what came of it.

It never fails on account of the network: what goes wrong there becomes the status of the row.
Mistakes of the user (`UserError`) and Ctrl-C go through.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras

from nglkeras import losses, paths
from nglkeras.data import class_folders, datasets
from nglkeras.errors import UserError, unknown
from nglkeras.experiments.classification import models
from nglkeras.experiments.classification.trial import Trial
from nglkeras.runs.attempt import run_attempts
from nglkeras.runs.trial import TrialResult
from nglkeras.seeds import derive_seed
from nglkeras.startup import extras
from nglkeras.training import streams
from nglkeras.training.compiled import steps_per_execution
from nglkeras.training.monitor import plateau_callbacks
from nglkeras.training.optimizer import make_optimizer


def run_trial(
    trial: Trial,
    *,
    data_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    timeout: float | None = None,
    on_model: Callable[[keras.Model], None] | None = None,
    on_epoch: Callable[[int, dict], None] | None = None,
    accumulate: bool = True,
) -> TrialResult:
    """Train and evaluate the network of a trial.

    Args:
        trial: What to do.
        data_dir: Where TFDS keeps its data.
        log_dir: Where to write TensorBoard logs, in a folder per trial; none by default.
        timeout: Seconds after which training stops with status "timeout", all tries together.
        on_model: Called with the model when its training ended well, e.g. to save it.
        on_epoch: Called after each epoch with its number, from 1, and its row of the history.
        accumulate: Whether to try again with batches in parts when memory has no room for them.

    Returns:
        The row. Its status is "ok" when the last epoch was reached with finite losses.

    Raises:
        UserError: If the trial names something that does not exist or cannot be had.
    """
    if trial.compile_once:
        from nglkeras.experiments.classification.shared_networks import SharedNetworks

        run = SharedNetworks(
            [trial], data_dir=data_dir, log_dir=log_dir, timeout=timeout, accumulate=accumulate
        )
        return run(trial, on_epoch=on_epoch, on_model=on_model)

    if log_dir is not None:
        extras.require("tensorboard")
    logs = None if log_dir is None else paths.expand(log_dir) / trial.key

    return run_attempts(
        trial,
        partial(_train, data_dir=data_dir, log_dir=logs),
        timeout=timeout,
        on_epoch=on_epoch,
        on_model=on_model,
        accumulate=accumulate,
    )


def _train(trial, monitor, data_dir, log_dir):
    schedule = trial.schedule
    splits = streams.in_parts(_splits(trial, trial.run_seed, data_dir), schedule)
    steps = schedule.steps_per_epoch
    if steps is not None:
        steps *= schedule.accumulation
    keras.utils.set_random_seed(derive_seed(trial.run_seed, "model"))
    model = models.build(
        trial.model,
        splits.image_shape,
        splits.classes,
        weights=trial.weights,
        upsampling=trial.upsampling,
        l2=trial.l2,
        precision=trial.precision,
        model_sha256=trial.model_sha256,
    )
    model.compile(
        optimizer=make_optimizer(schedule, trial.replicas),
        loss=loss_of(trial),
        weighted_metrics=["accuracy"],
        steps_per_execution=steps_per_execution(steps, trial.replicas),
    )
    # An optimizer that is built inside `fit` makes TensorFlow trace the step twice.
    model.optimizer.build(model.trainable_variables)
    callbacks = [monitor, *plateau_callbacks(schedule)]
    if log_dir is not None:
        callbacks.append(keras.callbacks.TensorBoard(log_dir))
    with class_folders.naming_files(splits.paths):
        model.fit(
            splits.train,
            epochs=schedule.epochs,
            steps_per_epoch=steps,
            validation_data=splits.test if trial.monitored == "test" else splits.validation,
            callbacks=callbacks,
            shuffle=False,
            verbose=0,
        )
    outcome = {"sizes": splits.sizes}
    if monitor.status != "ok":
        return outcome, model
    for part, place in (("validation", "validation_accuracy"), ("test", "accuracy")):
        if part == trial.monitored:
            outcome[place] = monitor.history[-1][monitor.accuracy]
        elif part == "validation" or trial.test:
            found = model.evaluate(getattr(splits, part), verbose=0, return_dict=True)
            outcome[place] = found["accuracy"]
    return outcome, model


def _splits(trial, seed, data_dir):
    """The data of a trial: streamed, or in memory where an epoch counts steps."""
    schedule = trial.schedule
    if trial.monitored not in ("validation", "test"):
        raise unknown("monitored part", trial.monitored, ("validation", "test"))
    if trial.monitored == "test" and (not trial.test or schedule.plateau is not None):
        raise UserError("what decides on a training must not look at the test set")
    settings = {
        "image_size": trial.image_size,
        "train_images": trial.train_images,
        "evaluation_images": trial.evaluation_images,
        "validation_images": trial.validation_images,
        "splits": trial.splits,
        "own_validation": trial.own_validation,
        "data_dir": data_dir,
    }
    if schedule.steps_per_epoch is None:
        return datasets.load(
            trial.dataset,
            seed,
            batch_size=schedule.batch_size,
            augmentation=trial.augmentation,
            **settings,
        )
    arrays = datasets.load_arrays(trial.dataset, seed, test=trial.test, **settings)
    found = streams.of_arrays(arrays, schedule, seed, trial.augmentation)
    return datasets.Splits(
        found.train,
        found.validation,
        found.test,
        found.sizes,
        (*arrays.size, 3),
        arrays.classes,
    )


def loss_of(trial: Trial) -> keras.losses.Loss:
    """The loss of a trial."""
    if trial.formula is None:
        return losses.get(trial.loss, **dict(trial.loss_settings))
    return losses.FormulaLoss(trial.formula, **dict(trial.loss_settings))

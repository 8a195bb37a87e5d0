"""How one classifier of tables 2 and B.2.2, or of paper B, is built, fed and trained."""

import contextlib
from dataclasses import replace
from pathlib import Path

import keras

from nglkeras import data, losses
from nglkeras.data import datasets
from nglkeras.data.catalog import get_info
from nglkeras.errors import UserError, unknown
from nglkeras.experiments.classification import models
from nglkeras.experiments.classification.trial import Trial
from nglkeras.seeds import derive_seed
from nglkeras.training import streams
from nglkeras.training.compiled import steps_per_execution
from nglkeras.training.monitor import rate_callbacks
from nglkeras.training.optimizer import make_optimizer
from nglkeras.training.streams import Streams


def train_once(trial: Trial, monitor, data_dir, log_dir):
    """Train a trial's network, compiled for it alone, as `run_attempts` takes it."""
    schedule = trial.schedule
    splits = streams.in_parts(_splits(trial, data_dir), schedule)
    # `None` for streams that end with an epoch.
    steps = splits.steps
    if steps is not None:
        steps *= schedule.accumulation
    model = build_network(trial, data_dir)
    model.compile(
        optimizer=make_optimizer(schedule, trial.replicas),
        loss=loss_of(trial),
        weighted_metrics=["accuracy"],
        steps_per_execution=steps_per_execution(steps, trial.replicas),
    )
    # An optimizer that is built inside `fit` makes TensorFlow trace the step twice.
    model.optimizer.build(model.trainable_variables)
    callbacks = [monitor, *rate_callbacks(schedule)]
    if log_dir is not None:
        callbacks.append(keras.callbacks.TensorBoard(log_dir))
    with data.decoding.naming_files(splits.paths) if splits.paths else contextlib.nullcontext():
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


def _splits(trial, data_dir):
    """Return the data of a trial: streamed, or in memory where an epoch counts steps.

    Without TensorFlow's streams, on JAX and PyTorch, they are in memory if they fit there.
    """
    schedule = trial.schedule
    if trial.monitored not in ("validation", "test"):
        raise unknown("monitored part", trial.monitored, ("validation", "test"))
    if trial.monitored == "test" and (not trial.test or schedule.plateau is not None):
        raise UserError("what decides on a training must not look at the test set")
    if schedule.steps_per_epoch is not None or _in_memory(trial, data_dir):
        return streams_of(trial, data_dir)
    settings = _division(trial, data_dir) | {"augmentation": trial.augmentation}
    return datasets.load(trial.dataset, trial.run_seed, batch_size=schedule.batch_size, **settings)


def _in_memory(trial, data_dir):
    if keras.backend.backend() == "tensorflow":
        return False
    info, read = get_info(trial.dataset, data_dir), trial.train_images
    if read is not None and trial.evaluation_images is not None:
        info = replace(info, images=min(info.images, read + 2 * trial.evaluation_images))
    return info.fits_in_memory(trial.image_size)


def _division(trial, data_dir):
    names = ("image_size", "train_images", "evaluation_images", "validation_images", "splits")
    settings = {name: getattr(trial, name) for name in (*names, "own_validation")}
    return settings | {"data_dir": data_dir}


def streams_of(
    trial: Trial, data_dir: str | Path | None = None, test_seed: int | None = None
) -> Streams:
    """Return the data of a trial in memory; `test_seed` is as in `datasets.load_arrays`."""
    settings = _division(trial, data_dir) | {"test": trial.test, "test_seed": test_seed}
    arrays = datasets.load_arrays(trial.dataset, trial.run_seed, **settings)
    return streams.of_arrays(arrays, trial.schedule, trial.run_seed, trial.augmentation)


def build_network(trial: Trial, data_dir: str | Path | None = None) -> keras.Model:
    """Return the network of a trial, uncompiled, with the initial weights of its run."""
    info = get_info(trial.dataset, data_dir)
    size = trial.image_size or info.image_size[0]
    keras.utils.set_random_seed(derive_seed(trial.run_seed, "model"))
    names = ("weights", "upsampling", "l2", "precision", "model_sha256", "activation")
    settings = {name: getattr(trial, name) for name in names}
    return models.build(trial.model, (size, size, 3), info.classes, **settings)


def loss_of(trial: Trial) -> keras.losses.Loss:
    """Return the loss of a trial.

    Raises:
        UserError: If the trial's network does not end in what the loss is defined on.
    """
    if trial.formula is None:
        wanted = losses.row(trial.loss).activation
        # Trials of table 3 always have a softmax.
        if getattr(trial, "activation", "softmax") != wanted:
            raise UserError(f"{trial.loss} needs a trial with activation={wanted!r}")
        return losses.get(trial.loss, **dict(trial.loss_settings))
    return losses.FormulaLoss(trial.formula, **dict(trial.loss_settings))

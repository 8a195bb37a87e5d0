"""`run_trial`: train a network from scratch, over days if necessary, and return its row.

How losses treat mixed labels t in [0, 1] (Mixup, CutMix, label smoothing), for softmax outputs p,
summed over the classes j of a sample:

- CE: −Σ t log p. Linear in t: a mixed label's loss is the mean of its labels' losses.
- Focal: −Σ α (1 − p)^γ t log p, with α 0.25, γ 2. Linear in t as well.
- SCE: −α Σ t log p − β Σ p log max(t, 1e-4). The second term is not linear: a class with any share
  of the label costs −log of that share, a class without any −log 1e-4.
- NGL: the mean over j of exp(2.4092 − p(1 + t)) − cos(cos(sin p)). The share is part of the
  exponent. The loss is convex in t: a mixed label costs at most the mean of its labels' losses.

Label smoothing, t (1 − 0.1) + 0.1 / N, follows the mixing; the order makes no difference.
"""

from dataclasses import replace
from pathlib import Path

import keras
from keras.metrics import TopKCategoricalAccuracy

from nglkeras.data import decoding
from nglkeras.experiments.classification.training import loss_of
from nglkeras.experiments.imagenet import data, models
from nglkeras.experiments.imagenet.protocol import ImageNetTrial
from nglkeras.runs.attempt import run_attempts
from nglkeras.runs.trial import TrialResult
from nglkeras.seeds import derive_seed
from nglkeras.training import checkpoint
from nglkeras.training.checkpoint import Checkpoints
from nglkeras.training.optimizer import make_optimizer


def run_trial(
    trial: ImageNetTrial,
    *,
    data_dir: str | Path | None = None,
    checkpoints: Checkpoints | None = None,
    **settings,
) -> TrialResult:
    """Train and evaluate the network of a trial, from its checkpoint on if there is one.

    Args:
        trial: The trial.
        data_dir: Folder of TFDS' data, or of images.
        checkpoints: Where trainings keep their states; without them they start again.
        **settings: As `runs.attempt.run_attempts` takes them, e.g. `timeout`.

    Returns:
        The row. Its accuracy is top-1 after the last epoch, its metrics are top-5 and the number of
        parameters, its seconds those of all tries.
    """

    def train(divided, monitor):
        kept = checkpoints and checkpoints.of(trial.key, divided.schedule.accumulation)
        return _train(divided, data_dir, kept, monitor)

    return run_attempts(trial, train, **settings)


def _train(trial, data_dir, kept, monitor):
    streams = data.streams_of(trial, data_dir)
    model = compiled(trial, streams.classes, streams.steps)
    with decoding.naming_files(streams.paths):
        checkpoint.fit(
            model,
            streams.batches,
            epochs=trial.schedule.epochs,
            steps=streams.steps,
            checkpoint=kept,
            callbacks=[monitor],
            validation_data=streams.evaluation,
        )
    outcome = {"sizes": streams.sizes}
    if monitor.status == "ok":
        last = monitor.history[-1]
        outcome["accuracy"] = last["test_accuracy"]
        outcome["metrics"] = {"top5": last["test_top5"], "parameters": model.count_params()}
    return outcome, model


def compiled(trial: ImageNetTrial, classes: int, steps: int) -> keras.Model:
    """Build the compiled network of a trial; parts of batches count as steps of an epoch."""
    recipe = trial.schedule
    keras.utils.set_random_seed(derive_seed(trial.run_seed, "model"))
    model = models.build(
        trial.model,
        trial.image_size,
        classes,
        drop_path=recipe.drop_path,
        l2=trial.l2,
        precision=trial.precision,
    )
    optimizer = make_optimizer(recipe, trial.replicas, recipe.decay(steps))
    optimizer.exclude_from_weight_decay(var_list=undecayed(model))
    # One that is built inside `fit` makes TensorFlow trace the step twice.
    optimizer.build(model.trainable_variables)
    settings = (("from_logits", True), *trial.loss_settings)
    model.compile(
        optimizer,
        loss_of(replace(trial, loss_settings=settings)),
        weighted_metrics=["accuracy", TopKCategoricalAccuracy(min(5, classes), name="top5")],
    )
    return model


def undecayed(model: keras.Model) -> list:
    """Return the trainable variables without weight decay: biases, norms, tables of positions."""
    return [
        variable
        for variable in model.trainable_variables
        if len(variable.shape) < 2 or variable.name == "relative_position"
    ]

"""`run_trial`: build a segmentation network, train it, evaluate it, and return its row."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.experiments.segmentation import data, models, sources
from nglkeras.experiments.segmentation.architectures import get_architecture
from nglkeras.experiments.segmentation.catalog import Info, get_info
from nglkeras.experiments.segmentation.metrics import SegmentationScores, class_ious
from nglkeras.experiments.segmentation.protocol import SegmentationTrial, make_loss
from nglkeras.losses import balanced
from nglkeras.runs.attempt import run_attempts
from nglkeras.runs.trial import TrialResult
from nglkeras.seeds import derive_seed
from nglkeras.training import accumulation, checkpoint
from nglkeras.training.checkpoint import Checkpoints
from nglkeras.training.monitor import rate_callbacks
from nglkeras.training.optimizer import make_optimizer

# Images of the test set whose predictions are kept.
KEPT = 4


def run_trial(
    trial: SegmentationTrial,
    *,
    data_dir: str | Path | None = None,
    checkpoints: Checkpoints | None = None,
    predictions: Path | None = None,
    **settings,
) -> TrialResult:
    """Train and evaluate the network of a trial, from its checkpoint on if there is one.

    Args:
        trial: The trial.
        data_dir: Where the data set is.
        checkpoints: Where trainings keep their states; without them they start again.
        predictions: Folder for the predictions of the networks of the first run; see
            `predictions_path`. By default none are kept.
        **settings: As `runs.attempt.run_attempts` takes them, e.g. `timeout`.

    Returns:
        The row. Its accuracies are pixel accuracies (that of validation is `None` where the trial
        has no validation set); `metrics` has the measures of table 5 on the test set, and the IoU
        of each class as "iou/NAME".
    """
    keeps = predictions is not None and trial.run == 0
    shown = predictions_path(predictions, trial.key) if keeps else None
    # Frozen BatchNormalization allows parts of a single image.
    is_frozen = get_architecture(trial.model).kind == "deeplabv2" and trial.weights is not None
    least = 1 if is_frozen else accumulation.MIN_IMAGES

    def train(divided, monitor):
        kept = checkpoints and checkpoints.of(trial.key, divided.schedule.accumulation)
        return _train(divided, data_dir, kept, monitor, shown)

    return run_attempts(trial, train, least=least, **settings)


def predictions_path(folder: Path, key: str) -> Path:
    """Return the file with the predictions of the network of a trial with this key."""
    return paths.expand(folder) / f"{key}.npz"


def _train(trial, data_dir, kept, monitor, shown):
    schedule, views = trial.schedule, trial.views
    info = get_info(trial.dataset, data_dir)
    multiple = get_architecture(trial.model).multiple
    sets = find_sets(trial, data_dir)
    train = data.Reader(*sets.train, views.resize)
    validation = data.Reader(*sets.validation, views.resize) if trial.validation else None

    def held(reader):
        # About as many pixels as a training step has, so that they fit into memory.
        pixels = schedule.part_size * views.crop**2
        size = max(pixels // (reader.height * reader.width), trial.replicas)
        return data.evaluation(reader, size // trial.replicas * trial.replicas, multiple)

    steps = schedule.steps_per_epoch or len(train) // schedule.batch_size
    updates = schedule.epochs * steps
    stream = data.Training(train, views, schedule.batch_size, updates, trial.run_seed)
    counts = None if trial.class_weights is None else train.count_labels(len(info.classes))
    model = build(trial, info, updates, counts)
    with data.telling_mistakes(*filter(None, (train, validation))):
        checkpoint.fit(
            model,
            lambda first: stream.batches(first, schedule.part_size),
            epochs=schedule.epochs,
            # Keras counts the parts of batches.
            steps=steps * schedule.accumulation,
            checkpoint=kept,
            callbacks=[monitor, *rate_callbacks(schedule)],
            validation_data=validation and held(validation),
        )
    outcome = {"sizes": sets.sizes}
    if monitor.status != "ok":
        return outcome, model
    outcome["validation_accuracy"] = monitor.history[-1].get("val_pixel_accuracy")
    if not trial.test:
        return outcome, model
    # Read after the training, which thus needs no memory for it.
    test = data.Reader(*sets.test, views.resize)
    with data.telling_mistakes(test):
        scores = measure(model, held(test), info)
    outcome |= {"accuracy": scores["pixel_accuracy"], "metrics": scores}
    if shown is not None:
        _keep_predictions(model, trial, sets.test, shown)
    return outcome, model


def find_sets(trial: SegmentationTrial, data_dir: str | Path | None = None) -> data.Sets:
    """Choose the examples that a trial trains on, validates with and is tested on."""
    return data.divide(
        sources.load(trial.dataset, data_dir),
        trial.run_seed,
        train_images=trial.train_images,
        evaluation_images=trial.evaluation_images,
        test_seed=derive_seed(trial.seed, "test"),
        validation=trial.validation,
    )


def build(
    trial: SegmentationTrial, info: Info, steps: int, counts: Sequence[int] | None = None
) -> keras.Model:
    """Build the compiled network of a trial for a training of so many updates.

    `counts` are the training pixels of each class, by which the loss balances them.
    """
    keras.utils.set_random_seed(derive_seed(trial.run_seed, "model"))
    model = models.build(
        trial.model,
        len(info.classes),
        weights=trial.weights,
        l2=trial.l2,
        precision=trial.precision,
        scale_losses=trial.scale_losses,
    )
    model.compile(
        optimizer=make_optimizer(trial.schedule, trial.replicas, trial.schedule.decay(steps)),
        loss=make_loss(trial.loss, None if counts is None else balanced(counts)),
        metrics=[SegmentationScores(len(info.classes))],
    )
    # An optimizer that is built inside `fit` makes TensorFlow trace the step twice.
    model.optimizer.build(model.trainable_variables)
    return model


def measure(model: keras.Model, batches, info: Info) -> dict[str, float | None]:
    """Return the measures of table 5 on a stream, and the IoU of each class as "iou/NAME"."""
    found = model.evaluate(batches, verbose=0, return_dict=True)
    found.pop("loss")
    scores = next(m for m in model.metrics if m.name == "compile_metrics").metrics[0]
    ious = class_ious(keras.ops.convert_to_numpy(scores.confusion))
    of_classes = {f"iou/{name}": iou for name, iou in zip(info.classes, ious, strict=True)}
    return {name: float(value) for name, value in found.items()} | of_classes


def kept_rows(part: tuple) -> np.ndarray:
    """Return the numbers of the test images whose predictions are kept."""
    rows = part[1]
    return rows[np.linspace(0, len(rows) - 1, min(KEPT, len(rows))).astype(int)]


def _keep_predictions(model, trial, part, path):
    """Write label maps of some test images, at their own size."""
    multiple = get_architecture(trial.model).multiple
    reader = data.Reader(part[0], kept_rows(part), trial.views.resize)
    logits = model.predict(data.evaluation(reader, 1, multiple), verbose=0)
    maps = {}
    for i, labels in enumerate(logits.argmax(-1).astype("uint8")):
        height, width = reader.get(i)[1].shape
        maps[str(reader.rows[i])] = labels[:height, :width]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with paths.replacing(path, "wb") as file:
            np.savez_compressed(file, **maps)
    except OSError as error:
        raise UserError(f"cannot write predictions to {path}: {error}") from error

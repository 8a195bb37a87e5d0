"""`run_trial`: build a network, train it, evaluate it, write down what came of it.

It never fails on account of the network: what goes wrong there becomes the status of the row.
Mistakes of the user (`UserError`) and Ctrl-C go through.
"""

import datetime
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import keras

from nglkeras import datasets, extras, losses, memory, models, paths, streams
from nglkeras.devices import accumulating, distribution
from nglkeras.environment import environment
from nglkeras.errors import UserError, unknown
from nglkeras.protocol import Schedule, derive_seed
from nglkeras.trial import Trial, TrialResult

STEPS_PER_EXECUTION = 8
MAX_STEPS_PER_EXECUTION = 32


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
        from nglkeras.benches import Benches

        run = Benches(
            [trial], data_dir=data_dir, log_dir=log_dir, timeout=timeout, accumulate=accumulate
        )
        return run(trial, on_epoch=on_epoch, on_model=on_model)

    deadline = math.inf if timeout is None else time.perf_counter() + timeout
    if log_dir is not None:
        extras.require("tensorboard")
    logs = None if log_dir is None else paths.expand(log_dir) / trial.key

    def attempt(schedule):
        monitor = Monitor(deadline, on_epoch, part=trial.monitored)

        def train(divided):
            return _train(divided, data_dir, logs, monitor)

        return row_of(trial, schedule, train, monitor, on_model)

    return memory.row_with_room(attempt, trial) if accumulate else attempt(trial.schedule)


def row_of(
    trial: Trial,
    schedule: Schedule,
    train: Callable[[Trial], tuple[dict, keras.Model]],
    monitor: "Monitor",
    on_model: Callable[[keras.Model], None] | None = None,
) -> TrialResult:
    """The row of a trial that is trained by this schedule, whatever comes of it.

    Args:
        trial: What is done; of any kind.
        schedule: The trial's, or the same with its batches in parts.
        train: Trains the trial with that schedule, and gives further fields of the row and the
            network.
        monitor: Of the training.
        on_model: Called with the network when its training ended well.

    Raises:
        UserError: If the trial names something that does not exist or cannot be had.
    """
    started = time.perf_counter()
    outcome = {}
    try:
        scope = distribution(trial.replicas, schedule)
        # Without this, every model that was ever built stays in memory.
        keras.utils.clear_session()
        with memory.freeing_graphs():
            with scope:
                outcome, model = train(replace(trial, schedule=schedule))
            if on_model is not None and monitor.status == "ok":
                on_model(model)
    except UserError:
        raise
    # Whatever a loss does to a network, the next trial must have its turn.
    except Exception as error:
        monitor.fail(error)
    # What was trained before an interruption counts too.
    trained = sum(epoch.get("seconds", 0.0) for epoch in monitor.history)
    return make_row(
        trial,
        status=monitor.status,
        message=monitor.message,
        history=monitor.history,
        seconds=round(max(time.perf_counter() - started, trained), 3),
        accumulation=schedule.accumulation,
        **outcome,
    )


def make_row(trial: Trial, *, here: bool = True, **outcome) -> TrialResult:
    """The row of a trial with its outcome, and with where and when it came about.

    Args:
        trial: What was done.
        here: Whether by this process; if not, where is not known.
        **outcome: The other fields of `TrialResult`.
    """
    return TrialResult(
        key=trial.key,
        trial=asdict(trial),
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        environment=environment() | {"replicas": trial.replicas} if here else {},
        **outcome,
    )


def _train(trial, data_dir, log_dir, monitor):
    schedule = trial.schedule
    run_seed = derive_seed(trial.seed, "run", trial.run)
    splits = streams.in_parts(_splits(trial, run_seed, data_dir), schedule)
    steps = schedule.steps_per_epoch
    if steps is not None:
        steps *= schedule.accumulation
    keras.utils.set_random_seed(derive_seed(run_seed, "model"))
    model = models.build(
        trial.model,
        splits.image_shape,
        splits.classes,
        weights=trial.weights,
        upsampling=trial.upsampling,
        l2=trial.l2,
        precision=trial.precision,
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


def steps_per_execution(steps: int | None, replicas: int) -> int:
    """Steps between two visits of Python: they cost a small network more than the steps.

    Args:
        steps: Of an epoch of a stream that goes on after it, which is not to be read further; the
            result divides it. `None` for streams that end with an epoch.
        replicas: Devices that share a batch.
    """
    # Keras 3.15 has one step at a time on PyTorch, and crashes with more under MirroredStrategy.
    if keras.backend.backend() == "torch" or replicas > 1:
        return 1
    if steps is None:
        return STEPS_PER_EXECUTION
    return max(n for n in range(1, MAX_STEPS_PER_EXECUTION + 1) if steps % n == 0)


def loss_of(trial: Trial) -> keras.losses.Loss:
    """The loss of a trial."""
    if trial.formula is None:
        return losses.get(trial.loss, **dict(trial.loss_settings))
    return losses.FormulaLoss(trial.formula, **dict(trial.loss_settings))


def plateau_callbacks(schedule: Schedule) -> list[keras.callbacks.Callback]:
    """Build the callbacks that reduce the learning rate on a plateau; none without one."""
    plateau = schedule.plateau
    if plateau is None:
        return []
    return [
        keras.callbacks.ReduceLROnPlateau(
            monitor=plateau.monitor,
            mode=plateau.mode,
            factor=plateau.factor,
            patience=plateau.patience,
            min_lr=plateau.min_learning_rate,
        )
    ]


def make_optimizer(schedule: Schedule, replicas: int = 1) -> keras.optimizers.Optimizer:
    """The optimizer of a schedule, for so many devices."""
    config = dict(schedule.optimizer_settings) | {"learning_rate": schedule.learning_rate}
    parts = schedule.accumulation
    # Keras' own accumulation crashes under MirroredStrategy.
    mirrored = replicas > 1 and keras.backend.backend() == "tensorflow"
    if parts > 1 and not mirrored:
        config["gradient_accumulation_steps"] = parts
    optimizer = keras.optimizers.get({"class_name": schedule.optimizer, "config": config})
    return accumulating(optimizer, parts) if parts > 1 and mirrored else optimizer


class Monitor(keras.callbacks.Callback):
    """Keeps the history and the status of a training, and ends what cannot end well.

    Args:
        deadline: When it ends with status "timeout", by `time.perf_counter`.
        on_epoch: Called after each epoch with its number, from 1, and its row of the history.
        bound: A mean loss beyond it, in absolute value, ends the training as "exploded".
        part: What is looked at after each epoch, "validation" or "test".
    """

    # It reads no metrics during an epoch: Keras need not wait for the device at every step.
    async_safe = True

    def __init__(self, deadline=math.inf, on_epoch=None, bound=math.inf, part="validation"):
        super().__init__()
        self.bound = bound
        self.accuracy = "test_accuracy" if part == "test" else "val_accuracy"
        self.deadline = deadline
        self.on_epoch = on_epoch
        self.history = []
        self.status = "ok"
        self.message = ""

    def get_state(self):
        """What a checkpoint keeps of it."""
        return self.history

    def set_state(self, state):
        """Go on from what a checkpoint kept."""
        self.history = list(state)

    def on_epoch_begin(self, epoch, logs=None):
        """Keras' hook."""
        self.epoch_started = time.perf_counter()
        self.trained = None

    def on_test_begin(self, logs=None):
        """Keras' hook."""
        self.trained = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Keras' hook."""
        # After the last step of an epoch, its end decides.
        if batch + 1 != self.params.get("steps"):
            self._look_at_the_clock()

    def on_epoch_end(self, epoch, logs=None):
        """Keras' hook."""
        if self.status == "timeout":
            # Keras looks at the validation set all the same; the epoch was not finished.
            return
        now = time.perf_counter()
        # Keras calls whatever it is given for validation so.
        part = self.accuracy.removesuffix("accuracy")
        row = {name.replace("val_", part): float(value) for name, value in logs.items()}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(now - self.epoch_started, 3)
        row["training_seconds"] = round((self.trained or now) - self.epoch_started, 3)
        self.history.append(row)
        # The test set decides on nothing.
        sizes = [abs(row[name]) for name in ("loss", "val_loss") if name in row]
        if not all(map(math.isfinite, sizes)):
            self._stop("non_finite", f"the loss left the finite numbers in epoch {epoch + 1}")
        elif max(sizes) > self.bound:
            self._stop("exploded", f"the loss went beyond {self.bound:g} in epoch {epoch + 1}")
        elif epoch + 1 < self.params.get("epochs", 0):
            self._look_at_the_clock()
        if self.on_epoch is not None:
            self.on_epoch(epoch + 1, row)

    def _look_at_the_clock(self):
        if time.perf_counter() > self.deadline:
            self._stop("timeout", "the time limit was reached")

    def fail(self, error):
        """Note that the training broke off."""
        self.status, self.message = failure(error)

    def _stop(self, status, message):
        self.status, self.message = status, message
        self.model.stop_training = True


def failure(error: Exception) -> tuple[str, str]:
    """Status and message of what broke off with this error."""
    status = "out_of_memory" if _is_out_of_memory(error) else "crashed"
    return status, f"{type(error).__name__}: {error}"[:1000]


def _is_out_of_memory(error):
    text = f"{type(error).__name__} {error}".lower()
    signs = ("memoryerror", "outofmemory", "out of memory", "resource_exhausted", "resourceexhaust")
    return any(sign in text for sign in signs)

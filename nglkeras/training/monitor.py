"""Watch a training; stop it at its last plateau, when it explodes or falls behind, or in time."""

import math
import time

import keras
import numpy as np

from nglkeras.training.schedule import Schedule

# Words in the errors of all backends when memory is full.
_FULL = ("memoryerror", "outofmemory", "out of memory", "resource_exhausted", "resourceexhaust")


class ReduceOrStop(keras.callbacks.ReduceLROnPlateau):
    """Reduce the learning rate on a plateau, and stop the training on a plateau at the least rate.

    Args:
        stop_after: Epochs without an improvement at the least rate after which training stops;
            `None` for never.
        **settings: As in Keras' callback.
    """

    def __init__(self, stop_after: int | None = None, **settings):
        super().__init__(**settings)
        self.stop_after = stop_after

    def on_epoch_end(self, epoch, logs=None):
        """Keras' hook."""
        super().on_epoch_end(epoch, logs)
        if self.is_done(self.model):
            self.model.stop_training = True

    def is_done(self, model: keras.Model) -> bool:
        """Return whether a model's training has reached its end."""
        if self.stop_after is None:
            return False
        # Keras counts from the last improvement or reduction; at the least rate it reduces no more.
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        return rate <= np.float32(self.min_lr) and self.wait >= self.stop_after


class Cosine(keras.callbacks.Callback):
    """Let the learning rate fall from epoch to epoch along half a cosine.

    Args:
        epochs: Number of epochs, after which the rate would be 0.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def get_state(self):
        """Return what a checkpoint keeps: a training that goes on begins at a fallen rate."""
        return self.peak

    def set_state(self, state):
        """Continue from what a checkpoint kept."""
        self.peak = state

    def on_train_begin(self, logs=None):
        """Keras' hook."""
        self.peak = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_begin(self, epoch, logs=None):
        """Keras' hook."""
        share = 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        self.model.optimizer.learning_rate = share * self.peak


def rate_callbacks(schedule: Schedule) -> list[keras.callbacks.Callback]:
    """Return the callbacks that change the learning rate; none where it is constant."""
    callbacks = [Cosine(schedule.epochs)] if schedule.cosine else []
    plateau = schedule.plateau
    if plateau is not None:
        callbacks.append(
            ReduceOrStop(
                plateau.stop_after,
                monitor=plateau.monitor,
                mode=plateau.mode,
                factor=plateau.factor,
                patience=plateau.patience,
                min_lr=plateau.min_learning_rate,
            )
        )
    return callbacks


class Monitor(keras.callbacks.Callback):
    """Keep the history and the status of a training, and stop it when it fails.

    Args:
        deadline: Time, as `time.perf_counter` has it, at which the training stops with status
            "timeout".
        on_epoch: Called after each epoch with its number, from 1, and its row of the history.
        bound: A mean loss beyond it, in absolute value, stops the training as "exploded".
        part: The part that is evaluated after each epoch, "validation" or "test".
        bars: For each epoch the least that the best validation accuracy so far must be; otherwise
            the training stops as "stopped". Of no account after the last epoch.
    """

    # It reads no metrics during an epoch: Keras need not wait for the device at every step.
    async_safe = True

    def __init__(
        self, deadline=math.inf, on_epoch=None, bound=math.inf, part="validation", bars=()
    ):
        super().__init__()
        self.deadline, self.on_epoch, self.bound = deadline, on_epoch, bound
        self.accuracy = "test_accuracy" if part == "test" else "val_accuracy"
        self.bars, self.best = bars, -math.inf
        self.history, self.status, self.message = [], "ok", ""

    def get_state(self):
        """Return what a checkpoint keeps."""
        return self.history

    def set_state(self, state):
        """Continue from what a checkpoint kept; of a training that has failed, too."""
        self.history = list(state)
        if self.history:
            self._look_at_the_loss(len(self.history) - 1, self.history[-1])

    def on_epoch_begin(self, epoch, logs=None):
        """Keras' hook."""
        self.epoch_started = time.perf_counter()
        self.trained = None

    def on_test_begin(self, logs=None):
        """Keras' hook."""
        # JAX returns before a step is done: its steps would count as time of the evaluation.
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        self.trained = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Keras' hook."""
        # After the last step of an epoch, its end decides.
        if batch + 1 != self.params.get("steps"):
            self.look_at_the_clock()
            if self.status != "ok":
                # On JAX `model` gives the network its variables, and this is another thread: the
                # step that runs in the meantime has taken them for itself.
                self._model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        """Keras' hook."""
        if self.status == "timeout":
            # Keras evaluates the validation set all the same; the epoch was not finished.
            return
        now = time.perf_counter()
        # Keras names the measures "val_...", whichever part is evaluated.
        part = self.accuracy.removesuffix("accuracy")
        row = {name.replace("val_", part): float(value) for name, value in logs.items()}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row["seconds"] = round(now - self.epoch_started, 3)
        row["training_seconds"] = round((self.trained or now) - self.epoch_started, 3)
        self.judge(epoch, row, self.params.get("epochs", 0))
        if self.status != "ok":
            self.model.stop_training = True

    def judge(self, epoch: int, row: dict, epochs: int) -> None:
        """Take the row of an epoch, counted from 0, into the history, and set the status by it."""
        self.history.append(row)
        self._look_at_the_loss(epoch, row)
        if self.status == "ok" and epoch + 1 < epochs:
            self._look_at_the_bar(epoch, row)
            self.look_at_the_clock()
        if self.on_epoch is not None:
            self.on_epoch(epoch + 1, row)

    def _look_at_the_loss(self, epoch, row):
        # The test set must not stop a training.
        sizes = [abs(row[name]) for name in ("loss", "val_loss") if name in row]
        if not all(map(math.isfinite, sizes)):
            self._stop("non_finite", f"the loss left the finite numbers in epoch {epoch + 1}")
        elif max(sizes) > self.bound:
            self._stop("exploded", f"the loss went beyond {self.bound:g} in epoch {epoch + 1}")

    def _look_at_the_bar(self, epoch, row):
        if epoch >= len(self.bars):
            return
        # In this order, NaN is no best.
        self.best, bar = max(self.best, row[self.accuracy]), self.bars[epoch]
        if self.best < bar:
            after = f"epoch {epoch + 1}"
            self._stop("stopped", f"{self.best:.4f} at best after {after}, below {bar:.4f}")

    def look_at_the_clock(self) -> None:
        """Set the status of a training that has no time left."""
        if self.status == "ok" and time.perf_counter() > self.deadline:
            self._stop("timeout", "the time limit was reached")

    def fail(self, error):
        """Set the status to that of a training that ended with an error."""
        text = f"{type(error).__name__} {error}".lower()
        self.status = "out_of_memory" if any(sign in text for sign in _FULL) else "crashed"
        self.message = f"{type(error).__name__}: {error}"[:1000]

    def _stop(self, status, message):
        self.status, self.message = status, message

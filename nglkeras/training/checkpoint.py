"""Train for days: `fit` continues an interrupted training, in the middle of an epoch too.

Keras' `BackupAndRestore` starts an epoch again, with other dropout and new states of the callbacks.
Here a training that was killed ends with the same numbers as one that was not, under a
`MirroredStrategy` too, where each device has its own averages and means.
"""

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.training.monitor import Monitor, ReduceOrStop

# Seconds between two checkpoints within an epoch; each epoch ends with one.
SECONDS = 600.0
# The state of a `ReduceLROnPlateau`, by its attributes.
_PLATEAU = ("best", "wait", "cooldown_counter")


def fit(
    model: keras.Model,
    batches: Callable[[int], object],
    *,
    epochs: int,
    steps: int,
    checkpoint: "Checkpoint | None" = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    validation_data: object | None = None,
) -> None:
    """Train a compiled model, starting from its checkpoint if there is one.

    Args:
        model: A compiled model whose optimizer is built.
        batches: Returns the batches from a step of the whole training on, in an order that does
            not depend on that step.
        epochs: Number of epochs.
        steps: Number of steps in an epoch.
        checkpoint: Where the state is kept; without it an interrupted training starts again.
        callbacks: Keras callbacks; one whose state matters has `get_state` and `set_state`.
        validation_data: Data to evaluate after each epoch.
    """
    keeper = _Keeper(checkpoint, callbacks, steps)
    done = 0 if checkpoint is None else keeper.restore(model)
    if any(isinstance(one, ReduceOrStop) and one.is_done(model) for one in callbacks):
        return
    if any(isinstance(one, Monitor) and one.status != "ok" for one in callbacks):
        return
    ends = [steps * epochs]
    if done % steps:
        # Keras creates its metrics when they are first needed; an evaluation changes no weight.
        # Given the number of steps, it does not warn of a stream of unknown length.
        model.evaluate(batches(done).take(1), steps=1, verbose=0)
        # Keras counts the steps of a call from the start of an epoch: the rest of an epoch is a
        # call of its own.
        ends.insert(0, done - done % steps + steps)
    for end in ends:
        if done >= end or getattr(model, "stop_training", False):
            continue
        keeper.first_step = done
        model.fit(
            batches(done),
            initial_epoch=done // steps,
            epochs=end // steps,
            steps_per_epoch=min(steps, end - done),
            validation_data=validation_data,
            callbacks=[*callbacks, keeper],
            shuffle=False,
            verbose=0,
        )
        done = end


class Checkpoint:
    """The state of a training in a `.npz` file that is replaced as a whole.

    A file with another key is refused. `seconds` lie between two checkpoints within an epoch.
    """

    def __init__(self, path: str | Path, key: str, seconds: float = SECONDS):
        self.path, self.key, self.seconds = paths.expand(path), key, seconds

    def write(self, arrays: dict[str, list[np.ndarray]], notes: dict) -> None:
        """Replace the state; if that raises `UserError`, the previous one is still there."""
        flat = {f"{name}_{i}": a for name, some in arrays.items() for i, a in enumerate(some)}
        flat["notes"] = np.array(json.dumps(notes | {"key": self.key}))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with paths.replacing(self.path, "wb") as file:
                np.savez(file, **flat)
        except OSError as error:
            raise UserError(f"cannot write the checkpoint {self.path}: {error}") from error

    def read(self) -> tuple[dict[str, list[np.ndarray]], dict] | None:
        """Return arrays and notes as they were written; `None` without a file.

        Raises `UserError` if the file is damaged or belongs to another training.
        """
        try:
            # Nothing in a file is executed.
            with self.path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                notes = json.loads(str(file["notes"]))
                arrays = {}
                for name in file.files:
                    if name != "notes":
                        arrays.setdefault(name.rpartition("_")[0], []).append(file[name])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"cannot read the checkpoint {self.path}: {error}") from error
        except Exception as error:
            raise UserError(f"{self.path} is no checkpoint: remove it to begin anew") from error
        if notes.get("key") != self.key:
            raise UserError(f"{self.path} is another training's: remove it to begin anew")
        return arrays, notes


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of many trainings, in a folder."""

    folder: Path
    seconds: float = SECONDS

    def __post_init__(self):
        object.__setattr__(self, "folder", paths.expand(self.folder))

    def of(self, key: str, parts: int = 1) -> Checkpoint:
        """Return the checkpoint of a trial by its key; each number of parts has its own."""
        return Checkpoint(self.folder / f"{key}-{parts}.npz", f"{key}-{parts}", self.seconds)

    def discard(self, key: str) -> None:
        """Remove all checkpoints of a trial."""
        for path in self.folder.glob(f"{key}-*.npz*"):
            # One that stays, as in a folder that is read-only, does no harm.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class _Keeper(keras.callbacks.Callback):
    """Write and restore a checkpoint; the last of the callbacks."""

    async_safe = True

    def __init__(self, checkpoint, callbacks, steps):
        super().__init__()
        self.checkpoint, self.callbacks, self.steps = checkpoint, callbacks, steps
        # The step from which Keras counts batches: the start of an epoch or of a call within one.
        self.first_step = self.done = 0
        self.states = self.means = None
        self.written = time.monotonic()

    def restore(self, model):
        """Restore the model and return the step at which to continue."""
        found = self.checkpoint.read()
        if found is None:
            return 0
        arrays, notes = found
        self.means = arrays.pop("means", [])
        for name, values in arrays.items():
            variables = _variables(model)[name]
            if not _fit(variables, values):
                raise UserError(f"{self.checkpoint.path} is of another model: remove it")
            _assign(variables, values)
        self.states = notes["callbacks"]
        self.on_train_begin()
        return notes["step"]

    def on_train_begin(self, logs=None):
        """Keras' hook; the other callbacks have reset themselves in theirs."""
        if self.states is not None:
            for callback, state in zip(self.callbacks, self.states, strict=True):
                _set_state(callback, state)

    def on_epoch_begin(self, epoch, logs=None):
        """Keras' hook, after it has reset the means."""
        if self.means is not None and self.first_step % self.steps:
            _assign(self.model.metrics_variables, self.means)
        self.means = None

    def on_train_batch_end(self, batch, logs=None):
        """Keras' hook."""
        self.done = self.first_step + batch + 1
        # `on_epoch_end` writes the last step, with the epoch's row and what callbacks do with it.
        if self.checkpoint is None or self.done % self.steps == 0:
            return
        is_due = time.monotonic() - self.written >= self.checkpoint.seconds
        # A training that a callback stops, e.g. for lack of time, can be continued later.
        if is_due or self.model.stop_training:
            self._write(self.done)

    def on_epoch_end(self, epoch, logs=None):
        """Keras' hook; a callback may have stopped the training before the epoch's end."""
        if self.done < (epoch + 1) * self.steps:
            return
        self.first_step = (epoch + 1) * self.steps
        self.states = [_get_state(callback) for callback in self.callbacks]
        if self.checkpoint is not None:
            self._write(self.first_step)

    def _write(self, step):
        if keras.backend.backend() == "jax":
            # Within an epoch JAX's state is not in the variables.
            self.model.jax_state_sync()
        arrays = {name: list(map(_read, some)) for name, some in _variables(self.model).items()}
        states = [_get_state(callback) for callback in self.callbacks]
        self.checkpoint.write(arrays, {"step": step, "callbacks": states})
        self.written = time.monotonic()


def _variables(model):
    """Return all that a step reads and writes; states of random generators are weights."""
    optimizer, means = model.optimizer.variables, model.metrics_variables
    return {"weights": model.variables, "optimizer": optimizer, "means": means}


def _copies(variable):
    """Return the copies of a variable, one per device, where TensorFlow has several."""
    return getattr(variable.value, "values", ()) if keras.backend.backend() == "tensorflow" else ()


def _read(variable):
    """Return a variable's value, or its values, one per device, where they differ."""
    copies = [copy.numpy() for copy in _copies(variable)]
    if any(not np.array_equal(copy, copies[0], equal_nan=True) for copy in copies):
        return np.stack(copies)
    return copies[0] if copies else keras.ops.convert_to_numpy(variable)


def _fit(variables, values):
    """Return whether the values have the shapes of the variables."""
    return len(variables) == len(values) and all(
        value.shape in (tuple(variable.shape), (len(_copies(variable)), *variable.shape))
        for variable, value in zip(variables, values, strict=True)
    )


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        copies = _copies(variable)
        if not copies:
            variable.assign(value)
        own = value if value.ndim > len(variable.shape) else [value] * len(copies)
        for copy, its in zip(copies, own, strict=True):
            copy.assign(its)


def _get_state(callback):
    if isinstance(callback, keras.callbacks.ReduceLROnPlateau):
        known = {name: getattr(callback, name) for name in _PLATEAU}
        return {name: None if value is None else float(value) for name, value in known.items()}
    return callback.get_state() if hasattr(callback, "get_state") else None


def _set_state(callback, state):
    if isinstance(callback, keras.callbacks.ReduceLROnPlateau):
        vars(callback).update(state)
    elif state is not None:
        callback.set_state(state)

"""Two tasks of which it is known whether a loss can be better than cross entropy.

Both are scikit-learn's digits with a network of 32 hidden units.

- *shuffled*: the labels are shuffled. Nothing can be learnt, and no loss is better than another.
- *outliers*: a fifth of the samples of train and validation have a wrong label and inputs five
  times as large, as of a broken sensor; the test data have none. Cross entropy's gradient does not
  fade where a confident prediction is wrong, so that these samples pull at the network at any
  learning rate. That of generalized cross entropy fades, and it is better.
"""

from dataclasses import dataclass

import keras
import numpy as np

from nglkeras.errors import unknown
from nglkeras.search import TrainingFitness
from nglkeras.seeds import derive_seed

NAMES = ("shuffled", "outliers")
# Samples for train and validation; the other 897 are for tests.
TRAIN, VALIDATION = 600, 300
OUTLIERS, FACTOR = 0.2, 5.0
# Generalized cross entropy with q = 0.7, but for a constant and a factor.
GENERALIZED = "-(y_true*exp(0.7*log(y_pred)))"


@dataclass(frozen=True)
class Task:
    """A fitness, and test data that it does not see."""

    fitness: TrainingFitness
    test: tuple[np.ndarray, np.ndarray]


def make(name: str, seed: int, timeout: float | None = None) -> Task:
    """Return a task; the seed decides division, labels and outliers.

    `timeout` is in seconds, after which the training of a network stops.

    Raises:
        UserError: If there is no such task.
    """
    from sklearn.datasets import load_digits

    if name not in NAMES:
        raise unknown("task", name, NAMES)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    random = np.random.default_rng(derive_seed(seed, f"calibration/{name}"))
    order = random.permutation(len(y))
    x, y = x[order], y[order]
    test = slice(TRAIN + VALIDATION, None)
    if name == "shuffled":
        y = random.permutation(y)
    else:
        bad = random.random(len(y)) < OUTLIERS
        bad[test] = False
        x[bad] *= FACTOR
        y[bad] = (y[bad] + random.integers(1, 10, bad.sum())) % 10
    fitness = TrainingFitness(
        _network,
        (x[:TRAIN], y[:TRAIN]),
        (x[TRAIN : TRAIN + VALIDATION], y[TRAIN : TRAIN + VALIDATION]),
        epochs=10,
        batch_size=50,
        learning_rate=0.01,
        seed=seed,
        timeout=timeout,
    )
    return Task(fitness, (x[test], y[test]))


def _network():
    return keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10, "softmax")]
    )

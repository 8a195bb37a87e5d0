"""Data and a network that compiled trainings are tested with."""

import keras
import numpy as np

_RANDOM = np.random.default_rng(0)
X = _RANDOM.normal(size=(96, 6)).astype("float32")
LABELS = (X[:, :3] + 0.1 * _RANDOM.normal(size=(96, 3))).argmax(axis=1)
Y = np.eye(3, dtype="float32")[LABELS]


def build(run):
    """Everything that a reset must cover: statistics, a seed, optimizer slots."""
    keras.utils.set_random_seed(run)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, "relu")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))


def outcome(training):
    """The history of a training, times aside."""
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in training.history]

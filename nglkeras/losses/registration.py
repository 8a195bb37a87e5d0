"""Make losses known to Keras by their names."""

import keras

try:
    # Private, but the only place where Keras looks up a name such as `compile(loss="NGL")`.
    from keras.src.losses import ALL_OBJECTS_DICT as _KERAS_NAMES
except ImportError:
    _KERAS_NAMES = {}


def registered(loss):
    """Register a loss function or class with Keras.

    Saved models find it, and `compile` takes its name, unless Keras has a loss of that name.
    """
    _KERAS_NAMES.setdefault(loss.__name__, loss)
    return keras.saving.register_keras_serializable(package="nglkeras")(loss)

"""Two logical CPUs, so that tf.distribute has two devices to mirror on, wherever tests run."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

ROOT = Path(__file__).resolve().parent.parent

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="tf.distribute belongs to TensorFlow"
)


def value_and_gradient(function, x):
    """`function(x)` and the gradient of its sum, as NumPy arrays, on the active backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
            total = tf.reduce_sum(value)
        gradient = tape.gradient(total, x)
    elif backend == "jax":
        import jax

        value = function(jax.numpy.asarray(x))
        gradient = jax.grad(lambda x: function(x).sum())(jax.numpy.asarray(x))
    else:
        x = keras.ops.convert_to_tensor(x).detach().requires_grad_()
        value = function(x)
        value.sum().backward()
        gradient = x.grad
    return to_numpy(value), to_numpy(gradient)


def to_numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x)).astype("float64")


def load_json(path):
    return json.loads(Path(path).read_text())

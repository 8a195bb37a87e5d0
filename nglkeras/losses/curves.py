"""Values and gradients of a loss over a prediction."""

from collections.abc import Callable

import keras
import numpy as np


def value_and_gradient(function: Callable, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`function(x)` and the automatic gradient of its sum, on the active backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        return value.numpy(), tape.gradient(value, x).numpy()
    if backend == "jax":
        import jax

        value, pull = jax.vjp(function, jax.numpy.asarray(x))
        return np.asarray(value), np.asarray(pull(jax.numpy.ones_like(value))[0])
    import torch

    x = torch.tensor(x, requires_grad=True)
    value = function(x)
    return value.detach().numpy(), torch.autograd.grad(value.sum(), x)[0].numpy()


def binary(loss: keras.losses.Loss) -> Callable:
    """The binary case of appendix C: predictions (p, 1 - p), label (1, 0)."""

    def function(p):
        predictions = keras.ops.stack([p, 1 - p], axis=-1)
        labels = keras.ops.stack([keras.ops.ones_like(p), keras.ops.zeros_like(p)], axis=-1)
        return loss.call(labels, predictions)

    return function


def minus_log(p):
    """The cross entropy of the binary case; Keras' own clips p, which shows at the ends."""
    return -keras.ops.log(p)

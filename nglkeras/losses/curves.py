"""Values and gradients of a loss as functions of a prediction."""

from collections.abc import Callable

import keras
import numpy as np


def value_and_gradient(function: Callable, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `function(x)` and the gradient of its sum, computed by the active backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x, unconnected_gradients="zero")
        return value.numpy(), gradient.numpy()
    if backend == "jax":
        import jax

        value, pull = jax.vjp(function, jax.numpy.asarray(x))
        return np.asarray(value), np.asarray(pull(jax.numpy.ones_like(value))[0])
    import torch

    x = keras.ops.convert_to_tensor(x).requires_grad_()
    value = function(x)
    return value.detach().cpu().numpy(), torch.autograd.grad(value.sum(), x)[0].cpu().numpy()


def size_at_uniform(loss: keras.losses.Loss, classes: int) -> float:
    """Return the length of a sample's gradient by the logits where all predictions are equal.

    Its ratio to cross entropy's is the factor by which plain SGD sees another learning rate at the
    beginning of a training.
    """
    return float(np.linalg.norm(gradient_at_uniform(loss, classes)))


def gradient_at_uniform(loss: keras.losses.Loss, classes: int) -> np.ndarray:
    """Return a sample's gradient by the logits where all are 0; the label is the first class."""
    label = np.eye(classes, dtype="float32")[:1]
    activate = getattr(keras.ops, getattr(loss, "head", "softmax"))
    is_of_logits = getattr(loss, "from_logits", False)
    if getattr(loss, "sparse", False):
        label = np.zeros(1, "int32")

    def function(logits):
        output = logits if is_of_logits else activate(logits)
        return loss.call(keras.ops.convert_to_tensor(label), output)

    return value_and_gradient(function, np.zeros((1, classes), "float32"))[1][0]


def binary(loss: keras.losses.Loss) -> Callable:
    """Return the loss of predictions (p, 1 - p) for the label (1, 0), as in appendix C."""

    def function(p):
        predictions = keras.ops.stack([p, 1 - p], axis=-1)
        labels = keras.ops.stack([keras.ops.ones_like(p), keras.ops.zeros_like(p)], axis=-1)
        return loss.call(labels, predictions)

    return function


def minus_log(p):
    """Return the binary case of cross entropy; Keras' own clips p, which shows near 0 and 1."""
    return -keras.ops.log(p)

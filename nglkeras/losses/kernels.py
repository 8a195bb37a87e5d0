"""Kernels that compute a loss and its gradient by the logits together.

In plain operations a loss and its gradient need about twenty passes over the logits. A kernel
computes softmax or sigmoid, loss and the closed form of the gradient: on TensorFlow and JAX in one
function compiled by XLA, on PyTorch as `kernel_torch` says. TensorFlow takes longer to start a
compiled function than to compute the loss of a small batch, and executes that by single operations.
The formulas are those of `kernel_terms`; the loss of a sample with a label outside [0, 1] is NaN,
as in plain operations.
"""

import math
import platform
from dataclasses import dataclass
from functools import cache, partial

import keras
import numpy as np
from keras import ops

from nglkeras.errors import UserError
from nglkeras.losses.kernel_terms import Term
from nglkeras.losses.labels import TOLERANCE

BACKENDS = ("tensorflow", "jax", "torch")
# Entries up to which TensorFlow executes a kernel's operations one by one on a CPU; an unknown
# dimension counts as USUAL.
SMALL, USUAL = 2**15, 128


@dataclass(frozen=True)
class Kernel:
    """A loss over classes, from logits.

    Attributes:
        term: The loss of one class; equal terms must be the same object.
        sparse: Whether the labels are class indices.
        label_smoothing: Share of the label that is spread evenly over the classes.
        class_reduction: `"mean"` or `"sum"` over the classes.
        axis: Axis of the classes.
        void: Class index of samples to ignore, or `None`.
    """

    term: Term
    sparse: bool
    label_smoothing: float
    class_reduction: str
    axis: int
    void: int | None = None

    def __call__(self, y_true, logits):
        """Return one value per sample, and compute its gradient by the logits.

        Args:
            y_true: Labels in [0, 1], the shape of `logits`; or int32 class indices without the
                class axis.
            logits: float32, `[batch, ..., classes]`.

        Raises:
            UserError: If TensorFlow asks for a second derivative; JAX and PyTorch have it.
        """
        if keras.backend.backend() == "torch":
            from nglkeras.losses import kernel_torch

            return kernel_torch.values(self, y_true, logits)
        if self._is_small(logits.shape):
            compute = partial(self.value_and_gradient, direct=True)
        else:
            compute = _compiled(self, len(logits.shape), logits.shape[self.axis])

        @ops.custom_gradient
        def loss(labels, logits):
            values, gradient = compute(labels, logits)

            def backward(upstream):
                upstream = ops.expand_dims(upstream, self.axis)
                by_logits = upstream * _first_derivative(gradient, labels, logits)
                if self.sparse:
                    return _no_gradient(labels), by_logits
                # Graphs drop this if nobody asks for it.
                return upstream * self.label_gradient(labels, logits), by_logits

            return values, backward

        return loss(y_true, logits)

    def label_gradient(self, t, logits):
        """Return the gradient by one-hot (or soft) labels, in the shape of `t`."""
        classes = logits.shape[self.axis]
        p = ops.softmax(logits, axis=self.axis)
        slope = self.term.label_slope(self._smoothed(t, classes), p) * (1.0 - self.label_smoothing)
        return slope / classes if self.class_reduction == "mean" else slope

    def _is_small(self, shape):
        """Return whether operations one by one are faster than starting a compiled function.

        The size of the batch is unknown in `fit`.
        """
        if keras.backend.backend() != "tensorflow" or not _is_cpu():
            return False
        return math.prod(size or USUAL for size in shape) <= SMALL

    def value_and_gradient(self, y_true, logits, direct=False):
        """Return the loss `[batch, ...]` and its gradient, in the shape of `logits`.

        Args:
            y_true: As in a call.
            logits: As in a call.
            direct: Whether each operation is executed by itself: a few of them then take the place
                of many that a compiler would fuse.
        """
        row_sums = _plain_row_sums if direct else _row_sums
        classes = logits.shape[self.axis]
        moved = ops.moveaxis(logits, self.axis, -1)
        z = ops.reshape(moved, (-1, classes))
        labels, factor = self._labels(y_true, classes, direct)
        if self.void is not None:
            # The prediction there may be NaN, and 0 times NaN is NaN.
            z = ops.where(ops.equal(factor, 0.0), np.float32(0.0), z)
        # Without an initial value Keras refuses an empty batch.
        exponentials = ops.exp(z - ops.max(z, axis=-1, keepdims=True, initial=-np.inf))
        p = exponentials * (1.0 / row_sums(exponentials))
        term = self.term.direct if direct else self.term.value_and_slope
        value, slope = term(labels, p)
        # p_j (s_j - Σ p_k s_k). The second subtraction removes the rounding error of the first,
        # which would dominate where the softmax is saturated.
        slope = slope - row_sums(p * slope)
        slope = slope - row_sums(p * slope)
        if self.class_reduction == "mean":
            factor = factor / classes
        values, gradient = factor * row_sums(value), factor * (p * slope)
        values = ops.reshape(values, ops.shape(moved)[:-1])
        return values, ops.moveaxis(ops.reshape(gradient, ops.shape(moved)), -1, self.axis)

    def _labels(self, y_true, classes, direct):
        """Return one-hot labels and a factor per sample: 0 for void, NaN for invalid labels."""
        if not self.sparse:
            t = ops.reshape(ops.moveaxis(y_true, self.axis, -1), (-1, classes))
            return self._smoothed(_checked(t, direct), classes), 1.0
        labels = ops.reshape(y_true, (-1, 1))
        if direct:
            t = ops.one_hot(ops.reshape(y_true, (-1,)), classes, dtype="float32")
            number = ops.cast(labels, "float32")
            factor = 1.0 + _zero_or_nan(number * (classes - 1 - number))
        else:
            is_own = ops.equal(ops.arange(classes, dtype="int32"), labels)
            t = ops.where(is_own, np.float32(1.0), np.float32(0.0))
            is_class = ops.logical_and(labels >= 0, labels < classes)
            factor = ops.where(is_class, np.float32(1.0), np.float32("nan"))
        if self.void is not None:
            factor = ops.where(ops.equal(labels, self.void), np.float32(0.0), factor)
        return self._smoothed(t, classes), factor

    def _smoothed(self, t, classes):
        smoothing = self.label_smoothing
        return t * (1.0 - smoothing) + smoothing / classes if smoothing else t


def _no_gradient(labels):
    """Return the gradient by class indices as the backend wants it."""
    if keras.backend.backend() != "jax":
        return ops.zeros_like(labels)
    import jax

    return np.zeros(labels.shape, jax.dtypes.float0)


class SigmoidKernel(Kernel):
    """A loss of sigmoid outputs, from logits: each is read as the prediction (1 - p, p).

    An output is a sample of its own here: labels and logits are `[..., 1]`.
    """

    def value_and_gradient(self, y_true, logits, direct=False):
        """Return the loss and its gradient: see `Kernel`."""
        term = self.term.direct if direct else self.term.value_and_slope
        p, t = ops.sigmoid(logits), self._smoothed(_checked(y_true, direct), 2)
        # 1 - p would lose the digits of small ones.
        not_p = ops.sigmoid(-logits)
        value, slope = term(t, p)
        other_value, other_slope = term(1.0 - t, not_p)
        factor = 0.5 if self.class_reduction == "mean" else 1.0
        if direct:
            values = value + other_value
        else:
            # With a plain sum XLA would compute the terms inside of later sums, one by one.
            values = _row_sums(ops.concatenate([value, other_value], axis=-1))
        values = ops.squeeze(factor * values, axis=-1)
        return values, factor * (p * not_p) * (slope - other_slope)

    def label_gradient(self, t, logits):
        """Return the gradient by the labels, in the shape of `t`."""
        t, p = self._smoothed(t, 2), ops.sigmoid(logits)
        slope = self.term.label_slope(t, p) - self.term.label_slope(1.0 - t, ops.sigmoid(-logits))
        factor = 0.5 if self.class_reduction == "mean" else 1.0
        return factor * (1.0 - self.label_smoothing) * slope


def _checked(t, direct):
    """Return labels with NaN in place of those outside [0, 1]."""
    if direct:
        return t + _zero_or_nan((0.5 + TOLERANCE) ** 2 - ops.square(t - 0.5))
    return ops.where(ops.abs(t - 0.5) <= 0.5 + TOLERANCE, t, np.float32("nan"))


def _zero_or_nan(x):
    """Return about 0 where `x` is at least 0, else NaN; TensorFlow's conditions are slow."""
    return 1e-30 * ops.sqrt(x)


def are_needless() -> bool:
    """Return whether this is traced by `torch.compile`, which itself fuses plain operations."""
    if keras.backend.backend() != "torch":
        return False
    import torch

    return torch.compiler.is_compiling()


def is_chosen(fast: bool | None, logits, *, axis: int, why_not: str = "") -> bool:
    """Return whether to use a kernel.

    Args:
        fast: `True` to demand the kernel, `False` to avoid it, `None` to use it if it is valid.
        logits: The predictions.
        axis: Axis of the classes.
        why_not: Another reason against the kernel, or an empty string.

    Raises:
        UserError: If `fast` is `True` and the kernel is not valid.
    """
    if fast is False:
        return False
    why_not = why_not or _why_not(logits, axis)
    if fast is None:
        return not why_not and not _is_metal()
    if why_not:
        raise UserError(f"fast=True is not for {why_not}")
    return True


def _why_not(logits, axis):
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        return f"the {backend} backend; there are kernels for: {', '.join(BACKENDS)}"
    if keras.backend.standardize_dtype(logits.dtype) == "float64":
        return "float64; it computes in float32"
    if logits.shape[axis] is None:
        return "an unknown number of classes"
    return ""


def _row_sums(x):
    """Sum over the last axis and keep it."""
    if keras.backend.backend() == "torch" or not _is_cpu():
        # Accelerators may multiply matrices in less than float32 precision.
        return _plain_row_sums(x)
    # On CPUs XLA vectorises matrix products but not sums.
    return ops.matmul(x, ops.ones((x.shape[-1], 1), x.dtype))


def _plain_row_sums(x):
    return ops.sum(x, axis=-1, keepdims=True)


@cache
def _compiled(kernel, rank, classes):
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(kernel.value_and_gradient)
    import tensorflow as tf

    # The function is traced once for all batch sizes; XLA compiles it for each.
    shape = [None] * rank
    shape[kernel.axis] = classes
    labels = tf.TensorSpec([None] * (rank - 1), "int32") if kernel.sparse else tf.TensorSpec(shape)
    return tf.function(
        kernel.value_and_gradient,
        input_signature=[labels, tf.TensorSpec(shape)],
        jit_compile=True,
        autograph=False,
    )


def _first_derivative(gradient, *inputs):
    """Return the gradient; on TensorFlow with an error in place of the second derivative."""
    if keras.backend.backend() == "jax":
        return gradient

    def refuse(*_):
        raise UserError("a fast loss has first derivatives only; with fast=False it has them all")

    return ops.custom_gradient(lambda *inputs: (gradient, refuse))(*inputs)


def _is_cpu():
    """Return whether there is no accelerator."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    import tensorflow as tf

    return {device.device_type for device in tf.config.list_physical_devices()} <= {"CPU"}


def _is_metal():
    """Return whether this is an Apple GPU, where TensorFlow has no XLA."""
    if keras.backend.backend() != "tensorflow" or platform.system() != "Darwin":
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))

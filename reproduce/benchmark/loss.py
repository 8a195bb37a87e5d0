"""Loss and gradient of logits: ours, Keras' cross entropies, the authors' code, and a lower bound.

Each is a function of labels and logits as `fit` runs it: on TensorFlow a graph, and compiled as a
whole by XLA, as with `jit_compile=True`; on JAX compiled; on PyTorch operation by operation. The
reference is Keras' loss, on TensorFlow in a graph. Peak memory is measured in a process of its own,
on TensorFlow.
"""

from functools import partial
from pathlib import Path

import keras
import numpy as np
from keras import ops

from benchmark import unet
from benchmark.measure import Measurement, compared, in_new_process, interleaved, timed
from nglkeras.losses import ALPHA, F4, NGL, BinaryNGL, SparseNGL

BACKEND = keras.backend.backend()
SHAPES = ((128, 10), (128, 100), (1024, 1000), (200_000, 21))
# One unit, and many labels.
BINARY_SHAPES = ((100_000, 1), (1024, 100))
# Memory is measured with more samples: compiling a kernel for a new size takes 12 MiB, once.
MEMORY_SHAPES = {(1024, 1000): (40_000, 1000), (200_000, 21): (2_000_000, 21)}
# Calls with fewer entries are too short for a clock, and are repeated.
SHORT = 100_000
# Writing 5 to it resets the peak that Linux keeps.
CLEAR = Path("/proc/self/clear_refs")
DENSE, SPARSE = "CategoricalCrossentropy", "SparseCategoricalCrossentropy"
BINARY = "BinaryCrossentropy"


class AuthorsNGL(keras.losses.Loss):
    """NGL as in its authors' code: of probabilities, averaged over everything in `call`."""

    def call(self, y_true, y_pred):
        """Return the mean as a scalar."""
        p = ops.softmax(y_pred)
        return ops.mean(ops.exp(ALPHA - p - p * y_true) - ops.cos(ops.cos(ops.sin(p))))


class LowerBound(keras.losses.Loss):
    """No loss: it reads the logits once and writes a gradient once."""

    def call(self, y_true, y_pred):
        """Return the sum over the classes."""
        one_pass = _one_pass
        if BACKEND == "tensorflow":
            import tensorflow as tf

            one_pass = tf.function(_one_pass, jit_compile=True, autograph=False)

        @ops.custom_gradient
        def loss(z):
            values, gradient = one_pass(z)

            def backward(*arguments, upstream=None):
                # TensorFlow and JAX pass the upstream gradient by position, PyTorch by name.
                upstream = arguments[0] if upstream is None else upstream
                return upstream[:, None] * gradient

            return values, backward

        return loss(y_pred)


def _one_pass(z):
    return ops.sum(z, axis=-1), 2.0 * z


LOSSES = {
    DENSE: lambda **a: keras.losses.CategoricalCrossentropy(from_logits=True, **a),
    "NGL": lambda **a: NGL(from_logits=True, **a),
    "NGL, fast=False": lambda **a: NGL(from_logits=True, fast=False, **a),
    "NGL, the authors' way": AuthorsNGL,
    "F4": lambda **a: F4(from_logits=True, **a),
    "lower bound": LowerBound,
}
SPARSE_LOSSES = {
    SPARSE: lambda **a: keras.losses.SparseCategoricalCrossentropy(from_logits=True, **a),
    "SparseNGL": lambda **a: SparseNGL(from_logits=True, **a),
    "SparseNGL, fast=False": lambda **a: SparseNGL(from_logits=True, fast=False, **a),
}
BINARY_LOSSES = {
    BINARY: lambda **a: keras.losses.BinaryCrossentropy(from_logits=True, **a),
    "BinaryNGL": lambda **a: BinaryNGL(from_logits=True, **a),
    "BinaryNGL, fast=False": lambda **a: BinaryNGL(from_logits=True, fast=False, **a),
}


def measure(rounds: int) -> list[Measurement]:
    """Measure every size with labels of both kinds, as a graph and by XLA, and a U-Net's step."""
    cases = [(shape, "", LOSSES, DENSE) for shape in SHAPES]
    cases += [(shape, ", class indices", SPARSE_LOSSES, SPARSE) for shape in SHAPES]
    cases += [(shape, ", sigmoids", BINARY_LOSSES, BINARY) for shape in BINARY_SHAPES]
    ways = ((False, ""), (True, ", XLA")) if BACKEND == "tensorflow" else ((True, ""),)
    found = []
    for shape, kind, makers, against in cases:
        y, z = batch(shape, against)
        errors, memory, sizes = {}, {}, {}
        if BACKEND == "tensorflow":
            errors = {name: _error(make, y, z) for name, make in makers.items()}
            large = MEMORY_SHAPES.get(shape) if against != BINARY else None
            memory = {name: peak_memory(name, large) for name in makers if large}
            sizes = dict.fromkeys(memory, " x ".join(map(str, large or ())))
        repeats = 20 if np.prod(shape) < SHORT else 1
        contestants = {
            name + suffix: timed(partial(_run, _step(make(), jit_compile), y, z), repeats)
            for jit_compile, suffix in ways
            for name, make in makers.items()
        }
        case = f"{shape[0]} x {shape[1]}{kind}"
        seconds = interleaved(contestants, rounds=rounds, what=case)
        found += compared(case, seconds, against, error=errors, memory=memory, memory_of=sizes)
    return found + unet.measure(-(-rounds // 4))


def batch(shape: tuple[int, int], against: str) -> tuple:
    """Make labels and logits like those of a network that has begun to learn.

    Args:
        shape: Samples and classes, or outputs.
        against: Name of the loss of Keras that the labels are for.
    """
    random = np.random.default_rng(0)
    labels = random.integers(0, shape[1], shape[0]).astype("int32")
    z = random.normal(0, 3, shape).astype("float32")
    if against == DENSE:
        labels = np.eye(shape[1], dtype="float32")[labels]
    elif against == BINARY:
        labels = random.integers(0, 2, shape).astype("float32")
    return ops.convert_to_tensor(labels), ops.convert_to_tensor(z)


def _step(loss, jit_compile=False):
    """Return a function of labels and logits that returns loss and gradient."""
    if BACKEND == "jax":
        import jax

        both = jax.jit(jax.value_and_grad(lambda z, y: loss(y, z)))
        return lambda y, z: both(z, y)
    if BACKEND == "torch":
        return partial(_torch_step, loss)
    import tensorflow as tf

    def step(y, z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(y, z)
        return value, tape.gradient(value, z)

    return tf.function(step, jit_compile=jit_compile, autograph=False)


def _torch_step(loss, y, z):
    import torch

    z = z.detach().requires_grad_()
    value = loss(y, z)
    return value, torch.autograd.grad(value, z)[0]


def _run(step, y, z):
    return float(step(y, z)[0])


def _error(make, y, z):
    """Return the error of the gradient in float32, against the same loss in float64."""
    if make is LowerBound:
        return None
    exact, found = (
        ops.convert_to_numpy(_step(make(dtype=dtype))(y, ops.cast(z, dtype))[1]).astype("float64")
        for dtype in ("float64", "float32")
    )
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def peak_memory(name: str, shape: tuple[int, int]) -> int | None:
    """Return the peak memory, in bytes, of a graph of loss and gradient; `None` without Linux."""
    return in_new_process(_peak_memory, name, shape) if CLEAR.exists() else None


def _peak_memory(name, shape):
    samples, classes = shape
    step = _step((LOSSES | SPARSE_LOSSES)[name]())

    def inputs(samples):
        # Nothing is copied: freed copies stay resident, and the step would use their memory unseen.
        z = np.random.default_rng(0).standard_normal((samples, classes), dtype="float32")
        labels = np.arange(samples, dtype="int32") % classes
        if name in SPARSE_LOSSES:
            return ops.convert_to_tensor(labels), ops.convert_to_tensor(z)
        y = np.zeros((samples, classes), "float32")
        y[np.arange(samples), labels] = 1.0
        return ops.convert_to_tensor(y), ops.convert_to_tensor(z)

    # Leave out what only the very first step allocates.
    _run(step, *inputs(8))
    y, z = inputs(samples)
    CLEAR.write_text("5", encoding="ascii")
    before = _status("VmRSS")
    _run(step, y, z)
    return _status("VmHWM") - before


def _status(name):
    lines = CLEAR.with_name("status").read_text("utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

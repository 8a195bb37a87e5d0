"""Loss and gradient of logits: ours, Keras' cross entropy, the authors' code, and a lower bound.

Each is a `tf.function` of labels and logits: a graph, as `fit` runs it on a CPU, or compiled as a
whole by XLA, as `fit` runs it with `jit_compile=True`. The reference is Keras' loss in a graph.
Peak memory is measured in a process of its own.
"""

from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from benchmark import unet
from benchmark.measure import Measurement, compared, in_new_process, interleaved, timed
from nglkeras.losses import ALPHA, F4, NGL, SparseNGL

SHAPES = ((128, 10), (128, 100), (1024, 1000), (200_000, 21))
# Memory is measured with more samples: compiling a kernel for a new size takes 12 MiB, once.
MEMORY_SHAPES = {(1024, 1000): (40_000, 1000), (200_000, 21): (2_000_000, 21)}
# Calls with fewer entries are too short for a clock, and are repeated.
SHORT = 100_000
# Writing 5 to it resets the peak that Linux keeps.
CLEAR = Path("/proc/self/clear_refs")
DENSE, SPARSE = "CategoricalCrossentropy", "SparseCategoricalCrossentropy"


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

        @tf.custom_gradient
        def loss(z):
            values, gradient = _one_pass(z)
            return values, lambda upstream: upstream[:, None] * gradient

        return loss(y_pred)


@tf.function(jit_compile=True)
def _one_pass(z):
    return tf.reduce_sum(z, axis=-1), 2.0 * z


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


def measure(rounds: int) -> list[Measurement]:
    """Measure every size with labels of both kinds, as a graph and by XLA, and a U-Net's step."""
    found = []
    for shape in SHAPES:
        for makers, against in ((LOSSES, DENSE), (SPARSE_LOSSES, SPARSE)):
            y, z = batch(shape, sparse=against == SPARSE)
            errors = {name: _error(make, y, z) for name, make in makers.items()}
            large = MEMORY_SHAPES.get(shape)
            memory = {name: peak_memory(name, large) for name in makers if large}
            sizes = dict.fromkeys(memory, " x ".join(map(str, large or ())))
            repeats = 20 if np.prod(shape) < SHORT else 1
            contestants = {
                name + suffix: timed(partial(_run, _step(make(), jit_compile), y, z), repeats)
                for jit_compile, suffix in ((False, ""), (True, ", XLA"))
                for name, make in makers.items()
            }
            case = f"{shape[0]} x {shape[1]}" + (", class indices" if against == SPARSE else "")
            seconds = interleaved(contestants, rounds=rounds, what=case)
            found += compared(case, seconds, against, error=errors, memory=memory, memory_of=sizes)
    return found + unet.measure(-(-rounds // 4))


def batch(shape: tuple[int, int], sparse: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Make labels and logits like those of a network that has begun to learn."""
    random = np.random.default_rng(0)
    labels = random.integers(0, shape[1], shape[0]).astype("int32")
    z = random.normal(0, 3, shape).astype("float32")
    y = labels if sparse else np.eye(shape[1], dtype="float32")[labels]
    return tf.constant(y), tf.constant(z)


def _step(loss, jit_compile=False):
    def step(y, z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = loss(y, z)
        return value, tape.gradient(value, z)

    return tf.function(step, jit_compile=jit_compile, autograph=False)


def _run(step, y, z):
    return float(step(y, z)[0])


def _error(make, y, z):
    """Return the error of the gradient in float32, against the same loss in float64."""
    if make is LowerBound:
        return None
    exact = _step(make(dtype="float64"))(y, tf.cast(z, "float64"))[1]
    difference = tf.cast(_step(make())(y, z)[1], "float64") - exact
    return float(tf.reduce_max(tf.abs(difference)) / tf.reduce_max(tf.abs(exact)))


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
            return tf.constant(labels), tf.constant(z)
        y = np.zeros((samples, classes), "float32")
        y[np.arange(samples), labels] = 1.0
        return tf.constant(y), tf.constant(z)

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

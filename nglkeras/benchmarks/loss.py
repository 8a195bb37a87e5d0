"""Loss and gradient by the logits: ours, Keras' cross entropy, the authors' way, a lower bound.

Each is a `tf.function` of labels and logits: a graph, as `fit` has it on a CPU, or compiled by XLA
as a whole, as `fit` has it with `jit_compile=True`. The reference is Keras' loss in a graph. Memory
is measured in a process of its own.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from nglkeras.benchmarks.measure import Measurement, compared, interleaved
from nglkeras.losses import ALPHA, F4, NGL, SparseNGL

SHAPES = ((128, 10), (128, 100), (1024, 1000), (200_000, 21))
# Memory is measured with more samples: compiling a kernel for a new size takes 12 MiB, once.
MEMORY_SHAPES = {(1024, 1000): (40_000, 1000), (200_000, 21): (2_000_000, 21)}
# Below so many entries a call is too short for a clock.
SHORT = 100_000
DENSE, SPARSE = "CategoricalCrossentropy", "SparseCategoricalCrossentropy"


class AuthorsNGL(keras.losses.Loss):
    """NGL as its authors write it: on probabilities, averaged over everything in `call`."""

    def call(self, y_true, y_pred):
        """A scalar."""
        p = ops.softmax(y_pred)
        return ops.mean(ops.exp(ALPHA - p - p * y_true) - ops.cos(ops.cos(ops.sin(p))))


class LowerBound(keras.losses.Loss):
    """No loss: reads the logits once and writes a gradient once."""

    def call(self, y_true, y_pred):
        """The sum over the classes."""

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
    """Every size, labels of both kinds, as a graph and compiled by XLA."""
    found = []
    for shape in SHAPES:
        for makers, against in ((LOSSES, DENSE), (SPARSE_LOSSES, SPARSE)):
            y, z = batch(shape, sparse=against == SPARSE)
            errors = {name: _error(make, y, z) for name, make in makers.items()}
            large = MEMORY_SHAPES.get(shape)
            memory = {name: peak_memory(name, large) for name in makers if large}
            sizes = dict.fromkeys(memory, " x ".join(map(str, large or ())))
            calls = {
                name + suffix: partial(_run, _step(make(), jit_compile), y, z)
                for jit_compile, suffix in ((False, ""), (True, ", XLA"))
                for name, make in makers.items()
            }
            case = f"{shape[0]} x {shape[1]}" + (", class indices" if against == SPARSE else "")
            repeats = 20 if np.prod(shape) < SHORT else 1
            seconds = interleaved(calls, rounds=rounds, repeats=repeats, what=case)
            found += compared(case, seconds, against, error=errors, memory=memory, memory_of=sizes)
    return found


def batch(shape: tuple[int, int], sparse: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels and logits of a network that has begun to learn."""
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
    """Of the gradient in float32 against the same loss in float64."""
    if make is LowerBound:
        return None
    exact = _step(make(dtype="float64"))(y, tf.cast(z, "float64"))[1]
    difference = tf.cast(_step(make())(y, z)[1], "float64") - exact
    return float(tf.reduce_max(tf.abs(difference)) / tf.reduce_max(tf.abs(exact)))


def peak_memory(name: str, shape: tuple[int, int]) -> int | None:
    """Bytes that a graph of loss and gradient takes at its peak; `None` where Linux is missing.

    Measured in a process of its own.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, "-m", "nglkeras.benchmarks.loss", name, *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def _print_peak_memory(name, samples, classes):
    step = _step((LOSSES | SPARSE_LOSSES)[name]())

    def inputs(samples):
        # Without copies that are freed and stay resident: the step would take them unseen.
        z = np.random.default_rng(0).standard_normal((samples, classes), dtype="float32")
        labels = np.arange(samples, dtype="int32") % classes
        if name in SPARSE_LOSSES:
            return tf.constant(labels), tf.constant(z)
        y = np.zeros((samples, classes), "float32")
        y[np.arange(samples), labels] = 1.0
        return tf.constant(y), tf.constant(z)

    # What is allocated once, at the first step of all, is no part of it.
    _run(step, *inputs(8))
    y, z = inputs(samples)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    _run(step, y, z)
    print(_status("VmHWM") - before)


def _status(name):
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


if __name__ == "__main__":
    _print_peak_memory(sys.argv[1], *map(int, sys.argv[2:]))

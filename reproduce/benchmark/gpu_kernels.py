"""The kernels on a card: their errors against NumPy in float64, and their time.

Labels and logits are those of `loss`. Loss and gradient are one compiled function on TensorFlow and
JAX; PyTorch runs them operation by operation. A round calls it several times and waits for the last
one: a card works while the next call is prepared.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from keras import ops

from benchmark import loss
from benchmark.gpu_limits import Context
from benchmark.gpu_rows import Row
from benchmark.measure import compared, interleaved
from nglkeras.expression import EPSILON
from nglkeras.losses import ALPHA, NGL, Baikal, BinaryNGL, SparseNGL

PART = "kernels"


def work(
    context: Context, *, shapes: Sequence[tuple[int, int]], rounds: int, repeats: int
) -> Iterator[Row]:
    """Measure loss and gradient of logits at each shape.

    Args:
        context: What the task is told.
        shapes: Samples and classes.
        rounds: Number of rounds.
        repeats: Calls in a round.
    """
    for shape in shapes:
        case = f"{shape[0]} x {shape[1]}"
        for against, makers in KINDS.items():
            if any((case, name) not in context.measured for name in makers):
                yield from _measure(case, shape, against, makers, rounds, repeats)


def _measure(case, shape, against, makers, rounds, repeats):
    y, z = loss.batch(shape, against)
    steps = {name: loss._step(make(), jit_compile=True) for name, make in makers.items()}
    turns = {name: partial(_turn, step, y, z, repeats) for name, step in steps.items()}
    found = compared(case, interleaved(turns, rounds=rounds, what=case), against)
    for one in found:
        errors = {}
        if one.name in EXACT:
            errors = _errors(one.name, steps[one.name], y, z)
        yield Row(
            part=PART,
            case=case,
            name=one.name,
            seconds=one.seconds,
            ratio=one.ratio,
            rounds=rounds,
            **errors,
        )


def _turn(step, y, z, repeats, number):
    started = time.perf_counter()
    for _ in range(repeats):
        value, gradient = step(y, z)
    # A number of each is read when both are there.
    ops.convert_to_numpy(value), ops.convert_to_numpy(gradient[0, 0])
    return (time.perf_counter() - started) / repeats


def _errors(name, step, y, z):
    found = [ops.convert_to_numpy(one).astype("float64") for one in step(y, z)]
    value, gradient = exact(name, ops.convert_to_numpy(y), ops.convert_to_numpy(z))
    return {
        "value_error": float(abs(found[0] - value) / abs(value)),
        "gradient_error": float(np.abs(found[1] - gradient).max() / np.abs(gradient).max()),
    }


def exact(name: str, y: np.ndarray, z: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean loss over the samples and its gradient by the logits, in float64.

    Args:
        name: One of `EXACT`.
        y: Labels: class indices `[batch]`, or numbers in the shape of `z`.
        z: Logits `[batch, classes]`.
    """
    z = z.astype("float64")
    term = _baikal if name == "Baikal" else _ngl
    if name == "BinaryNGL":
        p = 1.0 / (1.0 + np.exp(-z))
        # An output is a pair of classes, p and 1 - p, whose mean counts.
        (value, slope), (other, other_slope) = term(y, p), term(1.0 - y, 1.0 - p)
        gradient = (slope - other_slope) / 2 * p * (1.0 - p)
        return float((value + other).mean() / 2), gradient / z.size
    t = np.eye(z.shape[1])[y] if y.ndim < z.ndim else y
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    value, slope = term(t, p)
    gradient = p * (slope - (slope * p).sum(axis=1, keepdims=True))
    return float(value.mean()), gradient / z.size


def _ngl(t, p):
    """Return the loss of each class and its derivative by p."""
    decay, inner = np.exp(ALPHA - p * (1.0 + t)), np.sin(p)
    slope = -(1.0 + t) * decay - np.sin(np.cos(inner)) * np.sin(inner) * np.cos(p)
    return decay - np.cos(np.cos(inner)), slope


def _baikal(t, p):
    least = np.maximum(p, EPSILON)
    return t / least - np.log(least), np.where(p > EPSILON, -1.0 / least - t / least**2, 0.0)


EXACT = ("NGL", "Baikal", "SparseNGL", "BinaryNGL")
# The losses of each kind of labels, after the one of Keras that they are compared with.
KINDS = {
    loss.DENSE: {
        loss.DENSE: loss.LOSSES[loss.DENSE],
        "NGL": partial(NGL, from_logits=True),
        "Baikal": partial(Baikal, from_logits=True),
    },
    loss.SPARSE: {
        loss.SPARSE: loss.SPARSE_LOSSES[loss.SPARSE],
        "SparseNGL": partial(SparseNGL, from_logits=True),
    },
    loss.BINARY: {
        loss.BINARY: loss.BINARY_LOSSES[loss.BINARY],
        "BinaryNGL": partial(BinaryNGL, from_logits=True),
    },
}

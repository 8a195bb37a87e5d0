"""Benchmarks: what compiling once saves a search, and what it costs.

    python reproduce/benchmark.py search                        small CNN and InceptionV3, 75 x 75
    python reproduce/benchmark.py search --models small_cnn --pairs 10

For each model, in one process and taking turns: the overhead of a candidate (from a new loss to
the end of its first step, less a steady step) when the model is compiled anew with its optimizer
built, against a reset of the workbench; a steady step of either; the gradients of either; and
whether the first and the fortieth training of a candidate are the same to the last bit. Ratios
are medians over the pairs. The batches are random images: nothing is learnt here.
"""

import gc
import statistics
import time

import keras
import numpy as np

from nglkeras import cli, models, streams
from nglkeras.errors import unknown
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.protocol import Schedule
from nglkeras.training import make_optimizer
from nglkeras.workbench import Workbench

SIZES = {"small_cnn": (28, 128), "InceptionV3": (75, 32)}  # pixels, batch
CLASSES = 10
LOSSES = [Expression.parse(formula) for formula in FORMULAS.values()]
MODES = ("search",)


def main():
    """Run the script."""
    parser = cli.Parser(__doc__)
    parser.add_argument("what", help=f"one of: {', '.join(MODES)}")
    parser.add_argument("--models", nargs="+", default=list(SIZES), metavar="NAME")
    parser.add_argument("--pairs", type=cli.positive, default=7, help="candidates (default: 7)")
    args = parser.parse_args()
    if args.what not in MODES:
        raise unknown("benchmark", args.what, MODES)
    for name in args.models:
        if name not in SIZES:
            raise unknown("model", name, SIZES)
    for name in args.models:
        measure(name, args.pairs)


def measure(name, pairs):
    """Print the figures of a model."""
    size, batch_size = SIZES[name]
    random = np.random.default_rng(0)
    x = random.uniform(0, 255, (2 * batch_size, size, size, 3)).astype("float32")
    y = np.eye(CLASSES, dtype="float32")[random.integers(0, CLASSES, 2 * batch_size)]
    schedule = Schedule(1, batch_size, plateau=None)

    def build(run):
        keras.utils.set_random_seed(run)
        return models.build(name, (size, size, 3), CLASSES)

    def make_streams(run):
        data, steps = streams.training(x, y, batch_size=batch_size, epochs=1, seed=run)
        return streams.Streams(data, streams.evaluation(x, y, batch_size=batch_size), steps)

    bench = Workbench(build, make_streams, schedule)
    direct = build(0)
    batch = (x[:batch_size], y[:batch_size])
    print(f"{name}, {size} x {size}, batch {batch_size}", flush=True)

    # The workbench's own tracing happens once and is paid once.
    started = time.perf_counter()
    bench.reset(LOSSES[0])
    _step(bench.model, batch)
    print(f"  first candidate, tracing included: {time.perf_counter() - started:.2f} s", flush=True)
    traces = bench.loss.traces

    steady = min(_time(lambda: _step(bench.model, batch)) for _ in range(5))
    compiling, resetting = [], []
    for i in range(pairs):
        expression = LOSSES[i % len(LOSSES)]

        def compile_anew(expression=expression):
            direct.compile(make_optimizer(schedule), expression.to_loss())
            direct.optimizer.build(direct.trainable_variables)
            _step(direct, batch)

        def reset(expression=expression):
            bench.reset(expression)
            _step(bench.model, batch)

        compiling.append(_time(compile_anew) - steady)
        # What a compilation does to other functions is no part of a search, which has none: what
        # was compiled before is freed, and TensorFlow prepares the workbench's step once more.
        gc.collect()
        _step(bench.model, batch)
        resetting.append(max(_time(reset) - steady, 1e-6))
    ratios = [a / b for a, b in zip(compiling, resetting, strict=True)]
    _say("overhead of a candidate, compiled anew", compiling, "s")
    _say("overhead of a candidate, reset", resetting, "s")
    _say("ratio", ratios, "x less")

    slower = []
    for _ in range(5 * pairs):
        a = _time(lambda: _step(direct, batch))
        b = _time(lambda: _step(bench.model, batch))
        c = _time(lambda: _step(direct, batch))
        slower.append(2 * b / (a + c))
    _say("steady step against the directly traced loss", slower, "x")
    print(f"  traces after the first candidate: {bench.loss.traces - traces}", flush=True)
    worst = max(_gradient_error(bench, expression, batch) for expression in LOSSES)
    print(f"  largest difference of gradients, of their greatest entry: {worst:.1e}")
    if name == "small_cnn":
        first, *_, fortieth = [bench.train(LOSSES[i % 3]).history[0]["loss"] for i in range(40)]
        print(f"  first and fortieth training of a candidate: {first!r} and {fortieth!r}")


def _step(model, batch):
    model.train_on_batch(*batch)


def _time(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _say(what, values, unit):
    low, high = min(values), max(values)
    print(
        f"  {what}: {statistics.median(values):.3g} {unit} "
        f"(median of {len(values)}, {low:.3g} to {high:.3g})",
        flush=True,
    )


def _gradient_error(bench, expression, batch):
    """Difference of the weights' gradients by both losses, relative to the greatest entry."""
    bench.reset(expression)
    network, (x, y) = bench.model.network, batch
    if keras.backend.backend() != "tensorflow":
        return float("nan")
    import tensorflow as tf

    gradients = []
    for loss in (bench.loss, expression.to_loss()):
        with tf.GradientTape() as tape:
            value = loss(y, network(x, training=False))
        gradients.append(tape.gradient(value, [v.value for v in network.trainable_variables]))
    scale = max(float(tf.reduce_max(tf.abs(g))) for g in gradients[1])
    differences = (tf.reduce_max(tf.abs(a - b)) for a, b in zip(*gradients, strict=True))
    return max(map(float, differences)) / scale


if __name__ == "__main__":
    cli.run(main)

"""A training as one program of JAX: what `fit` gives, in every way to train and to end."""

import keras
import numpy as np
import pytest
from small_network import X, Y, build

from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.losses.switched import SwitchedLoss
from nglkeras.training import streams
from nglkeras.training.compiled import CompiledNetwork
from nglkeras.training.monitor import ReduceOrStop
from nglkeras.training.schedule import Plateau, Schedule

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="one program is JAX's")
RANDOM = np.random.default_rng(0)
NGL = Expression.parse(FORMULAS["NGL"])
EXPLODES = Expression.parse("1e7*y_true*y_pred")
OVERFLOWS = Expression.parse("exp(exp(exp(3 + y_pred)))*y_true")
FLAT = Expression.parse("y_true + 1")
SGD = {"optimizer": "SGD", "optimizer_settings": (("momentum", 0.9),)}
COSINE = keras.optimizers.schedules.serialize(keras.optimizers.schedules.CosineDecay(0.1, 24))
MAPS = RANDOM.integers(0, 4, (96, 5))
MAPS[MAPS == 3] = 255


def dense(run):
    keras.utils.set_random_seed(run)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, "relu", kernel_regularizer="l2")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))


def two_inputs(run):
    keras.utils.set_random_seed(run)
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
    x = keras.layers.Dense(8, "relu")(keras.layers.Concatenate()([inputs["a"], inputs["b"]]))
    return keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))


def maps(run):
    keras.utils.set_random_seed(run)
    inputs = keras.Input((6,))
    x = keras.layers.Reshape((5, 3))(keras.layers.Dense(15)(inputs))
    return keras.Model(inputs, keras.layers.Softmax()(x))


def bfloat16(run):
    keras.utils.set_random_seed(run)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(16, "relu", dtype="mixed_bfloat16")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, "softmax", dtype="float32")(x))


def network(one_program, build=build, x=X, y=Y, classes=None, measure=None, **changes):
    own = {"validate", "measure_epochs", "bound", "make_loss"}
    how = {name: value for name, value in changes.items() if name in own}
    changes = {name: value for name, value in changes.items() if name not in own}
    schedule = Schedule(**({"epochs": 4, "batch_size": 16, "plateau": None} | changes))

    def make_streams(run):
        data, steps = streams.training(
            x, y, batch_size=16, epochs=schedule.epochs, seed=run, classes=classes
        )
        some = keras.tree.map_structure(lambda array: array[:40], (x, y))
        held = streams.evaluation(*some, batch_size=16, classes=classes)
        made = streams.Streams(data, held, steps, held)
        return streams.in_parts(made, schedule)

    made = CompiledNetwork(build, make_streams, schedule, one_program=one_program, **how)
    made.measure = measure
    return made


def error(batches):
    """A measure that only the host has."""
    return -float(np.mean([np.abs(y - p).mean() for y, p in batches]))


def losses():
    return SwitchedLoss({"CE": keras.losses.CategoricalCrossentropy(), "NGL": NGL.to_loss()})


CASES = {
    "dense": {"build": dense},
    "dropout and BatchNormalization": {},
    "validated": {"validate": True},
    "measured": {"measure_epochs": True},
    "a measure of the host": {"measure_epochs": True, "measure": error},
    "both": {"validate": True, "measure": error},
    "a schedule": {**SGD, "learning_rate": COSINE},
    "a clipped optimizer": {"optimizer": "AdamW", "optimizer_settings": (("clipnorm", 0.1),)},
    "parts of batches": {"build": dense, "accumulation": 2},
    "two inputs": {"build": two_inputs, "x": {"a": X, "b": X[:, ::-1].copy()}},
    "label maps": {
        "build": maps,
        "y": MAPS,
        "classes": 3,
        "make_loss": lambda: InterpretedLoss(ignore_class=255),
    },
    "mixed precision": {"build": bfloat16, "validate": True},
    "a plateau": {"epochs": 9, "plateau": Plateau(0.1, 2, 1e-5), "learning_rate": 0.3},
    "a plateau's end": {
        "epochs": 9,
        "plateau": Plateau(0.1, 0, 1e-5, "val_accuracy", 2),
        "learning_rate": 0.01,
    },
}


# Each compiles two networks.
QUICK, SLOW = ("validated", "a plateau's end"), pytest.mark.slow
OTHERS = [case for case in CASES if case not in QUICK]


def same(ours, theirs):
    assert (ours.status, ours.message) == (theirs.status, theirs.message)
    assert (ours.path, theirs.path) == ("one program", "fit")
    assert len(ours.history) == len(theirs.history) > 0
    for a, b in zip(ours.history, theirs.history, strict=True):
        assert list(a) == list(b)
        for name in set(a) - {"seconds", "training_seconds"}:
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-7, nan_ok=True), name
    for name in ("accuracy", "validation_accuracy"):
        found = getattr(theirs, name)
        assert getattr(ours, name) == (found and pytest.approx(found, rel=1e-5))


class TestEqualsFit:
    @pytest.mark.parametrize("case", [*QUICK, *(pytest.param(c, marks=SLOW) for c in OTHERS)])
    def test_history_and_accuracies(self, case):
        ours, theirs = (network(one_program, **CASES[case]) for one_program in (True, False))
        for loss, run in ((NGL, 0), (FLAT if "plateau" in case else NGL, 1)):
            same(ours.train(loss, run), theirs.train(loss, run))
        for a, b in zip(ours.model.variables, theirs.model.variables, strict=True):
            if "metric" not in a.path:
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5, err_msg=a.path)

    @pytest.mark.parametrize("loss", ["CE", "NGL"])
    def test_losses_of_a_switch(self, loss):
        same(*(network(way, make_loss=losses).train(loss) for way in (True, False)))

    def test_a_rate_of_its_own(self):
        ours, theirs = (network(way) for way in (True, False))
        same(ours.train(NGL, learning_rate=0.05), theirs.train(NGL, learning_rate=0.05))
        same(ours.train(NGL), theirs.train(NGL))

    def test_failures(self):
        ours, theirs = (network(way, validate=True, bound=1e5) for way in (True, False))
        for loss, status in ((OVERFLOWS, "non_finite"), (EXPLODES, "exploded"), (NGL, "ok")):
            one, other = ours.train(loss), theirs.train(loss)
            same(one, other)
            assert one.status == status
            watched = ours.train(loss, on_epoch=lambda *_: None)
            same(watched, other)

    @pytest.mark.parametrize("measure", [None, error])
    def test_bars(self, measure):
        how = {"measure_epochs": True, "measure": measure}
        ours, theirs = (network(way, **how) for way in (True, False))
        for bars, status in (((-2.0, 1.1), "stopped"), ((-2.0,) * 9, "ok")):
            one = ours.train(NGL, bars=bars)
            same(one, theirs.train(NGL, bars=bars))
            assert one.status == status


class TestPlateau:
    def test_an_improvement_is_what_keras_takes_for_one(self):
        """A sample more of ten thousand is the least improvement that it may count."""
        plateau = Plateau(0.5, 3, 1e-9, "val_accuracy")
        made = network(True, build=dense, validate=True, plateau=plateau)
        made.train(NGL)
        program = made._ours.program
        start, *_ = made._ours.run(*made._starts[0])
        course, terms = program.begin(start, NGL), program.terms(0.1, (), np.inf)
        for samples in range(5000, 5040):
            best, value = np.float32([samples, samples + 1]) / np.float32(10000)
            rows = course.rows | {"val_accuracy": np.full(4, value)}
            before = course._replace(epoch=np.int32(1), best=best, rows=rows)
            improved = float(value) > float(best) + ReduceOrStop().min_delta
            assert (int(program.judged(before, terms).wait) == 0) is improved


class TestOneProgram:
    def test_runs_share_the_inputs_on_the_device(self):
        made = network(True)
        for run in range(2):
            made.train(NGL, run)
        one, other = (made._ours.run(*made._starts[run]) for run in range(2))
        assert one[1].x is other[1].x
        assert (one[1].order != other[1].order).any()

    def test_an_evaluation_takes_nothing_from_a_start(self):
        made = network(True)
        first = made.train(NGL)
        assert made.train(NGL, timeout=0.0).history == []
        made.evaluate(made._starts[0][1].test)
        again = made.train(NGL)
        assert (again.status, again.accuracy) == ("ok", first.accuracy)

    def test_an_epoch_that_was_judged_by_a_rounding_goes_on(self):
        # In float32 the bar is above the accuracy, and below it on the host.
        made = network(True, measure_epochs=True)
        reached = made.train(NGL).history[0]["val_accuracy"]
        bar = np.float64(reached) - 1e-12
        assert made.train(NGL, bars=(bar,)).status == "ok"

    def test_nothing_is_traced_again(self):
        made = network(True)
        made.train(NGL)
        traces = made.loss.traces
        made.train(FLAT, 1, on_epoch=lambda *_: None)
        made.train(NGL, 2, learning_rate=0.1)
        assert made.loss.traces == traces

    def test_a_failed_training_changes_no_later_one(self):
        made = network(True)
        first = made.train(NGL)
        assert made.train(OVERFLOWS).status == "non_finite"
        again = made.train(NGL)
        assert [row["loss"] for row in again.history] == [row["loss"] for row in first.history]

    def test_time_and_progress_are_looked_at_between_epochs(self):
        made, seen = network(True), []
        assert made.train(NGL, timeout=0.0).status == "timeout"
        made.train(NGL, on_epoch=lambda epoch, row: seen.append((epoch, row["loss"])))
        assert seen == [(i + 1, row["loss"]) for i, row in enumerate(made.train(NGL).history)]

    def test_what_only_fit_can(self):
        training = network(True).train(NGL, callbacks=[keras.callbacks.Callback()])
        assert (training.status, training.path) == ("ok", "fit")
        averages = network(True, optimizer_settings=(("use_ema", True),)).train(NGL)
        assert (averages.status, averages.path) == ("ok", "fit")
        falling = network(True, cosine=True).train(NGL)
        assert (falling.status, falling.path) == ("ok", "fit")
        rates = [row["learning_rate"] for row in falling.history]
        assert rates == pytest.approx([1e-3, 8.53553e-4, 5e-4, 1.46447e-4], rel=1e-4)

    def test_where_it_is_faster(self):
        def convolutions(run):
            inputs = keras.Input((6,))
            x = keras.layers.Conv1D(4, 3)(keras.layers.Reshape((6, 1))(inputs))
            return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))

        assert network("auto").train(NGL).path == "one program"
        assert network("auto", build=convolutions).train(NGL).path == "fit"
        assert network(True, build=convolutions).train(NGL).path == "one program"

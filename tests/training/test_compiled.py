"""A network compiled once: the same start each time, the same result for the same loss."""

import keras
import numpy as np
import pytest
from conftest import needs_jax, needs_two_devices
from small_network import X, Y, build, outcome

from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.training import compiled, streams
from nglkeras.training.compiled import CompiledNetwork
from nglkeras.training.schedule import Plateau, Schedule

NGL = Expression.parse(FORMULAS["NGL"])
OTHERS = [Expression.parse(FORMULAS[name]) for name in ("Baikal", "f4", "f3")]


def make_streams(run, epochs=3):
    data, steps = streams.training(X, Y, batch_size=16, epochs=epochs, seed=run)
    held = streams.evaluation(X[:40], Y[:40], batch_size=16)
    return streams.Streams(data, held, steps)


def compiled_network(replicas=1, **changes):
    settings = {"epochs": 3, "batch_size": 16, "plateau": None} | changes
    return CompiledNetwork(build, make_streams, Schedule(**settings), replicas=replicas, bound=1e5)


@pytest.fixture(scope="module")
def network():
    return compiled_network()


class TestRepeats:
    def test_first_or_fortieth_is_the_same_to_the_last_bit(self, network):
        first = network.train(NGL)
        weights = [np.array(w) for w in network.model.network.get_weights()]
        # On the other backends an epoch takes longer to begin.
        for i in range(38 if keras.backend.backend() == "tensorflow" else 8):
            network.train(OTHERS[i % 3], run=i % 2)
        fortieth = network.train(NGL)
        assert first.status == fortieth.status == "ok"
        assert outcome(first) == outcome(fortieth)
        assert first.validation_accuracy == fortieth.validation_accuracy
        for before, after in zip(weights, network.model.network.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_nothing_is_traced_again(self, network):
        network.train(NGL)
        traces = network.loss.traces
        for expression in OTHERS:
            network.train(expression, run=3)
        if keras.backend.backend() != "torch":
            assert network.loss.traces == traces

    def test_the_memory_of_the_loss_is_part_of_the_model(self, network):
        network.reset(NGL)
        ours = {id(variable) for variable in network.model.non_trainable_variables}
        assert {id(variable) for variable in network.loss.memory.variables} <= ours

    def test_another_network_gives_the_same(self, network):
        assert outcome(compiled_network().train(NGL)) == outcome(network.train(NGL))

    def test_runs_differ(self, network):
        assert outcome(network.train(NGL, run=1)) != outcome(network.train(NGL, run=2))

    def test_trains_as_keras_does_with_the_loss_itself(self, network):
        training = network.train(NGL)
        model, data = build(0), make_streams(0)
        model.compile("adam", NGL.to_loss(), weighted_metrics=["accuracy"])
        seeding = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: keras.utils.set_random_seed(0)
        )
        history = model.fit(
            data.train,
            epochs=3,
            steps_per_epoch=data.steps,
            callbacks=[seeding],
            shuffle=False,
            verbose=0,
        )
        for row, loss in zip(training.history, history.history["loss"], strict=True):
            assert row["loss"] == pytest.approx(loss, rel=1e-5)

    def test_learning_rate_is_put_back(self):
        # A loss that does not depend on the predictions is always on a plateau.
        plateau = Plateau(factor=0.1, patience=0, min_learning_rate=0.0)
        network = compiled_network(plateau=plateau, learning_rate=100.0)
        constant = Expression.parse("y_true + 1")
        first, second = network.train(constant), network.train(constant)
        assert first.history[0]["learning_rate"] == 100.0
        assert first.history[-1]["learning_rate"] < 100.0
        assert outcome(first) == outcome(second)
        assert "val_loss" in first.history[0]

    @pytest.mark.parametrize("one_program", ["auto", True])
    def test_a_rate_falls_along_half_a_cosine_each_time(self, one_program):
        network = compiled_network(cosine=True)
        network.one_program = one_program
        first, second = network.train(NGL, learning_rate=0.1), network.train(NGL, learning_rate=0.1)
        rates = [row["learning_rate"] for row in first.history]
        assert rates == pytest.approx([0.1, 0.075, 0.025])
        assert outcome(first) == outcome(second)

    @pytest.mark.parametrize("rate", [1e-4, 0.05])
    def test_a_rate_of_its_own_is_that_of_a_network_compiled_with_it(self, network, rate):
        own = network.train(NGL, learning_rate=rate)
        assert [row["learning_rate"] for row in own.history] == pytest.approx([rate] * 3)
        assert outcome(own) == outcome(compiled_network(learning_rate=rate).train(NGL))
        # The next training has the schedule's again.
        assert network.train(NGL).history[0]["learning_rate"] == pytest.approx(1e-3)


class TestEpochs:
    """The accuracy after every epoch, as Keras validates it and quicker."""

    @pytest.mark.parametrize("kept", [0, compiled.KEPT])
    def test_measures_what_keras_validates(self, kept, monkeypatch):
        monkeypatch.setattr(compiled, "KEPT", kept)
        settings = Schedule(epochs=3, batch_size=16, plateau=None)
        validated, measured = (
            CompiledNetwork(build, make_streams, settings, **{name: True}).train(NGL)
            for name in ("validate", "measure_epochs")
        )
        accuracies = [
            [row["val_accuracy"] for row in found.history] for found in (validated, measured)
        ]
        # Keras computes in float32.
        assert accuracies[1] == pytest.approx(accuracies[0], rel=1e-6)
        assert measured.validation_accuracy == accuracies[1][-1]
        assert "val_loss" in validated.history[0]
        assert "val_loss" not in measured.history[0]

    def test_bars_stop_it_and_need_accuracies(self, network):
        settings = Schedule(epochs=3, batch_size=16, plateau=None)
        own = CompiledNetwork(build, make_streams, settings, measure_epochs=True)
        stopped = own.train(NGL, bars=(0.0, 1.1))
        assert (stopped.status, len(stopped.history)) == ("stopped", 2)
        assert "after epoch 2, below 1.1" in stopped.message
        with pytest.raises(ValueError, match="bars need measure_epochs=True"):
            network.train(NGL, bars=(0.5,))


class TestStatuses:
    def test_non_finite(self, network):
        training = network.train(Expression.parse("exp(exp(exp(3 + y_pred)))*y_true"))
        assert training.status == "non_finite"
        assert training.validation_accuracy is None
        assert "epoch 1" in training.message

    def test_exploded(self, network):
        training = network.train(Expression.parse("1e7*y_true*y_pred"))
        assert (training.status, training.message) == (
            "exploded",
            "the loss went beyond 100000 in epoch 1",
        )

    def test_timeout(self, network):
        assert network.train(NGL, timeout=0.0).status == "timeout"
        assert network.train(NGL).status == "ok"

    def test_timeout_within_an_epoch_leaves_the_network_usable(self):
        def long(run):
            how = {"batch_size": 16, "epochs": 1, "steps_per_epoch": 20_000, "seed": run}
            held = streams.evaluation(X, Y, batch_size=16)
            data, steps = streams.training(X, Y, **how)
            return streams.Streams(data, held, steps)

        schedule = Schedule(epochs=1, batch_size=16, plateau=None)
        network = CompiledNetwork(build, long, schedule, one_program=False)
        trainings = [network.train(NGL, timeout=0.3) for _ in range(4)]
        assert [one.status for one in trainings] == ["timeout"] * 4, trainings[0].message

    def test_crash_leaves_the_network_usable(self, network, monkeypatch):
        def fit(*_, **__):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

        network.train(NGL)
        with monkeypatch.context() as patch:
            patch.setattr(type(network.model), "fit", fit)
            if keras.backend.backend() == "jax":
                patch.setattr("nglkeras.training.one_program.OneProgram.train", fit)
            assert network.train(NGL).status == "out_of_memory"
        assert network.train(NGL).status == "ok"

    def test_the_user_s_mistakes_go_through(self):
        def nothing(run):
            raise UserError("no data")

        with pytest.raises(UserError, match="no data"):
            CompiledNetwork(build, nothing, Schedule(1, 8, plateau=None)).train(NGL)

    def test_too_few_samples(self):
        with pytest.raises(UserError, match="96 training samples do not fill a batch of 100"):
            streams.training(X, Y, batch_size=100, epochs=1, seed=0)


class TestStreams:
    def test_begin_alike_whenever_they_are_read(self):
        data, steps = streams.training(X, Y, batch_size=10, epochs=2, seed=0)
        first, second = (np.stack([x for x, _ in data.as_numpy_iterator()]) for _ in range(2))
        assert (steps, len(first)) == (9, 18)
        np.testing.assert_array_equal(first, second)
        # Another order in the second epoch.
        assert (first[:9] != first[9:]).any()

    def test_evaluation_is_an_exact_mean(self):
        data = streams.evaluation(X[:40], Y[:40], batch_size=16)
        weights = np.concatenate([w for _, _, w in data.as_numpy_iterator()])
        assert len(weights) == 48
        assert weights.sum() == pytest.approx(48)
        assert (weights[40:] == 0).all()


@needs_two_devices
class TestMirrored:
    @pytest.mark.slow
    def test_two_devices_agree_with_one_and_trace_nothing_again(self):
        def plain(run):
            # Without what is each device's own: statistics of its half batch, dropout.
            keras.utils.set_random_seed(run)
            inputs = keras.Input((6,))
            x = keras.layers.Dense(16, "relu")(inputs)
            return keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))

        schedule = Schedule(3, 16, plateau=None)
        one = CompiledNetwork(plain, make_streams, schedule)
        two = CompiledNetwork(plain, make_streams, schedule, replicas=2)
        traces = []
        for expression in (NGL, *OTHERS, NGL):
            a, b = one.train(expression), two.train(expression)
            assert b.status == "ok", b.message
            assert b.history[-1]["loss"] == pytest.approx(a.history[-1]["loss"], rel=1e-5)
            assert b.validation_accuracy == pytest.approx(a.validation_accuracy, abs=1e-6)
            traces.append(two.loss.traces)
        assert len(set(traces)) == 1

    @needs_jax
    def test_dropout_and_statistics_are_the_batch_s_on_jax(self):
        # SGD: where a gradient is nearly zero, Adam makes a step out of its rounding.
        settings = {"optimizer": "SGD", "optimizer_settings": (), "learning_rate": 0.01}
        one, two = compiled_network(**settings), compiled_network(2, **settings)
        for expression in (NGL, OTHERS[1]):
            a, b = one.train(expression, run=1), two.train(expression, run=1)
            assert b.status == "ok", b.message
            assert b.validation_accuracy == pytest.approx(a.validation_accuracy, abs=1e-6)
            assert b.history[-1]["loss"] == pytest.approx(a.history[-1]["loss"], rel=1e-5)
        for v, devices in ((one.model.variables, 1), (two.model.variables, 2)):
            assert {len(x.value.sharding.device_set) for x in v} == {devices}

    def test_same_bits_whatever_came_before(self):
        network = compiled_network(2)
        first = network.train(NGL)
        network.train(OTHERS[0], run=1)
        assert outcome(network.train(NGL)) == outcome(first)
        y, p = network.fresh_batch()
        assert y.shape == p.shape == (16, 3)

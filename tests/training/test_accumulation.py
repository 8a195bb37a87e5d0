"""Trainings that run out of memory: tried again with batches in parts, the same but for those."""

import gc
import json
import weakref
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import needs_tensorflow, needs_two_devices

from nglkeras import UserError, losses, run_trial
from nglkeras.data import datasets
from nglkeras.data.augmentation import Augmentation
from nglkeras.experiments.classification import models, shared_networks
from nglkeras.experiments.classification.shared_networks import SharedNetworks
from nglkeras.experiments.classification.trial import Trial
from nglkeras.experiments.discovery.fitness import TrialFitness
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.runs import attempt
from nglkeras.runs.journal import Journal
from nglkeras.training import accumulation, streams
from nglkeras.training.compiled import CompiledNetwork
from nglkeras.training.schedule import Plateau, Schedule

TRIAL = Trial(
    dataset="digits",
    model="head",
    loss="NGL",
    schedule=Schedule(2, 32),
    train_images=128,
    evaluation_images=50,
)
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(96, 6)).astype("float32")
Y = np.eye(3, dtype="float32")[X[:, :3].argmax(axis=1)]
FOUR = {"accumulation": 4}


def in_parts(trial, accumulation):
    return replace(trial, schedule=replace(trial.schedule, accumulation=accumulation))


def outcome(row):
    history = [{k: v for k, v in epoch.items() if "seconds" not in k} for epoch in row.history]
    return row.status, row.accuracy, row.validation_accuracy, row.sizes, history


def out_of_memory():
    if keras.backend.backend() != "tensorflow":
        return MemoryError("no room")
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "no room")


class Hungry(keras.losses.Loss):
    """The cross entropy, where memory has room for the batch: it fails when it is traced."""

    def __init__(self, room):
        super().__init__()
        self.room = room
        self.sizes = []

    def call(self, y_true, y_pred):
        self.sizes.append(y_pred.shape[0])
        if y_pred.shape[0] > self.room:
            raise out_of_memory()
        return keras.losses.categorical_crossentropy(y_true, y_pred)


@pytest.fixture(autouse=True)
def fresh_memory(monkeypatch):
    monkeypatch.setattr(attempt, "_needed", {})


def without_normalization(name, shape, classes, **settings):
    layers = [keras.Input(shape), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    layers += [keras.layers.Dense(16, "relu"), keras.layers.Dense(classes, "softmax")]
    return keras.Sequential(layers)


@pytest.fixture
def room(monkeypatch):
    """Says for how many images there is room; returns the sizes that were tried."""

    def limit(images, build=without_normalization):
        monkeypatch.setattr(models, "build", build)
        hungry = Hungry(images)
        monkeypatch.setattr(losses, "get", lambda name, **arguments: hungry)
        return hungry.sizes

    return limit


class TestSchedule:
    @pytest.mark.parametrize("parts", [3, 64])
    def test_a_batch_divides_into_its_parts(self, parts):
        with pytest.raises(UserError, match=f"batch of 32 does not divide into {parts} parts"):
            run_trial(in_parts(TRIAL, parts))
        with pytest.raises(UserError, match=f"batch of 32 does not divide into {parts} parts"):
            run_trial(in_parts(replace(TRIAL, compile_once=True), parts))

    def test_parts_divide_by_the_devices(self):
        trial = in_parts(replace(TRIAL, replicas=2), 32)
        with pytest.raises(UserError, match="batch of 32 in 32 parts does not divide by 2 devices"):
            run_trial(trial)


class TestStreams:
    def test_the_same_images_in_the_same_order(self):
        schedule = Schedule(2, 32, accumulation=4)
        arrays = datasets.load_arrays("digits", 0, train_images=100, evaluation_images=50)
        whole = streams.of_arrays(arrays, schedule, 0, Augmentation())
        parts = streams.in_parts(whole, schedule)
        assert (whole.steps, parts.steps) == (3, 3)
        assert parts.test is None
        for name in ("train", "validation"):
            some, others = getattr(whole, name), getattr(parts, name)
            assert others.cardinality() == 4 * some.cardinality()
            assert {len(batch[0]) for batch in others} == {8}
            for a, b in zip(*map(joined, (some, others)), strict=True):
                np.testing.assert_array_equal(a, b)

    def test_streamed_too(self):
        schedule = Schedule(1, 32, accumulation=2)
        found = [
            datasets.load("digits", 3, batch_size=32, augmentation=Augmentation(), train_images=96)
            for _ in range(2)
        ]
        parts = streams.in_parts(found[1], schedule)
        for name, count in (("train", 3), ("validation", 6), ("test", 6)):
            assert getattr(parts, name).cardinality() == 2 * count
            for a, b in zip(*(joined(getattr(s, name)) for s in (found[0], parts)), strict=True):
                np.testing.assert_array_equal(a, b)


def joined(data):
    return [np.concatenate(part) for part in zip(*data.as_numpy_iterator(), strict=True)]


def plain(run):
    """A network without what is computed for each part by itself."""
    keras.utils.set_random_seed(run)
    penalty = keras.regularizers.L2(1e-2)
    layers = [keras.Input((6,)), keras.layers.Dense(8, "relu", kernel_regularizer=penalty)]
    return keras.Sequential([*layers, keras.layers.Dense(3, "softmax")])


def make_streams(run):
    data, steps = streams.training(X, Y, batch_size=16, epochs=4, seed=run)
    held = streams.evaluation(X[:40], Y[:40], batch_size=16)
    return streams.Streams(data, held, steps)


def trained(replicas=1, **schedule):
    network = CompiledNetwork(
        plain,
        make_streams,
        Schedule(4, 16, **schedule),
        lambda: WithMemory(keras.losses.CategoricalCrossentropy()),
        replicas=replicas,
    )
    training = network.train("")
    assert training.status == "ok", training.message
    return network, training


class WithMemory(keras.losses.Loss):
    """A loss as the compiled network wants one."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss
        self.memory = Nothing()

    def call(self, y_true, y_pred):
        return self.loss.call(y_true, y_pred)


class Nothing(keras.layers.Layer):
    def store(self, name):
        self.built = True


SCHEDULES = {
    "Adam": {"optimizer": "Adam", "plateau": Plateau(0.5, 1, 0.0)},
    "momentum": {"optimizer_settings": (("momentum", 0.9),), "learning_rate": 0.1},
    "AdamW": {
        "optimizer": "AdamW",
        "optimizer_settings": (("weight_decay", 0.1),),
        "learning_rate": 0.01,
    },
    "cosine": {
        "optimizer_settings": (),
        "learning_rate": keras.optimizers.schedules.serialize(
            keras.optimizers.schedules.CosineDecay(0.2, 20)
        ),
    },
    "accumulated": {
        "optimizer_settings": (("gradient_accumulation_steps", 2),),
        "learning_rate": 0.1,
    },
}


class TestUpdates:
    @pytest.mark.parametrize("name", SCHEDULES)
    @pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=needs_two_devices)])
    def test_are_those_of_whole_batches(self, name, replicas):
        schedule = {"optimizer": "SGD", "plateau": None, **SCHEDULES[name]}
        (one, whole), (many, parts) = trained(**schedule), trained(replicas, **schedule, **FOUR)
        assert parts.accumulation == 4
        assert len(parts.history) == len(whole.history)
        for a, b in zip(whole.history, parts.history, strict=True):
            assert {k: v for k, v in b.items() if "seconds" not in k} == pytest.approx(
                {k: v for k, v in a.items() if "seconds" not in k}, rel=1e-4
            )
        for a, b in zip(one.model.get_weights(), many.model.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)

    @pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=needs_two_devices)])
    def test_an_epoch_ends_with_one(self, replicas):
        network, _ = trained(replicas, **FOUR)
        optimizer = network.model.optimizer
        assert int(optimizer.iterations) == 4 * 6
        held = [v for v in optimizer.variables if "accumulator" in v.path or "sum" in v.path]
        assert len(held) == 4
        assert all(not np.any(keras.ops.convert_to_numpy(v)) for v in held)

    def test_an_interrupted_one_leaves_nothing_behind(self):
        network, first = trained(**FOUR)
        assert network.train("", timeout=0.0).status == "timeout"
        assert outcome(network.train("")) == outcome(first)

    def test_repeat_to_the_last_bit(self):
        assert outcome(trained(**FOUR)[1]) == outcome(trained(**FOUR)[1])

    def test_the_fresh_batch_is_the_whole_one(self):
        (one, _), (many, _) = trained(), trained(**FOUR)
        for a, b in zip(one.fresh_batch(), many.fresh_batch(), strict=True):
            assert a.shape == (16, 3)
            np.testing.assert_allclose(a, b, atol=1e-6)

    @pytest.mark.slow
    @pytest.mark.parametrize("compile_once", [False, True])
    @pytest.mark.parametrize("steps", [None, 3])
    def test_of_trials(self, compile_once, steps, monkeypatch):
        monkeypatch.setattr(models, "build", without_normalization)
        schedule = Schedule(2, 32, steps_per_epoch=steps)
        trial = replace(
            TRIAL, schedule=schedule, augmentation=Augmentation(), compile_once=compile_once
        )
        whole, parts = run_trial(trial), run_trial(in_parts(trial, 4))
        assert parts.status == "ok", parts.message
        assert (whole.accumulation, parts.accumulation) == (1, 4)
        assert parts.accuracy == pytest.approx(whole.accuracy, abs=0.021)
        for a, b in zip(whole.history, parts.history, strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-3)
            assert b["val_loss"] == pytest.approx(a["val_loss"], rel=1e-3)


class TestTrials:
    @pytest.mark.parametrize("compile_once", [False, True])
    def test_the_row_is_that_of_the_trial_with_its_batch_in_parts(self, room, compile_once):
        trial = replace(TRIAL, compile_once=compile_once)
        room(8, models.build)
        row = run_trial(trial)
        assert (row.status, row.message, row.accumulation) == ("ok", "", 4)
        assert row.key == trial.key
        assert row.trial["schedule"]["accumulation"] == 1
        asked = run_trial(in_parts(trial, 4))
        assert asked.key != row.key
        assert outcome(asked) == outcome(row)
        # The networks that failed are in it.
        assert row.seconds > sum(epoch["seconds"] for epoch in row.history)

    @pytest.mark.slow
    @pytest.mark.parametrize("compile_once", [False, True])
    def test_the_next_of_its_kind_begins_with_as_many(self, room, compile_once):
        trial = replace(TRIAL, compile_once=compile_once)
        sizes = room(16)
        assert run_trial(trial).accumulation == 2
        assert 32 in sizes
        sizes.clear()
        next_one = run_trial(replace(trial, loss="CE", run=1))
        assert (next_one.status, next_one.accumulation) == ("ok", 2)
        assert set(sizes) == {16}
        other = run_trial(replace(trial, l2=1e-3))
        assert 32 in sizes
        assert other.accumulation == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("compile_once", [False, True])
    def test_no_room_at_all(self, room, compile_once):
        trial = replace(TRIAL, compile_once=compile_once)
        sizes = room(1)
        row = run_trial(trial)
        assert (row.status, row.accuracy, row.accumulation) == ("out_of_memory", None, 4)
        assert "no room" in row.message
        # Parts of fewer images would end well, and mean nothing.
        assert list(dict.fromkeys(sizes)) == [32, 16, 8]
        room(32)
        assert run_trial(trial).accumulation == 1

    @pytest.mark.slow
    def test_parts_are_whole(self, room):
        sizes = room(10)
        trial = replace(TRIAL, schedule=Schedule(1, 20))
        assert run_trial(trial).accumulation == 2
        sizes = room(9)
        row = run_trial(replace(trial, schedule=Schedule(1, 36, plateau=None)))
        assert (row.status, row.accumulation) == ("ok", 4)
        sizes.clear()
        room(4)
        row = run_trial(replace(trial, schedule=Schedule(1, 18)))
        assert (row.status, row.accumulation) == ("out_of_memory", 2)

    @pytest.mark.slow
    @pytest.mark.parametrize("compile_once", [False, True])
    def test_nothing_of_a_failed_try_is_left(self, room, compile_once, monkeypatch, tmp_path):
        room(8)
        alive, networks = [], []
        build = models.build

        def watched(*arguments, **settings):
            # Garbage that nobody collects counts as left.
            gc.disable()
            alive.append(sum(network() is not None for network in networks))
            network = build(*arguments, **settings)
            networks.append(weakref.ref(network))
            return network

        monkeypatch.setattr(models, "build", watched)
        try:
            row = run_trial(replace(TRIAL, compile_once=compile_once), log_dir=tmp_path)
        finally:
            gc.enable()
        assert (row.status, row.accumulation) == ("ok", 4)
        assert alive == [0, 0, 0]

    def test_another_failure_is_not_tried_again(self, monkeypatch):
        built = []
        monkeypatch.setattr(models, "build", lambda *_, **__: built.append(1) or 1 / 0)
        assert run_trial(TRIAL).status == "crashed"
        assert len(built) == 1

    @pytest.mark.parametrize("compile_once", [False, True])
    def test_callbacks_and_logs(self, room, compile_once, tmp_path):
        room(16)
        trial = replace(TRIAL, compile_once=compile_once)
        epochs, handed = [], []
        row = run_trial(
            trial,
            log_dir=tmp_path,
            on_epoch=lambda epoch, _: epochs.append(epoch),
            on_model=handed.append,
        )
        assert row.status == "ok", row.message
        assert epochs == [1, 2]
        assert len(handed) == 1
        assert [path.name for path in tmp_path.iterdir()] == [trial.key]
        assert any((tmp_path / trial.key).rglob("events*"))

    def test_goes_through_a_journal(self, room, tmp_path):
        room(8)
        row = run_trial(TRIAL)
        journal = Journal(tmp_path / "journal.jsonl")
        journal.append(row)
        assert journal.results()[TRIAL.key].accumulation == 4
        line = json.loads(journal.path.read_text())
        del line["accumulation"]
        journal.path.write_text(json.dumps(line) + "\n")
        # A row from before batches were divided.
        assert journal.results()[TRIAL.key].accumulation == 1


class TestSharedNetworks:
    @pytest.mark.slow
    def test_losses_still_share_a_network(self, room):
        sizes = room(8)
        shared = replace(TRIAL, compile_once=True)
        trials = [
            replace(shared, loss=loss, run=run) for run in (0, 1) for loss in ("CE", "SCE", "NGL")
        ]
        run = SharedNetworks(trials)
        assert run(trials[0]).accumulation == 4
        (network,) = run._networks.values()
        traces = network.loss.traces
        sizes.clear()
        rows = [run(trial) for trial in trials[1:]]
        assert [(row.status, row.accumulation) for row in rows] == [("ok", 4)] * 5
        assert run._networks[shared.kind] is network
        if keras.backend.backend() != "torch":
            assert network.loss.traces == traces
            assert sizes == []

    @pytest.mark.slow
    def test_a_network_that_is_built_again_remembers(self, room, monkeypatch):
        monkeypatch.setattr(shared_networks, "MAX_NETWORKS", 1)
        sizes = room(16)
        shared = replace(TRIAL, compile_once=True)
        trials = [shared, replace(shared, l2=1e-3)]
        run = SharedNetworks(trials)
        assert [run(trial).accumulation for trial in trials] == [2, 2]
        sizes.clear()
        assert run(shared).accumulation == 2
        assert set(sizes) == {16}

    @pytest.mark.slow
    def test_rows_do_not_depend_on_what_failed_before(self, room):
        room(8)
        shared = replace(TRIAL, compile_once=True)
        trials = [replace(shared, loss=loss) for loss in ("CE", "NGL")]
        run = SharedNetworks(trials)
        rows = [run(trial) for trial in trials]
        attempt._needed.clear()
        backwards = SharedNetworks(trials)
        again = [backwards(trial) for trial in reversed(trials)]
        assert [outcome(row) for row in rows] == [outcome(row) for row in reversed(again)]


class TestSearch:
    @pytest.mark.slow
    def test_candidates(self, monkeypatch, tmp_path):
        sizes = []
        call = InterpretedLoss.call

        def hungry(self, y_true, y_pred):
            sizes.append(y_pred.shape[0])
            if y_pred.shape[0] > 8:
                raise out_of_memory()
            return call(self, y_true, y_pred)

        monkeypatch.setattr(InterpretedLoss, "call", hungry)

        def trials(formula):
            trial = replace(TRIAL, formula=formula, test=False, compile_once=True)
            return [replace(trial, run=run) for run in (0, 1)]

        fitness = TrialFitness(trials, Journal(tmp_path / "trials.jsonl"))
        first = trials("-y_true*log(y_pred)")
        rows = fitness.rows_of(first)
        assert [(row.status, row.accumulation) for row in rows] == [("ok", 4)] * 2
        assert [row.key for row in rows] == [trial.key for trial in first]
        sizes.clear()
        assert fitness.rows_of(trials("y_true/y_pred"))[0].accumulation == 4
        assert not set(sizes) - {8}


@pytest.mark.slow
@needs_tensorflow
class TestMirrored:
    @pytest.mark.parametrize("compile_once", [False, True])
    def test_each_device_has_its_share_of_a_part(self, room, mirrored, compile_once):
        sizes = room(8)
        row = run_trial(replace(TRIAL, replicas=2, compile_once=compile_once))
        assert (row.status, row.accumulation) == ("ok", 2), row.message
        assert set(sizes) == {16, 8}

    def test_each_share_is_large_enough(self, room, mirrored):
        sizes = room(0)
        row = run_trial(replace(TRIAL, replicas=2))
        assert (row.status, row.accumulation) == ("out_of_memory", 2)
        assert set(sizes) == {16, 8}


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("compile_once", [False, True])
def test_a_network_that_is_gone_takes_its_graphs_with_it(compile_once):
    from tensorflow.python.framework.func_graph import FuncGraph

    def graphs():
        keras.utils.clear_session()
        gc.collect()
        return sum(isinstance(one, FuncGraph) for one in gc.get_objects())

    trial = replace(TRIAL, compile_once=compile_once, train_images=64)
    counts = []
    for run in range(3):
        run_trial(replace(trial, run=run))
        counts.append(graphs())
    # The kernels' stay, which all networks share.
    assert counts[0] == counts[1] == counts[2]


def test_the_users_dtype_policy_stays():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        accumulation.release()
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)

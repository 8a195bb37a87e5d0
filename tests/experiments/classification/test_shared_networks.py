"""Trials that share a compiled network: the rows that each would have by itself."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import needs_two_devices, to_numpy

from nglkeras import UserError, losses, run_trial
from nglkeras.data.augmentation import Augmentation
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.shared_networks import MAX_NETWORKS, SharedNetworks
from nglkeras.experiments.classification.trial import Trial, plan
from nglkeras.losses.switched import SwitchedLoss
from nglkeras.training.schedule import Plateau, Schedule

TRIAL = Trial(
    dataset="digits",
    model="head",
    loss="NGL",
    schedule=Schedule(2, 32),
    augmentation=Augmentation(),
    train_images=256,
    evaluation_images=100,
    compile_once=True,
)
LOSSES = ("CE", "SCE", "Focal", "f4", "NGL")


def some_trials(**changes):
    trials = [replace(TRIAL, loss=name, run=run) for run in (0, 1) for name in LOSSES]
    trials += [replace(TRIAL, loss="f1", formula=losses.FORMULAS["f1"])]
    return [replace(trial, **changes) for trial in trials]


def outcome(row):
    history = [{k: v for k, v in epoch.items() if "seconds" not in k} for epoch in row.history]
    return row.key, row.status, row.accuracy, row.validation_accuracy, row.sizes, history


@pytest.fixture(scope="module")
def shared():
    trials = some_trials()
    networks = SharedNetworks(trials)
    rows = {trial: networks(trial) for trial in trials}
    return networks, rows


class TestSwitchedLoss:
    @pytest.mark.parametrize("name", LOSSES)
    def test_is_the_loss_it_is_told_to_be(self, name):
        random = np.random.default_rng(0)
        p = random.dirichlet(np.ones(4), 8).astype("float32")
        t = np.eye(4, dtype="float32")[random.integers(0, 4, 8)]
        loss = SwitchedLoss({name: losses.get(name) for name in LOSSES})
        loss.memory.store(name)
        assert to_numpy(loss(t, p)) == pytest.approx(to_numpy(losses.get(name)(t, p)), rel=1e-6)


class TestRows:
    def test_everything_is_there(self, shared):
        _, rows = shared
        for trial, row in rows.items():
            assert (row.key, row.status) == (trial.key, "ok")
            assert row.sizes == (256, 100, 100)
            assert len(row.history) == 2
            assert row.history[-1]["val_accuracy"] == row.validation_accuracy
            assert 0 < row.accuracy <= 1
            assert row.environment["keras"] == keras.__version__

    @pytest.mark.parametrize("name", ["CE", "NGL"])
    def test_as_by_itself(self, shared, name):
        _, rows = shared
        trial = replace(TRIAL, loss=name, run=1)
        alone = run_trial(trial)
        assert alone.key == rows[trial].key
        for one, two in zip(alone.history, rows[trial].history, strict=True):
            assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert alone.accuracy == pytest.approx(rows[trial].accuracy, abs=0.02)

    @pytest.mark.slow
    def test_order_does_not_matter(self, shared):
        _, rows = shared
        networks = SharedNetworks(list(rows))
        for trial in reversed(rows):
            assert outcome(networks(trial)) == outcome(rows[trial])

    def test_losses_and_runs_differ(self, shared):
        _, rows = shared
        first_losses = {row.history[0]["loss"] for row in rows.values()}
        assert len(first_losses) == len(rows)

    def test_compiled_once(self, shared):
        networks, rows = shared
        (network,) = networks._networks.values()
        traces = network.loss.traces
        networks(next(iter(rows)))
        if keras.backend.backend() != "torch":  # which runs its steps eagerly
            assert network.loss.traces == traces

    def test_all_runs_have_one_test_set(self):
        # The digits have no test split of their own.
        from nglkeras.experiments.classification.shared_networks import load_streams

        sets = [load_streams(replace(TRIAL, run=run)) for run in (0, 1)]
        images = [next(iter(s.test.as_numpy_iterator()))[0] for s in sets]
        np.testing.assert_array_equal(*images)
        validation = [next(iter(s.validation.as_numpy_iterator()))[0] for s in sets]
        assert (validation[0] != validation[1]).any()

    def test_schedule_without_a_plateau_is_validated_after_every_epoch_too(self):
        trial = replace(TRIAL, schedule=Schedule(2, 32, "SGD", (("momentum", 0.9),), 1e-2, None))
        assert "val_loss" in SharedNetworks([trial])(trial).history[0]


class TestKinds:
    @pytest.mark.slow
    def test_another_network_is_compiled_by_itself(self):
        trials = [TRIAL, replace(TRIAL, l2=1e-3), replace(TRIAL, train_images=128)]
        networks = SharedNetworks(trials)
        rows = [networks(trial) for trial in trials]
        assert len(networks._networks) == 3
        assert len({row.history[0]["loss"] for row in rows}) == 3

    @pytest.mark.slow
    def test_only_some_are_kept(self):
        trials = [replace(TRIAL, train_images=32 * n) for n in range(1, MAX_NETWORKS + 3)]
        networks = SharedNetworks(trials)
        for trial in trials:
            assert networks(trial).status == "ok"
        assert len(networks._networks) == MAX_NETWORKS

    @pytest.mark.slow
    def test_weights_of_each_run(self, tmp_path):
        from nglkeras.experiments.classification.training import build_network

        trial = replace(TRIAL, model="small_cnn")
        paths = [str(tmp_path / f"{run}.weights.h5") for run in (0, 1)]
        for seed, path in enumerate(paths):
            network = build_network(replace(trial, seed=100 + seed))
            network.get_layer("small_trunk").save_weights(path)
        trials = [replace(trial, run=run, weights=path) for run, path in enumerate(paths)]
        networks = SharedNetworks([*trials, replace(trials[0], loss="CE")])
        losses_of_runs = [networks(t).history[0]["loss"] for t in trials]
        swapped = replace(trials[0], weights=paths[1])
        assert SharedNetworks([swapped])(swapped).history[0]["loss"] not in losses_of_runs

    def test_a_run_has_one_beginning(self):
        with pytest.raises(ValueError, match="run 0 begins with None and with imagenet"):
            SharedNetworks([TRIAL, replace(TRIAL, weights="imagenet")])

    def test_the_test_set_is_not_monitored(self):
        with pytest.raises(UserError, match="compiled once monitor no test set"):
            run_trial(replace(TRIAL, monitored="test"))

    def test_plan_shares_what_fits_into_memory(self):
        scale = TABLE2_SCALES["paper"]
        shared = {trial.dataset for trial in plan(scale, ["CE"]) if trial.compile_once}
        assert shared == {"cifar10", "cifar100", "fashion_mnist", "colorectal_histology"}


class TestFailures:
    def test_a_loss_that_cannot_be_compiled_does_not_take_the_others_along(self, monkeypatch):
        def call(self, y_true, y_pred):
            raise RuntimeError("no such thing")

        monkeypatch.setattr(losses.F4, "call", call)
        trials = [replace(TRIAL, loss=name) for name in ("CE", "f4", "NGL")]
        networks = SharedNetworks(trials)
        rows = [networks(trial) for trial in trials]
        # The first one meets the bad one's compilation, as would any.
        assert [row.status for row in rows] == ["crashed", "crashed", "ok"]
        assert "no such thing" in rows[0].message

    def test_the_user_s_mistakes_go_through(self):
        trial = replace(TRIAL, model="InceptionV3")
        with pytest.raises(UserError, match="InceptionV3"):
            SharedNetworks([trial])(trial)

    def test_timeout(self):
        trial = replace(TRIAL, schedule=Schedule(100, 32))
        row = SharedNetworks([trial], timeout=0.0)(trial)
        assert (row.status, row.accuracy) == ("timeout", None)

    def test_callbacks(self, tmp_path):
        epochs, models = [], []
        networks = SharedNetworks([TRIAL], log_dir=tmp_path)
        networks(TRIAL, on_epoch=lambda epoch, row: epochs.append(epoch), on_model=models.append)
        assert epochs == [1, 2]
        assert models[0].output_shape == (None, 10)
        assert any((tmp_path / TRIAL.key).rglob("events*"))


@needs_two_devices
class TestMirrored:
    @pytest.mark.slow
    def test_two_devices_agree_with_one(self):
        # SGD: where a gradient is nearly zero, Adam makes a step out of its rounding.
        schedule = Schedule(1, 32, "SGD", (), 1e-2, Plateau())
        rows = []
        for replicas in (1, 2):
            trials = [
                replace(TRIAL, loss=name, schedule=schedule, replicas=replicas)
                for name in ("CE", "NGL")
            ]
            networks = SharedNetworks(trials)
            rows.append([networks(trial) for trial in trials])
        for one, two in zip(*rows, strict=True):
            assert two.status == "ok", two.message
            assert two.environment["replicas"] == 2
            if keras.backend.backend() == "tensorflow":
                # Dropout and statistics are each device's own.
                assert two.history[0]["loss"] == pytest.approx(one.history[0]["loss"], rel=0.2)
                continue
            assert two.history[0]["loss"] == pytest.approx(one.history[0]["loss"], rel=1e-5)
            assert two.accuracy == pytest.approx(one.accuracy, abs=1e-6)

    def test_impossible_numbers_of_devices(self):
        trial = replace(TRIAL, replicas=8)
        with pytest.raises(UserError, match="8 devices are wanted and there are 2"):
            SharedNetworks([trial])(trial)
        trial = replace(TRIAL, schedule=Schedule(1, 33), replicas=2)
        with pytest.raises(UserError, match="a batch of 33 does not divide by 2 devices"):
            SharedNetworks([trial])(trial)

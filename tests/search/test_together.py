"""Losses evaluated side by side: each as if it were alone."""

import gc
import os
import time

import keras
import numpy as np
import pytest
from search_tools import lines

from nglkeras import UserError
from nglkeras.executors import Processes
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import GeneticProgramming, TrainingFitness, search, side_by_side
from nglkeras.training.compiled import CompiledNetwork

needs_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX trains together")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 6)).astype("float32")
LABELS = X[:, :3].argmax(axis=1)
TREES = GeneticProgramming(0, population_size=40, generations=1).ask()
OVERFLOWS = Expression.parse("exp(exp(exp(3 + y_pred)))*y_true")
# Formulas of many forms; three of them fail. A training whose loss grows to tens of thousands
# without failing multiplies every rounding, and is none of them.
LOSSES = [Expression.parse(formula) for formula in FORMULAS.values()]
LOSSES += [
    OVERFLOWS,
    *(one.expression for one in TREES[:5]),
    *(one.expression for one in TREES[8:11]),
]


def model_fn():
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(3, "softmax"),
        ]
    )


def fitness(kind=TrainingFitness, **changes):
    settings = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01} | changes
    return kind(model_fn, (X[:120], LABELS[:120]), (X[120:], LABELS[120:]), **settings)


class Deadly(TrainingFitness):
    """Kills its worker when it meets a loss that becomes NaN."""

    def course(self, task):
        if task == OVERFLOWS:
            os._exit(1)
        return super().course(task)


def trainings(evaluate, losses, together):
    """The trainings of losses, and how many epochs of all places they took."""
    found = {}

    def course(loss):
        training = yield {"loss": loss, "run": 0}
        found[loss] = training

    evaluate.check()
    if together == 1:
        return {loss: evaluate.compiled.train(loss) for loss in losses}
    for _ in evaluate.compiled.places(together).follow(map(course, losses)):
        pass
    return found


@needs_jax
class TestPlaces:
    @pytest.mark.parametrize("together", [2, 16])
    @pytest.mark.parametrize("how", [{}, {"metric": "f1"}, {"racing": True}])
    def test_every_epoch_is_that_of_a_training_alone(self, together, how):
        assert len(set(LOSSES)) == 16
        alone = trainings(fitness(**how), LOSSES, 1)
        ours = trainings(fitness(**how, together=together), LOSSES, together)
        assert ours[OVERFLOWS].status == "non_finite"
        for loss, one in alone.items():
            other = ours[loss]
            assert (other.status, other.message) == (one.status, one.message)
            assert len(other.history) == len(one.history)
            for a, b in zip(other.history, one.history, strict=True):
                assert a["loss"] == pytest.approx(b["loss"], rel=1e-5, nan_ok=True)
                assert a.get("val_accuracy") == pytest.approx(b.get("val_accuracy"))
            assert other.validation_accuracy == pytest.approx(one.validation_accuracy)

    def test_what_becomes_nan_changes_no_other(self):
        evaluate = fitness(together=4)
        good = LOSSES[:3]
        with_it = trainings(evaluate, [OVERFLOWS, *good], 4)
        without = trainings(evaluate, [LOSSES[3], *good], 4)
        for loss in good:
            a, b = ([row["loss"] for row in one[loss].history] for one in (with_it, without))
            assert a == b

    def test_a_generation_leaves_nothing_on_the_device(self):
        import jax

        def held():
            gc.collect()
            return sum(array.nbytes for array in jax.live_arrays())

        evaluate = fitness(together=16)
        evaluate.check()
        evaluate.compiled.places(16).ours.run(*evaluate.compiled._start(0))
        before = held()
        trainings(evaluate, LOSSES, 16)
        # Some small constants of what was compiled.
        assert held() < before + 1000

    def test_a_free_place_takes_the_next(self, monkeypatch):
        # It needs JAX.
        from nglkeras.training.places import Places

        evaluate, epochs = fitness(together=2), []
        whole = Places._an_epoch

        def counted(places):
            epochs.append(len(places._busy))
            return whole(places)

        monkeypatch.setattr(Places, "_an_epoch", counted)
        # One ends after its first epoch, and three take three epochs each.
        trainings(evaluate, [OVERFLOWS, *LOSSES[:3]], 2)
        assert epochs == [2, 2, 2, 2, 1, 1]


# At this rate no formula of a search multiplies roundings until a sample falls to another class.
SMALL = {"epochs": 2, "learning_rate": 1e-4}


@needs_jax
class TestSearch:
    @pytest.mark.parametrize("how", [{}, {"runs": 2, "racing": True}, {"scale_free": True}])
    def test_records_are_those_of_one_by_one(self, how, tmp_path):
        found = {}
        for together in (1, 4):
            strategy = GeneticProgramming(3, population_size=8, generations=1)
            folder = tmp_path / str(together)
            search(strategy, fitness(**SMALL, **how, together=together), out=folder, quiet=True)
            found[together] = lines(folder)
        # Some end before others.
        one, four = (sorted(rows[1:], key=lambda row: str(row["id"])) for rows in found.values())
        assert found[1][0] == found[4][0]
        for a, b in zip(one, four, strict=True):
            assert a.pop("fitness", None) == pytest.approx(b.pop("fitness", None))
            a.pop("details", None), b.pop("details", None)
            assert a == b

    def test_with_workers(self, tmp_path):
        def settings():
            return GeneticProgramming(3, population_size=8, generations=1)

        search(settings(), fitness(**SMALL, together=2), out=tmp_path / "here", quiet=True)
        with Processes(2) as executor:
            there = fitness(**SMALL, together=2)
            search(settings(), there, out=tmp_path / "there", executor=executor, quiet=True)
        here, there = (
            {row["id"]: row for row in lines(tmp_path / n)[1:]} for n in ("here", "there")
        )
        assert here == there

    @pytest.mark.parametrize("error", [RuntimeError("RESOURCE_EXHAUSTED"), MemoryError()])
    def test_a_failing_group_is_evaluated_alone(self, error, tmp_path, monkeypatch):
        def fails(places):
            raise error

        def searched(folder, **how):
            strategy = GeneticProgramming(3, population_size=6, generations=1)
            search(strategy, fitness(**how), out=tmp_path / folder, quiet=True)
            return lines(tmp_path / folder)

        alone = searched("alone")
        monkeypatch.setattr("nglkeras.training.places.Places._an_epoch", fails)
        assert searched("group", together=3) == alone

    def test_a_worker_that_dies_of_a_group_takes_no_other_loss_with_it(self):
        evaluate = fitness(Deadly, together=2)
        tasks = [*LOSSES[:2], OVERFLOWS]
        with Processes(1, attempts=1) as executor, executor.reporting_to(None):
            found = dict(side_by_side.each(evaluate, tasks, executor))
        assert [found[i].status for i in range(3)] == ["ok", "ok", "crashed"]

    def test_the_time_of_compiling_ends_no_training(self, monkeypatch):
        from nglkeras.training.places import Places

        whole = Places._an_epoch

        def compiles(places):
            monkeypatch.setattr(Places, "_an_epoch", whole)
            step = places._both

            def slow(*arguments):
                time.sleep(5)
                return step(*arguments)

            places._both = slow
            yield from whole(places)
            places._both = step

        monkeypatch.setattr(Places, "_an_epoch", compiles)
        evaluate = fitness(together=4, timeout=5)
        found = dict(side_by_side.evaluations(evaluate, LOSSES[:4]))
        assert [found[i].status for i in range(4)] == ["ok"] * 4

    def test_time_is_each_one_s_own(self):
        evaluate = fitness(together=2, timeout=1e-3)
        found = dict(side_by_side.evaluations(evaluate, LOSSES[:3]))
        assert [found[i].status for i in range(3)] == ["timeout"] * 3


@needs_jax
@pytest.mark.parametrize(
    ("one_program", "path"), [(None, "one program"), (True, "one program"), (False, "fit")]
)
def test_a_confirmation_trains_as_its_search_does(one_program, path, monkeypatch):
    paths, train = [], CompiledNetwork.train

    def noting(*arguments, **settings):
        training = train(*arguments, **settings)
        paths.append(training.path)
        return training

    monkeypatch.setattr(CompiledNetwork, "train", noting)
    trainer = fitness(one_program=one_program, epochs=1).trainer({"NGL": LOSSES[0]})
    assert trainer("NGL", LOSSES[0], learning_rate=0.01, run=0).status == "ok"
    assert paths == [path]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"together": 0}, "together=0 is not a whole number"),
        ({"together": 2, "replicas": 2}, "one at a time with 2 replicas"),
        (
            {"together": 2, "callbacks": [keras.callbacks.Callback()]},
            "one at a time with callbacks",
        ),
        ({"together": 4, "one_program": False}, "together=4 trains in one program"),
    ],
)
def test_mistakes(settings, message):
    if keras.backend.backend() != "jax" and settings["together"]:
        message = "it needs JAX"
    with pytest.raises(UserError, match=message):
        fitness(**settings)

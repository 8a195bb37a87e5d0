"""A search with your own network on your own data."""

import cloudpickle
import keras
import numpy as np
import pytest

import nglkeras
from nglkeras.executors import Local
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import (
    GeneticProgramming,
    TrainingFitness,
    search,
)

NGL = Expression.parse(FORMULAS["NGL"])


RANDOM = np.random.default_rng(0)


X = RANDOM.normal(size=(200, 6)).astype("float32")


LABELS = X[:, :3].argmax(axis=1)


def model_fn():
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(3, "softmax"),
        ]
    )


def fitness(**changes):
    settings = {"epochs": 5, "batch_size": 16, "learning_rate": 0.01} | changes
    return TrainingFitness(
        model_fn, (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160]), **settings
    )


class Elsewhere(Local):
    """Works with a copy, as an executor with workers does."""

    is_working = False

    def run(self, work, tasks, **settings):
        copy = cloudpickle.loads(cloudpickle.dumps(work))
        type(self).is_working = True
        yield from super().run(copy, tasks, **settings)
        type(self).is_working = False


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_the_driver_of_a_search_builds_no_network(optimizer, tmp_path):
    """It would take the memory of the GPUs that its workers train on."""

    def build():
        if not Elsewhere.is_working:
            pytest.fail("built in the driver")
        return model_fn()

    data = X[:120], LABELS[:120]
    evaluate = TrainingFitness(build, data, data, epochs=1, optimizer=optimizer)
    strategy = GeneticProgramming(0, population_size=2, generations=0)
    how = {"executor": Elsewhere(), "seeds": ["CE"], "quiet": True}
    assert search(strategy, evaluate, out=tmp_path, **how).best_losses(1)


def test_soft_labels_are_seen():
    assert not fitness().soft_labels
    data = X, 0.9 * np.eye(3)[LABELS] + 0.1 / 3
    assert TrainingFitness(model_fn, data, data, metric="auc").soft_labels


@pytest.mark.parametrize("outputs", [1, 2])
def test_soft_labels_of_sigmoids_are_seen(outputs):
    """Without them y_true and its square would be taken for one loss."""
    layers = [keras.Input((6,)), keras.layers.Dense(outputs, "sigmoid")]
    labels = np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=-1)[:, :outputs].astype("float32")
    for soft in (False, True):
        data = X, 0.9 * labels + 0.05 if soft else labels
        found = TrainingFitness(lambda: keras.Sequential(layers), data, data)
        assert found.soft_labels == soft
        assert ("a number from 0 to 1" in found.found()) == soft


class TestTrainingFitness:
    def test_a_search_of_one_s_own(self, tmp_path):
        evaluate = fitness()
        strategy = GeneticProgramming(0, population_size=6, generations=2)
        result = search(strategy, evaluate, out=tmp_path, quiet=True)
        best = result.population[0].evaluation
        assert best.status == "ok"
        assert best.fitness[0] > 0.5
        if keras.backend.backend() != "torch":
            # PyTorch computes each step anew.
            assert evaluate.compiled.loss.traces <= 3

        loss = nglkeras.load_loss(tmp_path / "best.json")
        model = model_fn()
        model.compile("adam", loss)
        model.fit(X, np.eye(3)[LABELS], verbose=0)

    def test_mean_over_runs(self):
        evaluation = fitness(runs=2)(NGL)
        assert evaluation.fitness == (np.mean(evaluation.details["accuracies"]),)
        assert len(evaluation.details["accuracies"]) == 2

    def test_one_hot_labels_are_the_same(self):
        one_hot = np.eye(3)[LABELS]
        evaluate = TrainingFitness(
            model_fn,
            (X[:120], one_hot[:120]),
            (X[120:160], one_hot[120:160]),
            epochs=5,
            batch_size=16,
            learning_rate=0.01,
        )
        assert evaluate(NGL).fitness == fitness()(NGL).fitness

    def test_what_the_optimizer_cannot_tell_apart(self):
        assert fitness().gradients == "scaled"
        assert fitness(optimizer="SGD").gradients == "exact"

    @pytest.mark.parametrize("penalty", ["kernel_regularizer", "activity_regularizer"])
    def test_beside_a_penalty_the_size_of_a_loss_matters(self, penalty):
        def penalised():
            dense = keras.layers.Dense(3, "softmax", **{penalty: keras.regularizers.L2(0.05)})
            return keras.Sequential([keras.Input((6,)), dense])

        data = (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160])
        assert TrainingFitness(penalised, *data).gradients == "exact"
        assert TrainingFitness(penalised, *data, scale_free=True).gradients == "scaled"

    def test_another_model_or_other_data_is_another_search(self):
        def other():
            return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])

        first = fitness().settings
        assert first == fitness().settings
        data = (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160])
        assert TrainingFitness(other, *data).settings["model"] != first["model"]
        data = (X[:120] + 1, LABELS[:120]), (X[120:160], LABELS[120:160])
        assert TrainingFitness(model_fn, *data).settings["data"] != first["data"]

    def test_what_cannot_be_trained_has_a_status(self):
        evaluate = fitness()
        assert evaluate(Expression.parse("exp(exp(exp(3 + y_pred)))*y_true")).status == "non_finite"
        assert evaluate(Expression.parse("1e7*y_pred*y_true")).status == "exploded"
        assert evaluate(NGL).status == "ok"

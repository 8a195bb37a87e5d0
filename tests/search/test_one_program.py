"""On TensorFlow a rule says where searches train by compiled epochs; they go on as they began."""

import pickle

import keras
import numpy as np
import pytest
from conftest import needs_tensorflow

from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import GeneticProgramming, TrainingFitness, search

pytestmark = needs_tensorflow
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 6)).astype("float32")
LABELS = X[:, :3].argmax(axis=1)
NGL = Expression.parse(FORMULAS["NGL"])


def model_fn():
    layers = keras.layers.Dense(8, "relu"), keras.layers.Dense(3, "softmax")
    return keras.Sequential([keras.Input((6,)), *layers])


def fitness(epochs=13, **settings):
    # Eight steps an epoch: thirteen have more than a hundred.
    data = (X[:128], LABELS[:128]), (X[128:], LABELS[128:])
    return TrainingFitness(model_fn, *data, epochs=epochs, batch_size=16, **settings)


def run(folder, evaluate, generations):
    strategy = GeneticProgramming(0, population_size=3, generations=generations)
    return search(strategy, evaluate, out=folder, quiet=True)


def paths(result):
    return {one.evaluation.details.get("path", "fit") for one in result.population}


@pytest.mark.parametrize(
    ("settings", "is_compiled"),
    [
        ({}, True),
        ({"epochs": 12}, False),
        ({"one_program": False}, False),
        ({"epochs": 12, "one_program": True}, True),
        ({"callbacks": [keras.callbacks.EarlyStopping("val_accuracy")]}, False),
    ],
)
def test_settings_tell_where_it_is_not_fit(settings, is_compiled):
    assert fitness(**settings).settings.get("one_program", False) is is_compiled


def test_a_folder_goes_on_as_it_began(tmp_path):
    begun = run(tmp_path / "fit", fitness(one_program=False), 1)
    assert "one_program" not in begun.settings["evaluate"]
    evaluate = fitness()
    # What was trained before a search does not matter.
    assert evaluate(NGL).details["path"] == "compiled epochs"
    went_on = run(tmp_path / "fit", evaluate, 3)
    assert "one_program" not in went_on.settings["evaluate"]
    assert paths(went_on) == {"fit"}
    # Workers get copies.
    assert pickle.loads(pickle.dumps(evaluate)).settings == evaluate.settings

    new = run(tmp_path / "new", fitness(), 1)
    assert new.settings["evaluate"]["one_program"]
    assert paths(run(tmp_path / "new", fitness(), 2)) == {"compiled epochs"}


def test_a_confirmation_trains_with_fit():
    ours, theirs = (fitness(one_program=way).trainer({"NGL": NGL}) for way in (True, False))
    assert ours.settings == theirs.settings


@pytest.mark.parametrize("settings", [{"replicas": 2}, {"callbacks": [keras.callbacks.Callback()]}])
def test_what_only_fit_can_do(settings):
    with pytest.raises(UserError, match=r"one_program=True: with .* Keras' fit trains"):
        fitness(one_program=True, **settings)

"""Searches on any classification task: heads, labels, data sets, metrics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import nglkeras
from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.search import GeneticProgramming, TrainingFitness, confirm, optimizers, search

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(240, 6)).astype("float32")
# One in seven.
RARE = (X[:, 0] + 0.5 * X[:, 1] > 1.2).astype(int)
MANY = (X[:, :3] > 0).astype(int)
CLASSES = X[:, :3].argmax(axis=1)
IMAGES = RANDOM.uniform(size=(48, 8, 8, 1)).astype("float32")
MAPS = (IMAGES[..., 0] * 3).astype("uint8")
MAPS[:, 0] = 255
NGL = Expression.parse(FORMULAS["NGL"])
CE = Expression.parse("-(y_true*log(y_pred))")


def dense(units, activation=None):
    def model_fn():
        layers = [keras.layers.Dense(16, "relu"), keras.layers.Dense(units, activation)]
        return keras.Sequential([keras.Input((6,)), *layers])

    return model_fn


def pixels(units=3, activation="softmax"):
    def model_fn():
        layers = [keras.layers.Conv2D(16, 1, activation="relu")]
        layers.append(keras.layers.Conv2D(units, 1, activation=activation))
        return keras.Sequential([keras.Input((8, 8, 1)), *layers])

    return model_fn


def fitness(model_fn, y, x=X, **settings):
    cut = len(y) * 2 // 3
    settings = {"epochs": 4, "batch_size": 16, "learning_rate": 0.02} | settings
    return TrainingFitness(model_fn, (x[:cut], y[:cut]), (x[cut:], y[cut:]), **settings)


def searched(evaluate, folder):
    """The result of a small search, and of one that reads its journal anew."""
    results = []
    for _ in range(2):
        strategy = GeneticProgramming(0, population_size=4, generations=1)
        results.append(search(strategy, evaluate, out=folder, seeds=["CE"], quiet=True))
    assert results[0].records == results[1].records
    return results[0]


class TestTasks:
    """Each from the data to a loss that the user's own model trains with."""

    def test_one_unit_of_an_imbalanced_table(self, tmp_path):
        evaluate = fitness(dense(1, "sigmoid"), RARE, metric="auc", class_weights="balanced")
        result = searched(evaluate, tmp_path)
        assert result.best_losses(1)[0].fitness[0] > 0.9
        assert evaluate.classes == 2
        loss = nglkeras.load_loss(tmp_path / "best.json")
        assert loss.get_config() == result.best_losses(1)[0].loss().get_config()
        assert (loss.head, len(loss.class_weights)) == ("sigmoid", 2)
        counts = np.bincount(RARE[:160])
        assert loss.class_weights == pytest.approx(160 / 2 / counts)
        model = dense(1, "sigmoid")()
        model.compile("adam", loss)
        model.fit(X, RARE, verbose=0)

    def test_a_data_set_made_by_a_function(self, tmp_path):
        def data(part):
            made = tf.data.Dataset.from_tensor_slices((X[part], CLASSES[part]))
            return lambda: made.shuffle(99).batch(10)

        evaluate = TrainingFitness(
            dense(3),
            data(slice(0, 160)),
            data(slice(160, 240)),
            optimizer=lambda: keras.optimizers.Adam(0.02),
            metric=keras.metrics.SparseCategoricalAccuracy,
        )
        result = searched(evaluate, tmp_path)
        assert result.best_losses(1)[0].fitness[0] > 0.6
        # Logits with class indices are those of a softmax.
        assert result.best_losses(1)[0].options == {"from_logits": True}

    def test_a_segmentation_with_void(self, tmp_path):
        evaluate = fitness(pixels(), MAPS, IMAGES, metric="mean_iou", ignore_class=255)
        evaluation = evaluate(NGL)
        assert evaluation.fitness[0] > 0.4
        # What is void decides nothing: neither in training, nor in validation, nor before.
        other = IMAGES.copy()
        other[:, 0] = 100.0
        same = fitness(pixels(), MAPS, other, metric="mean_iou", ignore_class=255)
        assert same(NGL).fitness == evaluation.fitness
        assert np.array_equal(same.values(NGL), evaluate.values(NGL))
        assert searched(evaluate, tmp_path).best_losses(1)[0].loss().ignore_class == 255

    def test_several_labels_a_sample(self):
        evaluate = fitness(dense(3, "sigmoid"), MANY, metric="f1", epochs=10)
        assert evaluate(CE).fitness[0] > 0.85

    def test_two_inputs(self):
        def two():
            a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
            joined = keras.layers.Concatenate()([a, b])
            return keras.Model({"a": a, "b": b}, keras.layers.Dense(1, "sigmoid")(joined))

        parts = [{"a": X[part, :3], "b": X[part, 3:]} for part in (slice(160), slice(160, 240))]
        data = zip(parts, (RARE[:160], RARE[160:]), strict=True)
        evaluate = TrainingFitness(two, *data, metric="balanced_accuracy", learning_rate=0.05)
        assert evaluate(CE).status == "ok"

    @pytest.mark.parametrize(
        ("model_fn", "x", "y", "kind"),
        [
            (dense(3, "softmax"), X, CLASSES, ("softmax", False)),
            (dense(3), X, np.eye(3)[CLASSES], ("softmax", True)),
            (dense(3), X, MANY, ("sigmoid", True)),
            (dense(3, "sigmoid"), X, np.eye(3)[CLASSES], ("sigmoid", False)),
            (dense(1), X, RARE[:, None], ("sigmoid", True)),
            (dense(1, "sigmoid"), X, RARE > 0, ("sigmoid", False)),
            (pixels(3, None), IMAGES, np.minimum(MAPS, 2)[..., None], ("softmax", True)),
            (pixels(1, "sigmoid"), IMAGES, MAPS > 0, ("sigmoid", False)),
            (pixels(), IMAGES, np.eye(3)[np.minimum(MAPS, 2)], ("softmax", False)),
        ],
    )
    def test_heads_are_looked_at(self, model_fn, x, y, kind):
        task = fitness(model_fn, y, x).task
        assert (task.head, task.from_logits) == kind

    def test_a_head_with_logits_learns_as_one_with_probabilities(self):
        values = [fitness(dense(1, end), RARE).values(NGL) for end in (None, "sigmoid")]
        np.testing.assert_allclose(*values, rtol=1e-5)

    def test_what_was_found_is_said(self, tmp_path, capsys):
        evaluate = fitness(pixels(3, None), MAPS, IMAGES, ignore_class=255)
        search(GeneticProgramming(0, population_size=2, generations=0), evaluate, out=tmp_path)
        assert (
            "3 classes that exclude each other; the network ends in logits for each pixel of "
            "(8, 8); the label 255 is ignored; the fitness is accuracy"
        ) in capsys.readouterr().out

    def test_a_confirmation(self, tmp_path):
        evaluate = fitness(dense(1), RARE, metric="auc", class_weights=(1, 3), epochs=2)
        found = confirm({"own": NGL}, evaluate, out=tmp_path, rate_runs=1, new_runs=2, quiet=True)
        assert "auc" in str(found)
        assert {row["status"] for row in found.rows} <= {"ok"}
        # A few rare labels: each part of the test data has some.
        parts = np.array([row["parts"] for row in found.rows if row["parts"]], float)
        assert parts.shape[1] > 2
        assert np.isfinite(parts).all()
        loss = nglkeras.load_loss(tmp_path / "best.json")
        assert (loss.head, loss.from_logits, loss.class_weights) == ("sigmoid", True, (1, 3))
        with pytest.raises(UserError, match="Focal does not take from_logits=True, class_we"):
            confirm({"own": NGL}, evaluate, out=tmp_path, contenders=["Focal"])


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"metric": "acuracy"},
                "unknown metric 'acuracy'; choose from: accuracy, .* such as Accuracy",
            ),
            ({"metric": 3}, "metric=3 is no metric: give one of accuracy"),
            ({"metric": "auc", "mode": "up"}, "unknown mode 'up'; choose from: max, min"),
            ({"metric": "auc", "mode": "min"}, "more of auc is better"),
            ({"metric": lambda y, p: 0.0}, "should rise or fall is not known: give mode='max'"),
            ({"metric": "IoU"}, "the metric IoU has arguments: give the object"),
            ({"metric": keras.metrics.AUC(from_logits=True)}, "gets probabilities: leave it out"),
            ({"metric": keras.metrics.F1Score()}, "gives values of shape .*average='macro'"),
            ({"metric": lambda y, p: y @ p, "mode": "max"}, "gives values of shape|computed"),
            ({"metric": lambda y, p: y.foo, "mode": "max"}, "cannot be computed: .*foo"),
            ({"metric": lambda y, p: np.nan, "mode": "max"}, "NaN, even if all predictions are"),
            ({"class_weights": (1, 2)}, "class_weights are 2 numbers, but y_pred has 3 outputs"),
            ({"class_weights": "even"}, "class_weights='even': give numbers"),
            ({"ignore_class": 0.5}, "ignore_class=0.5 is not a whole number"),
            ({"callbacks": [3]}, "callbacks have a int; give objects of keras.callbacks"),
        ],
    )
    def test_mistakes(self, settings, message):
        with pytest.raises(UserError, match=message) as error:
            fitness(dense(3, "softmax"), CLASSES, **settings).check()
        assert "\n" not in str(error.value)


class TestMistakes:
    @pytest.mark.parametrize(
        ("model_fn", "x", "y", "message"),
        [
            (dense(1), X, X[:, 0] * 10, "no class indices, such as .*, not for regression"),
            (dense(1), X, CLASSES, "one unit, whose labels are 0 and 1, and .* include 2"),
            (dense(3, "sigmoid"), X, CLASSES, "seems to end in sigmoids"),
            (dense(3, "sigmoid"), X, 3 * MANY, "include 3; the labels of sigmoids are 0 and 1"),
            (dense(3, "softmax"), X, MANY, "not several labels"),
            (dense(3, "relu"), X, CLASSES, "outputs are never below 0, as those of a ReLU"),
            (dense(1, "relu"), np.abs(X), RARE, "outputs are never below 0"),
            (dense(1, "tanh"), X, RARE, "outputs are always between -1 and 1"),
            (pixels(), IMAGES, MAPS, "include 255, .*ignore_class leaves out void labels"),
            (pixels(), IMAGES, MAPS[:, :4], r"labels of train have shape \(32, 4, 8\)"),
            (pixels(), IMAGES, CLASSES[:48], r"wanted are class indices, a label for each row"),
        ],
    )
    def test_are_refused_before_anything_is_trained(self, model_fn, x, y, message, tmp_path):
        def begin():
            strategy = GeneticProgramming(0, population_size=2, generations=0)
            search(strategy, fitness(model_fn, y, x), out=tmp_path, quiet=True)

        with pytest.raises(UserError, match=message) as error:
            begin()
        assert "\n" not in str(error.value)
        assert not any(path.stat().st_size for path in tmp_path.glob("search.jsonl"))


def test_a_metric_that_a_missing_class_leaves_open_is_refused_before_any_training():
    evaluate = fitness(dense(1, "sigmoid"), np.sort(RARE)[::-1].copy(), metric="auc")
    with pytest.raises(UserError, match=r"auc of the validation data is NaN, .*a class have no"):
        evaluate.check()


class TestCallbacks:
    @pytest.mark.parametrize("metric", ["accuracy", "auc"])
    def test_are_fresh_for_each_training(self, metric):
        stop = keras.callbacks.EarlyStopping("val_accuracy", 1.0, patience=1, mode="max")
        for callbacks in ([stop], lambda: [keras.callbacks.TerminateOnNaN(), stop]):
            evaluate = fitness(dense(3, "softmax"), CLASSES, metric=metric, callbacks=callbacks)
            assert evaluate(CE).fitness == evaluate(CE).fitness
            training = evaluate.compiled.train(CE, callbacks=evaluate.callbacks())
            assert len(training.history) == 2

    def test_are_part_of_the_settings(self):
        def settings(**changes):
            return fitness(dense(3, "softmax"), CLASSES, **changes).settings

        one, two = (settings(callbacks=[keras.callbacks.EarlyStopping(patience=n)]) for n in (1, 2))
        assert one != two
        assert "callbacks" not in settings()

    def test_an_object_s_state_and_number_are_no_settings(self):
        def settings():
            stop = keras.callbacks.EarlyStopping(patience=2)
            stop.wait = len(made)
            made.append(keras.metrics.AUC())
            return fitness(dense(3, "softmax"), CLASSES, callbacks=[stop], metric=made[-1]).settings

        made = []
        assert settings() == settings()
        assert made[0].name != made[1].name


def test_default_settings_are_those_of_earlier_journals():
    settings = fitness(dense(3, "softmax"), CLASSES, seed=3).settings
    assert settings.keys() == {
        *("fitness", "model", "data", "epochs", "batch_size", "optimizer", "learning_rate"),
        *("runs", "seed", "replicas", "backend"),
    }


def test_an_optimizer_of_ones_own_is_not_taken_for_one_of_keras():
    adam = type("Adam", (keras.optimizers.Adam,), {})
    with pytest.raises(UserError, match=r"the optimizer .*\.Adam is none of Keras' own"):
        optimizers.settings_of(adam(0.1), None)

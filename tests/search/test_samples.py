"""What users give to a `TrainingFitness`: data, models and optimizers, good and bad."""

import contextlib
import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from nglkeras import UserError
from nglkeras.expression import Expression
from nglkeras.search import GeneticProgramming, TrainingFitness, samples, search
from nglkeras.search.task import look
from nglkeras.training.optimizer import make_optimizer

RANDOM = np.random.default_rng(0)


X = RANDOM.normal(size=(64, 6)).astype("float32")


Y = X[:, :4].argmax(axis=1)


EYE = np.eye(4)[Y]


CE = Expression.parse("-(y_true*log(y_pred))")


def model(units=4, activation="softmax", **settings):
    head = keras.layers.Dense(units, activation, **settings)
    return keras.Sequential([keras.Input((6,)), head])


def fitness(train=(X, Y), validation=(X, Y), model_fn=model, **settings):
    return TrainingFitness(model_fn, train, validation, **{"epochs": 1, **settings})


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that Keras cannot make anew from its config."""

    def __call__(self, step):
        return 1e-3

    def get_config(self):
        return {}


@contextlib.contextmanager
def _policy(name):
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


class TestLabels:
    @pytest.mark.parametrize(
        "y",
        [
            Y[:, None],
            Y.astype("uint8"),
            Y.astype("float32"),
            Y.astype(object),
            Y.astype("float16"),
            list(map(int, Y)),
            EYE,
            EYE.astype(bool),
            EYE.astype("float16"),
            EYE.astype(int).tolist(),
        ],
        ids=lambda y: str(np.asarray(y).dtype) + str(np.shape(y)),
    )
    def test_are_taken(self, y):
        evaluate = fitness((X, y), (X, y))
        assert evaluate.classes == 4
        batch = next(evaluate.compiled.streams(0).validation.as_numpy_iterator())
        np.testing.assert_array_equal(batch[1], EYE[:32])

    def test_bool(self):
        y = X[:, 0] > 0
        assert fitness((X, y), (X, y), lambda: model(2))(CE).status == "ok"

    def test_classes_are_the_model_s(self):
        """A class that occurs in validation only, or nowhere."""
        few = Y < 3
        evaluate = fitness((X[few], Y[few]), model_fn=lambda: model(5))
        assert evaluate.classes == 5
        batch = next(evaluate.compiled.streams(0).validation.as_numpy_iterator())
        np.testing.assert_array_equal(batch[1], np.eye(5)[Y[:32]])

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.array(["ant", "bee"])[Y % 2], "are text, such as 'ant'; give class indices"),
            (np.array(["ant", "bee"], object)[Y % 2], "are text"),
            (np.array(["1", "2"])[Y % 2], "are text"),
            (np.where(Y == 0, np.nan, Y), "labels of train are NaN or infinite"),
            (Y + 0.5, "are no class indices, such as"),
            (Y - 1, "include -1: class indices count from 0"),
            (np.where(Y == 0, 2**32 + 1, Y), "is no class index"),
            (Y[:-1], r"shape \(64, 6\) and labels of shape \(63,\)"),
            (np.array(Y, "datetime64[D]"), "are of type datetime64|cannot be"),
            (None, "have shape"),
            ({"a": Y}, "are a dict"),
            (np.ma.array(Y, mask=Y == 0), "masked array"),
            (np.array([b"ant", b"bee"], object)[Y % 2], "are text, such as 'ant'"),
        ],
    )
    def test_are_refused_at_once(self, y, message):
        with pytest.raises(UserError, match=message) as error:
            fitness((X, y))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (Y + 1, "labels of train include 4, and the model has 4 outputs"),
            (np.eye(5)[Y], "one-hot over 5 classes, and the model has 4 outputs"),
            (EYE * 255, "are not one-hot"),
            (np.eye(4)[Y] + np.eye(4)[(Y + 1) % 4], "not several labels"),
            (np.zeros((64, 1, 4)), r"have shape \(64, 1, 4\)"),
            (Y / 4, "are no class indices, such as"),
        ],
    )
    def test_are_refused_when_the_model_is_known(self, y, message):
        with pytest.raises(UserError, match=message):
            fitness((X, y))(CE)


class TestInputs:
    @pytest.mark.parametrize(
        ("train", "message"),
        [
            (X, "train is of type ndarray; give"),
            ((X, Y, np.ones(64)), "train has 3 parts; give .* sample weights"),
            ((X[:0], Y[:0]), "train is empty"),
            ((np.where(X > 2, np.nan, X), Y), "inputs of train hold NaN"),
            (([[1.0], [1.0, 2.0]], [0, 1]), "inputs of train"),
            (({"a": X, "b": X[:9]}, Y), r"inputs of shape \(9, 6\)"),
            ((X[:31], Y[:31]), "31 training samples do not fill a batch of 32"),
            (iter([(X, Y)]), "give .* arrays of inputs and labels"),
            (tf.data.Dataset.from_tensors((X, Y)).repeat(), "endless tf.data.Dataset"),
            (tf.data.Dataset.from_tensors((X, Y, Y)), "without sample weights"),
            (tf.data.Dataset.from_tensors(X), "wanted are"),
            (tf.data.Dataset.from_tensors((X, Y)).take(0), "train is empty"),
            (tf.data.Dataset.from_tensors((X, np.array(["ant", "bee"])[Y % 2])), "such as 'ant'"),
            ((np.where(X > 2, "much", X.astype(object)), Y), "of type object; give arrays"),
        ],
    )
    def test_are_refused(self, train, message):
        with pytest.raises(UserError, match=message) as error:
            fitness(train)
        assert "\n" not in str(error.value)

    def test_a_table_with_columns_of_several_types(self):
        table = pd.DataFrame(X).assign(is_large=X[:, 0] > 0)
        np.testing.assert_array_equal(
            samples.as_arrays("train", (table, Y))[0], table.astype("float64")
        )

    def test_of_another_rank(self):
        with pytest.raises(UserError, match=r"Invalid input shape\. Expected shape \(None, 6\)"):
            fitness((X[:, None], Y))(CE)

    def test_validation_of_another_shape(self):
        with pytest.raises(UserError, match=r"cannot take inputs of shape \(32, 5\)"):
            fitness(validation=(X[:, :5], Y))(CE)

    def test_empty_validation(self):
        with pytest.raises(UserError, match="validation is empty"):
            fitness(validation=(X[:0], Y[:0]))

    @pytest.mark.parametrize("labels", [Y, EYE], ids=["indices", "one-hot"])
    def test_a_data_set_of_samples_of_unknown_shape(self, labels):
        types = (tf.float32, tf.as_dtype(labels.dtype))
        made = tf.data.Dataset.from_generator(lambda: zip(X, labels, strict=True), types)
        x, y = samples.as_arrays("train", made)
        assert x.shape == X.shape
        assert y.shape == labels.shape

    @pytest.mark.parametrize("batch", [None, 7, 64])
    def test_a_data_set_in_any_order(self, batch):
        made = tf.data.Dataset.from_tensor_slices((X, Y))
        plain = made if batch is None else made.batch(batch)
        mixed = made.shuffle(64, seed=1).batch(batch or 5)
        first, other = fitness(plain, plain), fitness(mixed, mixed)
        assert first.settings == other.settings
        batch = next(first.compiled.streams(0).validation.as_numpy_iterator())
        same = next(other.compiled.streams(0).validation.as_numpy_iterator())
        np.testing.assert_array_equal(batch[0], same[0])

    def test_a_py_dataset(self):
        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 4

            def __getitem__(self, index):
                return X[index::4], Y[index::4]

        data = fitness(Batches(), Batches()).settings["data"]
        assert data == fitness(*[tf.data.Dataset.from_tensors((X, Y))] * 2).settings["data"]

    def test_a_large_data_set(self, monkeypatch):
        monkeypatch.setattr(samples, "MAX_GATHERED", 1000)
        with pytest.raises(UserError, match="train holds more than"):
            fitness(tf.data.Dataset.from_tensor_slices((X, Y)).batch(8))

    @pytest.mark.parametrize("kind", [dict, list])
    def test_several(self, kind):
        def two():
            a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
            joined = keras.layers.Concatenate()([a, b])
            inputs = {"a": a, "b": b} if kind is dict else [a, b]
            return keras.Model(inputs, keras.layers.Dense(4, "softmax")(joined))

        x = {"a": X, "b": -X} if kind is dict else [X, -X]
        evaluate = fitness((x, Y), (x, Y), two)
        assert evaluate(CE).status == "ok"
        assert evaluate.values(CE).shape == (32,)
        assert fitness((x, Y), (x, Y), two).settings == evaluate.settings


def two_outputs():
    inputs = keras.Input((6,))
    return keras.Model(inputs, [keras.layers.Dense(4, "softmax")(inputs) for _ in range(2)])


def frozen():
    made = model()
    made.trainable = False
    return made


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(4, "softmax")

    def call(self, x):
        return self.head(x)


class TestModel:
    @pytest.mark.parametrize(
        ("model_fn", "message"),
        [
            (lambda: model(4, "sigmoid"), "seems to end in sigmoids"),
            (lambda: model(2, "sigmoid", kernel_initializer="zeros"), "sigmoids"),
            (lambda: model(1, "sigmoid"), "ends in one unit, .* include 2: end it in an output"),
            (lambda: model(1, None), "ends in one unit, .*; regression is not possible here"),
            (lambda: model(1, "softmax"), "only output is always 1"),
            (two_outputs, "has 2 outputs"),
            (
                lambda: keras.Sequential(
                    [
                        keras.Input((6,)),
                        keras.layers.Reshape((3, 2)),
                        keras.layers.Dense(4, "softmax"),
                    ]
                ),
                r"output has shape \[64, 3, 4\]; wanted are class indices",
            ),
            (
                lambda: keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "softmax")]),
                r"cannot take inputs of shape \(32, 6\)",
            ),
            (lambda: None, "gave a NoneType; wanted is a keras.Model"),
            (model(), "is a Sequential; give a function"),
            (frozen, "no weights to train"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")
    @pytest.mark.parametrize("way", ["call", "search"])
    def test_that_does_not_fit(self, model_fn, message, way, tmp_path):
        """Before anything is trained, and before the search's journal is begun."""
        evaluate = fitness(model_fn=model_fn)
        strategy = GeneticProgramming(0, population_size=2, generations=0)
        ways = {
            "call": lambda: evaluate(CE),
            "search": lambda: search(strategy, evaluate, out=tmp_path, quiet=True),
        }
        with pytest.raises(UserError, match=message) as error:
            ways[way]()
        assert "\n" not in str(error.value)
        assert evaluate.compiled.model is None

    @pytest.mark.parametrize(
        "model_fn",
        [
            Subclassed,
            lambda: keras.Sequential([keras.layers.Dense(4, "softmax")]),
            lambda: keras.Sequential([model(4, None), keras.layers.Softmax()]),
        ],
    )
    def test_that_fits(self, model_fn):
        evaluate = fitness(model_fn=model_fn)
        first = evaluate(CE)
        assert first.status == "ok"
        # Back to the same start, though the weights were not built by the constructor.
        assert evaluate(CE).fitness == first.fitness

    def test_subclasses_are_told_apart(self):
        class Other(Subclassed):
            def call(self, x):
                return self.head(-x)

        assert fitness(model_fn=Other).settings != fitness(model_fn=Subclassed).settings
        assert fitness(model_fn=Subclassed).settings == fitness(model_fn=Subclassed).settings

    def test_the_check_changes_no_weight(self):
        made = model()
        before = [np.array(weight) for weight in made.get_weights()]
        assert look(made, X[:8], Y).classes == 4
        assert all(map(np.array_equal, before, made.get_weights()))


def test_a_model_that_masks_needs_a_label_for_what_does_not_count():
    random = np.random.default_rng(0)
    tokens, y = random.integers(0, 5, (20, 6)), random.integers(0, 3, (20, 6))

    def masking():
        layers = keras.layers.Embedding(5, 4, mask_zero=True), keras.layers.Dense(3, "softmax")
        return keras.Sequential([keras.Input((6,)), *layers])

    data = (tokens[:10], y[:10]), (tokens[10:], y[10:])
    with pytest.raises(UserError, match=r"masks positions, .* ignore_class=-1"):
        TrainingFitness(masking, *data, batch_size=5).check()
    void = [(x, np.where(x == 0, -1, labels)) for x, labels in data]
    TrainingFitness(masking, *void, batch_size=5, ignore_class=-1).check()


def excluding():
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"epochs": 0}, "epochs=0 is not a whole number of at least 1"),
            ({"epochs": 1.5}, "epochs=1.5"),
            ({"batch_size": 65}, "64 training samples do not fill a batch of 65"),
            ({"batch_size": 0}, "batch_size=0"),
            ({"runs": 0}, "runs=0"),
            ({"seed": "a"}, "seed='a' is not a whole number"),
            ({"replicas": 0}, "replicas=0"),
            ({"timeout": -1}, "timeout=-1 is not a positive number"),
            ({"learning_rate": 0}, "learning_rate=0 is not a positive number"),
            ({"learning_rate": "high"}, "learning_rate='high'"),
            ({"optimizer": "Adma"}, "unknown optimizer 'Adma'; choose from: .*Adam"),
            ({"optimizer": 3}, "optimizer=3 is no Keras optimizer"),
            ({"optimizer": keras.optimizers.SGD(), "learning_rate": 0.1}, "not twice"),
            ({"optimizer": excluding()}, "AdamW has variables that exclude_from_weight_decay has"),
            ({"bounds": (1, 0)}, r"bounds=\(1, 0\) are not two finite numbers"),
        ],
    )
    def test_mistakes(self, settings, message):
        with pytest.raises(UserError, match=message) as error:
            fitness(**settings)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("optimizer", "gradients"),
        [
            (keras.optimizers.Adam(0.05), "scaled"),
            (keras.optimizers.Adam, "scaled"),
            (keras.optimizers.Adam(0.05, clipnorm=1.0), "exact"),
            (keras.optimizers.Adam(0.05, epsilon=1.0), "exact"),
            (keras.optimizers.SGD(0.05, momentum=0.9), "exact"),
            (keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.05, 100)), "scaled"),
            ("sgd", "exact"),
        ],
    )
    def test_optimizers(self, optimizer, gradients):
        evaluate = fitness(optimizer=optimizer)
        assert evaluate.gradients == gradients
        assert json.loads(json.dumps(evaluate.settings)) == evaluate.settings
        made = make_optimizer(evaluate.compiled.schedule)
        if isinstance(optimizer, keras.optimizers.Optimizer):
            assert type(made) is type(optimizer)
            assert str(made.get_config() | {"name": optimizer.name}) == str(optimizer.get_config())

    @pytest.mark.parametrize(
        "optimizer", ["lamb", keras.optimizers.Adam(Rate()), keras.optimizers.Adam(lambda: 1e-3)]
    )
    @pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
    def test_optimizers_that_cannot_be_made_anew(self, optimizer):
        with pytest.raises(UserError, match=r"unknown optimizer 'lamb'|cannot be made anew"):
            fitness(optimizer=optimizer)

    def test_mixed_float16(self):
        with _policy("mixed_float16"):
            assert fitness()(CE).status == "ok"

    def test_an_object_with_a_name_s_settings(self):
        named = fitness(optimizer="Adam", learning_rate=0.05)(CE)
        assert fitness(optimizer=keras.optimizers.Adam(0.05))(CE).fitness == named.fitness

    def test_a_schedule_of_the_learning_rate(self):
        decay = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
        evaluate = fitness(learning_rate=decay, epochs=2)
        assert evaluate(CE).status == "ok"
        rates = [row["learning_rate"] for row in evaluate.compiled.train(CE).history]
        assert rates == pytest.approx([0.025, 0.00625])

    def test_the_bound_on_a_training(self):
        loss = Expression.parse("50 - 40*(y_true*y_pred)")
        assert fitness()(loss).status == "ok"
        assert fitness(bounds=(1e-5, 10.0))(loss).status == "exploded"
        assert "bounds" not in fitness().settings
        assert fitness(bounds=None).settings["bounds"] is None

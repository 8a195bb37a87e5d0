"""The losses in Keras models: names, precision, masks and weights, trainings, saved models."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import run_python, to_numpy
from keras import ops
from keras.src.backend import set_keras_mask
from keras.src.losses import ALL_OBJECTS_DICT as KERAS_NAMES

from nglkeras import UserError, losses


def one_hot(labels, classes):
    return np.eye(classes, dtype="float32")[labels]


def small_model(outputs=3, activation="softmax"):
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dense(outputs, activation),
        ]
    )


def small_data(n=24, classes=3):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, 4)).astype("float32")
    return x, one_hot(rng.integers(0, classes, n), classes)


def public_losses():
    """All classes of losses, and all functions."""
    values = [value for value in map(vars(losses).get, losses.__all__) if callable(value)]
    classes = [v for v in values if isinstance(v, type) and issubclass(v, keras.losses.Loss)]
    return classes, [v for v in values if "y_true" in inspect.signature(v).parameters]


class TestNames:
    def test_keras_knows_every_loss_and_keeps_its_own(self):
        classes, functions = public_losses()
        assert {cls.function for cls in classes} == set(functions)
        keras_own = {"Dice", "dice", "MeanAbsoluteError", "mean_absolute_error"}
        for loss in (*classes, *functions):
            name = loss.__name__
            assert keras.saving.get_registered_name(loss) == f"nglkeras>{name}"
            assert (KERAS_NAMES[name] is loss) != (name in keras_own), name
        assert type(keras.losses.get("Dice")) is keras.losses.Dice
        assert keras.losses.get("dice") is keras.losses.dice

    @pytest.mark.parametrize("name", ["NGL", "ngl"])
    def test_a_model_compiled_with_a_name_trains_saves_and_loads(self, name, tmp_path):
        x, t = small_data()
        model = small_model()
        model.compile(loss=name)
        model.fit(x, t, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        expected = to_numpy(losses.NGL()(t, model(x)))
        assert loaded.evaluate(x, t, verbose=0) == pytest.approx(expected, rel=1e-6)

    def test_an_unknown_name_is_named_by_keras(self):
        with pytest.raises(ValueError, match="Could not interpret loss identifier: NLG"):
            keras.losses.get("NLG")

    def test_names_need_only_the_import_of_nglkeras_and_a_dictionary_of_keras(self):
        """A Keras without its private dictionary has the losses, but not their names."""
        code = """
import sys
import nglkeras, keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Softmax()])
model.compile(loss="SparseNGL")
print(model.evaluate(keras.ops.ones((2, 4)), keras.ops.arange(2), verbose=0))
del keras.src.losses.ALL_OBJECTS_DICT
for name in [name for name in sys.modules if name.startswith("nglkeras")]:
    del sys.modules[name]
import nglkeras
print(nglkeras.NGL().name)
"""
        run = run_python(code)
        assert run.returncode == 0, run.stderr
        value, name = run.stdout.split()
        expected = to_numpy(losses.ngl(np.eye(4)[:1], np.full((1, 4), 0.25)))[0]
        assert float(value) == pytest.approx(expected, rel=1e-6)
        assert name == "ngl"


def random_inputs(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def network(shape, *heads):
    """A hidden layer, convolutional on images, and a head for each (name, outputs, activation)."""
    inputs = hidden = keras.Input(shape)
    is_image = len(shape) == 3
    layer = keras.layers.Dense
    hidden = (
        keras.layers.Conv2D(16, 3, padding="same", activation="relu")(hidden)
        if is_image
        else (layer(16, "relu")(hidden))
    )
    outputs = [layer(n, activation, name=name)(hidden) for name, n, activation in heads]
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])


VOID = 255


def segmentation(form, **arguments):
    """Images of three classes, the third of which is rare, with a void border."""
    x = random_inputs(48, 8, 8, 2)
    labels = np.where(x[..., 0] > 1.2, 2, x[..., 1] > 0)
    counts = np.bincount(labels.ravel())
    labels[:, [0, -1]] = labels[:, :, [0, -1]] = VOID
    options = {"class_weights": losses.balanced(counts), "ignore_class": VOID} | arguments
    valid = labels != VOID

    def score(predictions):
        """Mean recall of the classes, which counts the rare one as much as the others."""
        right = (predictions.argmax(-1) == labels)[valid]
        return np.mean([right[labels[valid] == c].mean() for c in range(3)])

    model = network(x.shape[1:], (None, 3, "softmax"))
    if form == "sparse":
        return model, x, labels, losses.SparseNGL(**options), score
    # Rows of void pixels are all zeros.
    return (
        model,
        x,
        np.append(np.eye(3), np.zeros((253, 3)), 0)[labels],
        losses.NGL(**options),
        score,
    )


def binary(activation, *shape):
    """One unit, labels [n] or [n, 1]."""
    x = random_inputs(256, 4)
    labels = (x[:, 0] > x[:, 1]).reshape(-1, *shape).astype("int32")
    loss = losses.BinaryNGL(from_logits=activation is None)

    def score(predictions):
        threshold = 0.5 if activation else 0.0
        return ((predictions > threshold).ravel() == labels.ravel()).mean()

    return network((4,), (None, 1, activation)), x, labels, loss, score


def multi_label(loss):
    """Four labels of a sample, in 27 to 64 % of the samples."""
    x = random_inputs(512, 8)
    w = random_inputs(8, 4, seed=9)
    labels = (x @ w + [0, 1, -1, -2] > 0).astype("float32")
    return network((8,), (None, 4, "sigmoid")), x, labels, loss, lambda p: f1_score(labels, p > 0.5)


def f1_score(labels, found):
    return 2 * (labels * found).sum() / (labels.sum() + found.sum())


def two_outputs():
    """A class and two tags, with a loss of its own for each, one by its name."""
    x = random_inputs(512, 4)
    labels = {"kind": np.eye(3)[x[:, :3].argmax(1)], "tags": (x[:, 2:] > 0).astype("int32")}
    model = network((4,), ("kind", 3, "softmax"), ("tags", 2, "sigmoid"))
    loss = {"kind": losses.NGL(label_smoothing=0.05), "tags": "BinaryNGL"}

    def score(predictions):
        kind, tags = predictions
        return min(
            (kind.argmax(1) == labels["kind"].argmax(1)).mean(),
            ((tags > 0.5) == labels["tags"]).mean(),
        )

    return model, x, labels, loss, score


# How each model is made, and the score that it must reach. Ten seeds reached at least 0.86, 0.96,
# 0.94 and 0.93; binary cross entropy reaches 0.98 and more with many labels.
CASES = {
    "segmentation, dense": (lambda: segmentation("dense"), 0.8),
    "segmentation, sparse": (lambda: segmentation("sparse"), 0.8),
    "one unit, labels [n]": (lambda: binary("sigmoid"), 0.9),
    "one unit, labels [n, 1]": (lambda: binary("sigmoid", 1), 0.9),
    "one logit, labels [n]": (lambda: binary(None), 0.9),
    "one logit, labels [n, 1]": (lambda: binary(None, 1), 0.9),
    "many labels, BinaryNGL": (lambda: multi_label(losses.BinaryNGL()), 0.88),
    "many labels, sigmoid head": (lambda: multi_label(losses.NGL(head="sigmoid")), 0.88),
    "two outputs": (two_outputs, 0.85),
}


def exported(model, x, path):
    """Predictions of the exported model, which knows no loss."""
    if keras.backend.backend() == "torch":
        import torch

        path = path.with_suffix(".pt2")
        model.export(path, format="torch", verbose=False)
        return torch.export.load(path).module()(torch.tensor(x))
    import tensorflow as tf

    model.export(path, verbose=False)
    network = tf.saved_model.load(path)
    return network.serve(x)


class TestTrainings:
    """What users train: it learns, and is the same when saved and loaded, and when exported."""

    # JAX's export, in Keras.
    @pytest.mark.filterwarnings("ignore:The `native_serialization` parameter:DeprecationWarning")
    @pytest.mark.parametrize("name", CASES)
    def test_learns_and_survives_saving_and_export(self, name, tmp_path):
        make, bound = CASES[name]
        keras.utils.set_random_seed(0)
        model, x, y, loss, score = make()
        model.compile(keras.optimizers.Adam(0.01), loss)
        model.fit(x, y, epochs=15, verbose=0)
        predictions = model.predict(x, verbose=0)
        assert score(predictions) > bound

        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        value = model.evaluate(x, y, verbose=0)
        assert loaded.evaluate(x, y, verbose=0) == pytest.approx(value, rel=1e-6)
        # PyTorch's export is of a single sample.
        found = exported(model, x[:1], tmp_path / "exported")
        for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(predictions), strict=True):
            np.testing.assert_allclose(a, b[:1], atol=1e-5)

    def test_saved_model_loads_where_only_nglkeras_is_imported(self, tmp_path):
        model, x, y, loss, _ = segmentation("dense", alpha=2.0, label_smoothing=0.1)
        model.compile(loss=loss)
        model.save(tmp_path / "model.keras")
        np.savez(tmp_path / "data.npz", x=x, y=y)
        run = run_python(f"""
import nglkeras, keras, numpy as np
data = np.load({str(tmp_path / "data.npz")!r})
model = keras.models.load_model({str(tmp_path / "model.keras")!r})
print(model.loss.get_config())
print(model.evaluate(data["x"], data["y"], verbose=0))
""")
        config, value = run.stdout.strip().splitlines()[-2:]
        assert config == str(loss.get_config())
        assert float(value) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)


class TestInModels:
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_mixed_precision(self, policy):
        keras.config.set_dtype_policy(policy)
        try:
            model = small_model()
            model.compile(loss=losses.NGL())
            x, t = small_data()
            history = model.fit(x, t, verbose=0)
            assert np.isfinite(history.history["loss"]).all()
            assert keras.backend.standardize_dtype(losses.NGL()(t, model(x)).dtype) == "float32"
        finally:
            keras.config.set_dtype_policy("float32")

    @pytest.mark.parametrize("function", ["ngl", "f4", "baikal"])
    def test_function_in_compile(self, function, tmp_path):
        x, t = small_data()
        model = small_model()
        model.compile(loss=getattr(losses, function))
        model.fit(x, t, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert loaded.evaluate(x, t, verbose=0) == pytest.approx(model.evaluate(x, t, verbose=0))

    def test_training_learns(self):
        x, _ = small_data(256)
        t = one_hot((x[:, 0] > 0).astype(int), 2)
        for row in ("NGL", "f4", "CE", "Baikal", "SCE"):
            keras.utils.set_random_seed(0)
            model = small_model(2)
            model.compile(keras.optimizers.Adam(0.02), losses.get(row), metrics=["accuracy"])
            history = model.fit(x, t, epochs=15, verbose=0).history
            assert history["accuracy"][-1] > 0.93, row

    @pytest.mark.parametrize("cls", [losses.NGL, losses.Crossentropy, losses.Focal, losses.Dice])
    @pytest.mark.parametrize("head", ["softmax", "sigmoid"])
    @pytest.mark.parametrize("kind", [keras.Variable, tf.Variable])
    def test_predictions_may_be_a_variable(self, cls, head, kind):
        logits = np.random.default_rng(3).normal(size=(2, 6, 3)).astype("float32")
        labels, loss = one_hot(np.arange(12).reshape(2, 6) % 3, 3), cls(head=head, from_logits=True)
        assert float(loss(labels, kind(logits))) == pytest.approx(float(loss(labels, logits)))

    def test_mask_of_the_model_is_respected(self):
        model = keras.Sequential(
            [keras.Input((6, 2)), keras.layers.Masking(), keras.layers.Dense(3, "softmax")]
        )
        x = np.random.default_rng(3).normal(size=(2, 6, 2)).astype("float32")
        x[:, 4:] = 0.0
        t = one_hot(np.arange(12).reshape(2, 6) % 3, 3)
        model.compile(loss=losses.NGL())
        expected = to_numpy(losses.ngl(t, model(x)))[:, :4].mean()
        assert model.evaluate(x, t, verbose=0) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("cls", [losses.SparseNGL, losses.SparseFocal, losses.SparseDice])
    @pytest.mark.parametrize("ignore_class", [None, 2])
    @pytest.mark.parametrize("pixels", [(4,), (5, 2)])
    def test_a_mask_of_steps_is_that_of_the_pixels_of_each_step(self, cls, ignore_class, pixels):
        """Also where there are as many pixels as steps or samples."""
        shape = (4, 4, *pixels)
        rng = np.random.default_rng(3)
        labels, x = rng.integers(0, 3, shape), rng.normal(size=(*shape, 3)).astype("float32")
        mask = rng.random((4, 4)) < 0.6
        loss = cls(from_logits=True, ignore_class=ignore_class)
        counts = np.broadcast_to(mask.reshape(4, 4, *[1] * len(pixels)), shape)
        if cls is losses.SparseDice:
            expected = loss(labels, x, sample_weight=counts)
        else:
            values = to_numpy(loss.call(labels, ops.convert_to_tensor(x)))
            counts = counts if ignore_class is None else counts & (labels != ignore_class)
            expected = values[counts].mean()
        x = ops.convert_to_tensor(x)
        set_keras_mask(x, mask=ops.convert_to_tensor(mask))
        assert float(loss(labels, x)) == pytest.approx(float(expected), rel=1e-5)

    @pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 1, 1)])
    def test_weights_of_images_count_for_all_their_pixels(self, shape):
        """Also where there are as many images as columns of an image."""
        model, x, labels, loss, _ = segmentation("sparse")
        x, labels, weights = x[:8], labels[:8], np.arange(8.0)
        model.compile(loss=loss)
        of_images = model.evaluate(x, labels, sample_weight=weights.reshape(shape), verbose=0)
        of_pixels = np.broadcast_to(weights[:, None, None], labels.shape)
        expected = to_numpy(loss(labels, model(x), sample_weight=of_pixels))
        assert of_images == pytest.approx(expected, rel=1e-5)

    def test_weights_of_rows_of_pixels_are_refused(self):
        _, _, labels, loss, _ = segmentation("sparse")
        with pytest.raises(UserError, match=r"shape \(48, 8\) are weights of neither"):
            loss(labels, np.full((*labels.shape, 3), 1 / 3), sample_weight=np.ones((48, 8)))

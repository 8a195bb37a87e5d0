"""Architectures against stated numbers; preprocessing, penalties, saving, errors."""

import inspect
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import needs_tensorflow
from keras import layers

from nglkeras import UserError
from nglkeras.experiments.classification import architectures, models
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.shared_networks import run_trial
from nglkeras.experiments.classification.trial import plan

HEAD = [
    layers.Flatten,
    layers.BatchNormalization,
    layers.Dense,
    layers.Dropout,
    layers.BatchNormalization,
    layers.Dense,
    layers.Dropout,
    layers.BatchNormalization,
    layers.Dense,
]


def pictures(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


class TestHead:
    @pytest.mark.parametrize("name", ["small_cnn", "head"])
    def test_nine_layers_in_order(self, name):
        head = models.build(name, (8, 8, 3), 7).layers[-9:]
        assert [type(layer) for layer in head] == HEAD
        dense = [layer for layer in head if isinstance(layer, layers.Dense)]
        assert [layer.units for layer in dense] == [128, 64, 7]
        assert [layer.activation.__name__ for layer in dense] == ["relu", "relu", "softmax"]
        assert [layer.rate for layer in head if isinstance(layer, layers.Dropout)] == [0.5, 0.5]

    def test_output_is_a_distribution(self):
        model = models.build("small_cnn", (8, 8, 3), 5)
        output = model.predict(pictures(3, 8, 8, 3), verbose=0)
        assert output.shape == (3, 5)
        np.testing.assert_allclose(output.sum(1), 1, rtol=1e-5)

    def test_softmax_stays_float32_under_mixed_precision(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = models.build("head", (8, 8, 3), 5)
            assert keras.backend.standardize_dtype(model(pictures(1, 8, 8, 3)).dtype) == "float32"
        finally:
            keras.config.set_dtype_policy("float32")


class TestSigmoids:
    def test_take_the_place_of_the_softmax_and_nothing_else(self, tmp_path):
        images = pictures(3, 8, 8, 3)
        outputs = {}
        for activation in ("softmax", "sigmoid"):
            keras.utils.set_random_seed(0)
            model = models.build("small_cnn", (8, 8, 3), 5, activation=activation)
            model.save(tmp_path / "model.keras")
            again = keras.models.load_model(tmp_path / "model.keras")
            outputs[activation] = again.predict(images, verbose=0).astype("float64")
        logits = np.log(outputs["sigmoid"] / (1 - outputs["sigmoid"]))
        softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(outputs["softmax"], softmax, rtol=1e-4)

    @pytest.mark.parametrize("compile_once", [True, False])
    def test_a_loss_of_sigmoids_is_trained_on_them(self, compile_once):
        scale = replace(TABLE2_SCALES["demo"], models=("head",), epochs=3, runs=1)
        trials = plan(scale, ["CE", "ASL (multi-label)", "CSE-Autoloss-B"])
        assert [trial.activation for trial in trials] == ["softmax", "sigmoid", "sigmoid"]
        assert trials[0].kind != trials[1].kind == trials[2].kind
        # Rows of earlier trainings keep their keys.
        assert trials[0].key == replace(trials[0], activation="softmax").key != trials[1].key
        built = []
        row = run_trial(replace(trials[1], compile_once=compile_once), on_model=built.append)
        assert built[0].layers[-1].activation is keras.activations.sigmoid
        assert row.accuracy > 0.2
        with pytest.raises(UserError, match="needs a trial with activation='sigmoid'"):
            run_trial(replace(trials[1], compile_once=compile_once, activation="softmax"))


class TestBackbones:
    # Backbone alone: 21,802,784 and 23,587,712 as keras.applications documents them; the head on
    # 2,048 features and 10 classes: 8,192 + 262,272 + 512 + 8,256 + 256 + 650 = 280,138.
    @pytest.mark.parametrize(
        ("name", "shape", "upsampling", "parameters"),
        [
            ("InceptionV3", (32, 32, 3), 8, 21_802_784 + 280_138),
            ("InceptionV3", (75, 75, 3), 1, 21_802_784 + 280_138),
            ("ResNet50", (75, 75, 3), 1, 23_587_712 + 280_138),
        ],
    )
    def test_parameters(self, name, shape, upsampling, parameters):
        model = models.build(name, shape, 10, upsampling=upsampling)
        assert model.count_params() == parameters
        assert model.input_shape == (None, *shape)
        assert model.get_layer("head_flatten").output.shape == (None, 2048)
        assert [type(layer) for layer in model.layers[-9:]] == HEAD
        if upsampling > 1:
            assert model.get_layer("upsampling").output.shape == (None, 256, 256, 3)

    # small_cnn: convolutions 448 + 4,640 + 18,496 and the head on their 64 channels, 18,250;
    # head: on 8 x 8 x 3 = 192 pixels.
    @pytest.mark.parametrize(("name", "parameters"), [("small_cnn", 41_834), ("head", 35_146)])
    def test_parameters_of_the_small_ones(self, name, parameters):
        assert models.build(name, (8, 8, 3), 10).count_params() == parameters

    def test_pooling_is_the_maximum(self):
        model = models.build("MobileNetV2", (32, 32, 3), 10)
        backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        assert isinstance(backbone.layers[-1], layers.GlobalMaxPooling2D)

    def test_upsampling_is_three_times_two(self):
        x = pictures(2, 4, 4, 3)
        thrice = x
        for _ in range(3):
            thrice = layers.UpSampling2D()(thrice)
        np.testing.assert_array_equal(layers.UpSampling2D(8)(x), thrice)

    @pytest.mark.parametrize(
        "name",
        [
            "MobileNetV2",
            *(pytest.param(name, marks=pytest.mark.slow) for name in ("ResNet50", "VGG16")),
            pytest.param("EfficientNetB0", marks=pytest.mark.slow),
        ],
    )
    def test_preprocessing_is_the_backbones_own_and_is_saved(self, name, tmp_path):
        x = pictures(2, 32, 32, 3)
        model = models.build(name, (32, 32, 3), 4)
        backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        module = {
            "MobileNetV2": keras.applications.mobilenet_v2,
            "ResNet50": keras.applications.resnet,
            "VGG16": keras.applications.vgg16,
            "EfficientNetB0": keras.applications.efficientnet,
        }[name]
        features = backbone(module.preprocess_input(x.copy()), training=False)
        inner = keras.Model(model.input, model.get_layer("head_flatten").output)
        features = keras.ops.convert_to_numpy(features)
        np.testing.assert_allclose(inner.predict(x, verbose=0), features, rtol=1e-3, atol=1e-4)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        predictions = [each.predict(x, verbose=0) for each in (loaded, model)]
        np.testing.assert_allclose(*predictions, rtol=1e-5, atol=1e-6)


class TestPenalty:
    @pytest.mark.parametrize("name", ["small_cnn", "MobileNetV2", "Xception"])
    def test_every_kernel_and_nothing_else_and_saved(self, name, tmp_path):
        shape = (8, 8, 3) if name == "small_cnn" else (71, 71, 3)
        model = models.build(name, shape, 4, l2=1e-3)
        kernels = [w for w in model.trainable_variables if w.name.endswith("kernel")]
        expected = 1e-3 * sum(float(keras.ops.sum(w * w)) for w in kernels)
        assert len(kernels) >= 6
        assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert float(sum(loaded.losses)) == pytest.approx(expected, rel=1e-4)

    def test_none_by_default(self):
        assert models.build("small_cnn", (8, 8, 3), 4).losses == []


class TestWeights:
    def test_from_a_file(self, tmp_path):
        model = models.build("small_cnn", (8, 8, 3), 4)
        trunk = model.get_layer("small_trunk")
        trunk.save_weights(tmp_path / "trunk.weights.h5")
        other = models.build("small_cnn", (8, 8, 3), 9, weights=tmp_path / "trunk.weights.h5")
        for a, b in zip(
            trunk.get_weights(), other.get_layer("small_trunk").get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)

    def test_of_a_backbone_from_a_file(self, tmp_path):
        backbone = keras.applications.MobileNetV2(
            include_top=False, weights=None, input_shape=(32, 32, 3)
        )
        backbone.save_weights(tmp_path / "backbone.weights.h5")
        path = tmp_path / "backbone.weights.h5"
        model = models.build("MobileNetV2", (32, 32, 3), 4, weights=path)
        loaded = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        for a, b in zip(backbone.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_no_network_for_imagenet(self, monkeypatch):
        def fail(*args, **kwargs):
            raise Exception("URL fetch failure on somewhere: None -- no network")

        fail.__module__ = keras.applications.MobileNetV2.__module__
        monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
        with pytest.raises(
            UserError, match=r"MobileNetV2 could not be downloaded .*~/.keras/models"
        ):
            models.build("MobileNetV2", (32, 32, 3), 4, weights="imagenet")


def test_every_model_of_keras_applications_has_a_name():
    constructors = inspect.getmembers(keras.applications, inspect.isfunction)
    assert tuple(name for name, _ in constructors) == architectures.BACKBONES


class TestOwn:
    FILE = """
import keras

def tiny(input_shape, classes):
    layers = [
        keras.Input(input_shape),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(classes, activation="softmax"),
    ]
    return keras.Sequential(layers)

def sigmoids(input_shape, classes):
    head = keras.layers.Dense(classes, activation="sigmoid")
    return keras.Sequential(tiny(input_shape, classes).layers[:-1] + [head])

def logits(input_shape, classes):
    return keras.Sequential(tiny(input_shape, classes).layers[:-1] + [keras.layers.Dense(classes)])

def apart(input_shape, classes):
    return keras.Sequential(logits(input_shape, classes).layers + [keras.layers.Softmax()])

def compiled(input_shape, classes):
    model = tiny(input_shape, classes)
    model.compile("sgd", "mse")
    return model

def other_size(input_shape, classes):
    return tiny((3, 3, 3), classes)

def more(input_shape, classes):
    return tiny(input_shape, classes + 1)

def text(input_shape, classes):
    return "model"

def fails(input_shape, classes):
    raise RuntimeError("no\\nidea")
"""

    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "mine.py"
        path.write_text(self.FILE, encoding="utf-8")
        return path

    def test_is_built_and_penalised(self, path):
        model = models.build(f"{path}:tiny", (8, 8, 3), 5, l2=1e-3)
        assert model.count_params() == 8 * 8 * 3 * 5 + 5
        assert len(model.losses) == 1

    def test_may_have_sigmoids_in_place_of_its_last_softmax(self, path):
        model = models.build(f"{path}:tiny", (8, 8, 3), 5, activation="sigmoid")
        assert abs(model.predict(pictures(1, 8, 8, 3), verbose=0).sum() - 1) > 0.1
        with pytest.raises(UserError, match=r"mine.py:apart does not end in a layer with activati"):
            models.build(f"{path}:apart", (8, 8, 3), 5, activation="sigmoid")

    def test_is_planned_and_trained_like_others(self, path, monkeypatch):
        monkeypatch.chdir(path.parent)
        scale = replace(TABLE2_SCALES["demo"], models=("mine.py:tiny", "head"), epochs=1, runs=1)
        own, _ = plan(scale, ["NGL"], weights=None)
        assert own.model == f"{path}:tiny"
        assert len(own.model_sha256) == 64
        assert str(own) == "digits, tiny, f5 (NGL) at 0.001, run 1"
        assert run_trial(own).status == "ok"
        assert run_trial(replace(own, compile_once=False)).status == "ok"

    def test_takes_no_weights(self, path):
        scale = replace(TABLE2_SCALES["demo"], models=(f"{path}:tiny", "InceptionV3"), runs=1)
        own, other = plan(scale, ["NGL"], weights="imagenet")
        assert (own.weights, other.weights) == (None, "imagenet")
        with pytest.raises(UserError, match=r"mine.py:tiny has no backbone"):
            models.build(own.model, (8, 8, 3), 5, weights="imagenet")

    def test_counts_by_its_content_and_function(self, path):
        def key(path, function="tiny"):
            scale = replace(TABLE2_SCALES["demo"], models=(f"{path}:{function}",), runs=1)
            return plan(scale, ["NGL"])[0].key

        elsewhere = path.with_name("elsewhere.py")
        elsewhere.write_bytes(path.read_bytes())
        assert key(path) == key(elsewhere) != key(path, "more")
        before = key(path)
        path.write_text(self.FILE + "# changed", encoding="utf-8")
        assert key(path) != before

    def test_a_file_that_changes_after_the_plan_is_refused(self, path):
        scale = replace(TABLE2_SCALES["demo"], models=(f"{path}:tiny",), runs=1)
        (trial,) = plan(scale, ["NGL"])
        path.write_text(self.FILE + "# changed", encoding="utf-8")
        with pytest.raises(UserError, match=r"mine.py has changed since its trials were planned"):
            run_trial(trial)

    @needs_tensorflow
    def test_is_checked_within_a_strategy(self, path, mirrored):
        with mirrored.scope():
            assert models.build(f"{path}:tiny", (8, 8, 3), 5).count_params() == 965

    def test_workers_build_it_too(self, path, script, tmp_path):
        arguments = ["--models", f"{path}:tiny", "--losses", "CE", "NGL", "--runs", 1]
        arguments += ["--epochs", 1, "--train-images", 64, "--evaluation-images", 20]
        arguments += ["--executor", "processes", "--workers", 1, "--out", tmp_path / "out"]
        code, out, err = script("table2", *arguments)
        assert code == 0, err
        assert "Models: tiny." in out

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("none.py:tiny", r"cannot read the model file .*none.py: No such file"),
            ("mine.py", "no function in '.*mine.py': a model of one's own is FILE.py:FUNCTION"),
            ("mine.py:", "no function in "),
            ("mine.py:none", "mine.py has no function none; it has: tiny, sigmoids, logits"),
            ("mine.py:keras", "mine.py has no function keras"),
            ("mine.py:logits", "whose outputs are not those of a softmax"),
            ("mine.py:compiled", "returns a compiled model"),
            ("mine.py:other_size", r"takes no images of shape \(8, 8, 3\)"),
            ("mine.py:more", r"returns a model with output \(1, 6\), not \(1, 5\)"),
            ("mine.py:text", "returns no keras.Model, but str"),
            ("mine.py:fails", "mine.py:fails failed: RuntimeError: no idea"),
            ("broken.py:tiny", "broken.py failed: SyntaxError"),
        ],
    )
    def test_mistakes_are_told_in_a_line(self, name, message, path):
        path.with_name("broken.py").write_text("def tiny(", encoding="utf-8")
        with pytest.raises(UserError, match=message) as error:
            models.build(str(path.with_name(name)), (8, 8, 3), 5)
        assert "\n" not in str(error.value)

    def test_two_sigmoids_of_zero_are_no_softmax(self, path):
        """They sum to 1 for the black image that a model is tried with."""
        with pytest.raises(UserError, match=r"not those of a softmax: .* in sigmoids"):
            models.build(f"{path}:sigmoids", (8, 8, 3), 2)

    def test_scripts_tell_mistakes_too(self, script, tmp_path):
        code, _, err = script("table2", "--models", "none.py:f", "--out", tmp_path)
        assert (code, len(err.splitlines())) == (2, 1)
        assert "cannot read the model file" in err


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"name": "InceptionV4"}, "unknown model 'InceptionV4'; choose from: small_cnn, head"),
            ({"name": "InceptionV3"}, "InceptionV3: Input size must be at least 75x75"),
            ({"name": "small_cnn", "weights": "no.weights.h5"}, "no weights file no.weights.h5"),
            ({"name": "small_cnn", "weights": "imagenet"}, "no ImageNet weights"),
            ({"name": "head", "weights": "imagenet"}, "head has no backbone"),
            ({"name": "small_cnn", "weights": __file__}, "does not fit small_cnn"),
        ],
    )
    def test_one_line(self, arguments, message):
        with pytest.raises(UserError, match=message) as error:
            models.build(input_shape=(32, 32, 3), classes=4, **arguments)
        assert "\n" not in str(error.value)

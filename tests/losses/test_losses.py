"""The losses as Keras sees them: values, gradients, extremes, shapes, configs, saved models."""

import doctest
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, needs_tensorflow, to_numpy
from keras import ops

import nglkeras
from nglkeras import losses
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS, functions, options
from nglkeras.losses.curves import value_and_gradient
from nglkeras.losses.formulas import ALTERNATIVE_F2

ORACLES = json.loads((ROOT / "tests/data/oracles.json").read_text())
FUNCTIONS = {
    "ngl": losses.ngl,
    "ngl_scaled": lambda t, p, **kw: losses.ngl(t, p, scaling="sigmoid", **kw),
    "f1": losses.f1,
    "f2": losses.f2,
    "f3": losses.f3,
    "f4": losses.f4,
    "baikal": losses.baikal,
    "baikal_cma": losses.baikal_cma,
    "sce": losses.symmetric_crossentropy,
}
CLASSES = {
    "NGL": losses.NGL,
    "F1": losses.F1,
    "F2": losses.F2,
    "F3": losses.F3,
    "F4": losses.F4,
    "Baikal": losses.Baikal,
    "BaikalCMA": losses.BaikalCMA,
    "SymmetricCrossentropy": losses.SymmetricCrossentropy,
}
PIXELS = np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 3, 4)).astype("float32")
PIXEL_LABELS = np.random.default_rng(1).integers(0, 5, size=(2, 3, 4))


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


class TestValues:
    @pytest.mark.parametrize("name", FUNCTIONS)
    @pytest.mark.parametrize("case", ORACLES, ids=lambda case: f"{len(case['p'])}classes")
    def test_float32_equals_the_oracle(self, name, case):
        t, p = np.float32([case["t"]]), np.float32([case["p"]])
        assert to_numpy(FUNCTIONS[name](t, p))[0] == pytest.approx(case["loss"][name], rel=2e-6)

    @pytest.mark.parametrize("name", FUNCTIONS)
    @pytest.mark.parametrize("case", ORACLES, ids=lambda case: f"{len(case['p'])}classes")
    def test_from_logits_equals_the_oracle(self, name, case):
        t, z = np.float32([case["t"]]), np.float32([case["logits"]])
        value = to_numpy(FUNCTIONS[name](t, z, from_logits=True))[0]
        assert value == pytest.approx(case["loss"][name], rel=1e-5)

    @pytest.mark.parametrize("row", ["CE", "Focal", "SCE", "NGL", "f1", "f2", "f3", "f4", "Baikal"])
    def test_rows_of_the_tables_equal_the_oracle(self, row):
        key = row.lower()
        for case in ORACLES:
            value = to_numpy(losses.get(row)(np.float32([case["t"]]), np.float32([case["p"]])))
            assert value == pytest.approx(case["loss"][key], rel=4e-6)

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_sum_over_the_classes_is_n_times_the_mean(self, name):
        t, p = one_hot(PIXEL_LABELS, 5), PIXELS
        mean = to_numpy(FUNCTIONS[name](t, p, class_reduction="mean"))
        total = to_numpy(FUNCTIONS[name](t, p, class_reduction="sum"))
        np.testing.assert_allclose(total, 5 * mean, rtol=2e-6)

    @needs_tensorflow  # float64 resolves the flat bottom of f4
    @pytest.mark.parametrize(
        ("function", "minimum"),
        [(losses.ngl, 0.5659), (losses.f4, 0.6051), (losses.baikal, 0.7071)],
    )
    def test_binary_minimum(self, function, minimum):
        p = np.arange(1e-4, 1, 1e-4)
        value = to_numpy(function(np.tile([1.0, 0.0], (len(p), 1)), np.stack([p, 1 - p], 1)))
        assert p[np.argmin(value)] == pytest.approx(minimum, abs=1e-4)

    def test_binary_curves_move_as_the_paper_says(self):
        p = np.linspace(0.02, 0.98, 200)
        labels, predictions = np.tile([1.0, 0.0], (200, 1)), np.stack([p, 1 - p], 1)
        for rising in (losses.ngl, losses.f1, losses.f4):
            assert np.diff(to_numpy(rising(labels, predictions)))[-1] > 0
        assert (np.diff(to_numpy(losses.f3(labels, predictions))) < 0).all()

    def test_f2_falls_and_its_alternative_rises_in_a_small_region_as_the_text_says(self):
        p = np.linspace(0.001, 0.999, 2000)
        turns = {}
        for formula in (FORMULAS["f2"], ALTERNATIVE_F2):
            loss = Expression.parse(formula)
            falls = np.diff((loss(np.ones_like(p), p) + loss(np.zeros_like(p), 1 - p)) / 2) < 0
            assert falls[0]
            assert falls[-1]
            turns[formula] = p[np.flatnonzero(np.diff(falls)) + 1]
        assert len(turns[FORMULAS["f2"]]) == 0
        assert turns[ALTERNATIVE_F2] == pytest.approx([0.722, 0.905], abs=1e-3)

    @needs_tensorflow
    def test_docstring_examples(self):
        assert doctest.testmod(functions).failed == 0
        assert doctest.testmod(options) == (0, 1)


class TestGradients:
    @needs_tensorflow  # JAX and PyTorch through Keras keep to float32
    @pytest.mark.parametrize("from_logits", [False, True])
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_equals_central_differences_in_float64(self, name, from_logits):
        for case in ORACLES:
            t = np.array([case["t"]])
            x = np.array([case["logits" if from_logits else "p"]])

            def function(x, t=t):
                return FUNCTIONS[name](t, x, from_logits=from_logits)

            _, gradient = value_and_gradient(function, x)
            for i in range(x.shape[1]):
                h = np.zeros_like(x)
                # A step that shrinks with x keeps terms like 1/x well inside their range.
                h[0, i] = 1e-5 if from_logits else 1e-5 * x[0, i]
                difference = to_numpy(function(x + h) - function(x - h))[0] / (2 * h[0, i])
                scale = max(1.0, np.abs(gradient).max())
                assert gradient[0, i] == pytest.approx(difference, abs=1e-6 * scale)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_finite_everywhere(self, name, dtype):
        self.check_finite(FUNCTIONS[name], dtype)

    @pytest.mark.parametrize("name", ["ngl", "ngl_scaled", "f4"])
    def test_finite_everywhere_in_float16(self, name):
        self.check_finite(FUNCTIONS[name], "float16")

    def test_sparse_finite_everywhere(self):
        for dtype in ("float32", "bfloat16", "float16"):
            self.check_finite(lambda t, p, **kw: losses.sparse_ngl(t.argmax(-1), p, **kw), dtype)

    @staticmethod
    def check_finite(function, dtype):
        t = one_hot([0, 1, 0, 1], 2)
        p = np.array([[0, 1], [0, 1], [1, 0], [1, 0]], "float32")
        cases = [(p, False), (2e4 * p - 1e4, True), (-1e4 * p, True)]
        for x, from_logits in cases:
            # The cast is outside, so that the gradient has to pass through half precision too.
            value, gradient = value_and_gradient(
                lambda x, from_logits=from_logits: ops.cast(
                    function(t, ops.cast(x, dtype), from_logits=from_logits), "float32"
                ),
                x,
            )
            assert np.isfinite(value).all()
            assert np.isfinite(gradient).all()


class TestShapesAndLabels:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_one_value_per_pixel(self, name):
        values = to_numpy(FUNCTIONS[name](one_hot(PIXEL_LABELS, 5), PIXELS))
        assert values.shape == PIXEL_LABELS.shape
        single = FUNCTIONS[name](one_hot(PIXEL_LABELS, 5)[1, 2, 3][None], PIXELS[1, 2, 3][None])
        assert values[1, 2, 3] == pytest.approx(to_numpy(single)[0], rel=1e-6)

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_classes_on_another_axis(self, name):
        last = to_numpy(FUNCTIONS[name](one_hot(PIXEL_LABELS, 5), PIXELS))
        t, p = (np.moveaxis(x, -1, 1) for x in (one_hot(PIXEL_LABELS, 5), PIXELS))
        np.testing.assert_allclose(to_numpy(FUNCTIONS[name](t, p, axis=1)), last, rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool", "float16", "float64"])
    def test_label_dtype_does_not_matter(self, dtype):
        t = one_hot(PIXEL_LABELS, 5)
        expected = to_numpy(losses.ngl(t, PIXELS))
        np.testing.assert_allclose(to_numpy(losses.ngl(t.astype(dtype), PIXELS)), expected)

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_label_smoothing_equals_smoothed_labels(self, name):
        t = one_hot(PIXEL_LABELS, 5)
        smoothed = FUNCTIONS[name](t, PIXELS, label_smoothing=0.1)
        np.testing.assert_allclose(
            to_numpy(smoothed), to_numpy(FUNCTIONS[name](0.9 * t + 0.02, PIXELS)), rtol=1e-5
        )

    @pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
    def test_reduces_the_mean_and_nothing_before(self, cls):
        t = one_hot(PIXEL_LABELS, 5)
        values = to_numpy(cls(reduction="none")(t, PIXELS))
        assert values.shape == PIXEL_LABELS.shape
        assert to_numpy(cls()(t, PIXELS)) == pytest.approx(values.mean(), rel=1e-5)

    @pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
    def test_sample_weight_selects_one_gradient(self, cls):
        t, p = one_hot(PIXEL_LABELS, 5)[0, 0], PIXELS[0, 0]
        weight = np.float32([1, 0, 0, 0])
        _, weighted = value_and_gradient(lambda p: cls()(t, p, sample_weight=weight), p)
        _, alone = value_and_gradient(lambda p: cls()(t[:1], p), p[:1])
        np.testing.assert_allclose(weighted[0], alone[0] / 4, rtol=1e-6)
        np.testing.assert_array_equal(weighted[1:], 0)

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

    def test_class_weight_scales_the_class(self):
        x, t = small_data()
        model = small_model()
        model.compile(loss=losses.NGL(), optimizer=keras.optimizers.SGD(0.0))
        weights = {0: 1.0, 1: 5.0, 2: 0.0}
        loss = model.fit(x, t, batch_size=24, class_weight=weights, verbose=0).history["loss"][0]
        values = to_numpy(losses.ngl(t, model(x)))
        expected = (values * np.vectorize(weights.get)(t.argmax(1))).mean()
        assert loss == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("labels", [np.array([0, 1]), np.array([[0], [1]])])
    def test_integer_labels_for_a_one_hot_loss_are_refused(self, labels):
        with pytest.raises(ValueError, match="SparseNGL"):
            losses.NGL()(labels, np.full((2, 3), 1 / 3))

    def test_one_hot_labels_for_the_sparse_loss_are_refused(self):
        with pytest.raises(ValueError, match="NGL instead of SparseNGL"):
            losses.SparseNGL()(np.eye(3), np.full((3, 3), 1 / 3))


class TestSparse:
    @pytest.mark.parametrize("arguments", [{}, {"alpha": 2.0}, {"scaling": "sigmoid"}])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("reduction", losses.CLASS_REDUCTIONS)
    def test_equals_one_hot(self, arguments, smoothing, reduction):
        arguments |= {"label_smoothing": smoothing, "class_reduction": reduction}
        dense = losses.ngl(one_hot(PIXEL_LABELS, 5), PIXELS, **arguments)
        for labels in (PIXEL_LABELS, PIXEL_LABELS[..., None], PIXEL_LABELS.astype("float32")):
            sparse = losses.sparse_ngl(labels, PIXELS, **arguments)
            np.testing.assert_allclose(to_numpy(sparse), to_numpy(dense), rtol=2e-6)

    def test_same_gradient_as_one_hot_from_logits(self):
        z = np.log(PIXELS)
        _, dense = value_and_gradient(
            lambda z: losses.ngl(one_hot(PIXEL_LABELS, 5), z, from_logits=True), z
        )
        _, sparse = value_and_gradient(
            lambda z: losses.sparse_ngl(PIXEL_LABELS, z, from_logits=True), z
        )
        np.testing.assert_allclose(sparse, dense, atol=1e-6)

    @pytest.mark.parametrize("void", [255, -1, 2])
    def test_ignored_class_has_no_loss_no_gradient_no_share_in_the_mean(self, void):
        labels = np.where(PIXEL_LABELS == 2, void, PIXEL_LABELS)
        valid = labels != void
        loss = losses.SparseNGL(ignore_class=void)
        value, gradient = value_and_gradient(lambda p: loss(labels, p), PIXELS)
        every = to_numpy(losses.ngl(one_hot(PIXEL_LABELS, 5), PIXELS))
        assert value == pytest.approx(every[valid].mean(), rel=1e-5)
        np.testing.assert_array_equal(gradient[~valid], 0)
        assert (np.abs(gradient[valid]).max(-1) > 0).all()

    def test_nothing_but_void(self):
        loss = losses.SparseNGL(ignore_class=255)
        value, gradient = value_and_gradient(
            lambda p: loss(np.full(PIXEL_LABELS.shape, 255), p), PIXELS
        )
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)

    def test_classes_on_another_axis(self):
        last = to_numpy(losses.sparse_ngl(PIXEL_LABELS, PIXELS))
        first = losses.sparse_ngl(PIXEL_LABELS, np.moveaxis(PIXELS, -1, 1), axis=1)
        np.testing.assert_allclose(to_numpy(first), last, rtol=1e-6)


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

    @pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch.compile is not XLA")
    @pytest.mark.parametrize("name", [*CLASSES, "SparseNGL"])
    def test_jit_compile(self, name):
        x, t = small_data()
        if name == "SparseNGL":
            t = t.argmax(1)
        loss = getattr(losses, name)()
        values = []
        for jit_compile in (False, True):
            keras.utils.set_random_seed(0)
            model = small_model()
            model.compile(loss=loss, jit_compile=jit_compile)
            values.append(model.fit(x, t, shuffle=False, verbose=0).history["loss"][0])
        assert values[0] == pytest.approx(values[1], rel=1e-4)

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

    def test_saved_model_loads_where_only_nglkeras_is_imported(self, tmp_path):
        x, t = small_data()
        loss = losses.NGL(alpha=2.0, scaling="sigmoid", label_smoothing=0.1)
        model = small_model()
        model.compile(loss=loss)
        model.save(tmp_path / "model.keras")
        np.savez(tmp_path / "data.npz", x=x, t=t)
        code = (
            "import nglkeras, keras, numpy as np\n"
            f"data = np.load({str(tmp_path / 'data.npz')!r})\n"
            f"model = keras.models.load_model({str(tmp_path / 'model.keras')!r})\n"
            "print(model.loss.get_config())\n"
            "print(model.evaluate(data['x'], data['t'], verbose=0))"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        config, value = run.stdout.strip().splitlines()[-2:]
        assert config == str(loss.get_config())
        assert float(value) == pytest.approx(model.evaluate(x, t, verbose=0), rel=1e-6)


COMMON = {
    "head": "softmax",
    "sparse": False,
    "from_logits": False,
    "label_smoothing": 0.0,
    "class_weights": None,
    "ignore_class": None,
    "class_reduction": "mean",
    "axis": -1,
    "reduction": "sum_over_batch_size",
    "dtype": None,
}
OF_NGL = {"alpha": 2.4092, "scaling": None, "fast": None}
FIXED = ("head", "sparse")
OF_A_VARIANT = {name: value for name, value in COMMON.items() if name not in FIXED}
GOLDEN_CONFIGS = {
    "NGL": COMMON | OF_NGL | {"name": "ngl"},
    "SparseNGL": OF_A_VARIANT | OF_NGL | {"name": "sparse_ngl"},
    "BinaryNGL": OF_A_VARIANT | OF_NGL | {"name": "binary_ngl"},
    "F1": COMMON | {"name": "f1"},
    "F2": COMMON | {"name": "f2"},
    "F3": COMMON | {"name": "f3"},
    "F4": COMMON | {"name": "f4", "fast": None},
    "Baikal": COMMON | {"name": "baikal"},
    "BaikalCMA": COMMON | {"name": "baikal_cma"},
    "SymmetricCrossentropy": COMMON
    | {
        "name": "symmetric_crossentropy",
        "alpha": 0.1,
        "beta": 1.0,
        "class_reduction": "sum",
    },
}
CHANGED = {
    "from_logits": True,
    "label_smoothing": 0.2,
    "class_reduction": "sum",
    "axis": 1,
    "reduction": "sum",
    "dtype": "float32",
    "name": "other",
}


class TestConfigs:
    @pytest.mark.parametrize("name", GOLDEN_CONFIGS)
    def test_golden_config(self, name):
        loss = getattr(losses, name)()
        assert loss.get_config() == GOLDEN_CONFIGS[name]
        assert keras.saving.serialize_keras_object(loss)["registered_name"] == f"nglkeras>{name}"

    @pytest.mark.parametrize("name", GOLDEN_CONFIGS)
    def test_every_argument_survives(self, name):
        loss = getattr(losses, name)(**CHANGED)
        config = keras.saving.serialize_keras_object(loss)
        assert keras.saving.deserialize_keras_object(config).get_config() == loss.get_config()
        assert CHANGED.items() <= loss.get_config().items()

    def test_everything_public_is_registered(self):
        helpers = [module.__name__ for module in (losses.registry, losses.files, losses.options)]
        values = [getattr(losses, name) for name in losses.__all__]
        public = [v for v in values if callable(v) and v.__module__ not in helpers]
        classes = [value for value in public if isinstance(value, type)]
        assert {cls.function for cls in classes} == set(public) - set(classes)
        for value in public:
            assert keras.saving.get_registered_name(value) == f"nglkeras>{value.__name__}"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"class_reduction": "max"}, "unknown class_reduction 'max'; choose from: mean, sum"),
            ({"scaling": "softmax"}, "unknown scaling 'softmax'; choose from: None, sigmoid"),
            ({"label_smoothing": 1.0}, "label_smoothing=1.0 is not in"),
        ],
    )
    def test_bad_argument(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            losses.NGL(**arguments)

    @pytest.mark.parametrize("function", [losses.ngl, losses.sparse_ngl])
    @pytest.mark.parametrize("argument", [{"scaling": True}, {"class_reduction": "avg"}])
    def test_bad_argument_of_a_function(self, function, argument):
        y_true = [0] if function is losses.sparse_ngl else [[1, 0]]
        with pytest.raises(nglkeras.UserError, match="choose from"):
            function(y_true, np.float32([[0.5, 0.5]]), **argument)

    def test_unknown_argument(self):
        with pytest.raises(TypeError, match="gamma"):
            losses.F4(gamma=2)


@needs_tensorflow
class TestMirrored:
    """tf.distribute over two logical CPUs equals one device."""

    @staticmethod
    def train(loss, strategy, x, t, batch_size):
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((x, t)).batch(batch_size, drop_remainder=True)
        with strategy.scope():
            keras.utils.set_random_seed(0)
            model = small_model()
            model.compile(keras.optimizers.SGD(0.02), loss)
        model.fit(data, epochs=3, shuffle=False, verbose=0)
        return model.get_weights()

    @pytest.mark.parametrize("name", [*CLASSES, "SparseNGL"])
    def test_same_weights_as_one_device(self, name, mirrored):
        import tensorflow as tf

        x, t = small_data(32)
        if name == "SparseNGL":
            t = t.argmax(1)
        loss = getattr(losses, name)()
        assert mirrored.num_replicas_in_sync == 2
        one = self.train(loss, tf.distribute.get_strategy(), x, t, 16)
        two = self.train(loss, mirrored, x, t, 16)
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)

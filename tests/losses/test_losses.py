"""The losses as Keras sees them: values, gradients, extremes, shapes, configs."""

import doctest
import json

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

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"class_reduction": "max"}, "unknown class_reduction 'max'; choose from: mean, sum"),
            ({"scaling": "softmax"}, "unknown scaling 'softmax'; choose from: None, sigmoid"),
            ({"label_smoothing": 1.0}, "label_smoothing=1.0 is not in"),
            ({"alpha": "2"}, "alpha='2' is not a number"),
            ({"alpha": None}, "alpha=None is not a number"),
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

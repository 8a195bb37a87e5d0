"""The papers' losses: values of their equations, what their texts say, labels, configs."""

import doctest
import json
import pickle
from functools import partial

import keras
import numpy as np
import pytest
from conftest import ROOT, needs_tensorflow, to_numpy
from keras import ops

import nglkeras
from nglkeras import losses
from nglkeras.expression import Expression
from nglkeras.expression.papers import ALTERNATIVE_F2
from nglkeras.losses import FORMULAS, functions, options
from nglkeras.losses.curves import value_and_gradient

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


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    "function", [losses.ngl, FUNCTIONS["ngl_scaled"], losses.f4, partial(losses.ngl, sparse=True)]
)
def test_bounded_losses_are_finite_everywhere_in_float16(function, from_logits):
    labels = np.array([0, 1, 0, 1])
    t = labels if getattr(function, "keywords", None) else one_hot(labels, 2)
    p = np.float32([[0, 1], [0, 1], [1, 0], [1, 0]])

    # The cast is outside, so that the gradient has to pass through half precision too.
    def compute(x):
        return ops.cast(function(t, ops.cast(x, "float16"), from_logits=from_logits), "float32")

    value, gradient = value_and_gradient(compute, 2e4 * p - 1e4 if from_logits else p)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [losses.Crossentropy, losses.Poly1, losses.MeanAbsoluteError])
@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_logits_that_are_large_are_exact(loss, offset):
    """As those of one-hot labels and of Keras: only their differences count."""
    found = [
        value_and_gradient(
            lambda x: loss(sparse=True, from_logits=True)(np.array([0]), x),
            np.float32([[0, 1, 2]]) + np.float32(added),
        )
        for added in (0, offset)
    ]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-5)


class TestShapesAndLabels:
    @pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool", "float16", "float64"])
    def test_label_dtype_does_not_matter(self, dtype):
        t = one_hot(PIXEL_LABELS, 5)
        expected = to_numpy(losses.ngl(t, PIXELS))
        np.testing.assert_allclose(to_numpy(losses.ngl(t.astype(dtype), PIXELS)), expected)

    @pytest.mark.parametrize("labels", [np.array([0, 1]), np.array([[0], [1]])])
    def test_integer_labels_for_a_one_hot_loss_are_refused(self, labels):
        with pytest.raises(ValueError, match="SparseNGL"):
            losses.NGL()(labels, np.full((2, 3), 1 / 3))

    def test_one_hot_labels_for_the_sparse_loss_are_refused(self):
        with pytest.raises(ValueError, match="NGL instead of SparseNGL"):
            losses.SparseNGL()(np.eye(3), np.full((3, 3), 1 / 3))


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


class TestConfigs:
    @pytest.mark.parametrize("name", GOLDEN_CONFIGS)
    def test_golden_config(self, name):
        loss = getattr(losses, name)()
        assert loss.get_config() == GOLDEN_CONFIGS[name]
        assert keras.saving.serialize_keras_object(loss)["registered_name"] == f"nglkeras>{name}"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"scaling": "softmax"}, "unknown scaling 'softmax'; choose from: None, sigmoid"),
            ({"alpha": "2"}, "alpha='2' is not a finite number"),
            ({"alpha": None}, "alpha=None is not a finite number"),
            ({"alpha": np.nan}, "alpha=nan is not a finite number"),
            ({"alpha": -np.inf}, "alpha=-inf is not a finite number"),
            ({"alpha": np.array([1.0, 2.0])}, "is not a finite number"),
        ],
    )
    def test_bad_argument(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            losses.NGL(**arguments)

    @pytest.mark.parametrize("kind", [ops.convert_to_tensor, keras.Variable])
    def test_a_constant_that_is_a_tensor_is_saved_as_its_number(self, kind, tmp_path):
        """Such as one that a callback changes in the course of a training."""
        loss = losses.NGL(alpha=kind(2.5))
        assert pickle.loads(pickle.dumps(loss)).alpha == loss.get_config()["alpha"] == 2.5
        model = keras.Sequential([keras.Input((3,)), keras.layers.Softmax()])
        model.compile(loss=loss)
        assert np.isfinite(model.evaluate(np.eye(3), np.eye(3), verbose=0))
        model.save(tmp_path / "model.keras")
        assert keras.models.load_model(tmp_path / "model.keras").loss.alpha == 2.5

    @pytest.mark.parametrize("function", [losses.ngl, losses.sparse_ngl])
    @pytest.mark.parametrize("argument", [{"scaling": True}, {"class_reduction": "avg"}])
    def test_bad_argument_of_a_function(self, function, argument):
        y_true = [0] if function is losses.sparse_ngl else [[1, 0]]
        with pytest.raises(nglkeras.UserError, match="choose from"):
            function(y_true, np.float32([[0.5, 0.5]]), **argument)

    def test_unknown_argument(self):
        with pytest.raises(TypeError, match="gamma"):
            losses.F4(gamma=2)

    @pytest.mark.parametrize("cls", [losses.NGL, losses.SparseDice, losses.Crossentropy])
    @pytest.mark.parametrize(
        "dtype", ["bfloat16", "float16", np.float32, np.dtype("float32"), None], ids=str
    )
    def test_every_dtype_computes_in_float32_at_least_and_is_saved(self, cls, dtype):
        p = PIXELS + np.float32(1e-4)
        labels = PIXEL_LABELS if cls is losses.SparseDice else one_hot(PIXEL_LABELS, 5)
        loss = cls(dtype=dtype)
        again = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
        # Half precision would round the predictions to three digits.
        expected = to_numpy(cls()(labels, p))
        assert to_numpy(loss(labels, p)) == to_numpy(again(labels, p)) == expected
        assert again.get_config() == loss.get_config()

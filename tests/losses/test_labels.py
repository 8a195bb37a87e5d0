"""Labels that do not fit: every loss and metric refuses them or gives NaN, on every backend.

Each kind of mistake is tried with all losses: shapes, values that are no class, labels beyond
[0, 1], void pixels with impossible predictions, heads of one unit.
"""

import keras
import numpy as np
import pytest
from conftest import needs_tensorflow, to_numpy
from keras import ops

from nglkeras import UserError, losses
from nglkeras.experiments.segmentation.metrics import SegmentationScores
from nglkeras.expression import Expression
from nglkeras.losses.curves import value_and_gradient
from nglkeras.losses.interpreted import InterpretedLoss
from nglkeras.losses.labels import check_ignore_class
from nglkeras.losses.switched import SwitchedLoss

CLASSES = 4
random = np.random.default_rng(0)
LOGITS = random.normal(size=(2, 3, 5, CLASSES)).astype("float32")
LABELS = random.integers(0, CLASSES, (2, 3, 5)).astype("int32")
P = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
T = np.eye(CLASSES, dtype="float32")[LABELS]

FORMULA = "exp(1 - y_pred*y_true)"
DENSE = {
    "NGL": losses.NGL,
    "F1": losses.F1,
    "F2": losses.F2,
    "F3": losses.F3,
    "F4": losses.F4,
    "Baikal": losses.Baikal,
    "BaikalCMA": losses.BaikalCMA,
    "SCE": losses.SymmetricCrossentropy,
    "FormulaLoss": lambda **a: losses.FormulaLoss(FORMULA, **a),
    "to_loss": lambda **a: Expression.parse(FORMULA).to_loss(**a),
    "Dice": losses.Dice,
    "NGL from logits": lambda **a: losses.NGL(from_logits=True, **a),
    "plain NGL from logits": lambda **a: losses.NGL(from_logits=True, fast=False, **a),
    "F4 from logits": lambda **a: losses.F4(from_logits=True, **a),
}
SPARSE = {
    "SparseNGL": losses.SparseNGL,
    "SparseFocal": losses.SparseFocal,
    "SparseDice": losses.SparseDice,
    "SparseNGL from logits": lambda **a: losses.SparseNGL(from_logits=True, **a),
    "plain SparseNGL from logits": lambda **a: losses.SparseNGL(from_logits=True, fast=False, **a),
    "SparseFocal from logits": lambda **a: losses.SparseFocal(from_logits=True, **a),
    "SparseDice from logits": lambda **a: losses.SparseDice(from_logits=True, **a),
}
# Several in one: no configuration, and no arguments of their own.
SWITCHED = {
    "InterpretedLoss": (InterpretedLoss, T),
    "SwitchedLoss of one": (lambda: SwitchedLoss({"NGL": losses.NGL()}), T),
    "SwitchedLoss": (lambda: SwitchedLoss({"CE": losses.get("CE"), "NGL": losses.NGL()}), T),
    "SwitchedLoss of Keras' losses": (
        lambda: SwitchedLoss({"CE": losses.get("CE"), "Focal": losses.get("Focal")}),
        T,
    ),
    "sparse SwitchedLoss": (
        lambda: SwitchedLoss({"CE": losses.get("SparseCE"), "NGL": losses.get("SparseNGL")}),
        LABELS,
    ),
}
ALL = (
    {name: (make, T) for name, make in DENSE.items()}
    | {name: (make, LABELS) for name, make in SPARSE.items()}
    | SWITCHED
)
JITS = [False] if keras.backend.backend() == "torch" else [False, True]


def compiled(function, jit):
    """What a compiled step makes of a function of two tensors."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=jit, autograph=False)
    if jit:
        import jax

        return jax.jit(function)
    return function


def values_of(loss, y, x, jit=False):
    return to_numpy(compiled(loss.call, jit)(ops.convert_to_tensor(y), ops.convert_to_tensor(x)))


class TestShapes:
    @pytest.mark.parametrize("name", ALL)
    def test_the_right_shape_gives_a_number(self, name):
        make, y = ALL[name]
        assert np.isfinite(to_numpy(make()(y, P)))

    @pytest.mark.parametrize("name", ALL)
    def test_another_is_refused(self, name):
        make, y = ALL[name]
        loss = make()
        for wrong in (
            y.swapaxes(1, 2),
            y[:1],
            y[:, :1],
            y[:, :1, :1],
            np.concatenate([y, y]),
            y.reshape(-1, *y.shape[3:]),
            y[0],
            y[None],
        ):
            with pytest.raises(UserError, match=r"shape \(.*shape \(2, 3, 5, 4\)"):
                loss(wrong, P)

    def test_classes_on_another_axis_are_told(self):
        p = np.moveaxis(P, -1, 1)
        with pytest.raises(UserError, match="if axis 1 has the classes, give axis=1"):
            losses.SparseNGL()(LABELS, p)
        assert np.isfinite(to_numpy(losses.SparseNGL(axis=1)(LABELS, p)))

    @pytest.mark.parametrize("name", [*DENSE, "InterpretedLoss"])
    @pytest.mark.parametrize("classes", [3, 5])
    def test_another_number_of_classes_is_refused(self, name, classes):
        with pytest.raises(UserError, match="differ; one-hot labels have the shape of the pred"):
            ALL[name][0]()(np.eye(classes)[np.minimum(LABELS, classes - 1)], P)

    @pytest.mark.parametrize("name", DENSE)
    @pytest.mark.parametrize("labels", [LABELS, LABELS[..., None]])
    def test_class_indices_for_a_one_hot_loss(self, name, labels):
        with pytest.raises(UserError, match="the labels are class indices; give the loss sparse=T"):
            DENSE[name]()(labels, P)

    @pytest.mark.parametrize("name", SPARSE)
    def test_one_hot_labels_for_a_sparse_loss(self, name):
        with pytest.raises(UserError, match="the labels are one-hot; leave out sparse=True"):
            SPARSE[name]()(T, P)

    @pytest.mark.parametrize("name", [*DENSE, *SPARSE, "InterpretedLoss"])
    def test_a_head_of_one_unit_is_refused(self, name):
        make, y = ALL[name]
        y = y[..., :1] if y is T else y
        with pytest.raises(UserError, match=r"has one class: .* Dense\(2, 'softmax'\)") as error:
            make()(y, P[..., :1])
        assert "Sparse" not in str(error.value)

    @pytest.mark.parametrize("axis", [4, -5])
    def test_an_axis_that_there_is_not(self, axis):
        with pytest.raises(UserError, match=f"has no axis {axis} of classes"):
            losses.NGL(axis=axis)(T, P)

    @pytest.mark.parametrize(
        ("labels", "predictions"),
        [(LABELS[:1], P), (LABELS.swapaxes(1, 2), P), (T, P), (LABELS, P[..., :3])],
    )
    def test_of_scores(self, labels, predictions):
        with pytest.raises(UserError, match=r"y_pred.* shape \(2, 3, 5, "):
            SegmentationScores(CLASSES).update_state(labels, predictions)

    def test_of_expressions(self):
        expression = Expression.parse(FORMULA)
        for y in (T[:1], T[..., :1], T.swapaxes(1, 2), T[0, 0, 0], [1.0]):
            with pytest.raises(UserError, match=r"y_true of shape .* differ"):
                expression(y, P)
        np.testing.assert_allclose(expression(1.0, P), np.exp(1 - P), rtol=1e-6)


class TestEmptyBatches:
    """A device may get one as its share of a last batch."""

    @pytest.mark.parametrize("pixels", [True, False])
    @pytest.mark.parametrize("name", [*DENSE, *SPARSE])
    def test_have_no_values(self, name, pixels):
        loss, t = (DENSE[name], T) if name in DENSE else (SPARSE[name], LABELS)
        if not pixels and "SparseDice" in name:
            pytest.skip("is of pixels")
        t, p = (t[:0], P[:0]) if pixels else (t[0, 0, :0], P[0, 0, :0])
        assert to_numpy(loss(reduction="none")(t, p)).shape[0] == 0


@needs_tensorflow
class TestUnknownShapes:
    """Data sets whose shapes TensorFlow learns as the step runs."""

    @staticmethod
    def step(loss, rank, y_rank, jit, classes=CLASSES):
        import tensorflow as tf

        labels = None if y_rank is None else [None] * y_rank
        dtype = "int32" if "Sparse" in type(loss).__name__ else "float32"
        return tf.function(
            loss.__call__,
            input_signature=[
                tf.TensorSpec(labels, dtype),
                tf.TensorSpec([None] * (rank - 1) + [classes]),
            ],
            jit_compile=jit,
            autograph=False,
        )

    @pytest.mark.parametrize(
        ("name", "jit"),
        [(name, False) for name in (*DENSE, *SPARSE, "InterpretedLoss")]
        + [(name, True) for name in ("NGL", "NGL from logits", "SparseNGL from logits")],
    )
    @pytest.mark.parametrize("known", ["rank", "nothing"])
    def test_right_labels_are_taken_and_wrong_ones_end_the_step(self, name, known, jit):
        make, y = ALL[name]
        loss = make()
        step = self.step(loss, 4, None if known == "nothing" else y.ndim, jit)
        assert to_numpy(step(y, P)) == pytest.approx(to_numpy(loss(y, P)), rel=1e-5)
        for wrong in (y[:1], y.swapaxes(1, 2)):
            with pytest.raises(Exception, match=r"(?i)differ in shape|reshape|incompatible"):
                step(wrong, P)

    def test_a_class_axis_of_unknown_length(self):
        step = self.step(losses.SparseNGL(), 4, 4, False)
        expected = to_numpy(losses.SparseNGL()(LABELS, P))
        assert to_numpy(step(LABELS[..., None], P)) == pytest.approx(expected)
        with pytest.raises(Exception, match=r"(?i)differ in shape|reshape"):
            step(T.astype("int32"), P)

    @pytest.mark.parametrize("name", ["NGL", "plain NGL from logits", "Baikal", "SCE"])
    def test_an_unknown_number_of_classes(self, name):
        loss = DENSE[name](label_smoothing=0.1)
        step = self.step(loss, 4, 4, False, classes=None)
        assert to_numpy(step(T, P)) == pytest.approx(to_numpy(loss(T, P)), rel=1e-5)

    @pytest.mark.parametrize("name", ["NGL", "SparseNGL", "SparseFocal"])
    def test_labels_from_a_generator_in_fit(self, name):
        import tensorflow as tf

        make, y = ALL[name]
        x = np.zeros((2, 3, 5, 2), "float32")
        for shape in ([None] * y.ndim, None):
            data = tf.data.Dataset.from_tensors((x, y)).map(
                lambda x, y, shape=shape: (x, _forgotten(y, shape))
            )
            model = keras.Sequential(
                [keras.Input((3, 5, 2)), keras.layers.Conv2D(CLASSES, 1, activation="softmax")]
            )
            model.compile("sgd", make())
            expected = to_numpy(make()(y, np.full_like(P, 1 / CLASSES)))
            assert model.fit(data, shuffle=False, verbose=0).history["loss"][0] == pytest.approx(
                expected
            )

    def test_predictions_of_unknown_rank_are_refused(self):
        import tensorflow as tf

        with pytest.raises(UserError, match="y_pred is of unknown rank"):
            tf.function(losses.ngl, [tf.TensorSpec(None)] * 2, autograph=False)(T, P)


def _forgotten(y, shape):
    import tensorflow as tf

    y = tf.py_function(lambda y: y, [y], y.dtype)
    if shape is not None:
        y.set_shape(shape)
    return y


# Nothing of this is a class of four.
NO_CLASSES = {
    "int32": [-1, CLASSES, 255, -(2**31)],
    "uint8": [255, CLASSES],
    "int64": [2**32 + 1, -1, 2**63 - 1],
    "float32": [0.5, -0.5, np.nan, np.inf, 2.0**32],
}


def images(values, y, x, dtype=None):
    """An image for each value, which stands at one of its pixels; and one without."""
    y = np.repeat(y[:1], len(values) + 1, axis=0).astype(dtype or y.dtype)
    for i, value in enumerate(values):
        y[i, 1, 2] = value if y.ndim == 3 else [value, 1, 0, 0]
    return y, np.repeat(x[:1], len(y), axis=0)


def only_these_are_nan(values, count):
    """Whether the loss of these pixels, or their images, is NaN, and no other."""
    expected = np.zeros(values.shape, bool)
    expected[(slice(count), 1, 2)[: values.ndim]] = True
    return (np.isnan(values) == expected).all()


@pytest.mark.parametrize("jit", JITS)
@pytest.mark.parametrize("name", SPARSE)
class TestValues:
    @pytest.mark.parametrize("dtype", NO_CLASSES)
    def test_what_is_no_class_is_nan(self, name, dtype, jit):
        loss, bad = SPARSE[name](reduction="none"), NO_CLASSES[dtype]
        y, x = images(bad, LABELS, P, dtype)
        if dtype == "int64" and keras.backend.backend() == "jax":
            # JAX has no such tensors: NumPy's numbers are looked at before it cuts them.
            assert only_these_are_nan(to_numpy(loss(y, x)), len(bad))
            return
        values = values_of(loss, y, x, jit)
        assert only_these_are_nan(values, len(bad))
        expected = values_of(loss, LABELS[:1], P[:1])
        np.testing.assert_allclose(values[-1:], expected, rtol=1e-5)

    def test_the_dtype_of_a_class_does_not_matter(self, name, jit):
        if jit:
            pytest.skip("one compilation for each dtype")
        y = LABELS % 2
        expected = values_of(SPARSE[name](), y, P)
        for dtype in ("uint8", "int64", "uint16", "float32", "float16", "bool"):
            values = to_numpy(SPARSE[name]().call(y.astype(dtype), P))
            np.testing.assert_allclose(values, expected, rtol=1e-5)

    @pytest.mark.parametrize("void", [255, 2])
    def test_predictions_at_void_do_not_matter(self, name, void, jit):
        y = np.where(LABELS == 2, void, LABELS).astype("int32")
        bad = np.resize([np.nan, np.inf, -np.inf], P.shape)
        x = np.where((y == void)[..., None], bad, P).astype("float32")
        loss = SPARSE[name](ignore_class=void)
        function = compiled(lambda x: loss(y, x), jit)
        value, gradient = value_and_gradient(function, x)
        expected, slope = value_and_gradient(lambda x: loss(y, x), P)
        assert value == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-7)
        assert not gradient[y == void].any()


@pytest.mark.parametrize("cls", [losses.SparseNGL, losses.SparseFocal, losses.SparseDice])
class TestIndices:
    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_do_not_go_through_the_dtype_of_the_loss(self, cls, dtype):
        z = random.normal(size=(1, 2, 2, 300)).astype("float32")
        y = np.full((1, 2, 2), 257)
        expected = to_numpy(cls(from_logits=True)(y, ops.cast(z, dtype)))
        found = to_numpy(ops.cast(cls(from_logits=True, dtype=dtype)(y, z), "float32"))
        assert found == pytest.approx(expected, rel=1e-2)

    def test_in_a_dtype_that_does_not_hold_them_are_refused(self, cls):
        z, y = np.zeros((1, 2, 2, 300), "float32"), ops.cast(np.zeros((1, 2, 2)), "bfloat16")
        with pytest.raises(UserError, match="class indices in bfloat16 are not exact"):
            cls(from_logits=True)(y, z)


@pytest.mark.parametrize(
    "make",
    [
        losses.SparseNGL,
        losses.SparseFocal,
        losses.SparseDice,
        lambda **a: SegmentationScores(3, **a),
    ],
    ids=["SparseNGL", "SparseFocal", "SparseDice", "SegmentationScores"],
)
class TestIgnoredClass:
    @pytest.mark.parametrize("bad", [2.5, "255", True, np.True_, float("nan"), float("inf"), 2**40])
    def test_must_be_a_whole_number(self, make, bad):
        with pytest.raises(UserError, match="is not a whole number, such as 255"):
            make(ignore_class=bad)

    @pytest.mark.parametrize("good", [255, np.int64(255), np.uint8(255), 255.0])
    def test_may_be_any_kind_of_whole_number(self, make, good):
        found = make(ignore_class=good).get_config()["ignore_class"]
        assert found == 255
        assert type(found) is int


def test_functions_check_the_ignored_class_too():
    with pytest.raises(UserError, match="whole number"):
        losses.sparse_ngl(LABELS, P, ignore_class=2.5)
    assert check_ignore_class(None) is None


class TestScores:
    @pytest.mark.parametrize("dtype", NO_CLASSES)
    def test_a_label_that_is_no_class_makes_all_measures_nan(self, dtype):
        scores = SegmentationScores(CLASSES, ignore_class=7)
        for bad in NO_CLASSES[dtype]:
            scores.reset_state()
            y, x = images([bad], LABELS, P, dtype)
            scores.update_state(y, x)
            assert all(np.isnan(float(value)) for value in scores.result().values())
            assert to_numpy(scores.confusion).sum() == y.size - 1
        scores.reset_state()
        scores.update_state(LABELS, P)
        assert all(np.isfinite(float(value)) for value in scores.result().values())

    def test_predictions_at_void_do_not_matter(self):
        y = np.where(LABELS == 2, 255, LABELS)
        scores = [SegmentationScores(CLASSES), SegmentationScores(CLASSES)]
        scores[0].update_state(y, P)
        scores[1].update_state(y, np.where((y == 255)[..., None], np.nan, P))
        assert (to_numpy(scores[0].confusion) == to_numpy(scores[1].confusion)).all()


@pytest.mark.parametrize("jit", JITS)
class TestLabelsBeyondOne:
    """Kernel and plain operations have one rule for what are no shares of classes."""

    @pytest.mark.parametrize("name", [*DENSE, "InterpretedLoss"])
    def test_are_nan_for_their_sample(self, name, jit):
        bad = [255.0, 2.0, 1.1, -1.0, -0.1, np.nan]
        t, x = images(bad, T, P)
        loss = ALL[name][0]()
        if name == "InterpretedLoss":
            loss.memory.store(Expression.parse(FORMULA))
        assert only_these_are_nan(values_of(loss, t, x, jit), len(bad))

    @pytest.mark.parametrize("name", ["NGL", "NGL from logits", "F4 from logits", "Dice"])
    def test_by_rounding_are_taken(self, name, jit):
        loss = ALL[name][0]()
        t = np.where(T == 1, np.float32(1.0000002), np.float32(-1e-7))
        np.testing.assert_allclose(
            values_of(loss, t, P, jit), values_of(loss, T, P), rtol=1e-4, atol=1e-5
        )

    @pytest.mark.parametrize("cls", [losses.NGL, losses.F4])
    @pytest.mark.parametrize("bad", ["label 255", "label NaN", "logit NaN", "logit inf"])
    def test_and_nan_are_the_same_for_kernel_and_plain_operations(self, cls, bad, jit):
        t, z = T.copy(), LOGITS.copy()
        place, value = bad.split()
        (t if place == "label" else z)[1, 2, 3, 0] = float(value)
        results = []
        for fast in (None, False):
            loss = cls(from_logits=True, fast=fast)
            results.append(value_and_gradient(compiled(lambda z, f=loss: f.call(t, z), jit), z))
        for kernel, plain in zip(*results, strict=True):
            np.testing.assert_allclose(to_numpy(kernel), to_numpy(plain), rtol=1e-4, atol=1e-6)
        assert np.isnan(results[0][1][1, 2, 3]).all()


@pytest.mark.parametrize("jit", JITS)
@pytest.mark.parametrize(("smoothing", "reduction"), [(0.0, "mean"), (0.2, "sum")])
@pytest.mark.parametrize("cls", [losses.NGL, losses.F4])
def test_soft_labels_have_the_same_gradient_from_kernel_and_plain(cls, reduction, smoothing, jit):
    soft = (0.7 * T + 0.3 / CLASSES).astype("float32")
    gradients = []
    for fast in (None, False):
        loss = cls(
            from_logits=True, fast=fast, label_smoothing=smoothing, class_reduction=reduction
        )
        function = compiled(lambda t, f=loss: f.call(t, LOGITS), jit)
        gradients.append(value_and_gradient(function, soft)[1])
    assert np.abs(gradients[1]).min() > 0
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_interpreted_loss_has_no_gradient_by_the_labels_and_says_so():
    loss = InterpretedLoss()
    loss.memory.store(Expression.parse(FORMULA))
    with pytest.raises(UserError, match="no gradient by the labels; FormulaLoss has"):
        value_and_gradient(lambda t: loss(t, P), T)


class TestPixelWeights:
    """Dice has no value for a pixel: weights of pixels go into its sums."""

    @pytest.mark.parametrize("shape", [(2,), (2, 1)])
    def test_those_of_images_weigh_images(self, shape):
        values = to_numpy(losses.SparseDice(reduction="none")(LABELS, P))
        weights = np.array([3.0, 0.5]).reshape(shape)
        found = to_numpy(losses.SparseDice()(LABELS, P, sample_weight=weights))
        assert found == pytest.approx((values * [3.0, 0.5]).mean(), rel=1e-5)

    def test_of_another_shape_are_refused(self):
        with pytest.raises(UserError, match="one pixel weight for each prediction"):
            losses.SparseDice()(LABELS, P, sample_weight=np.ones((2, 5, 3)))


@pytest.mark.parametrize("ignore_class", [None, 255])
@pytest.mark.parametrize("more", [(), (1,), (1, 1)])
def test_weights_of_samples_in_any_shape_stay_as_they_are(more, ignore_class):
    """PyTorch multiplies in place; Keras removes one axis of 1 and multiplies across others."""
    loss, labels = losses.SparseNGL(ignore_class=ignore_class), np.arange(6) % 3
    x = ops.convert_to_tensor(np.random.default_rng(0).dirichlet(np.ones(3), 6))
    given = np.arange(1.0, 7, dtype="float32")
    weights = ops.convert_to_tensor(given.reshape(-1, *more))
    each = to_numpy(losses.sparse_ngl(labels, x))
    if ignore_class is not None:
        labels[4:] = ignore_class
        each = each[:4]
    for _ in range(3):
        found = float(loss(labels, x, sample_weight=weights))
        assert found == pytest.approx((each * given[: len(each)]).mean(), rel=1e-5)
    np.testing.assert_array_equal(to_numpy(weights).ravel(), given)


@needs_tensorflow
@pytest.mark.parametrize("size", [None, 1])
def test_weights_whose_shape_a_data_set_does_not_tell(size):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, size])])
    def weighted(weights):
        return losses.SparseNGL()(LABELS[0, 0], P[0, 0], sample_weight=weights)

    weights = np.arange(1.0, 6.0, dtype="float32")
    expected = (to_numpy(losses.sparse_ngl(LABELS[0, 0], P[0, 0])) * weights).mean()
    assert float(weighted(weights[:, None])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_tensors_of_unsigned_labels(dtype):
    if keras.backend.backend() == "torch":
        import torch

        # Keras does not know all of them.
        labels = torch.tensor(LABELS).to(getattr(torch, dtype))
    else:
        labels = ops.convert_to_tensor(LABELS.astype(dtype))
    found = to_numpy(losses.sparse_ngl(labels, P))
    np.testing.assert_allclose(found, to_numpy(losses.sparse_ngl(LABELS, P)))


@pytest.mark.parametrize("pixels", [(), (4,)])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (1, 3)])
def test_weights_of_other_samples_are_refused(shape, pixels):
    """A single sample would be multiplied by the weights of all."""
    labels = np.ones((1, *pixels), "int32")
    with pytest.raises(UserError, match="are weights of neither samples nor pixels"):
        losses.SparseNGL()(labels, np.full((*labels.shape, 3), 1 / 3), sample_weight=np.ones(shape))


def test_an_unsigned_label_beyond_all_is_no_class():
    """Such as a -1 that was cast."""
    labels = np.array([2**64 - 1], "uint64")
    if keras.backend.backend() == "torch":
        import torch

        labels = torch.tensor([-1]).to(torch.uint64)
    value = to_numpy(losses.sparse_ngl(labels, np.full((1, 3), 1 / 3, "float32")))
    assert np.isnan(value).all()


def test_void_pixels_do_not_count_in_a_switched_loss():
    y = np.where(LABELS == 2, 255, LABELS)
    each = {n: losses.get(n, sparse=True, ignore_class=255) for n in ("CE", "NGL", "Focal")}
    switched = SwitchedLoss(each)
    for name, loss in each.items():
        switched.memory.store(name)
        assert to_numpy(switched(y, P)) == pytest.approx(to_numpy(loss(y, P)), rel=1e-6)

"""Losses from logits by their kernels: as exact as they are fast, and only where they may be."""

from functools import partial

import keras
import numpy as np
import pytest
from conftest import needs_tensorflow, to_numpy

import nglkeras
from nglkeras import losses
from nglkeras.losses import kernels
from nglkeras.losses.curves import value_and_gradient
from nglkeras.losses.kernel_terms import f4_term, ngl_term

needs_torch = pytest.mark.skipif(keras.backend.backend() != "torch", reason="needs PyTorch")
LOSSES = {"NGL": losses.NGL, "SparseNGL": losses.SparseNGL, "F4": losses.F4}
# TensorFlow executes small batches operation by operation; others have one way.
WAYS = ("by operations", "compiled") if keras.backend.backend() == "tensorflow" else ("only",)
# In float32, of the largest entry of the gradient.
TOLERANCE = 1.5e-6


def cases(name, classes=10, samples=64):
    """(labels, logits): ordinary ones, and some for which the softmax is saturated."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (samples, classes)).astype("float32")
    labels = random.integers(0, classes, samples)
    sure, wrong = logits.copy(), logits.copy()
    sure[np.arange(samples), labels] += 30
    wrong[np.arange(samples), (labels + 1) % classes] += 30
    y = labels if name == "SparseNGL" else np.eye(classes, dtype="float32")[labels]
    return [(y, logits), (y, sure), (y, wrong)]


def exact(name, y, logits, **arguments):
    """Mean loss and gradient in float64 by NumPy, written down anew."""
    arguments = {"label_smoothing": 0.0, "class_reduction": "mean", "alpha": 2.4092} | arguments
    z = logits.astype("float64")
    classes = z.shape[-1]
    t = np.eye(classes)[y] if name == "SparseNGL" else y.astype("float64")
    smoothing = arguments["label_smoothing"]
    t = t * (1 - smoothing) + smoothing / classes
    e = np.exp(z - z.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    if name == "F4":
        value = np.sin(np.sin(p - 2.6085) + t**2)
        slope = np.cos(np.sin(p - 2.6085) + t**2) * np.cos(p - 2.6085)
    else:
        u, s = np.exp(arguments["alpha"] - p * (1 + t)), np.sin(p)
        value = u - np.cos(np.cos(s))
        slope = -(1 + t) * u - np.sin(np.cos(s)) * np.sin(s) * np.cos(p)
    # Differences first: 1 - p is lost where p is nearly 1, in float64 too.
    others = slope[..., :, None] - slope[..., None, :]
    gradient = p * (p[..., None, :] * others).sum(-1)
    factor = classes if arguments["class_reduction"] == "mean" else 1
    samples = np.prod(z.shape[:-1])
    return value.sum() / factor / samples, gradient / factor / samples


def check(name, y, logits, **arguments):
    loss = LOSSES[name](from_logits=True, fast=True, **arguments)
    value, gradient = value_and_gradient(lambda z: loss(y, z), logits)
    expected, slopes = exact(name, y, logits, **arguments)
    assert value == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert np.abs(gradient - slopes).max() <= TOLERANCE * np.abs(slopes).max()


@pytest.mark.parametrize("way", WAYS)
class TestExactness:
    @pytest.fixture(autouse=True)
    def in_this_way(self, way, monkeypatch):
        if way == "compiled":
            monkeypatch.setattr(kernels, "SMALL", 0)

    @pytest.mark.parametrize("classes", [2, 10, 100])
    @pytest.mark.parametrize("name", LOSSES)
    def test_value_and_gradient_at_saturation_too(self, name, classes):
        for y, logits in cases(name, classes):
            check(name, y, logits)

    @pytest.mark.parametrize("name", LOSSES)
    def test_every_argument(self, name):
        y, logits = cases(name)[0]
        check(name, y, logits, label_smoothing=0.2, class_reduction="sum")
        if name != "F4":
            check(name, y, logits, alpha=1.3)

    @pytest.mark.parametrize("name", ["NGL", "F4"])
    def test_mixed_labels(self, name):
        (y, logits), *_ = cases(name)
        check(name, 0.7 * y + 0.3 * y[::-1], logits)
        check(name, np.random.default_rng(3).dirichlet(np.ones(10), 64).astype("float32"), logits)

    @pytest.mark.parametrize("name", LOSSES)
    def test_no_worse_than_plain_operations(self, name):
        for y, logits in cases(name):
            _, slopes = exact(name, y, logits)
            errors = {}
            for fast in (True, False):
                loss = partial(LOSSES[name](from_logits=True, fast=fast), y)
                gradient = value_and_gradient(loss, logits)[1]
                errors[fast] = np.abs(gradient - slopes).max() / np.abs(slopes).max()
            assert errors[True] <= max(errors[False], TOLERANCE)

    @pytest.mark.parametrize("axis", [1, -1, -2])
    @pytest.mark.parametrize("name", LOSSES)
    def test_pixels_with_their_classes_on_any_axis(self, name, axis):
        random = np.random.default_rng(1)
        logits = random.normal(0, 3, (2, 3, 4, 5)).astype("float32")
        labels = random.integers(0, 5, (2, 3, 4))
        y = labels if name == "SparseNGL" else np.eye(5, dtype="float32")[labels]
        moved = np.moveaxis(logits, -1, axis)
        y_moved = y if name == "SparseNGL" else np.moveaxis(y, -1, axis)
        loss = LOSSES[name](from_logits=True, fast=True, axis=axis)
        values, gradient = value_and_gradient(lambda z: loss.call(y_moved, z), moved)
        assert values.shape == (2, 3, 4)
        expected, slopes = exact(name, y, logits)
        assert values.mean() == pytest.approx(expected, rel=1e-6)
        np.testing.assert_allclose(np.moveaxis(gradient, axis, -1) / 24, slopes, atol=1e-7)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_passes_through_float32(self, dtype):
        (y, logits), *_ = cases("NGL")
        half = to_numpy(keras.ops.cast(logits, dtype)).astype("float32")
        value = to_numpy(losses.ngl(y, keras.ops.cast(logits, dtype), from_logits=True, fast=True))
        wanted = to_numpy(losses.ngl(y, half, from_logits=True, fast=False))
        np.testing.assert_allclose(value, wanted, rtol=1e-6)

    @pytest.mark.parametrize("void", [255, 2**24 + 1, -99_999_999], ids=str)
    def test_void_pixels_do_not_count(self, void):
        """Nor those of an index that float32 does not hold."""
        y, logits = cases("SparseNGL")[0]
        y = np.where(np.arange(64) % 3 == 0, void, y)
        valid = y != void
        loss = losses.SparseNGL(from_logits=True, ignore_class=void, fast=True)
        value, gradient = value_and_gradient(lambda z: loss(y, z), logits)
        expected, slopes = exact("SparseNGL", y[valid], logits[valid])
        assert value == pytest.approx(expected, rel=1e-6)
        np.testing.assert_array_equal(gradient[~valid], 0)
        np.testing.assert_allclose(gradient[valid], slopes, atol=1e-7)

    @pytest.mark.parametrize("label", [255, 10, -1])
    def test_a_label_that_is_no_class_is_not_passed_over(self, label):
        y, logits = cases("SparseNGL")[0]
        values = to_numpy(
            losses.sparse_ngl(np.where(np.arange(64) == 5, label, y), logits, from_logits=True)
        )
        assert np.isnan(values).tolist() == [i == 5 for i in range(64)]

    @pytest.mark.parametrize("name", ["NGL", "F4"])
    def test_a_label_outside_0_to_1_is_not_passed_over(self, name):
        y, logits = cases(name)[0]
        y[5, 2], y[7, 1], y[9, 0] = 1.5, -0.5, np.nan
        loss = partial(LOSSES[name](from_logits=True, reduction=None), y)
        if keras.backend.backend() == "tensorflow":
            # Graphs are optimised.
            loss = tf_function(loss)
        for found in value_and_gradient(loss, logits):
            bad = np.isnan(found.reshape(64, -1)).any(-1)
            assert bad.nonzero()[0].tolist() == [5, 7, 9]


@pytest.mark.parametrize("way", WAYS)
class TestSigmoids:
    @pytest.fixture(autouse=True)
    def in_this_way(self, way, monkeypatch):
        if way == "compiled":
            monkeypatch.setattr(kernels, "SMALL", 0)

    @pytest.mark.parametrize("arguments", [{}, {"label_smoothing": 0.2, "class_reduction": "sum"}])
    @pytest.mark.parametrize("shape", [(64, 1), (16, 3), (2, 4, 5, 2)])
    @pytest.mark.parametrize("name", ["NGL", "F4"])
    def test_each_output_is_a_prediction_of_two_classes(self, name, shape, arguments):
        random = np.random.default_rng(0)
        z, y = random.normal(0, 3, shape).astype("float32"), random.integers(0, 2, shape)
        for logits, labels in ((z, y), (np.abs(z) + 20, 0 * y), (z, random.uniform(size=shape))):
            labels = labels.astype("float32")
            loss = LOSSES[name](head="sigmoid", from_logits=True, fast=True, **arguments)
            value, gradient = value_and_gradient(partial(loss, labels), logits)
            expected, slopes = exact(
                name,
                np.stack([1.0 - labels, labels], axis=-1),
                np.stack([0.0 * logits, logits], axis=-1),
                **arguments,
            )
            assert value == pytest.approx(expected, rel=2e-6)
            assert np.abs(gradient - slopes[..., 1]).max() <= TOLERANCE * np.abs(slopes).max()

    def test_a_label_outside_0_to_1_is_not_passed_over(self):
        y, logits = np.zeros((8, 3), "float32"), np.ones((8, 3), "float32")
        y[2, 0], y[5, 1], y[6, 2] = 1.5, -0.5, np.nan
        loss = partial(losses.BinaryNGL(from_logits=True, reduction=None), y)
        if keras.backend.backend() == "tensorflow":
            loss = tf_function(loss)
        value, gradient = value_and_gradient(loss, logits)
        assert np.isnan(value).nonzero()[0].tolist() == [2, 5, 6]
        assert np.argwhere(np.isnan(gradient)).tolist() == [[2, 0], [5, 1], [6, 2]]


def tf_function(function):
    import tensorflow as tf

    return tf.function(function, autograph=False)


class TestChoice:
    """What `fast` chooses, and what it cannot have."""

    @staticmethod
    def uses_kernel(loss, y, logits):
        def fail(*_):
            raise AssertionError("kernel")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernels.Kernel, "__call__", fail)
            try:
                loss(y, logits)
            except AssertionError as error:
                return str(error) == "kernel"
        return False

    @pytest.mark.parametrize("name", LOSSES)
    def test_from_logits_in_float32_unless_it_is_switched_off(self, name):
        (y, logits), *_ = cases(name)
        make = LOSSES[name]
        assert self.uses_kernel(make(from_logits=True), y, logits)
        assert self.uses_kernel(make(from_logits=True, fast=True), y, logits)
        assert not self.uses_kernel(make(from_logits=True, fast=False), y, logits)
        assert not self.uses_kernel(make(), y, np.full_like(logits, 0.1))

    @needs_tensorflow  # JAX has no float64 unless told so
    def test_not_in_float64(self):
        (y, logits), *_ = cases("NGL")
        assert not self.uses_kernel(losses.NGL(from_logits=True, dtype="float64"), y, logits)

    def test_not_with_a_scaling(self):
        (y, logits), *_ = cases("NGL")
        assert not self.uses_kernel(losses.NGL(from_logits=True, scaling="sigmoid"), y, logits)

    def test_not_with_an_alpha_that_is_trained(self):
        (y, logits), *_ = cases("NGL")
        alpha = keras.Variable(2.0)
        assert not self.uses_kernel(losses.NGL(alpha, from_logits=True), y, logits)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "fast=True is not for probabilities; it takes logits, with from_logits=True"),
            ({"from_logits": True, "scaling": "sigmoid"}, "fast=True is not for scaling='sigmoid'"),
        ],
    )
    @pytest.mark.parametrize("name", ["NGL", "SparseNGL"])
    def test_insisting_where_it_is_not_valid(self, name, arguments, message):
        (y, logits), *_ = cases(name)
        with pytest.raises(nglkeras.UserError, match=message):
            LOSSES[name](fast=True, **arguments)(y, logits)

    @needs_tensorflow
    def test_insisting_in_float64(self):
        (y, logits), *_ = cases("F4")
        with pytest.raises(nglkeras.UserError, match="not for float64; it computes in float32"):
            losses.F4(from_logits=True, fast=True, dtype="float64")(y, logits)

    @needs_tensorflow
    def test_tensorflow_has_no_second_derivative_and_says_so(self):
        import tensorflow as tf

        (y, logits), *_ = cases("NGL")
        z = tf.constant(logits)
        with tf.GradientTape() as outer:
            outer.watch(z)
            with tf.GradientTape() as inner:
                inner.watch(z)
                value = losses.NGL(from_logits=True)(y, z)
            gradient = inner.gradient(value, z)
        with pytest.raises(nglkeras.UserError, match="with fast=False it has them all"):
            outer.gradient(gradient, z)

    @needs_torch
    @pytest.mark.parametrize("name", LOSSES)
    def test_second_derivative_on_torch(self, name):
        import torch

        (y, logits), *_ = cases(name, samples=3)
        fast, plain = (
            torch.autograd.functional.hessian(
                lambda z, fast=fast: LOSSES[name](from_logits=True, fast=fast)(y, z),
                torch.tensor(logits),
            )
            for fast in (True, False)
        )
        np.testing.assert_allclose(fast, plain, atol=1e-6)

    @pytest.mark.skipif(keras.backend.backend() != "jax", reason="TensorFlow refuses")
    def test_second_derivative_on_jax(self):
        import jax

        (y, logits), *_ = cases("NGL", samples=3)
        fast, plain = (
            jax.hessian(lambda z, fast=fast: losses.NGL(from_logits=True, fast=fast)(y, z))(logits)
            for fast in (True, False)
        )
        np.testing.assert_allclose(fast, plain, atol=1e-6)


@needs_torch
class TestOnTorch:
    """What PyTorch alone has: blocks, labels that are trained, transformations of functions."""

    @pytest.mark.parametrize("name", LOSSES)
    def test_blocks_change_nothing(self, name, monkeypatch):
        import torch

        from nglkeras.losses import kernel_torch

        y, logits = cases(name)[0]
        loss = partial(LOSSES[name](from_logits=True, fast=True, reduction=None), y)
        whole = value_and_gradient(loss, logits)
        # Seven samples a block: the last block is smaller.
        monkeypatch.setattr(kernel_torch, "BLOCK", 70)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        for a, b in zip(value_and_gradient(loss, logits), whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("head", ["softmax", "sigmoid"])
    @pytest.mark.parametrize("name", ["NGL", "F4"])
    def test_gradient_by_labels(self, name, head):
        import torch

        y, logits = map(torch.tensor, cases(name)[0])
        labels = 0.9 * y + 0.01
        fast, plain = (
            torch.func.grad(
                lambda t, fast=fast: LOSSES[name](head=head, from_logits=True, fast=fast)(t, logits)
            )
            for fast in (True, False)
        )
        np.testing.assert_allclose(fast(labels), plain(labels), atol=1e-7)

    @pytest.mark.parametrize("name", LOSSES)
    def test_one_gradient_for_each_sample(self, name):
        import torch

        y, logits = map(torch.tensor, cases(name)[0])

        def value(y, z):
            return kernel_of(name)(y[None], z[None]).sum()

        def gradient(y, z):
            return torch.func.grad(value, argnums=1)(y, z)

        if name == "SparseNGL":
            y = y.int()
        apart = torch.func.vmap(gradient)(y, logits)
        together = torch.func.grad(lambda z: kernel_of(name)(y, z).sum())(logits)
        np.testing.assert_allclose(apart, together, atol=1e-6)
        of_sum = torch.func.grad(lambda z: torch.func.vmap(value)(y, z).sum())(logits)
        np.testing.assert_allclose(of_sum, together, atol=1e-6)

    def test_nothing_is_kept_where_no_gradient_is_wanted(self):
        import torch

        y, logits = map(torch.tensor, cases("NGL")[0])
        assert kernel_of("NGL")(y, logits).grad_fn is None
        with torch.no_grad():
            assert kernel_of("NGL")(y, logits.requires_grad_()).grad_fn is None


def kernel_of(name):
    term = f4_term(2.6085) if name == "F4" else ngl_term(2.4092)
    return kernels.Kernel(term, name == "SparseNGL", 0.0, "mean", -1)


class TestInModels:
    @staticmethod
    def train(loss, sparse, strategy=None, jit_compile="auto"):
        random = np.random.default_rng(0)
        x = random.normal(size=(48, 4)).astype("float32")
        y = random.integers(0, 3, 48)
        keras.utils.set_random_seed(0)

        def build():
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
            model.compile(keras.optimizers.SGD(0.05), loss, jit_compile=jit_compile)
            return model

        if strategy is None:
            model = build()
        else:
            with strategy.scope():
                model = build()
        y = y if sparse else np.eye(3, dtype="float32")[y]
        # Batches of 16 and, on one device, a smaller last one.
        size = 16 if strategy else 20
        history = model.fit(x, y, batch_size=size, epochs=3, shuffle=False, verbose=0).history
        return model, (x, y), history["loss"]

    @pytest.mark.parametrize("jit_compile", ["auto", True])
    @pytest.mark.parametrize("name", LOSSES)
    def test_fit_equals_plain_operations(self, name, jit_compile):
        if jit_compile is True and keras.backend.backend() == "torch":
            pytest.skip("torch.compile traces plain operations: there is no kernel")
        sparse = name == "SparseNGL"
        fast, plain = (
            self.train(LOSSES[name](from_logits=True, fast=fast), sparse, jit_compile=jit_compile)
            for fast in (True, False)
        )
        assert fast[2] == pytest.approx(plain[2], rel=1e-5)
        for a, b in zip(fast[0].get_weights(), plain[0].get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)

    @needs_tensorflow
    @pytest.mark.parametrize("name", LOSSES)
    def test_mirrored_equals_one_device(self, name, mirrored):
        import tensorflow as tf

        loss, sparse = LOSSES[name](from_logits=True, fast=True), name == "SparseNGL"
        one, two = (
            self.train(loss, sparse, s)[0] for s in (tf.distribute.get_strategy(), mirrored)
        )
        for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)

    @pytest.mark.parametrize("fast", [None, True, False])
    def test_saved_model_trains_on(self, fast, tmp_path):
        model, (x, y), _ = self.train(losses.NGL(from_logits=True, fast=fast), False)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert loaded.loss.get_config()["fast"] is fast
        assert loaded.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))
        histories = [m.fit(x, y, shuffle=False, verbose=0).history for m in (model, loaded)]
        assert histories[0]["loss"] == pytest.approx(histories[1]["loss"])

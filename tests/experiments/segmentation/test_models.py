"""Facts of the architectures: parameters, strides, what is read where, sizes, weights."""

import keras
import numpy as np
import pytest
from conftest import needs_tensorflow, to_numpy

from nglkeras import UserError, losses
from nglkeras.experiments.classification.models import penalise_kernels
from nglkeras.experiments.segmentation import VOID, architectures, deeplab, models, pytorch
from nglkeras.experiments.segmentation.deeplab import (
    RATES,
    aspp,
    deeplabv2,
    dilated_trunk,
    nearest_labels,
    plain_trunk,
    sampled,
)
from nglkeras.experiments.segmentation.protocol import make_loss
from nglkeras.experiments.segmentation.unet import resnet_encoder, unet

LOSSES = losses.rows_of("table4")

TINY = {"blocks": (1, 1, 1, 1), "width": 8}
IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")


def trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


class TestParameters:
    def test_resnet34(self):
        encoder = resnet_encoder()
        # torchvision's resnet34 with its top for 1,000 classes has 21,797,672: 21.8 M.
        assert trainable(encoder) + 512 * 1000 + 1000 == 21_797_672
        # Means and variances of BatchNormalization.
        assert encoder.count_params() - trainable(encoder) == 17_024

    def test_unet_is_that_of_segmentation_models(self):
        # segmentation_models_pytorch.Unet("resnet34", classes=1): 24.4 M.
        assert trainable(unet(1)) == 24_436_369

    def test_deeplabv2(self):
        model = models.build("deeplabv2", 21)
        head = 4 * (9 * 2048 * 21 + 21)
        # keras.applications.ResNet101 without its top, as it is printed there.
        assert model.count_params() == 42_658_176 + head

    def test_narrow_ones_are_of_the_same_code(self):
        for name in ("unet", "deeplabv2"):
            whole, narrow = (architectures.ARCHITECTURES[one] for one in (name, f"{name}_narrow"))
            assert whole.kind == narrow.kind


class TestStrides:
    def test_of_the_encoder(self):
        sizes = [f.shape[1:3] for f in resnet_encoder(**TINY)(IMAGE)]
        assert sizes == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]

    def test_of_the_dilated_trunk(self):
        assert dilated_trunk(**TINY)(IMAGE).shape[1:3] == (64 // 8, 96 // 8)

    def test_dilations(self):
        def rates(trunk):
            convolutions = [x for x in trunk.layers if isinstance(x, keras.layers.Conv2D)]
            return {x.name: x.dilation_rate[0] for x in convolutions if x.dilation_rate[0] > 1}

        blocks = (1, 1, 2, 1)
        at8 = {"conv4_block1_2_conv": 2, "conv4_block2_2_conv": 2, "conv5_block1_2_conv": 4}
        assert rates(dilated_trunk(blocks, 8)) == at8


class TestPreprocessing:
    image = np.full((1, 64, 64, 3), [10.0, 100.0, 200.0], "float32")

    def test_of_the_unet_is_torchvisions(self):
        model = unet(2, **TINY)
        probe = keras.Model(model.input, model.get_layer("preprocessing").output)
        expected = (self.image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(to_numpy(probe(self.image)), expected, rtol=1e-5)

    def test_of_deeplab_is_that_of_its_weights(self, monkeypatch):
        monkeypatch.setattr(deeplab, "dilated_trunk", lambda *_: keras.layers.Identity())
        monkeypatch.setattr(deeplab, "aspp", lambda features, *_: features)
        body = deeplabv2(3, **TINY).get_layer("body")
        # keras.applications' ResNets were trained on BGR less ImageNet's mean.
        expected = self.image[..., ::-1] - [103.939, 116.779, 123.68]
        np.testing.assert_allclose(to_numpy(body(self.image)), expected, rtol=1e-5)


class TestWeightsOfThePlainTrunk:
    def test_fit_and_give_the_same_without_dilation(self, monkeypatch):
        monkeypatch.setattr(deeplab, "DILATIONS", {})
        plain, dilated = plain_trunk(**TINY), dilated_trunk(**TINY)
        assert not np.allclose(to_numpy(plain(IMAGE)), to_numpy(dilated(IMAGE)))
        dilated.set_weights(plain.get_weights())
        np.testing.assert_array_equal(to_numpy(plain(IMAGE)), to_numpy(dilated(IMAGE)))

    def test_dilated_features_are_the_plain_ones_where_those_are(self):
        # Stage 4's first block: its strided 1 x 1 read every other position.
        plain, dilated = plain_trunk(**TINY), dilated_trunk(**TINY)
        dilated.set_weights(plain.get_weights())
        features = [
            keras.Model(trunk.input, trunk.get_layer("conv4_block1_1_relu").output)(IMAGE)
            for trunk in (plain, dilated)
        ]
        coarse, fine = map(to_numpy, features)
        np.testing.assert_allclose(coarse, fine[:, ::2, ::2], rtol=1e-3, atol=1e-3)

    def test_all_of_resnet101(self):
        shapes = [
            [tuple(variable.shape) for variable in trunk.variables]
            for trunk in (plain_trunk(), dilated_trunk())
        ]
        assert shapes[0] == shapes[1]

    def test_from_a_file_with_frozen_averages(self, tmp_path):
        plain = plain_trunk(**TINY)
        plain.save_weights(tmp_path / "trunk.weights.h5")
        trunk = dilated_trunk(**TINY, weights=tmp_path / "trunk.weights.h5")
        for one, other in zip(plain.get_weights(), trunk.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        # Kernels and biases of 17 convolutions.
        assert len(trunk.trainable_variables) == 2 * 17
        learned = dilated_trunk(**TINY)
        assert len(learned.trainable_variables) == 4 * 17


class TestASPP:
    def test_branches_read_the_grids_of_their_rates(self):
        features = keras.Input((None, None, 1))
        model = keras.Model(features, aspp(features, 1))
        model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
        impulse = np.zeros((1, 65, 65, 1), "float32")
        nothing = to_numpy(model(impulse))
        impulse[0, 32, 32] = 1
        response = (to_numpy(model(impulse)) - nothing)[0, :, :, 0]
        expected = np.zeros((65, 65))
        for rate in RATES:
            for dy in (-rate, 0, rate):
                for dx in (-rate, 0, rate):
                    expected[32 + dy, 32 + dx] += 1
        np.testing.assert_allclose(response, expected, atol=1e-6)
        assert expected[32, 32] == 4
        assert (expected > 0).sum() == 4 * 8 + 1


class TestOutputs:
    @pytest.mark.parametrize("size", [(64, 96), (65, 90), (33, 47)])
    def test_deeplabv2_takes_any_size(self, size):
        logits = deeplabv2(5, **TINY)(np.zeros((2, *size, 3), "float32"))
        assert tuple(logits.shape) == (2, *size, 5)

    def test_a_compiled_network_takes_one_size_after_another(self):
        model = deeplabv2(3, **TINY, scales=(0.5, 1.0))
        model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        for size in ((32, 32), (48, 40), (33, 57)):
            model.evaluate(np.zeros((1, *size, 3)), np.zeros((1, *size), int), verbose=0)

    @pytest.mark.parametrize("size", [65, 64, 70])
    def test_a_feature_is_enlarged_to_where_it_stands(self, size):
        # Stride 8: feature i is that of pixel 8 i.
        coarse = 8 * np.arange(-(-size // 8), dtype="float32")
        ramp = np.broadcast_to(coarse[:, None, None], (1, len(coarse), 5, 1))
        fine = to_numpy(sampled(ramp, (size, 33), 1 / 8))[0, :, 0, 0]
        np.testing.assert_allclose(fine, np.minimum(np.arange(size), coarse[-1]), atol=1e-4)

    def test_predictions_are_not_shifted(self):
        # What of a mirrored image is predicted is the mirrored prediction: 8 k + 1 pixels have a
        # middle that is a feature's.
        model = deeplabv2(2, **TINY)
        for weights in model.weights:
            if len(weights.shape) == 4:
                symmetric = to_numpy(weights)
                weights.assign((symmetric + symmetric[:, ::-1]) / 2)
        image = np.random.default_rng(0).uniform(0, 255, (1, 65, 65, 3)).astype("float32")
        one, other = to_numpy(model(image)), to_numpy(model(image[:, :, ::-1]))
        np.testing.assert_allclose(one, other[:, :, ::-1], atol=1e-4 * np.abs(one).max())

    def test_three_scales_fused_by_the_largest(self):
        fused = deeplabv2(5, **TINY, scales=(0.5, 0.75, 1.0))
        alone = deeplabv2(5, **TINY)
        assert trainable(fused) == trainable(alone)
        alone.set_weights(fused.get_weights())
        one, three = to_numpy(alone(IMAGE)), to_numpy(fused(IMAGE))
        assert one.shape == three.shape
        assert (three >= one - 1e-5).all()
        assert (three > one + 1e-5).any()

    def test_unet_keeps_the_size(self):
        assert unet(5, **TINY)(IMAGE).shape == (1, 64, 96, 5)
        assert unet(5, blocks=(1,), width=2)(IMAGE).shape == (1, 64, 96, 5)

    def test_unet_says_which_sizes_it_takes(self):
        with pytest.raises(UserError, match="multiples of 32, not 64 x 100"):
            unet(5, **TINY, size=(64, 100))
        with pytest.raises(UserError, match="multiples of 32, not 64 x 90"):
            unet(5, **TINY)(IMAGE[:, :, :90])

    @pytest.mark.parametrize("name", ["unet_narrow", "deeplabv2_narrow"])
    def test_logits_are_float32_under_mixed_precision(self, name):
        model = models.build(name, 5, precision="mixed_bfloat16")
        logits = model(IMAGE)
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"
        assert {str(variable.dtype) for variable in model.trainable_variables} == {"float32"}
        assert keras.config.dtype_policy().name == "float32"

    @pytest.mark.parametrize(
        "name", ["unet_narrow", "deeplabv2_narrow", "deeplabv2_multiscale_narrow"]
    )
    def test_saved_and_loaded(self, name, tmp_path):
        model = models.build(name, 5, l2=1e-3, scale_losses=True)
        assert len(model.losses) > 10
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(to_numpy(model(IMAGE)), to_numpy(again(IMAGE)))
        assert len(again.losses) == len(model.losses)


@pytest.fixture(scope="module")
def model():
    """A narrow network of three scales with a loss for each."""
    keras.utils.set_random_seed(0)
    sizes = {"blocks": (1, 1, 1, 1), "width": 2, "rates": (1, 2), "scales": (0.5, 0.75, 1.0)}
    model = deeplabv2(3, **sizes, scale_losses=True)
    penalise_kernels(model, 1e-3)
    # Far from saturation, where NGL has no gradient.
    for weights in model.trainable_weights:
        if "aspp" in weights.path:
            weights.assign(weights * 0.02)
    return model


class TestScaleLosses:
    def test_training_gives_the_logits_of_each_scale_and_their_maximum(self, model):
        image = np.zeros((2, 321, 321, 3), "float32")
        # As the cited repository has them with crops of 321 pixels.
        sizes = [21, 31, 41, 41]
        assert [x.shape for x in model(image, training=True)] == [(2, n, n, 3) for n in sizes]
        assert model(image).shape == (2, 321, 321, 3)
        assert model.steps == pytest.approx([0.5 / 8, 0.75 / 8, 1 / 8, 1 / 8])

    def test_evaluation_is_that_of_the_same_network_without_them(self, model):
        sizes = {"blocks": (1, 1, 1, 1), "width": 2, "rates": (1, 2)}
        plain = deeplabv2(3, **sizes, scales=(0.5, 0.75, 1.0))
        plain.set_weights(model.get_weights())
        np.testing.assert_array_equal(to_numpy(plain(IMAGE)), to_numpy(model(IMAGE)))

    @needs_tensorflow
    @pytest.mark.parametrize(
        # NGL's kernel is compiled for the size of each scale.
        "loss",
        [name if name != "NGL" else pytest.param(name, marks=pytest.mark.slow) for name in LOSSES],
    )
    def test_gradient_is_that_of_a_sum_by_hand(self, model, loss):
        import tensorflow as tf

        random = np.random.default_rng(0)
        image = random.uniform(0, 255, (2, 65, 65, 3)).astype("float32")
        labels = random.integers(0, 3, (2, 65, 65))
        labels[:, :9] = VOID
        function = make_loss(loss)
        model.compile(loss=function)

        body = model.get_layer("body")
        # Stride 8 at scale 1 is stride 16 at 0.5 and 32 / 3 at 0.75.
        places = [np.arange(5) * 16, np.array([0, 11, 21, 32, 43, 53, 64]), np.arange(9) * 8]
        with tf.GradientTape() as by_hand:
            half, middle, whole = (
                body(sampled(image, (n, n), step), training=True)
                for n, step in ((33, 2.0), (49, 4 / 3), (65, 1.0))
            )
            fused = tf.maximum(
                tf.maximum(sampled(half, (9, 9), 0.5), sampled(middle, (9, 9), 0.75)), whole
            )
            total = sum(model.losses)
            for logits, at in zip((half, middle, whole, fused), (*places, places[2]), strict=True):
                total += function(labels[:, at][:, :, at], logits)
        with tf.GradientTape() as tape:
            found = model.compute_loss(image, labels, model(image, training=True))
        assert float(found) == pytest.approx(float(total), rel=1e-5)
        expected = by_hand.gradient(total, model.trainable_variables)
        # Biases have no penalty: theirs is the losses' own.
        biases = [
            g for g, v in zip(expected, model.trainable_variables, strict=True) if "bias" in v.path
        ]
        assert max(np.abs(one).max() for one in biases) > 1e-3
        for one, other in zip(
            expected, tape.gradient(found, model.trainable_variables), strict=True
        ):
            scale = np.abs(one).max()
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-4 * scale + 1e-7)

    def test_every_scale_has_float32_logits_under_mixed_precision(self):
        name = "deeplabv2_multiscale_narrow"
        model = models.build(name, 3, precision="mixed_bfloat16", scale_losses=True)
        dtypes = {keras.backend.standardize_dtype(x.dtype) for x in model(IMAGE, training=True)}
        assert dtypes == {"float32"}

    @pytest.mark.parametrize("shape", [(1, 5, 7), (1, 5, 7, 1)])
    def test_nearest_labels_are_labels_that_are_there(self, shape):
        labels = np.arange(35).reshape(shape)
        found = to_numpy(nearest_labels(labels, (3, 4), 0.5)).reshape(3, 4)
        # The last column is that of pixel 6; a fourth row would be beyond the image.
        np.testing.assert_array_equal(found, np.arange(35).reshape(5, 7)[::2, ::2])
        beyond = to_numpy(nearest_labels(labels, (4, 4), 0.5)).reshape(4, 4)
        np.testing.assert_array_equal(beyond[3], found[2])


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            ("unet2", {}, "unknown model 'unet2'; choose from: unet, deeplabv2"),
            ("unet", {"precision": "half"}, "unknown precision 'half'"),
            ("unet", {"weights": "nowhere.h5"}, "no weights file nowhere.h5"),
            ("unet_narrow", {"weights": "imagenet"}, "no ImageNet weights"),
            ("deeplabv2_narrow", {"weights": "imagenet"}, "only ResNet101 has ImageNet weights"),
        ],
    )
    def test_in_one_line(self, name, arguments, message):
        with pytest.raises(UserError, match=message):
            models.build(name, 3, **arguments)

    @pytest.mark.parametrize("name", ["unet_narrow", "deeplabv2_narrow"])
    def test_weights_of_something_else(self, name, tmp_path):
        path = tmp_path / "other.weights.h5"
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
        with pytest.raises(UserError, match=r"other\.weights\.h5"):
            models.build(name, 3, weights=path)


def test_encoder_weights_from_a_file(tmp_path):
    sizes = architectures.ARCHITECTURES["unet_narrow"].sizes
    encoder = resnet_encoder(**sizes)
    encoder.save_weights(tmp_path / "encoder.weights.h5")
    model = models.build("unet_narrow", 3, weights=tmp_path / "encoder.weights.h5")
    again = model.get_layer("encoder").get_weights()
    for one, other in zip(encoder.get_weights(), again, strict=True):
        np.testing.assert_array_equal(one, other)


class TestPyTorch:
    """State dicts as published: names and shapes of torchvision and of deeplab-pytorch."""

    @staticmethod
    def state_of(names, prefix=""):
        random = np.random.default_rng(0)
        return {
            prefix + name: random.uniform(0.5, 1, shape).astype("float32")
            for name, shape in names.items()
        }

    @staticmethod
    def norm(name, channels):
        parts = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.{part}": (channels,) for part in parts}

    def resnet34(self):
        names = {"conv1.weight": (64, 3, 7, 7), **self.norm("bn1", 64), "fc.weight": (1000, 512)}
        entering = 64
        for stage, count in enumerate((3, 4, 6, 3), start=1):
            width = 32 * 2**stage
            for block in range(count):
                name = f"layer{stage}.{block}"
                names[f"{name}.conv1.weight"] = (width, entering, 3, 3)
                names[f"{name}.conv2.weight"] = (width, width, 3, 3)
                names |= self.norm(f"{name}.bn1", width) | self.norm(f"{name}.bn2", width)
                if entering != width:
                    names[f"{name}.downsample.0.weight"] = (width, entering, 1, 1)
                    names |= self.norm(f"{name}.downsample.1", width)
                entering = width
        return names

    def deeplab(self, blocks, width):
        names = {"layer1.conv1.conv.weight": (64, 3, 7, 7), **self.norm("layer1.conv1.bn", 64)}
        entering = 64
        for stage, count in enumerate(blocks, start=2):
            inner = width * 2 ** (stage - 2)
            for block in range(1, count + 1):
                parts = {
                    "reduce": (inner, entering, 1, 1),
                    "conv3x3": (inner, inner, 3, 3),
                    "increase": (4 * inner, inner, 1, 1),
                }
                if block == 1:
                    parts["shortcut"] = (4 * inner, entering, 1, 1)
                for part, shape in parts.items():
                    name = f"layer{stage}.block{block}.{part}"
                    names[f"{name}.conv.weight"] = shape
                    names |= self.norm(f"{name}.bn", shape[0])
                entering = 4 * inner
        return names | {"aspp.c0.weight": (21, entering, 3, 3), "aspp.c0.bias": (21,)}

    def test_every_weight_of_resnet34_has_its_place(self, tmp_path):
        state = self.state_of(self.resnet34())
        np.savez(tmp_path / "resnet34.npz", **state)
        encoder = models.build("unet", 2, weights=tmp_path / "resnet34.npz").get_layer("encoder")
        found = {
            "stem": "conv1.weight",
            "stage1_block3_conv2": "layer1.2.conv2.weight",
            "stage3_block1_shortcut": "layer3.0.downsample.0.weight",
        }
        for layer, name in found.items():
            kernel = to_numpy(encoder.get_layer(layer).kernel)
            np.testing.assert_array_equal(kernel, state[name].transpose(2, 3, 1, 0))
        norm = encoder.get_layer("stage4_block2_conv1_bn")
        for values, name in zip(norm.get_weights(), self.norm("layer4.1.bn1", 512), strict=True):
            np.testing.assert_array_equal(values, state[name])
        used = {pytorch.resnet34_name(layer.name) for layer in encoder.layers if layer.weights}
        assert used == {name.rpartition(".")[0] for name in state} - {"fc"}

    @pytest.mark.parametrize("prefix", ["", "base.", "module.base."])
    def test_a_convolution_and_its_norm_give_what_pytorchs_give(self, tmp_path, prefix):
        state = self.state_of(self.deeplab((1, 1, 1, 1), 8), prefix)
        np.savez(tmp_path / "coco.npz", **state)
        trunk = dilated_trunk(**TINY, weights=tmp_path / "coco.npz")
        x = np.random.default_rng(1).uniform(size=(1, 3, 3, 64)).astype("float32")
        for layer, name in (("conv2_block1_1", "reduce"), ("conv2_block1_0", "shortcut")):
            found = trunk.get_layer(f"{layer}_bn")(trunk.get_layer(f"{layer}_conv")(x))
            name = f"{prefix}layer2.block1.{name}"
            weight = state[f"{name}.conv.weight"][:, :, 0, 0]
            gamma, beta, mean, variance = (state[n] for n in self.norm(f"{name}.bn", 0))
            expected = (x @ weight.T - mean) / np.sqrt(variance + 1e-5) * gamma + beta
            np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-4, atol=1e-4)
        # BatchNormalization is frozen: kernels and biases of 17 convolutions are left to train.
        assert len(trunk.trainable_variables) == 2 * 17
        used = {pytorch.deeplab_name(layer.name) for layer in trunk.layers if layer.weights}
        sources = {name.removeprefix(prefix).rpartition(".")[0] for name in state}
        assert used == sources - {"aspp.c0"}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda state: state.pop("layer3.block1.shortcut.conv.weight"), "has no weight layer3"),
            (lambda state: state.update({"layer1.conv1.bn.bias": np.zeros(3)}), "another shape"),
            (
                lambda state: state.update({"layer1.conv1.conv.weight": np.zeros(3)}),
                "another shape",
            ),
        ],
    )
    def test_a_state_dict_of_something_else(self, tmp_path, change, message):
        state = self.state_of(self.deeplab((1, 1, 1, 1), 8))
        change(state)
        np.savez(tmp_path / "coco.npz", **state)
        with pytest.raises(UserError, match=message):
            plain_trunk(**TINY, weights=tmp_path / "coco.npz")

    @pytest.mark.parametrize("content", [b"", b"PK no archive", b"\x93NUMPY"])
    def test_a_damaged_file(self, tmp_path, content):
        (tmp_path / "coco.npz").write_bytes(content)
        with pytest.raises(UserError, match=r"coco\.npz is no \.npz file"):
            plain_trunk(**TINY, weights=tmp_path / "coco.npz")

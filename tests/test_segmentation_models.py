"""Facts of the architectures: parameters, strides, what is read where, sizes, weights."""

import keras
import numpy as np
import pytest
from conftest import to_numpy

from nglkeras import UserError
from nglkeras.segmentation import deeplab, models
from nglkeras.segmentation.deeplab import (
    RATES,
    aspp,
    deeplabv2,
    dilated_trunk,
    plain_trunk,
    sampled,
)
from nglkeras.segmentation.protocol import MODELS
from nglkeras.segmentation.unet import resnet_encoder, unet

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

    def test_names(self):
        assert tuple(models.ARCHITECTURES) == MODELS

    def test_narrow_ones_are_of_the_same_code(self):
        for name in ("unet", "deeplabv2"):
            whole, narrow = (models.ARCHITECTURES[one] for one in (name, f"{name}_narrow"))
            assert whole.make is narrow.make


class TestStrides:
    def test_of_the_encoder(self):
        sizes = [f.shape[1:3] for f in resnet_encoder(**TINY)(IMAGE)]
        assert sizes == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]

    @pytest.mark.parametrize("output_stride", [8, 16, 32])
    def test_of_the_dilated_trunk(self, output_stride):
        features = dilated_trunk(**TINY, output_stride=output_stride)(IMAGE)
        assert features.shape[1:3] == (64 // output_stride, 96 // output_stride)

    def test_dilations(self):
        def rates(trunk):
            convolutions = [x for x in trunk.layers if isinstance(x, keras.layers.Conv2D)]
            return {x.name: x.dilation_rate[0] for x in convolutions if x.dilation_rate[0] > 1}

        blocks = (1, 1, 2, 1)
        at8 = {"conv4_block1_2_conv": 2, "conv4_block2_2_conv": 2, "conv5_block1_2_conv": 4}
        assert rates(dilated_trunk(blocks, 8, 8)) == at8
        assert rates(dilated_trunk(blocks, 8, 16)) == {"conv5_block1_2_conv": 2}
        assert rates(dilated_trunk(blocks, 8, 32)) == {}

    def test_another_is_refused(self):
        with pytest.raises(UserError, match="no output stride 4; choose from: 8, 16, 32"):
            deeplabv2(3, **TINY, output_stride=4)


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
    def test_fit_and_give_the_same_without_dilation(self):
        plain, dilated = plain_trunk(**TINY), dilated_trunk(**TINY, output_stride=32)
        assert not np.allclose(to_numpy(plain(IMAGE)), to_numpy(dilated(IMAGE)))
        dilated.set_weights(plain.get_weights())
        np.testing.assert_array_equal(to_numpy(plain(IMAGE)), to_numpy(dilated(IMAGE)))

    def test_dilated_features_are_the_plain_ones_where_those_are(self):
        # Stage 4's first block: its strided 1 x 1 read every other position.
        plain, dilated = plain_trunk(**TINY), dilated_trunk(**TINY, output_stride=8)
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

    @pytest.mark.parametrize("name", ["unet_narrow", "deeplabv2_narrow"])
    def test_saved_and_loaded(self, name, tmp_path):
        model = models.build(name, 5, l2=1e-3)
        assert len(model.losses) > 10
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(to_numpy(model(IMAGE)), to_numpy(again(IMAGE)))
        assert len(again.losses) == len(model.losses)


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
    sizes = models.ARCHITECTURES["unet_narrow"].sizes
    encoder = resnet_encoder(**sizes)
    encoder.save_weights(tmp_path / "encoder.weights.h5")
    model = models.build("unet_narrow", 3, weights=tmp_path / "encoder.weights.h5")
    again = model.get_layer("encoder").get_weights()
    for one, other in zip(encoder.get_weights(), again, strict=True):
        np.testing.assert_array_equal(one, other)

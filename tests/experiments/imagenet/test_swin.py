"""Swin Transformers: facts of the paper, windows, masks, positions, saving."""

import keras
import numpy as np
import pytest
from conftest import to_numpy

from nglkeras.experiments.imagenet import models
from nglkeras.experiments.imagenet.swin import (
    PatchMerging,
    WindowAttention,
    relative_positions,
    shift_mask,
)

random = np.random.default_rng(0)


def attention(size, side, shift, heads=2, channels=6):
    """A layer with random biases, and the images that it is given."""
    layer = WindowAttention(heads, side, shift)
    x = random.normal(size=(2, *size, channels)).astype("float32")
    layer.build(x.shape)
    for variable in layer.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    return layer, x


def reference(layer, x, side, shift):
    """The same by a loop over pairs of patches, in float64."""
    names = ("kernel", "bias")
    qkv, projection = (
        [to_numpy(getattr(dense, name)) for name in names]
        for dense in (layer.qkv, layer.projection)
    )
    table = to_numpy(layer.relative_position)
    count, height, width, channels = x.shape
    heads = table.shape[1]
    size = channels // heads
    out = np.zeros(x.shape)
    places = [(i, j) for i in range(height) for j in range(width)]

    def window(place):
        # Where a patch lies after the shift, and which pieces of the image meet in its window.
        shifted = [(p - shift) % n for p, n in zip(place, (height, width), strict=True)]
        piece = [int(p < shift) for p in place]
        return [p // side for p in shifted] + piece, shifted

    for b in range(count):
        vectors = x[b].astype("float64") @ qkv[0] + qkv[1]
        q, k, v = np.split(vectors.reshape(height, width, 3 * channels), 3, axis=-1)
        for place in places:
            own, here = window(place)
            others = [other for other in places if window(other)[0] == own]
            result = []
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                scores = []
                for other in others:
                    there = window(other)[1]
                    row = (here[0] - there[0] + side - 1) * (2 * side - 1)
                    row += here[1] - there[1] + side - 1
                    score = q[place][part] @ k[other][part] / np.sqrt(size)
                    scores.append(score + table[row, head])
                weights = np.exp(np.array(scores) - max(scores))
                weights /= weights.sum()
                result += list(sum(w * v[o][part] for w, o in zip(weights, others, strict=True)))
            out[b][place] = np.array(result) @ projection[0] + projection[1]
    return out


@pytest.mark.parametrize(
    ("size", "side", "shift"), [((4, 6), 2, 0), ((4, 6), 2, 1), ((6, 6), 3, 1)]
)
def test_attention_is_what_a_loop_over_patches_makes_it(size, side, shift):
    layer, x = attention(size, side, shift)
    np.testing.assert_allclose(to_numpy(layer(x)), reference(layer, x, side, shift), atol=2e-5)


def test_a_map_that_windows_do_not_divide_is_padded():
    layer, x = attention((5, 5), 2, 1)
    assert to_numpy(layer(x)).shape == x.shape
    assert np.isfinite(to_numpy(layer(x))).all()


def test_a_window_is_at_most_the_whole_map_and_is_then_not_shifted():
    layer, x = attention((3, 3), 7, 3)
    assert layer.relative_position.shape == (25, 2)
    np.testing.assert_allclose(to_numpy(layer(x)), reference(layer, x, 3, 0), atol=2e-5)


def test_relative_positions_of_two_by_two():
    assert relative_positions(2).tolist() == [
        [4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4],
    ]  # fmt: skip


def test_the_mask_parts_what_the_shift_has_brought_together():
    mask = shift_mask(4, 4, 2, 1)
    assert mask.shape == (4, 4, 4)
    # The first window is whole, the last one is four corners of the image.
    assert (mask[0] == 0).all()
    np.testing.assert_array_equal(mask[3] == 0, np.eye(4, dtype=bool))


def test_merging_keeps_the_authors_order():
    layer = PatchMerging()
    x = random.normal(size=(1, 4, 4, 3)).astype("float32")
    layer.build(x.shape)
    x0, x1, x2, x3 = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
    joined = np.concatenate([x0, x1, x2, x3], -1)
    joined = (joined - joined.mean(-1, keepdims=True)) / np.sqrt(joined.var(-1) + 1e-5)[..., None]
    expected = joined @ to_numpy(layer.reduction.kernel)
    np.testing.assert_allclose(to_numpy(layer(x)), expected, atol=1e-5)
    assert layer.compute_output_shape((None, 5, 4, 3)) == (None, 3, 2, 6)


@pytest.mark.parametrize(("name", "parameters"), [("Swin-T", 28_288_354), ("Swin-S", 49_606_258)])
def test_parameters_and_stride_as_published(name, parameters):
    model = models.build(name, 224, 1000)
    assert model.count_params() == parameters
    assert model.get_layer("norm").output.shape == (None, 7, 7, 768)


def test_stochastic_depth_grows_linearly():
    model = models.build("Swin-T", 32, 10, drop_path=0.2)
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    # The first of twelve blocks has none, each other has it on both branches.
    np.testing.assert_allclose(rates, np.repeat(np.linspace(0, 0.2, 12)[1:], 2))


def test_stochastic_depth_leaves_out_whole_samples():
    model = models.build("Swin-small", 32, 10, drop_path=0.5)
    drop = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)][-1]
    out = to_numpy(drop(np.ones((64, 4, 4, 64), "float32"), training=True)).reshape(64, -1)
    assert all(len(set(sample)) == 1 for sample in out)
    assert set(out[:, 0]) == {0.0, 2.0}


@pytest.mark.slow
def test_other_sizes_build_learn_and_save(tmp_path):
    model = models.build("Swin-small", 30, 3, drop_path=0.2)
    assert model.get_layer("norm").output.shape == (None, 4, 4, 64)
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    x = random.uniform(0, 255, (8, 30, 30, 3)).astype("float32")
    y = np.eye(3, dtype="float32")[np.arange(8) % 3]
    losses = [model.train_on_batch(x, y) for _ in range(8)]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "swin.keras")
    again = keras.saving.load_model(tmp_path / "swin.keras")
    np.testing.assert_array_equal(to_numpy(model(x)), to_numpy(again(x)))


def test_mixed_precision_ends_in_float32():
    model = models.build("Swin-small", 32, 10, precision="mixed_bfloat16")
    assert model.output.dtype == "float32"
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    assert model.get_layer("stage1_block1_attention").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_heads_that_do_not_divide_the_channels():
    with pytest.raises(ValueError, match="6 channels do not divide into 4 heads"):
        WindowAttention(4, 2).build((None, 4, 4, 6))

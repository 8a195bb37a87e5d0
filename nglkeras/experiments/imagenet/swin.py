"""Swin Transformers (Liu et al. 2021, arXiv 2103.14030), on every backend.

keras-hub's are not used: it installs the full TensorFlow beside the one for CPUs, and its windows
do not fit images smaller than 224 pixels. Here feature maps are padded to whole windows, and a
window is at most as large as its map, as in the authors' code.
"""

import keras
import numpy as np
from keras import ops

registered = keras.saving.register_keras_serializable(package="nglkeras")

PATCH = 4
# Hidden channels of a block's MLP, as a multiple of its channels.
MLP_RATIO = 4
EPSILON = 1e-5


def swin(
    x,
    *,
    width: int,
    depths: tuple[int, ...],
    heads: tuple[int, ...],
    window: int = 7,
    drop_path: float = 0.0,
):
    """Apply a Swin Transformer without its classifier.

    Args:
        x: Preprocessed images `[batch, height, width, 3]`; the features are
            `[batch, h, w, channels]`, where h is a 32nd of the height for four stages.
        width: Channels of the first stage; each later stage doubles them.
        depths: Blocks of each stage; every second block shifts its windows by half a window.
        heads: Attention heads of each stage.
        window: Height and width of a window, in patches.
        drop_path: Stochastic depth rate of the last block; it grows linearly from 0.
    """
    x = keras.layers.Conv2D(width, PATCH, strides=PATCH, padding="same", name="patches")(x)
    x = _norm("patches_norm")(x)
    rates = np.linspace(0.0, drop_path, sum(depths)).tolist()
    block = 0
    for stage, (depth, number) in enumerate(zip(depths, heads, strict=True), start=1):
        if stage > 1:
            x = PatchMerging(name=f"stage{stage}_merging")(x)
        for i in range(depth):
            name = f"stage{stage}_block{i + 1}"
            x = _block(x, number, window, window // 2 * (i % 2), rates[block], name)
            block += 1
    return _norm("norm")(x)


def _block(x, heads, window, shift, drop_path, name):
    channels = x.shape[-1]
    branch = _norm(f"{name}_norm1")(x)
    branch = WindowAttention(heads, window, shift, name=f"{name}_attention")(branch)
    x = keras.layers.add([x, _stochastic_depth(branch, drop_path, f"{name}_drop1")])
    branch = _norm(f"{name}_norm2")(x)
    branch = _dense(MLP_RATIO * channels, f"{name}_mlp1", activation="gelu")(branch)
    branch = _dense(channels, f"{name}_mlp2")(branch)
    return keras.layers.add([x, _stochastic_depth(branch, drop_path, f"{name}_drop2")])


def _norm(name):
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name)


def _dense(units, name, **arguments):
    return keras.layers.Dense(units, kernel_initializer=_initializer(), name=name, **arguments)


def _initializer():
    """Return the initializer of kernels and position tables in the authors' code, newly seeded."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _stochastic_depth(x, rate, name):
    """Drop the whole branch of a sample at this rate, and scale it by 1 / (1 - rate) elsewhere."""
    return keras.layers.Dropout(rate, (None, 1, 1, 1), name=name)(x) if rate else x


@registered
class PatchMerging(keras.layers.Layer):
    """Merge 2 x 2 patches into one with twice the channels: `[batch, h / 2, w / 2, 2 channels]`.

    An odd height or width is padded with zeros.
    """

    def __init__(self, **others):
        super().__init__(**others)
        self.norm = keras.layers.LayerNormalization(epsilon=EPSILON, dtype=self.dtype_policy)

    def build(self, input_shape):
        """Keras' hook."""
        channels = input_shape[-1]
        self.reduction = _dense(2 * channels, "reduction", use_bias=False, dtype=self.dtype_policy)
        joined = (*self.compute_output_shape(input_shape)[:-1], 4 * channels)
        self.norm.build(joined)
        self.reduction.build(joined)
        self.built = True

    def call(self, x):
        """Keras' hook."""
        height, width = x.shape[1:3]
        if height % 2 or width % 2:
            x = ops.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        # The order is that of the authors' code.
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduction(self.norm(ops.concatenate(corners, axis=-1)))

    def compute_output_shape(self, input_shape):
        """Keras' hook."""
        batch, height, width, channels = input_shape
        return (batch, -(-height // 2), -(-width // 2), 2 * channels)


@registered
class WindowAttention(keras.layers.Layer):
    """Apply multi-head self attention within windows, with a bias for each relative position.

    Args:
        heads: Number of attention heads; it divides the channels.
        window: Height and width of a window; the feature map's, if that is smaller.
        shift: Number of patches by which windows are shifted cyclically; 0 if one window is the
            whole map. Patches that are not neighbours in the image do not see each other.
        **others: Arguments of every Keras layer.
    """

    def __init__(self, heads: int, window: int, shift: int = 0, **others):
        super().__init__(**others)
        self.heads = heads
        self.window = window
        self.shift = shift

    def build(self, input_shape):
        """Keras' hook."""
        height, width, channels = input_shape[1:]
        if channels % self.heads:
            raise ValueError(f"{channels} channels do not divide into {self.heads} heads")
        side = min(self.window, height, width)
        self._side = side
        self._padded = tuple(-(-n // side) * side for n in (height, width))
        self._shift = self.shift if side == self.window and min(self._padded) > side else 0
        self.qkv = _dense(3 * channels, "qkv", dtype=self.dtype_policy)
        self.projection = _dense(channels, "projection", dtype=self.dtype_policy)
        self.qkv.build((None, side * side, channels))
        self.projection.build((None, side * side, channels))
        shape = ((2 * side - 1) ** 2, self.heads)
        self.relative_position = self.add_weight(
            shape, initializer=_initializer(), name="relative_position"
        )
        self._index = relative_positions(side).reshape(-1)
        self._mask = shift_mask(*self._padded, side, self._shift) if self._shift else None
        self.built = True

    def call(self, x):
        """Keras' hook."""
        height, width, channels = x.shape[1:]
        padded, side = self._padded, self._side
        if padded != (height, width):
            x = ops.pad(x, ((0, 0), (0, padded[0] - height), (0, padded[1] - width), (0, 0)))
        if self._shift:
            x = ops.roll(x, (-self._shift, -self._shift), axis=(1, 2))
        rows, columns = (length // side for length in padded)
        x = ops.reshape(x, (-1, rows, side, columns, side, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = self._attend(ops.reshape(x, (-1, rows * columns, side * side, channels)))
        x = ops.reshape(x, (-1, rows, columns, side, side, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (-1, *padded, channels))
        if self._shift:
            x = ops.roll(x, (self._shift, self._shift), axis=(1, 2))
        return x[:, :height, :width] if padded != (height, width) else x

    def _attend(self, x):
        """Attend within windows `[batch, windows, patches, channels]`."""
        windows, patches, channels = x.shape[1:]
        size = channels // self.heads
        qkv = ops.reshape(self.qkv(x), (-1, windows, patches, 3, self.heads, size))
        q, k, v = ops.unstack(ops.transpose(qkv, (3, 0, 1, 4, 2, 5)), axis=0)
        scores = ops.matmul(q * size**-0.5, ops.transpose(k, (0, 1, 2, 4, 3)))
        bias = ops.take(self.relative_position, self._index, axis=0)
        bias = ops.transpose(ops.reshape(bias, (patches, patches, self.heads)), (2, 0, 1))
        scores = scores + ops.cast(bias, scores.dtype)
        if self._mask is not None:
            scores = scores + ops.cast(self._mask[:, None], scores.dtype)
        x = ops.matmul(ops.softmax(scores, axis=-1), v)
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4)), (-1, windows, patches, channels))
        return self.projection(x)

    def get_config(self):
        """Return the arguments of the constructor."""
        own = {"heads": self.heads, "window": self.window, "shift": self.shift}
        return super().get_config() | own

    def compute_output_shape(self, input_shape):
        """Keras' hook."""
        return input_shape


def relative_positions(side: int) -> np.ndarray:
    """Return the index of the bias of each pair of patches, int32 `[side², side²]`."""
    y, x = np.divmod(np.arange(side * side), side)
    rows, columns = (place[:, None] - place + side - 1 for place in (y, x))
    return (rows * (2 * side - 1) + columns).astype("int32")


def shift_mask(height: int, width: int, side: int, shift: int) -> np.ndarray:
    """Return what is added to scores, float32 `[windows, side², side²]`.

    A cyclic shift brings opposite ends of the image into one window: between patches that are not
    neighbours the value is -100, as in the authors' code, elsewhere 0.
    """

    def regions(length):
        places = np.arange(length)
        return (places >= length - side).astype(int) + (places >= length - shift)

    region = 3 * regions(height)[:, None] + regions(width)
    region = region.reshape(height // side, side, width // side, side).transpose(0, 2, 1, 3)
    region = region.reshape(-1, side * side)
    return np.where(region[:, None, :] == region[:, :, None], 0.0, -100.0).astype("float32")

"""A whole training step of a U-Net, with SparseNGL and with Keras' sparse cross entropy."""

import keras
import numpy as np

from nglkeras.benchmarks.measure import Measurement, compared, interleaved
from nglkeras.losses import SparseNGL

SIZE, BATCH, CLASSES, WIDTHS = 128, 4, 21, (32, 64, 128, 256)


def measure(rounds: int) -> list[Measurement]:
    """One step on one batch; the networks differ in nothing but their loss."""
    random = np.random.default_rng(0)
    x = random.uniform(size=(BATCH, SIZE, SIZE, 3)).astype("float32")
    y = random.integers(0, CLASSES, (BATCH, SIZE, SIZE)).astype("int32")
    against = "SparseCategoricalCrossentropy"
    made = {
        against: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "SparseNGL": SparseNGL(from_logits=True),
        "SparseNGL, fast=False": SparseNGL(from_logits=True, fast=False),
    }
    models = {}
    for name, loss in made.items():
        models[name] = unet()
        models[name].compile("adam", loss)
        models[name].optimizer.build(models[name].trainable_variables)
    calls = {name: lambda m=model: m.train_on_batch(x, y) for name, model in models.items()}
    case = f"step of a U-Net, {BATCH} x {SIZE} x {SIZE} x {CLASSES}"
    return compared(case, interleaved(calls, rounds=rounds, what=case), against)


def unet() -> keras.Model:
    """A U-Net (Ronneberger et al. 2015) with half its widths, up to logits of the input's size."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((SIZE, SIZE, 3))
    skips = []
    for width in WIDTHS:
        x = _two_convolutions(x, width)
        skips.append(x)
        x = keras.layers.MaxPooling2D()(x)
    x = _two_convolutions(x, 2 * WIDTHS[-1])
    for width, skip in zip(reversed(WIDTHS), reversed(skips), strict=True):
        x = keras.layers.Conv2DTranspose(width, 2, strides=2, padding="same")(x)
        x = _two_convolutions(keras.layers.concatenate([x, skip]), width)
    return keras.Model(inputs, keras.layers.Conv2D(CLASSES, 1)(x))


def _two_convolutions(x, width):
    for _ in range(2):
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    return x

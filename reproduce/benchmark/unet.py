"""A whole training step of a U-Net, with SparseNGL and with Keras' sparse cross entropy."""

from functools import partial

import keras
import numpy as np

from benchmark.measure import Measurement, compared, interleaved, timed
from nglkeras.losses import SparseNGL

SIZE, BATCH, CLASSES, WIDTHS = 128, 4, 21, (32, 64, 128, 256)


def measure(rounds: int) -> list[Measurement]:
    """Time a step on one batch; the networks differ only in their loss."""
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
    calls = {name: timed(partial(model.train_on_batch, x, y)) for name, model in models.items()}
    case = f"step of a U-Net, {BATCH} x {SIZE} x {SIZE} x {CLASSES}"
    return compared(case, interleaved(calls, rounds=rounds, what=case), against)


def unet() -> keras.Model:
    """Build a U-Net (Ronneberger et al. 2015) of half the width, from images to logits."""
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

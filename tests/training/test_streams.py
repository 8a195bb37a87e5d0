"""Batches of arrays: the same on every backend, and what Keras makes of them."""

import keras
import numpy as np
import pytest
from conftest import needs_tensorflow

from nglkeras.data import images
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.changes import changed
from nglkeras.training import streams
from nglkeras.training.batches import Batches
from nglkeras.training.schedule import Schedule

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(50, 6)).astype("float32")
Y = np.eye(3, dtype="float32")[RANDOM.integers(0, 3, 50)]
IMAGES = RANDOM.integers(0, 256, (50, 9, 7, 3), dtype="uint8")
# Two labels are no class.
MAPS = RANDOM.integers(-1, 5, (50, 4, 5))
SMALL = Schedule(3, 12, plateau=None, accumulation=3)


def batches(stream):
    return list(stream.as_numpy_iterator())


CASES = {
    "arrays": {"x": X, "y": Y},
    "images": {"x": IMAGES, "y": Y, "finish": lambda x: x},
    "dict": {"x": {"a": X, "b": IMAGES}, "y": Y},
    "tuple": {"x": (X, IMAGES), "y": Y},
    "label maps": {"x": X, "y": MAPS, "classes": 4},
    "more steps than a pass has": {"x": X, "y": Y, "steps_per_epoch": 7},
    "fewer steps than a pass has": {"x": X, "y": Y, "steps_per_epoch": 2},
    "changed": {"x": IMAGES, "y": Y, "augmentation": Augmentation()},
    "shifted": {"x": IMAGES, "y": Y, "augmentation": Augmentation(False, 0.3, 0)},
    "zoomed": {"x": IMAGES, "y": Y, "augmentation": Augmentation(False, 0, 0.5)},
}


@needs_tensorflow
class TestEqualTensorFlows:
    @pytest.fixture
    def both(self, monkeypatch):
        """Returns the batches of a stream of TensorFlow and of one without it."""

        def make(function, **settings):
            made = function(**settings)
            with monkeypatch.context() as patch:
                patch.setattr(streams, "_on_tensorflow", lambda: False)
                return made, function(**settings)

        return make

    @pytest.mark.parametrize("parts", [1, 3])
    @pytest.mark.parametrize("case", CASES)
    def test_training(self, both, case, parts):
        settings = {"batch_size": 12, "epochs": 3, "seed": 5} | CASES[case]
        (ours, steps), (theirs, other) = both(streams.training, **settings)
        assert steps == other
        if parts > 1:
            ours, theirs = (streams._cut(stream, SMALL) for stream in (ours, theirs))
        self._assert_equal(ours, theirs, parts * 3 * steps)

    @pytest.mark.parametrize("case", ["arrays", "images", "dict", "tuple", "label maps"])
    def test_evaluation(self, both, case):
        settings = {"batch_size": 12} | CASES[case]
        self._assert_equal(*both(streams.evaluation, **settings), 5)

    def _assert_equal(self, theirs, ours, count):
        assert isinstance(ours, Batches)
        assert streams.size(ours) == streams.size(theirs)
        ours, theirs = batches(ours), batches(theirs)
        assert len(ours) == len(theirs) == count
        for one, other in zip(ours, theirs, strict=True):
            keras.tree.assert_same_structure(one, other)
            for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * 255 if a.ndim == 4 else 0)

    @pytest.mark.parametrize("size", [(9, 7), (20, 31), (4, 3), (9, 12), (5, 7)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_images_are_resized_alike(self, size, channels):
        from nglkeras.data import pipeline

        some = IMAGES[:5, ..., :channels]
        np.testing.assert_allclose(
            images.finish(some, size), pipeline.finish(some, size), rtol=0, atol=1e-4 * 255
        )


def network(**settings):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "categorical_crossentropy", weighted_metrics=["accuracy"], **settings)
    return model


class TestInKeras:
    @pytest.mark.parametrize(("steps_per_epoch", "at_once"), [(None, 1), (None, 4), (6, 3), (2, 2)])
    def test_fit_goes_on_from_epoch_to_epoch(self, steps_per_epoch, at_once):
        data, steps = streams.training(
            X, Y, batch_size=12, epochs=3, seed=0, steps_per_epoch=steps_per_epoch
        )
        held = streams.evaluation(X, Y, batch_size=12)
        if keras.backend.backend() == "torch":
            at_once = 1
        fitted, stepped = network(steps_per_execution=at_once), network()
        history = fitted.fit(
            data, epochs=3, steps_per_epoch=steps, validation_data=held, shuffle=False, verbose=0
        ).history
        for x, y in data.as_numpy_iterator():
            stepped.train_on_batch(x, y)
        for a, b in zip(fitted.get_weights(), stepped.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
        found = fitted.evaluate(X, Y, verbose=0, return_dict=True)
        assert history["val_loss"][-1] == pytest.approx(found["loss"], rel=1e-5)
        assert history["val_accuracy"][-1] == pytest.approx(found["accuracy"], rel=1e-5)

    def test_predict(self):
        model, held = network(), streams.evaluation(X, Y, batch_size=12)
        outputs = model.predict(held, verbose=0)
        np.testing.assert_allclose(outputs[:50], model.predict(X, verbose=0), atol=1e-6)


class TestChanges:
    def test_follow_from_the_batch_s_seed_alone(self):
        first, again, other = (changed(Augmentation(), IMAGES, seed) for seed in (7, 7, 8))
        np.testing.assert_array_equal(again, first)
        assert (first != other).any(axis=(1, 2, 3)).mean() > 0.9

"""Dice and the measures of label maps: against NumPy and Keras, and with void pixels."""

import keras
import numpy as np
import pytest
from conftest import to_numpy

from nglkeras import losses
from nglkeras.experiments.segmentation import VOID
from nglkeras.experiments.segmentation.metrics import SegmentationScores, class_ious

random = np.random.default_rng(0)
LOGITS = random.normal(size=(3, 4, 5, 6)).astype("float32") * 2
LABELS = random.integers(0, 6, (3, 4, 5))
WITH_VOID = np.where(random.random(LABELS.shape) < 0.3, VOID, LABELS)
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)


class TestValues:
    def test_dice_of_an_image_equals_the_mean_of_keras_dice_of_its_classes(self):
        t = np.eye(6, dtype="float32")[LABELS[:1]]
        of_classes = keras.losses.Dice(axis=(0, 1, 2), reduction=None)(t, SOFTMAX[:1])
        expected = to_numpy(of_classes).mean()
        assert to_numpy(losses.Dice()(t, SOFTMAX[:1])) == pytest.approx(expected, rel=1e-5)

    def test_dice_of_a_perfect_map_is_zero(self):
        assert to_numpy(losses.SparseDice()(LABELS, np.eye(6, dtype="float32")[LABELS])) < 1e-6

    def test_dice_wants_pixels(self):
        with pytest.raises(ValueError, match="has no axis of pixels"):
            losses.sparse_dice(np.zeros(2, int), np.ones((2, 3), "float32"))


def test_a_saved_model_comes_back_with_loss_and_measures(tmp_path):
    model = keras.Sequential([keras.Input((4, 5, 3)), keras.layers.Conv2D(6, 1)])
    loss = losses.SparseDice(from_logits=True, ignore_class=VOID)
    model.compile("sgd", loss, metrics=[SegmentationScores(6)])
    x = random.normal(size=(3, 4, 5, 3)).astype("float32")
    model.fit(x, WITH_VOID, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    before = model.evaluate(x, WITH_VOID, verbose=0, return_dict=True)
    assert again.evaluate(x, WITH_VOID, verbose=0, return_dict=True) == pytest.approx(before)
    assert before.keys() == {"loss", "mean_iou", "pixel_accuracy", "mean_accuracy"}


def reference(truth, found, classes):
    """The measures, pixel by pixel."""
    counts = truth != VOID
    ious, accuracies = [], []
    for k in range(classes):
        t, f = (truth == k) & counts, (found == k) & counts
        if (t | f).any():
            ious.append((t & f).sum() / (t | f).sum())
        if t.any():
            accuracies.append((t & f).sum() / t.sum())
    pixels = (truth == found)[counts].mean()
    return {
        "mean_iou": np.mean(ious),
        "pixel_accuracy": pixels,
        "mean_accuracy": np.mean(accuracies),
    }


class TestScores:
    @pytest.mark.parametrize("seed", range(5))
    def test_equal_a_reference_in_one_batch_and_in_several(self, seed):
        random = np.random.default_rng(seed)
        # Classes 7 and 8 never occur, 8 is not predicted either.
        truth = random.integers(0, 7, (6, 9, 7))
        truth[random.random(truth.shape) < 0.2] = VOID
        scores = random.random((6, 9, 7, 9)).astype("float32")
        scores[..., 8] = -1
        expected = reference(truth, scores.argmax(-1), 9)
        whole, parts = SegmentationScores(9), SegmentationScores(9)
        whole.update_state(truth, scores)
        for i in (0, 1, 4):
            rows = slice(i, {0: 1, 1: 4, 4: 6}[i])
            parts.update_state(truth[rows][..., None], scores[rows])
        for metric in (whole, parts):
            found = {name: float(value) for name, value in metric.result().items()}
            assert found == pytest.approx(expected, rel=1e-6)
        assert (to_numpy(whole.confusion) == to_numpy(parts.confusion)).all()
        assert to_numpy(whole.confusion).sum() == (truth != VOID).sum()

    # Keras' own metric, on JAX.
    @pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64")
    def test_equals_keras_where_all_classes_occur(self):
        ours = SegmentationScores(6)
        ours.update_state(WITH_VOID, LOGITS)
        theirs = keras.metrics.MeanIoU(6, ignore_class=VOID, sparse_y_pred=False)
        theirs.update_state(WITH_VOID, LOGITS, WITH_VOID != VOID)
        assert float(ours.result()["mean_iou"]) == pytest.approx(float(theirs.result()), rel=1e-6)

    def test_forgets_when_told(self):
        metric = SegmentationScores(6)
        metric.update_state(WITH_VOID, LOGITS)
        metric.reset_state()
        assert to_numpy(metric.confusion).sum() == 0
        assert [float(value) for value in metric.result().values()] == [0, 0, 0]

    def test_of_each_class(self):
        assert class_ious(np.array([[2, 1, 0], [1, 4, 0], [0, 0, 0]])) == [0.5, 4 / 6, None]

    def test_weights_are_refused(self):
        with pytest.raises(ValueError, match="labelled void"):
            SegmentationScores(6).update_state(LABELS, LOGITS, np.ones(3))

"""Losses and measures of label maps: against NumPy and Keras, and what void pixels do to them."""

import keras
import numpy as np
import pytest
from conftest import to_numpy

from nglkeras import losses
from nglkeras.experiments.segmentation import VOID
from nglkeras.experiments.segmentation.metrics import SegmentationScores, class_ious
from nglkeras.losses.curves import value_and_gradient

random = np.random.default_rng(0)
LOGITS = random.normal(size=(3, 4, 5, 6)).astype("float32") * 2
LABELS = random.integers(0, 6, (3, 4, 5))
WITH_VOID = np.where(random.random(LABELS.shape) < 0.3, VOID, LABELS)
SOFTMAX = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
LOSSES = {
    "CE": keras.losses.SparseCategoricalCrossentropy,
    "Focal": losses.SparseFocal,
    "Dice": losses.SparseDice,
    "NGL": losses.SparseNGL,
}


def dice_of_an_image(labels, p):
    """The definition, written down once more."""
    counts = labels != VOID
    scores = []
    for k in np.unique(labels[counts]):
        t = labels == k
        inside = p[..., k][counts]
        scores.append(2 * p[..., k][t].sum() / (inside.sum() + t.sum()))
    return 1 - np.mean(scores)


class TestValues:
    @pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (1.0, 0.5), (0.5, 0.0)])
    def test_focal_equals_keras_with_one_hot_labels(self, alpha, gamma):
        dense = keras.losses.CategoricalFocalCrossentropy(alpha, gamma, from_logits=True)
        expected = to_numpy(dense(np.eye(6)[LABELS], LOGITS))
        ours = losses.SparseFocal(alpha, gamma, from_logits=True)
        assert to_numpy(ours(LABELS, LOGITS)) == pytest.approx(expected, rel=1e-5)

    def test_focal_without_focus_is_the_cross_entropy(self):
        values = to_numpy(losses.sparse_focal(LABELS, LOGITS, 1.0, 0.0, from_logits=True))
        expected = -np.log(np.take_along_axis(SOFTMAX, LABELS[..., None], -1))[..., 0]
        np.testing.assert_allclose(values, expected, rtol=1e-5)

    def test_dice_equals_its_definition(self):
        values = to_numpy(
            losses.sparse_dice(WITH_VOID, LOGITS, from_logits=True, ignore_class=VOID)
        )
        expected = [dice_of_an_image(*pair) for pair in zip(WITH_VOID, SOFTMAX, strict=True)]
        np.testing.assert_allclose(values, expected, rtol=1e-5)

    def test_dice_of_an_image_equals_the_mean_of_keras_dice_of_its_classes(self):
        t = np.eye(6, dtype="float32")[LABELS[:1]]
        of_classes = keras.losses.Dice(axis=(0, 1, 2), reduction=None)(t, SOFTMAX[:1])
        expected = to_numpy(of_classes).mean()
        assert to_numpy(losses.Dice()(t, SOFTMAX[:1])) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("arguments", [{}, {"from_logits": True}, {"axis": 1}])
    def test_dice_of_one_hot_labels_equals_that_of_integer_labels(self, arguments):
        t, p = np.eye(6, dtype="float32")[LABELS], LOGITS if "from_logits" in arguments else SOFTMAX
        if "axis" in arguments:
            t, p = (np.moveaxis(x, -1, 1) for x in (t, p))
        dense = losses.Dice(reduction="none", **arguments)(t, p)
        sparse = losses.SparseDice(reduction="none", **arguments)(LABELS, p)
        assert to_numpy(dense) == pytest.approx(to_numpy(sparse), rel=1e-6)

    def test_dice_of_samples_without_pixels(self):
        p = SOFTMAX[0, 0]
        own = np.take_along_axis(p, LABELS[0, 0][:, None], -1)[:, 0]
        values = to_numpy(losses.dice(np.eye(6)[LABELS[0, 0]], p))
        np.testing.assert_allclose(values, 1 - 2 * own / (own + 1), rtol=1e-5)

    def test_dice_of_a_perfect_map_is_zero(self):
        assert to_numpy(losses.SparseDice()(LABELS, np.eye(6, dtype="float32")[LABELS])) < 1e-6

    @pytest.mark.parametrize("name", LOSSES)
    def test_logits_equal_their_probabilities(self, name):
        make = LOSSES[name]
        from_logits = to_numpy(make(from_logits=True, ignore_class=VOID)(WITH_VOID, LOGITS))
        from_softmax = to_numpy(make(ignore_class=VOID)(WITH_VOID, SOFTMAX))
        assert from_logits == pytest.approx(from_softmax, rel=1e-4)

    @pytest.mark.parametrize("name", ["Focal", "Dice"])
    def test_classes_on_another_axis(self, name):
        make = LOSSES[name]
        moved = make(from_logits=True, axis=1)(LABELS, np.moveaxis(LOGITS, -1, 1))
        straight = make(from_logits=True)(LABELS[..., None], LOGITS)
        assert to_numpy(moved) == pytest.approx(to_numpy(straight), rel=1e-6)

    def test_dice_wants_pixels(self):
        with pytest.raises(ValueError, match="has no axis of pixels"):
            losses.sparse_dice(np.zeros(2, int), np.ones((2, 3), "float32"))


@pytest.mark.parametrize("name", LOSSES)
class TestVoid:
    def test_its_gradient_is_exactly_zero(self, name):
        loss = LOSSES[name](from_logits=True, ignore_class=VOID)
        _, gradient = value_and_gradient(lambda z: loss(WITH_VOID, z), LOGITS)
        assert (gradient[WITH_VOID == VOID] == 0).all()
        assert (np.abs(gradient[WITH_VOID != VOID]).sum(-1) > 0).all()

    def test_the_rest_is_as_if_void_were_cut_out(self, name):
        loss = LOSSES[name](from_logits=True, ignore_class=VOID)
        cut = np.full((1, 4, 8), VOID)
        cut[:, :, :5] = LABELS[:1]
        logits = np.full((1, 4, 8, 6), 3.0, "float32")
        logits[:, :, :5] = LOGITS[:1]
        plain = LOSSES[name](from_logits=True)(LABELS[:1], LOGITS[:1])
        assert to_numpy(loss(cut, logits)) == pytest.approx(to_numpy(plain), rel=1e-6)

    def test_what_is_predicted_there_does_not_matter(self, name):
        loss = LOSSES[name](from_logits=True, ignore_class=VOID)
        other = np.where((WITH_VOID == VOID)[..., None], -LOGITS, LOGITS)
        assert to_numpy(loss(WITH_VOID, other)) == to_numpy(loss(WITH_VOID, LOGITS))

    def test_an_image_of_void_alone_does_not_count(self, name):
        loss = LOSSES[name](from_logits=True, ignore_class=VOID)
        labels = WITH_VOID.copy()
        labels[2] = VOID
        value, gradient = value_and_gradient(lambda z: loss(labels, z), LOGITS)
        assert value == pytest.approx(to_numpy(loss(labels[:2], LOGITS[:2])), rel=1e-6)
        assert np.isfinite(gradient).all()
        value, gradient = value_and_gradient(lambda z: loss(np.full_like(labels, VOID), z), LOGITS)
        assert value == 0
        assert (gradient == 0).all()

    def test_extreme_logits_stay_finite(self, name):
        loss = LOSSES[name](from_logits=True, ignore_class=VOID)
        value, gradient = value_and_gradient(lambda z: loss(WITH_VOID, z), 1e4 * LOGITS)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["Focal", "Dice"])
def test_config_holds_every_argument(name):
    arguments = {"from_logits": True, "ignore_class": 7, "axis": 1, "reduction": "sum"}
    arguments |= {"name": "mine", "dtype": "float32", "class_weights": [1.0, 2.0]}
    if name == "Focal":
        arguments |= {"alpha": 0.5, "gamma": 3.0, "label_smoothing": 0.1, "class_reduction": "mean"}
    loss = LOSSES[name](**arguments)
    assert loss.get_config() == arguments
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss)
    assert again.get_config() == arguments


@pytest.mark.parametrize("name", LOSSES)
def test_a_saved_model_comes_back_with_loss_and_measures(name, tmp_path):
    model = keras.Sequential([keras.Input((4, 5, 3)), keras.layers.Conv2D(6, 1)])
    loss = LOSSES[name](from_logits=True, ignore_class=VOID)
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

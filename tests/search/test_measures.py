"""What the fitness is: measures of one's own and metrics of Keras agree with scikit-learn's."""

import keras
import numpy as np
import pytest
from sklearn import metrics

from nglkeras.errors import UserError
from nglkeras.search import measures
from nglkeras.search.task import Task

RANDOM = np.random.default_rng(0)
CLASSES = RANDOM.integers(0, 3, 60)
P = RANDOM.dirichlet(np.ones(3), 60) * 0.7 + 0.3 * np.eye(3)[CLASSES]
ONE_HOT = np.eye(3, dtype="float32")[CLASSES]
RARE = (RANDOM.uniform(size=60) < 0.3).astype(int)
# With ties.
Q = np.round(0.7 * RANDOM.uniform(size=60) + 0.3 * RARE, 1)


def measured(metric, task, labels, p, mode=None):
    """The measure in batches of 25."""
    batches = ((labels[i : i + 25], p[i : i + 25]) for i in range(0, len(p), 25))
    return measures.as_measure(metric, mode)(task, batches)


def of_classes(function, **settings):
    return lambda y, p: function(y, p.argmax(-1), **settings)


MACRO_F1 = of_classes(metrics.f1_score, average="macro")
IOU = of_classes(metrics.jaccard_score, average="macro")
ACCURACY = of_classes(metrics.accuracy_score)
OF_CLASSES = {
    "accuracy": ACCURACY,
    "balanced_accuracy": of_classes(metrics.balanced_accuracy_score),
    "f1": MACRO_F1,
    "F1Score": MACRO_F1,
    "auc": lambda y, p: metrics.roc_auc_score(y, p, multi_class="ovr"),
    "mean_iou": IOU,
    "SparseCategoricalAccuracy": ACCURACY,
    "categorical_accuracy": ACCURACY,
    "categorical_crossentropy": lambda y, p: -metrics.log_loss(y, p),
}
BY_NAME = [pytest.param(*item, id=item[0]) for item in OF_CLASSES.items()]
OBJECTS = [
    pytest.param(keras.metrics.MeanIoU(3), IOU, id="an object"),
    pytest.param(keras.metrics.OneHotMeanIoU(3), IOU, id="an object for one-hot labels"),
    pytest.param(lambda: keras.metrics.F1Score("macro"), MACRO_F1, id="a function that makes one"),
    pytest.param(
        keras.metrics.SparseCategoricalCrossentropy,
        OF_CLASSES["categorical_crossentropy"],
        id="a class",
    ),
]


class TestOfClasses:
    @pytest.mark.parametrize(("metric", "expected"), [*BY_NAME, *OBJECTS])
    @pytest.mark.parametrize("from_logits", [False, True])
    def test_values(self, metric, expected, from_logits):
        outputs = np.log(P) + 3.0 if from_logits else P
        task = Task((3,), from_logits=from_logits)
        found = measured(metric, task, ONE_HOT, outputs)
        assert found == pytest.approx(expected(CLASSES, P), rel=1e-4)

    @pytest.mark.parametrize(
        "metric", [*OF_CLASSES, pytest.param(keras.metrics.MeanIoU(3), id="an object")]
    )
    @pytest.mark.parametrize("ignore_class", [1, 255])
    def test_what_is_ignored_does_not_count(self, metric, ignore_class):
        """Maps of 4 x 5 pixels, one row of them void."""
        labels, outputs = ONE_HOT.reshape(3, 4, 5, 3).copy(), P.reshape(3, 4, 5, 3).copy()
        if ignore_class == 255:
            labels[:, 0] = 0.0
        void = (~labels.any(-1) | (labels[..., 1] > 0)) if ignore_class == 1 else ~labels.any(-1)
        task = Task((4, 5, 3), ignore_class=ignore_class)
        expected = measured(metric, Task((3,)), labels[~void], outputs[~void])
        outputs[void] = [0.0, 0.0, 1.0]
        found = measured(metric, task, labels, outputs)
        assert found == pytest.approx(expected, rel=1e-5, nan_ok=True)

    def test_a_class_that_nobody_has_does_not_count(self):
        p = np.append(P * 0.9, np.full((60, 1), 0.01), axis=1)
        labels = np.append(ONE_HOT, np.zeros((60, 1)), axis=1)
        for name in measures.NAMES:
            found = measured(name, Task((4,)), labels, p)
            assert found == pytest.approx(measured(name, Task((3,)), ONE_HOT, P))

    @pytest.mark.parametrize("has_indices", [True, False])
    def test_a_function_gets_labels_as_they_were_given(self, has_indices):
        def metric(y, p):
            assert y.shape == ((60,) if has_indices else (60, 3))
            return (np.reshape(y, (60, -1)) == (CLASSES[:, None] if has_indices else ONE_HOT)).all()

        task = Task((3,), has_indices=has_indices)
        assert measured(metric, task, ONE_HOT, P, mode="max") == 1.0
        assert measured(metric, task, ONE_HOT, P, mode="min") == -1.0

    def test_a_metric_with_several_results(self):
        from nglkeras.experiments.segmentation.metrics import SegmentationScores

        labels, outputs = ONE_HOT.reshape(3, 4, 5, 3).copy(), P.reshape(3, 4, 5, 3)
        labels[:, 0] = 0.0
        task = Task((4, 5, 3), ignore_class=255)
        expected = measured("mean_iou", task, labels, outputs)
        found = measured(SegmentationScores(3), task, labels, outputs, mode="max")
        assert found == pytest.approx(expected, rel=1e-5)

    def test_its_arguments_identify_a_metric(self):
        class Power(keras.metrics.Mean):
            def __init__(self, power=1, **others):
                super().__init__(**others)
                self.power = power

            def get_config(self):
                return super().get_config() | {"power": self.power}

        for make in (Power, keras.metrics.TopKCategoricalAccuracy):
            one, same, other = (measures.as_measure(make(i), "max").settings for i in (1, 1, 2))
            assert one == same != other

    def test_a_metric_that_loses_its_arguments_is_refused(self):
        class Power(keras.metrics.Mean):
            def __init__(self, power=1, **others):
                super().__init__(**others)
                self.power = power

        with pytest.raises(UserError, match="Power has arguments that its get_config lacks"):
            measures.as_measure(Power(2), "max")
        assert measures.as_measure(Power(), "max").name == "Power"

    def test_a_prediction_that_is_not_finite(self):
        for metric in ("accuracy", keras.metrics.CategoricalAccuracy()):
            assert np.isnan(measured(metric, Task((3,)), ONE_HOT, np.where(P > 0.6, np.nan, P)))


OF_ONE = {
    "accuracy": lambda y, p: metrics.accuracy_score(y, p >= 0.5),
    "balanced_accuracy": lambda y, p: metrics.balanced_accuracy_score(y, p >= 0.5),
    "f1": lambda y, p: metrics.f1_score(y, p >= 0.5),
    "auc": metrics.roc_auc_score,
    "mean_iou": lambda y, p: metrics.jaccard_score(y, p >= 0.5, average="macro"),
    "BinaryAccuracy": lambda y, p: metrics.accuracy_score(y, p > 0.5),
}


OBJECTS_OF_ONE = [
    pytest.param(keras.metrics.MeanIoU(2), OF_ONE["mean_iou"], id="of classes"),
    pytest.param(
        keras.metrics.BinaryIoU(threshold=0.3),
        lambda y, p: metrics.jaccard_score(y, p >= 0.3, average="macro"),
        id="of a threshold",
    ),
    pytest.param(keras.metrics.Accuracy(), OF_ONE["accuracy"], id="Accuracy"),
    pytest.param("Accuracy", OF_ONE["accuracy"], id="Accuracy by its name"),
]


class TestOfSigmoids:
    @pytest.mark.parametrize(("metric", "expected"), [*OF_ONE.items(), *OBJECTS_OF_ONE])
    def test_one(self, metric, expected):
        # Whether a threshold itself is above the threshold is Keras' affair.
        p = Q + 1e-3
        task = Task((1,), "sigmoid")
        found = measured(metric, task, RARE[:, None].astype("float32"), p[:, None])
        assert found == pytest.approx(expected(RARE, p), rel=1e-6)

    def test_a_function_gets_one_number_a_sample(self):
        labels = RARE[:, None].astype("float32")
        found = measured(metrics.roc_auc_score, Task((1,), "sigmoid"), labels, Q[:, None], "max")
        assert found == pytest.approx(metrics.roc_auc_score(RARE, Q))

    @pytest.mark.parametrize("name", ["balanced_accuracy", "f1", "auc", "mean_iou"])
    def test_several_are_the_mean(self, name):
        labels = np.stack([RARE, 1 - RARE, CLASSES > 0], axis=-1).astype("float32")
        p = np.stack([Q, Q[::-1], P[:, 0]], axis=-1)
        expected = [
            measured(name, Task((1,), "sigmoid"), labels[:, [i]], p[:, [i]]) for i in range(3)
        ]
        task = Task((3,), "sigmoid", has_indices=False, ignore_class=9)
        assert measured(name, task, labels, p) == pytest.approx(np.mean(expected))
        # What is ignored is a label of one output.
        void = np.append(labels, np.tile([9.0, 1.0, 0.0], (20, 1)), axis=0)
        found = measured(name, task, void, np.append(p, RANDOM.uniform(size=(20, 3)), axis=0))
        rest = measured(name, Task((1,), "sigmoid"), labels[:, [0]], p[:, [0]])
        assert np.isfinite(found)
        first = np.where(np.arange(3) == 0, labels, 9.0).astype("float32")
        assert measured(name, task, first, p) == pytest.approx(rest)

"""Numbers of each class in the order, or with the names, that users have them in."""

from collections import Counter

import keras
import numpy as np
import pandas as pd
import pytest

from nglkeras import UserError
from nglkeras.losses import NGL, BinaryNGL, SparseNGL, balanced, load_loss, save_loss
from nglkeras.losses.curves import size_at_uniform

COUNTS = [15, 5, 80]
LABELS = np.repeat([0, 1, 2], COUNTS)


@pytest.mark.parametrize(
    "counts",
    [
        dict(enumerate(COUNTS)),
        Counter(LABELS.tolist()),
        pd.Series(LABELS).value_counts(),  # the most frequent class comes first
        np.bincount(LABELS),
    ],
    ids=["dict", "Counter", "pandas", "NumPy"],
)
def test_counts_know_their_class(counts):
    assert balanced(counts) == balanced(COUNTS)


@pytest.mark.parametrize("counts", [{"a": 1, 0: 2}, {0: 1, 2: 3}, ["a", "b"], None])
def test_counts_that_are_none(counts):
    with pytest.raises(UserError, match=r"^counts "):
        balanced(counts)


def test_class_weights_of_pandas_know_their_class():
    weights = pd.Series({2: 1.0, 0: 5.0, 1: 9.0})
    assert NGL(class_weights=weights).get_config() == NGL(class_weights=[5, 9, 1]).get_config()
    with pytest.raises(UserError, match=r"counts for \[1, 2\]: give every class from 0 on"):
        balanced({1: 5, 2: 6})
    with pytest.raises(UserError, match=r"class_weights for \[0, 'a'\]: give every class"):
        NGL(class_weights={"a": 1.0, 0: 5.0})


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_weights_of_several_outputs_are_refused(samples):
    """Four outputs and four samples would be multiplied across each other in silence."""
    y, p = np.ones((samples, 4), "float32"), np.full((samples, 4), 0.3, "float32")
    with pytest.raises(UserError, match=rf"shape \({samples}, 4\) are weights of neither"):
        BinaryNGL()(y, p, sample_weight=np.ones((samples, 4), "float32"))
    of_samples = BinaryNGL()(y, p, sample_weight=np.ones((samples, 1), "float32"))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(of_samples), keras.ops.convert_to_numpy(BinaryNGL()(y, p))
    )


@pytest.mark.parametrize("loss", [NGL(from_logits=True), SparseNGL(), SparseNGL(from_logits=True)])
def test_the_gradient_at_uniform_predictions_is_that_of_the_loss_itself(loss):
    assert size_at_uniform(loss, 10) == pytest.approx(size_at_uniform(NGL(), 10), rel=1e-5)


def test_a_loss_is_saved_with_numbers_of_numpy(tmp_path):
    path = tmp_path / "a.json"
    save_loss(
        path, "y_pred - y_true", accuracy=np.float32(0.5), options={"class_weights": np.ones(2)}
    )
    assert load_loss(path).get_config()["class_weights"] == [1.0, 1.0]
    before = path.read_text()
    for wrong in (np.nan, object()):
        with pytest.raises(UserError, match="no JSON data"):
            save_loss(path, "y_pred - y_true", accuracy=wrong)
    assert (path.read_text(), [*tmp_path.iterdir()]) == (before, [path])

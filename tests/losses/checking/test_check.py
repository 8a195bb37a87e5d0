"""Right set-ups pass in silence; each planted mistake is said in a sentence."""

import doctest
import functools
import importlib
import re

import keras
import numpy as np
import pytest
from conftest import ROOT, needs_tensorflow, to_numpy
from keras import layers
from keras.losses import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalCrossentropy,
)
from keras.src.losses.losses import LossFunctionWrapper

from nglkeras import UserError, losses
from nglkeras.losses import NGL, BinaryNGL, SparseNGL, check

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 6)).astype("float32")
Y = RANDOM.integers(0, 4, 300)
EYE = np.eye(4)[Y]
TAGS = (RANDOM.random((300, 4)) < 0.4).astype(int)
IMAGES = RANDOM.normal(size=(5, 8, 6, 3)).astype("float32")
MASKS = RANDOM.integers(0, 4, (5, 8, 6))
VOID = np.where(RANDOM.random(MASKS.shape) < 0.2, 255, MASKS)
HUGE = keras.initializers.RandomNormal(0, 1000, seed=0)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def model(units=4, activation="softmax", **settings):
    return keras.Sequential([keras.Input((6,)), layers.Dense(units, activation, **settings)])


def segmenter(activation="softmax", **settings):
    return keras.Sequential(
        [keras.Input((8, 6, 3)), layers.Conv2D(4, 1, activation=activation, **settings)]
    )


def logits(units=4):
    return model(units, None)


def normalised():
    """Not trained, it is saturated outside of a training."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(4, "softmax"),
        ]
    )


def sure():
    """Every prediction is class 0, each with the same gradient, which is not quite 0."""

    def bias(shape, dtype=None):
        return keras.ops.convert_to_tensor([30.0, 0.0, 0.0, 0.0])

    return model(kernel_initializer="zeros", bias_initializer=bias)


def two_outputs(**settings):
    x = keras.Input((6,))
    a = layers.Dense(4, "softmax", name="a", **settings)(x)
    return keras.Model(x, [a, layers.Dense(1, "sigmoid", name="b")(x)])


def dict_of_two():
    x = {name: keras.Input((6,), name=name) for name in "uv"}
    both = layers.Concatenate()([x["u"], x["v"]])
    outputs = {"b": layers.Dense(1, "sigmoid")(both), "a": layers.Dense(4, "softmax")(both)}
    return keras.Model(x, outputs)


class Channels(layers.Layer):
    """A softmax over the first axis after the batch."""

    def call(self, x):
        return keras.ops.softmax(keras.ops.transpose(x, (0, 3, 1, 2)), axis=1)


def channels_first():
    return keras.Sequential([keras.Input((8, 6, 3)), layers.Conv2D(4, 1), Channels()])


def own_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


RIGHT = {
    "softmax": (model, NGL(), X, EYE),
    "softmax, indices": (model, SparseNGL(), X, Y[:, None]),
    "soft labels": (model, NGL(label_smoothing=0.1), X, np.full((300, 4), 0.25)),
    "by name": (model, "SparseNGL", X, Y),
    "function": (model, losses.sparse_ngl, X, Y),
    "function of sigmoids": (lambda: model(1, "sigmoid"), losses.binary_ngl, X, Y % 2),
    "wrapped function": (logits, LossFunctionWrapper(losses.ngl, from_logits=True), X, EYE),
    "partial function": (logits, functools.partial(losses.ngl, from_logits=True), X, EYE),
    "logits": (logits, NGL(from_logits=True, sparse=True), X, Y),
    "log-softmax": (lambda: model(4, "log_softmax"), NGL(from_logits=True), X, EYE),
    "one sigmoid": (lambda: model(1, "sigmoid"), BinaryNGL(), X, Y % 2),
    "one logit": (lambda: logits(1), BinaryNGL(from_logits=True), X, Y % 2),
    "multi-label": (lambda: model(4, "sigmoid"), NGL(head="sigmoid"), X, TAGS),
    "multi-label, void": (
        lambda: model(4, "sigmoid"),
        BinaryNGL(ignore_class=-1),
        X,
        np.where(TAGS & (X[:, :1] > 0), -1, TAGS),
    ),
    "segmentation": (segmenter, SparseNGL(ignore_class=255), IMAGES, VOID),
    "segmentation, one-hot void": (
        segmenter,
        NGL(ignore_class=255),
        IMAGES,
        np.eye(256)[VOID][..., :4],
    ),
    "dice": (segmenter, losses.SparseDice(ignore_class=255), IMAGES, VOID),
    "channels first": (channels_first, SparseNGL(axis=1), IMAGES, MASKS),
    "class weights": (model, SparseNGL(class_weights=(1, 2, 3, 4)), X, Y),
    "weights of pairs": (
        lambda: model(4, "sigmoid"),
        BinaryNGL(class_weights=[(1, 2)] * 4),
        X,
        TAGS,
    ),
    "zero head": (lambda: model(kernel_initializer="zeros"), NGL(), X, EYE),
    "batch normalisation": (normalised, NGL(), X * 1e4, EYE),
    "CE": (model, CategoricalCrossentropy(), X, EYE),
    "CE by name": (model, "categorical_crossentropy", X, EYE),
    "sparse CE": (model, "sparse_categorical_crossentropy", X, Y),
    "sparse CE, void": (segmenter, SparseCategoricalCrossentropy(ignore_class=255), IMAGES, VOID),
    "CE, logits": (logits, CategoricalCrossentropy(from_logits=True), X, EYE),
    "BCE": (lambda: model(4, "sigmoid"), "binary_crossentropy", X, TAGS),
    "BCE of one": (lambda: model(1, "sigmoid"), "BinaryCrossentropy", X, Y % 2),
    "focal": (model, CategoricalFocalCrossentropy(), X, EYE),
    "binary focal": (lambda: model(1, "sigmoid"), BinaryFocalCrossentropy(), X, Y % 2),
    "CE, huge logits": (
        lambda: model(4, None, kernel_initializer=HUGE),
        CategoricalCrossentropy(from_logits=True),
        X,
        EYE,
    ),
    "overlap": (model, keras.losses.Dice(), X, EYE),
    "regression": (lambda: logits(1), "mse", X, X[:, :1]),
    "a loss of one's own": (model, own_loss, X, EYE),
    "two outputs": (two_outputs, [NGL(), BinaryNGL()], X, [EYE, Y % 2]),
    "zero head beside another": (
        lambda: two_outputs(kernel_initializer="zeros"),
        [NGL(), BinaryNGL()],
        X,
        [EYE, Y % 2],
    ),
    "two outputs by name": (
        two_outputs,
        {"b": "binary_crossentropy", "a": NGL()},
        X,
        {"a": EYE, "b": Y % 2},
    ),
    "dicts": (
        dict_of_two,
        {"a": SparseNGL(), "b": BinaryNGL()},
        {"u": X, "v": X},
        {"a": Y, "b": Y % 2},
    ),
    "an output without a loss": (two_outputs, [NGL(), None], X, [EYE, Y]),
}

if keras.backend.backend() == "torch":
    # Keras 3.15 cannot train with it there: "grad_input must be contiguous".
    del RIGHT["sparse CE, void"]


@pytest.mark.parametrize("case", RIGHT)
def test_a_right_set_up_has_no_problem(case):
    make, loss, x, y = RIGHT[case]
    found = check(make(), loss, x, y)
    assert found.problems == ()
    assert found.ok
    assert found.raise_if_wrong() is found
    assert 0 <= found.saturated <= 1


WRONG = {
    "softmax for logits": (
        (model, NGL(from_logits=True), X, EYE),
        r"are a softmax \(.* sums 1 to 1\), and NGL .* takes logits: drop from_logits=True, or",
    ),
    "softmax for Keras' logits": (
        (model, SparseCategoricalCrossentropy(from_logits=True), X, Y),
        "are a softmax .* SparseCategoricalCrossentropy with from_logits=True takes logits",
    ),
    "sigmoid twice": (
        (lambda: model(1, "sigmoid"), BinaryCrossentropy(from_logits=True), X, Y % 2),
        "are sigmoids, .* takes logits: drop from_logits=True",
    ),
    "ReLU": (
        (lambda: model(4, "relu"), NGL(from_logits=True), X, EYE),
        "outputs are never below 0, as those of a ReLU: end it in a softmax, in sigmoids, or in",
    ),
    "tanh": (
        (lambda: model(1, "tanh"), BinaryNGL(from_logits=True), X, Y % 2),
        "outputs are always between -1 and 1, as those of a tanh",
    ),
    "ReLU for Keras' logits": (
        (lambda: model(4, "relu"), SparseCategoricalCrossentropy(from_logits=True), X, Y),
        "outputs are never below 0",
    ),
    "logits for Keras' Dice": (
        (logits, keras.losses.Dice(), X, EYE),
        r"are logits \(.*, and Dice takes probabilities: end the model in a softmax or in sigmoids",
    ),
    "logits for Keras' Tversky": ((logits, keras.losses.Tversky(), X, EYE), "Tversky takes prob"),
    "logits as probabilities": (
        (logits, NGL(), X, EYE),
        "are logits .* end the model in a softmax, or give the loss from_logits=True",
    ),
    "zero logits": (
        (lambda: model(4, None, kernel_initializer="zeros"), "categorical_crossentropy", X, EYE),
        "are logits .* end the model in a softmax",
    ),
    "a logit as a probability": (
        (lambda: logits(1), "binary_crossentropy", X, Y % 2),
        "are logits .* end the model in a sigmoid",
    ),
    "sigmoids for classes": (
        (lambda: model(4, "sigmoid"), NGL(), X, EYE),
        "sigmoids, .* of which one is right: end .* softmax, or give the loss head='sigmoid'",
    ),
    "sigmoids for Keras' classes": (
        (lambda: model(4, "sigmoid"), CategoricalCrossentropy(), X, EYE),
        "are sigmoids, .* or use a binary loss",
    ),
    "zero sigmoids, of sum 1": (
        (lambda: model(2, "sigmoid", kernel_initializer="zeros"), NGL(), X, np.eye(2)[Y % 2]),
        "are sigmoids",
    ),
    "sigmoids for logits of classes": (
        (lambda: model(4, "sigmoid"), SparseNGL(from_logits=True), X, Y),
        "are sigmoids, .* takes logits: drop the activation",
    ),
    "softmax for several labels": (
        (model, BinaryCrossentropy(), X, TAGS),
        "are a softmax, .* several labels or none: end the model in activation='sigmoid'",
    ),
    "another axis": (
        (channels_first, SparseNGL(), IMAGES, RANDOM.integers(0, 4, (5, 4, 8))),
        "are a softmax over axis 1, .* from axis -1: give it axis=1",
    ),
    "one unit": (
        (lambda: model(1, "sigmoid"), NGL(), X, Y % 2),
        r"ends in one unit, .* Dense\(2, activation='softmax'\); .* head='sigmoid'",
    ),
    "softmax over one unit": (
        (lambda: model(1, "softmax"), "binary_crossentropy", X, Y % 2),
        "a softmax over one unit is constant",
    ),
    "dead features": (
        (
            lambda: keras.Sequential(
                [
                    keras.Input((6,)),
                    layers.Dense(3, "relu", kernel_initializer="zeros", trainable=False),
                    layers.Dense(4, "softmax"),
                ]
            ),
            NGL(),
            X,
            EYE,
        ),
        "the output is the same for every input",
    ),
    "one-hot for indices": (
        (model, SparseNGL(), X, EYE),
        r"y_true of shape \(256, 4\) .* are one-hot; leave out sparse=True",
    ),
    "indices for one-hot": (
        (model, NGL(), X, Y),
        r"y_true of shape \(256,\) .* are class indices; give the loss sparse=True",
    ),
    "indices for Keras' one-hot": (
        (model, CategoricalCrossentropy(), X, Y[:, None]),
        "are class indices; make them one-hot with keras.utils.to_categorical",
    ),
    "indices for sigmoids": (
        (lambda: model(4, "sigmoid"), BinaryNGL(), X, Y),
        "a label of 0 or 1 for each output",
    ),
    "void": (
        (segmenter, SparseNGL(), IMAGES, VOID),
        r"labels are 255: classes are 0 to 3; if 255 stands for void, .* ignore_class=255",
    ),
    "another void": (
        (segmenter, SparseNGL(ignore_class=-1), IMAGES, VOID),
        "labels are 255: classes are 0 to 3",
    ),
    "nothing but void": (
        (segmenter, SparseNGL(ignore_class=255), IMAGES, VOID * 0 + 255),
        "all labels are left out",
    ),
    "from 1": ((model, SparseNGL(), X, Y + 1), "labels are 4: .* count from 1; subtract 1"),
    "more classes": ((model, SparseNGL(), X, Y * 5), "are 5, 10, 15: .* one for each output"),
    "halves": ((model, SparseNGL(), X, Y / 2), "labels are 0.5, 1.5: .* whole numbers"),
    "0 and 255": ((model, NGL(), X, EYE * 255), r"from 0 to 255, .* numpy.where\(y == 255, 1, 0\)"),
    "-1 and 1": (
        (lambda: model(1, "sigmoid"), "binary_crossentropy", X, Y % 2 * 2 - 1),
        r"from -1 to 1, .* numpy.where\(y == 1, 1, 0\)",
    ),
    "void tags": (
        (lambda: model(4, "sigmoid"), BinaryNGL(), X, np.where(X[:, :4] > 1, 255, TAGS)),
        "if 255 stands for void, give the loss ignore_class=255",
    ),
    "several labels for a softmax": ((model, NGL(), X, TAGS), "label rows sum to 0 to .* not to 1"),
    # TensorFlow's gradient of their cross entropy, which is 0, is p.
    "labels of zeros": (
        (model, CategoricalCrossentropy(), X, EYE * (Y > 0)[:, None]),
        "sum to 0 t",
    ),
    "NaN labels": ((model, NGL(), X, np.where(EYE > 0, np.nan, 0)), "300 of 1200 labels are NaN"),
    "text": ((model, NGL(), X, np.array(["a", "b"])[Y % 2]), "labels are of type <U1; give numb"),
    "swapped": (
        (segmenter, SparseNGL(), IMAGES, np.swapaxes(MASKS, 1, 2)),
        r"axes are swapped; give numpy.transpose\(y, \(0, 2, 1\)\)",
    ),
    "channels first labels": (
        (segmenter, NGL(), IMAGES, np.moveaxis(np.eye(4)[MASKS], -1, 1)),
        r"axes are swapped; give numpy.transpose\(y, \(0, 2, 3, 1\)\)",
    ),
    "a class too few": ((lambda: model(5), NGL(), X, EYE), "4 classes in the labels, 5 in the"),
    "a label too few": ((model, NGL(), X, EYE[1:]), r"300 inputs, and labels of shape \(299, 4\)"),
    "saturation": (
        (lambda: model(kernel_initializer=HUGE), NGL(), X, EYE),
        "% of the predictions are wrong and without gradient .* the outputs are saturated",
    ),
    "saturation everywhere": ((sure, NGL(), X, EYE), "the outputs are saturated"),
    "saturated logits": (
        (lambda: model(4, None, kernel_initializer=HUGE), NGL(from_logits=True), X, EYE),
        "the outputs are saturated",
    ),
    "too few weights": (
        (model, SparseNGL(class_weights=(1, 2, 3)), X, Y),
        "class_weights are 3 numbers, but y_pred has 4 outputs",
    ),
    "weights of zero": (
        (model, SparseNGL(class_weights=(1, 0, 3, 1)), X, Y),
        "class_weights are 0 for 1, which occurs in the labels",
    ),
    "weights of zero for a sigmoid": (
        (lambda: model(1, "sigmoid"), BinaryNGL(class_weights=(1, 0)), X, Y % 2),
        "class_weights are 0 for 1",
    ),
    "NaN inputs": ((model, NGL(), np.where(X > 2, np.nan, X), EYE), "of 300 inputs hold NaN"),
    "NaN outputs": (
        (lambda: model(bias_initializer=keras.initializers.Constant(np.nan)), NGL(), X, EYE),
        "256 of 256 outputs are NaN",
    ),
    "NaN values": (
        (model, lambda y_true, y_pred: keras.ops.log(y_pred[:, 0] - 2), X, EYE),
        "is NaN or infinite for 256 of 256",
    ),
    "a loss that fails": (
        (model, lambda y_true, y_pred: y_true @ y_pred, X, EYE),
        "cannot be computed: ",
    ),
    "a constant loss": (
        (model, lambda y_true, y_pred: y_true[:, 0], X, EYE),
        "without gradient|not require grad",
    ),
    "no loss": ((model, "NLG", X, EYE), "'NLG' is no loss that Keras knows"),
    "other inputs": ((model, NGL(), X[:, :5], EYE), r"cannot take inputs of shape \(32, 5\)"),
    "losses for another model": (
        (two_outputs, [NGL()] * 3, X, [EYE, Y]),
        r"has 2 outputs \(a, b\), and there are losses for 3",
    ),
    "labels for one output": ((two_outputs, NGL(), X, EYE), "there are labels for 1"),
    "another output": ((two_outputs, {"c": NGL()}, X, [EYE, Y]), "unknown output 'c'; .* a, b"),
    "one of two outputs": (
        (two_outputs, [NGL(), NGL()], X, [EYE, Y % 2]),
        "^b: the model ends in one unit",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1:UserWarning")
def test_a_mistake_is_said_in_a_sentence(case):
    (make, loss, x, y), message = WRONG[case]
    found = check(make(), loss, x, y)
    with pytest.raises(UserError, match=message) as error:
        found.raise_if_wrong()
    assert not found.ok
    assert f"problem: {error.value}" in str(found).splitlines()


NOTES = {
    "half precision": (
        (lambda: model(dtype="float16"), NGL(), X, EYE),
        'are a softmax in float16, .* dtype="float32"',
    ),
    "small gradient": (
        (lambda: model(50), SparseNGL(), X, Y),
        "learning rate .*; class_reduction='sum', .* makes it 50 times larger",
    ),
    "large gradient": (
        (model, losses.Baikal(class_reduction="sum"), X, EYE),
        r"is [1-9]\S* times that of cross entropy here: with SGD, take 0\.\d* times",
    ),
    "a value that hardly moves": ((model, NGL(), X, EYE), "watch val_accuracy"),
    "rare class": (
        (model, SparseNGL(), X, np.where(np.arange(300) < 290, 2, 1)),
        "class 2 has 290 labels and class 1 has 10: .* class_weights=nglkeras.losses.balanced",
    ),
    "rare label": (
        (lambda: model(1, "sigmoid"), "binary_crossentropy", X, np.arange(300) < 10),
        "class 0 has 290 labels and class 1 has 10: give fit class_weight",
    ),
    "softmax for independent labels": ((model, BinaryCrossentropy(), X, EYE), "fits better"),
}


def test_the_value_that_is_said_is_that_of_what_counts():
    labels = np.where(np.arange(len(Y)) % 3 == 0, 255, Y)
    made, loss = model(), SparseNGL(ignore_class=255)
    said = re.search(r"the value of SparseNGL is (\S+) now", str(check(made, loss, X, labels)))
    made.compile(loss=loss)
    assert float(said[1]) == pytest.approx(made.evaluate(X, labels, verbose=0), rel=1e-3)


@pytest.mark.parametrize("case", NOTES)
def test_advice(case):
    (make, loss, x, y), message = NOTES[case]
    found = check(make(), loss, x, y)
    assert found.ok
    assert re.search(f"^note: .*{message}", str(found), re.MULTILINE)


@pytest.mark.parametrize("case", ["CE", "CE, logits", "sparse CE", "BCE", "BCE of one"])
def test_cross_entropy_has_no_notes_and_its_own_gradient(case):
    make, loss, x, y = RIGHT[case]
    found = check(make(), loss, x, y)
    assert found.notes == ()
    assert found.gradient_ratio == pytest.approx(1, rel=1e-4)
    assert found.learning_rate_factor == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_the_factor_gives_sgd_steps_of_the_same_size(activation):
    """Against the step of SGD itself on the weights of the last layer."""
    made = model(4, activation, kernel_initializer="zeros")
    start = made.get_weights()
    logit = activation is None
    steps, x, y = [], X[:256], EYE[:256]
    cross_entropy, ngl = CategoricalCrossentropy(from_logits=logit), NGL(from_logits=logit)
    factor = check(made, ngl, x, y).learning_rate_factor
    for loss, rate in [(cross_entropy, 1.0), (ngl, factor)]:
        made.set_weights(start)
        made.compile(keras.optimizers.SGD(rate), loss)
        made.train_on_batch(x, y)
        steps.append(np.linalg.norm(made.get_weights()[0]))
    assert steps[1] == pytest.approx(steps[0], rel=0.02)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return X[index::4], EYE[index::4]


def of_tensorflow():
    data = pytest.importorskip("tensorflow").data.Dataset.from_tensor_slices((X, EYE, Y))
    return data.batch(75)


@pytest.mark.parametrize(
    "batches", [Batches, of_tensorflow, lambda: [(X[:75], EYE[:75])]], ids=lambda f: f.__name__
)
def test_the_first_batch_of_a_data_set(batches):
    found = check(model(), NGL(), batches())
    assert found.ok
    assert found.samples == 75
    assert not check(logits(), NGL(), batches()).ok


class Empty(keras.utils.PyDataset):
    def __len__(self):
        return 0

    def __getitem__(self, index):
        return [][index]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X, "give y, too"),
        (3, "no batches"),
        ([], "no batches"),
        (Empty(), "no batches"),
        ([(X,)], "give y, too"),
    ],
)
def test_without_labels(x, message):
    with pytest.raises(UserError, match=message):
        check(model(), NGL(), x)


@pytest.mark.parametrize(
    "x",
    [X[:0], [[1.0], [1.0, 2.0]], [X, X[:9]], np.float32(1)],
    ids=["empty", "ragged", "two", "0"],
)
def test_inputs_that_are_none(x):
    with pytest.raises(UserError, match=r"x cannot be read|x has no samples"):
        check(model(), NGL(), x, EYE)


@pytest.mark.parametrize("loss", [None, [None], {}])
def test_without_a_loss(loss):
    assert check(model(), loss, X, EYE).problems == ("there is no loss",)


def test_all_labels_are_looked_at():
    y = np.zeros(5000, int)
    y[1234] = 4
    found = check(model(), SparseNGL(), np.zeros((5000, 6)), y)
    assert found.samples == 256
    assert "1 of 5000 labels are 4" in found.problems[0]


def test_a_batch_of_void_has_labels_elsewhere():
    y = np.full((300, 8, 6), 255)
    # The model is run with 256 of them, without this one.
    y[6] = 0
    found = check(segmenter(), SparseNGL(ignore_class=255), np.zeros((300, 8, 6, 3)), y)
    assert found.ok
    assert found.saturated is None


def test_fewer_large_samples():
    images = np.zeros((10, 1024, 1024), "float32")
    made = keras.Sequential(
        [keras.Input((1024, 1024)), layers.GlobalAveragePooling1D(), layers.Dense(4, "softmax")]
    )
    assert check(made, SparseNGL(), images, Y[:10]).samples == 4


def test_nothing_changes():
    made = normalised()
    before = [to_numpy(variable) for variable in made.variables]
    check(made, NGL(), X, EYE)
    assert all(map(np.array_equal, before, map(to_numpy, made.variables)))
    assert not made.compiled


def test_the_text_of_a_right_set_up():
    text = str(check(model(), CategoricalCrossentropy(), X, EYE))
    assert text == (
        "no problem, looked at 256 samples\n"
        "output (256, 4): softmax, CategoricalCrossentropy, 0% of samples saturated, "
        "gradient 1 of cross entropy's"
    )


@needs_tensorflow
def test_examples_are_as_documented():
    assert doctest.testmod(importlib.import_module("nglkeras.losses.checking.check")).failed == 0
    document = str(ROOT / "docs/check.md")
    options = doctest.NORMALIZE_WHITESPACE
    found = doctest.testfile(document, module_relative=False, optionflags=options)
    assert found.failed == 0 < found.attempted

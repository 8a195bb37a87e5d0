"""What every loss has in common: one contract for all losses, heads and options, against NumPy.

The losses are found in the public list, so that a new one is tested as soon as it is exported, and
fails until `reference.DEFINITIONS` has its definition. `combinations` says which combinations of
options are tried. Compiling takes long, so it is tried with one of them for each loss and head.
"""

import itertools
import json

import keras
import numpy as np
import pytest
from losses import reference
from losses.combinations import (
    BACKEND,
    CASES,
    CLASSES,
    FORMS,
    LOSSES,
    PIXELS,
    VOID,
    Combination,
    any_row,
    close,
    close_value,
    factors_of,
    forms_of,
    offered,
    rows_of,
)

from nglkeras import UserError, losses

every_case = pytest.mark.parametrize(
    ("cls", "form"), CASES, ids=[f"{cls.__name__}-{form}" for cls, form in CASES]
)


def test_every_definition_is_of_a_public_loss():
    assert reference.DEFINITIONS.keys() <= {cls.__name__ for cls in LOSSES}


@every_case
def test_equals_the_reference(cls, form, record_property):
    # JAX compiles each of them anew: a fifth does there, and each pair of values on the others.
    rows = rows_of(cls, form)[:: 5 if BACKEND == "jax" else 1]
    check_all({str(row): Combination(cls, form, row).check for row in rows})
    record_property("combinations", len(rows))


def check_all(checks):
    """Run checks, and raise `AssertionError` with the first failures."""
    failures = []
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            failures.append(f"{name}\n{type(error).__name__}: {error}")
    assert not failures, f"{len(failures)} of {len(checks)}:\n" + "\n".join(failures[:3])


@every_case
def test_batches_of_nothing_but_ignored_labels_are_zero(cls, form, record_property):
    only = {"ignore_class": [VOID], "call": ["class"], "labels": ["0 or 1", "one-hot", "int32"]}
    only["labels"] = [kind for kind in only["labels"] if kind in factors_of(cls, form)["labels"]]
    combination = Combination(cls, form, any_row(cls, form, "void", **only))
    combination.counts[:] = False
    combination.t[:] = VOID if form == "sigmoid" else 0.0
    combination.check()
    record_property("combinations", 1)


class TestExtremes:
    """Certain predictions, right and wrong: probabilities of 0 and 1, logits of ±10,000."""

    @staticmethod
    def certain(combination):
        c, random = combination, np.random.default_rng(0)
        if c.is_sigmoid:
            x = random.integers(0, 2, c.t.shape).astype("float64")
        else:
            x = np.eye(CLASSES)[random.integers(0, CLASSES, c.counts.shape)]
            # Half of them are right.
            x[::2] = np.where(c.counts[::2, ..., None], np.round(c.t[::2]), x[::2])
        return c.rounded(1e4 * (2 * x - 1) if c.options["from_logits"] else x)

    @every_case
    def test_values_equal_the_reference_and_gradients_are_finite(self, cls, form, record_property):
        checks = {}
        for from_logits, dtype in itertools.product((False, True), ("float32", "bfloat16")):
            only = {"from_logits": [from_logits], "dtype": [dtype], "rank": [3]}
            if dtype == "bfloat16" and "fast" in offered(cls):
                only["fast"] = [False]
            row = any_row(cls, form, f"extremes {from_logits} {dtype}", **only)
            checks[str(row)] = lambda row=row: self.check(Combination(cls, form, row, repeats=2))
        check_all(checks)
        record_property("combinations", len(checks))

    def check(self, combination):
        combination.x = self.certain(combination)
        value, gradient = combination.found()
        assert np.isfinite(gradient).all()
        assert np.isfinite(value).all()
        expected, size, _ = combination.expected_value(combination.x)
        close_value(value, expected, size, 1e-4)


WAYS = {
    "tensorflow": ["run_eagerly", "jit_compile", "two devices"],
    "jax": ["run_eagerly", "jit_compile"],
    "torch": ["run_eagerly"],
}
FEATURES = 4


class Output:
    """An output of a model, with a loss of its own and one combination of options."""

    def __init__(self, cls, form, way):
        self.name = f"{cls.__name__}_{form}"
        # What two devices have added up Keras adds up and halves.
        reductions = ["sum_over_batch_size", "mean_with_sample_weight", "sum"]
        row = any_row(
            cls,
            form,
            way,
            call=["class"],
            dtype=["float32"],
            rank=[3],
            weights=[None, "samples", "pixels"],
            reduction=reductions[:2] if way == "two devices" else reductions,
        )
        # Both halves of the batch have the same labels and weights, so that devices agree.
        self.combination = Combination(cls, form, row, repeats=2)

    def connect(self, inputs):
        """Return the layers from the inputs to the output."""
        c = self.combination
        x = keras.layers.Dense(c.shape[-1], use_bias=False, name=f"of_{self.name}")(inputs)
        if not c.options["from_logits"]:
            x = keras.layers.Activation(c.options["head"])(x)
        return keras.layers.Permute((2, 1))(x) if c.row["axis"] == 1 else x

    @property
    def sample_weight(self):
        c = self.combination
        if c.weights is None:
            return np.ones(len(c.t) if c.is_dice else c.t.shape[:2])
        return c.weights

    def check(self, inputs, before, after, value):
        """Compare loss and gradient of a step with plain SGD at the learning rate 1."""
        expected, slopes, size = self.combination.expected(inputs @ before, from_logits=True)
        slopes = np.einsum("bpf,bpc->fc", inputs, slopes)
        close(value, before - after, expected, slopes, size, 1e-4)


@pytest.mark.parametrize("way", WAYS[BACKEND])
def test_in_fit(way, request, tmp_path, record_property):
    cases = CASES
    if way != "run_eagerly":
        # Compiling takes long, and so does tracing for each device: each loss has one of its forms.
        forms = [forms_of(cls) for cls in LOSSES]
        cases = [(cls, f[i % len(f)]) for i, (cls, f) in enumerate(zip(LOSSES, forms, strict=True))]
    outputs = [Output(cls, form, way) for cls, form in cases]
    inputs = np.random.default_rng(0).normal(size=(8, PIXELS, FEATURES)).astype("float32")

    def build():
        keras.utils.set_random_seed(0)
        start = keras.Input((PIXELS, FEATURES))
        model = keras.Model(start, {output.name: output.connect(start) for output in outputs})
        model.compile(
            keras.optimizers.SGD(1.0),
            {output.name: output.combination.loss() for output in outputs},
            run_eagerly=way == "run_eagerly",
            jit_compile=way == "jit_compile",
        )
        # Otherwise the step would be traced twice.
        model.optimizer.build(model.trainable_variables)
        return model

    if way == "two devices":
        strategy = request.getfixturevalue("mirrored")
        assert strategy.num_replicas_in_sync == 2
        with strategy.scope():
            model = build()
    else:
        model = build()
    if way == "run_eagerly":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    kernels = [model.get_layer(f"of_{output.name}").kernel for output in outputs]
    before = [keras.ops.convert_to_numpy(kernel).astype("float64") for kernel in kernels]
    history = model.fit(
        inputs,
        {output.name: output.combination.y_true for output in outputs},
        sample_weight={output.name: output.sample_weight for output in outputs},
        batch_size=8,
        shuffle=False,
        verbose=0,
    ).history
    checks = {}
    for output, kernel, old in zip(outputs, kernels, before, strict=True):
        new, value = keras.ops.convert_to_numpy(kernel), history[f"{output.name}_loss"][0]
        checks[f"{output.name} {output.combination.row}"] = (
            lambda output=output, old=old, new=new, value=value: output.check(
                inputs.astype("float64"), old, new, value
            )
        )
    check_all(checks)
    record_property("combinations", len(outputs))


@pytest.mark.parametrize("cls", [losses.Baikal, losses.Crossentropy])
class TestClassWeights:
    """Class weights of a loss are Keras' `class_weight`, which `fit` takes."""

    @pytest.mark.parametrize(
        ("form", "weights"),
        [
            ("dense", {0: 1.0, 1: 5.0, 2: 0.0}),
            ("sparse", {0: 1.0, 1: 5.0, 2: 0.0}),
            ("sigmoid", {0: 0.5, 1: 3.0}),
        ],
    )
    def test_train_as_in_fit(self, cls, form, weights):
        random = np.random.default_rng(0)
        x, labels = random.normal(size=(24, 4)), random.integers(0, len(weights), 24)
        y = keras.utils.to_categorical(labels) if form == "dense" else labels[:, None]
        results = []
        for of_loss, of_fit in ((weights, None), (None, weights)):
            keras.utils.set_random_seed(0)
            units = 1 if form == "sigmoid" else len(weights)
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
            loss = cls(class_weights=of_loss, from_logits=True, **FORMS[form])
            model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
            # The last batch is smaller.
            values = model.fit(
                x, y, class_weight=of_fit, batch_size=10, shuffle=False, epochs=2, verbose=0
            ).history["loss"]
            results.append([*values, *model.get_weights()[0].ravel()])
        np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    ("ours", "keras_loss", "arguments"),
    [
        (losses.Crossentropy(head="sigmoid"), "BinaryCrossentropy", {"label_smoothing": 0.2}),
        (losses.Focal(1.0, 0.0, head="sigmoid"), "BinaryCrossentropy", {"label_smoothing": 0.2}),
        (losses.Focal(1.0, 3.0, head="sigmoid"), "BinaryFocalCrossentropy", {"gamma": 3.0}),
        (losses.Crossentropy(), "CategoricalCrossentropy", {"label_smoothing": 0.2}),
        (losses.Focal(0.5, 3.0), "CategoricalFocalCrossentropy", {"alpha": 0.5, "gamma": 3.0}),
        (losses.Crossentropy(sparse=True), "SparseCategoricalCrossentropy", {"ignore_class": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_equals_a_loss_of_keras(ours, keras_loss, arguments, from_logits):
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, 40)
    y = labels if ours.sparse else np.eye(CLASSES)[labels]
    x = random.normal(size=(40, CLASSES))
    if not from_logits:
        x = reference.quantities(x, ours.head, True).p
    theirs = getattr(keras.losses, keras_loss)(from_logits=from_logits, **arguments)
    given = {name: value for name, value in arguments.items() if name not in ("alpha", "gamma")}
    ours = type(ours).from_config(ours.get_config() | given | {"from_logits": from_logits})
    assert float(ours(y, x)) == pytest.approx(float(theirs(y, x)), rel=1e-5)


NUMPY_SCALARS = {
    bool: np.bool_,
    int: np.int64,
    float: lambda value: np.asarray(value, "float32"),
}


@pytest.mark.parametrize("cls", LOSSES, ids=lambda cls: cls.__name__)
def test_scalars_of_numpy_are_kept_as_numbers_that_a_file_can_hold(cls):
    """Constants often come from an array of values to be tried."""
    config = cls(**reference.definition_of(cls).needed).get_config()
    plain = {name: value for name, value in config.items() if type(value) in NUMPY_SCALARS}
    assert "axis" in plain
    scalars = {name: NUMPY_SCALARS[type(value)](value) for name, value in plain.items()}
    if "label_smoothing" in scalars:
        scalars["label_smoothing"] = np.float32(0.25)
    again = json.loads(json.dumps(cls(**config | scalars).get_config()))
    expected = {name: type(value)(scalars[name]) for name, value in plain.items()}
    assert {name: again[name] for name in plain} == expected


class TestMistakes:
    """Mistakes that all losses know, each with an answer of one line that says what is valid."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"class_weights": (1, 2)}, "class_weights are 2 numbers, but y_pred has 5 outputs"),
            ({"class_weights": (1, -2)}, r"class_weights=\(1, -2\) .* at least 0"),
            ({"class_weights": (1, np.nan)}, "class_weights=.* finite"),
            ({"class_weights": 3.0}, "class_weights=3.0 is not a number for each class"),
            ({"class_weights": "balanced"}, r"class_weights='balanced': .*balanced\(counts\)"),
            ({"class_weights": {0: 1.0, 2: 1.0}}, r"class_weights for \[0, 2\]: .* from 0 on"),
            ({"ignore_class": 0.5}, "ignore_class=0.5 is not a whole number, such as 255"),
            ({"head": "tanh"}, "unknown head 'tanh'; choose from: "),
            ({"head": "sigmoid", "sparse": True}, "sparse=True is of a softmax: .* are 0 and 1"),
            ({"head": "sigmoid", "class_weights": (1, 2, 3)}, r"is not a pair \(w0, w1\), or one"),
            ({"head": "sigmoid", "class_weights": [(1, 2)] * 4}, "are 4 pairs, .* has 5 outputs"),
            ({"head": "sigmoid", "fast": True}, "fast=True is not for probabilities; it takes log"),
            ({"label_smoothing": 1}, r"label_smoothing=1 is not in \[0, 1\)"),
            ({"label_smoothing": -0.1}, r"label_smoothing=-0.1 is not in \[0, 1\)"),
            ({"label_smoothing": "0.1"}, r"label_smoothing='0.1' is not in \[0, 1\)"),
            ({"class_reduction": "max"}, "unknown class_reduction 'max'; choose from: mean, sum"),
            ({"sparse": "no"}, "sparse='no' is neither True nor False"),
            ({"from_logits": None}, "from_logits=None is neither True nor False"),
            ({"fast": 2}, "fast=2 is neither True nor False"),
            ({"axis": "last"}, "axis='last' is not a whole number"),
            ({"axis": 0}, "axis=0 is the axis of the samples"),
            ({"axis": -3}, r"axis=-3 of y_pred of shape \(2, 3, 5\) is that of the samples"),
        ],
    )
    def test_are_refused_by_every_loss(self, arguments, message):
        x, y = np.full((2, 3, CLASSES), 0.2, "float32"), np.eye(CLASSES)[[[0, 1, 2], [3, 4, 0]]]
        takers = [cls for cls in LOSSES if arguments.keys() <= offered(cls).keys()]
        if arguments.keys() == {"class_weights"}:
            # Those of a sigmoid head have another form.
            takers = [cls for cls in takers if "dense" in forms_of(cls)]
        assert len(takers) > 1
        for cls in takers:
            with pytest.raises(UserError, match=message) as error:
                cls(**reference.definition_of(cls).needed | arguments)(y, x)
            assert "\n" not in str(error.value)

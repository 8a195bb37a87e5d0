"""Every public loss with combinations of its options, and what NumPy says about each.

All combinations would be a million a loss. `rows_of` chooses so few that each pair of values of two
options occurs in one of them, for every loss and form of its labels.
"""

import inspect
import itertools
import random
import zlib

import keras
import ml_dtypes
import numpy as np
from keras import ops
from keras.src.backend import set_keras_mask
from losses import reference

from nglkeras import losses
from nglkeras.losses.base import FunctionLoss
from nglkeras.losses.curves import value_and_gradient

BACKEND = keras.backend.backend()
LOSSES = [
    value
    for value in (getattr(losses, name) for name in losses.__all__)
    if isinstance(value, type) and issubclass(value, FunctionLoss)
]
FORMS = {
    "dense": {"head": "softmax", "sparse": False},
    "sparse": {"head": "softmax", "sparse": True},
    "sigmoid": {"head": "sigmoid", "sparse": False},
}
BATCH, PIXELS, CLASSES = 4, 3, 5
VOID = 255
SHARES = (0.5, 2.0, 0.0, 1.5, 1.0)


def offered(cls):
    """Return the names of the arguments of a loss."""
    return inspect.signature(cls).parameters


def forms_of(cls):
    """Return the forms that a loss must have: those of its heads, unless it fixes one."""
    definition = reference.definition_of(cls)
    fixed = vars(cls(**definition.needed))
    return [
        form
        for form, options in FORMS.items()
        if options["head"] in definition.heads
        and all(name in offered(cls) or fixed[name] == value for name, value in options.items())
    ]


CASES = [(cls, form) for cls in LOSSES for form in forms_of(cls)]


def factors_of(cls, form):
    """Return what each option of a loss is tried with."""
    is_sigmoid = form == "sigmoid"
    factors = {
        "from_logits": [False, True],
        "label_smoothing": [0.0, 0.15],
        "class_reduction": [None, "mean", "sum"],
        "axis": [-1, 1],
        "class_weights": [None, "each label", "each output" if is_sigmoid else "dict"],
        "ignore_class": [None, VOID, 0] if is_sigmoid else [None, VOID, 2, -1],
        "labels": {
            "dense": ["one-hot", "soft", "uint8"],
            "sparse": ["int32", "int64", "uint8", "float32", "class axis"],
            "sigmoid": ["0 or 1", "soft", "one unit"],
        }[form],
        "rank": [2, 3, 4],
        "constants": ["default", "others"],
        "call": ["function", "class", "restored"],
        "weights": [None, "samples", "pixels", "mask"],
        "reduction": ["none", "sum", "sum_over_batch_size", "mean_with_sample_weight"],
        "dtype": ["float32", "float16", "bfloat16", "float64", "bfloat16 loss"],
    }
    if BACKEND == "jax":
        # It has no float64 unless told so.
        factors["dtype"].remove("float64")
    definition = reference.definition_of(cls)
    if not definition.others:
        factors["constants"] = ["default"]
    if definition.term is None and form == "sparse":
        # Dice of class indices is of images.
        factors["rank"].remove(2)
    for name in ("label_smoothing", "class_reduction"):
        if name not in offered(cls):
            del factors[name]
    return factors


def makes_sense(row):
    """Return whether a combination, or a part of one, can be tried."""
    weights, reduction = row.get("weights"), row.get("reduction", "none")
    if row.get("call") == "function" and (
        weights is not None or reduction != "none" or row.get("dtype") == "bfloat16 loss"
    ):
        return False
    if (weights, row.get("rank")) == ("pixels", 2):
        return False
    return (row.get("labels"), row.get("ignore_class")) != ("uint8", -1)


def rows_of(cls, form):
    """Return the combinations to check; few with a kernel, which is compiled for each."""
    factors, seed = factors_of(cls, form), f"{cls.__name__} {form}"
    rows = pairwise(factors, seed)
    if "fast" in offered(cls) and form != "sigmoid":
        of_kernel = {"from_logits": [True], "dtype": ["float32", "bfloat16"]}
        plain = [row | {"fast": False} for row in rows]
        return plain + pairwise(factors | of_kernel, seed)[:3]
    return rows


def pairwise(factors, seed):
    """Return rows in which every pair of values of two factors occurs."""
    choose = random.Random(seed)
    names = list(factors)
    missing = {
        pair
        for a, b in itertools.combinations(names, 2)
        for pair in itertools.product(((a, x) for x in factors[a]), ((b, y) for y in factors[b]))
        if makes_sense(dict(pair))
    }
    rows = []
    while missing:
        row = dict(choose.choice(sorted(missing, key=repr)))
        for name in choose.sample(names, len(names)):
            if name not in row:
                row[name] = _best(name, factors[name], row, missing, choose)
        row = {name: row[name] for name in names}
        missing -= set(itertools.combinations(row.items(), 2))
        rows.append(row)
    return rows


def _best(name, values, row, missing, choose):
    """Return the value that occurs in the most missing pairs with the values chosen so far."""

    def gain(value):
        new = (name, value)
        return sum((old, new) in missing or (new, old) in missing for old in row.items())

    values = [value for value in values if makes_sense(row | {name: value})]
    return max(choose.sample(values, len(values)), key=gain)


def any_row(cls, form, seed, **factors):
    """Return one combination, drawn at random."""
    choose = random.Random(f"{cls.__name__} {form} {seed}")
    factors = factors_of(cls, form) | factors
    while True:
        row = {name: choose.choice(values) for name, values in factors.items()}
        if makes_sense(row):
            return row


class Combination:
    """A loss with one combination of options, and labels and predictions for it.

    Attributes:
        t: Labels in float64 with classes or outputs last, and 255 or the ignored class where they
            are ignored.
        counts: Which samples (softmax) or outputs (sigmoid) are not ignored.
        x: Predictions, in the shape of `t`.
        weights: Weights of samples or pixels, or a mask.
        arguments: Arguments of the loss.
    """

    # Rounding errors, relative to the size of a sum or gradient.
    tolerances = {"float16": 2e-3, "bfloat16": 1e-2, "bfloat16 loss": 4e-2}  # noqa: RUF012

    def __init__(self, cls, form, row, repeats=1):
        self.cls, self.form, self.row = cls, form, row
        self.definition = reference.definition_of(cls)
        self.is_sigmoid = form == "sigmoid"
        self.is_dice = self.definition.term is None
        random = np.random.default_rng(zlib.crc32(repr((cls.__name__, form, row)).encode()))
        outputs = 1 if row["labels"] == "one unit" else CLASSES
        self.shape = (BATCH, PIXELS, outputs)
        self.t, self.counts = self._binary(random) if self.is_sigmoid else self._classes(random)
        self.weights = self._weights(random)
        self._set_arguments(random)
        self.x = random.uniform(-1.2, 1.2, self.shape)
        if not row["from_logits"]:
            self.x = reference.quantities(self.x, FORMS[form]["head"], True).p
        self.x = self.rounded(self.x)
        for name in ("t", "counts", "weights", "x"):
            setattr(self, name, self._arranged(getattr(self, name), repeats))

    def _arranged(self, array, repeats):
        """Return an array repeated along the batch, in the shape of the combination's rank."""
        if array is None:
            return None
        array, rank = np.concatenate([array] * repeats), self.row["rank"]
        if rank == 2:
            return array.reshape(-1, *array.shape[2:])
        return np.expand_dims(array, 1) if rank == 4 and array.ndim > 1 else array

    def _binary(self, random):
        void = self.row["ignore_class"]
        t = random.integers(0, 2, self.shape).astype("float64")
        if self.row["labels"] == "soft":
            t = 0.125 + 0.75 * t
        if void is not None:
            t[random.random(self.shape) < 0.3] = void
            # A pixel and an image with nothing else.
            t[2, 1] = t[3] = void
            t[0, 0, 0] = 1.0
        return t, np.ones(self.shape, bool) if void is None else t != void

    def _classes(self, random):
        void = self.row["ignore_class"]
        labels = random.integers(0, CLASSES, self.shape[:2])
        t = np.eye(CLASSES)[labels]
        if self.row["labels"] == "soft":
            t = 0.75 * t + 0.25 * np.eye(CLASSES)[random.permutation(labels.T).T]
        counts = np.ones(self.shape[:2], bool)
        if void is not None:
            counts = labels != void if void < CLASSES else random.random(self.shape[:2]) > 0.3
            counts[3] = False
            counts[0, 0] = True
            t[~counts] = np.eye(VOID + 1)[void, :CLASSES]
            t[0, 0] = np.eye(CLASSES)[1]
        return t, counts

    def _weights(self, random):
        kind = self.row["weights"]
        if kind is None:
            return None
        weights = random.uniform(0.5, 2.0, self.shape[:2])
        weights[1, -1] = 0.0
        if kind == "samples":
            return weights if self.row["rank"] == 2 else weights[:, -1]
        return weights > 0 if kind == "mask" else weights

    def _set_arguments(self, random):
        row, definition = self.row, self.definition
        weights, kind = None, row["class_weights"]
        if kind == "each output":
            weights = random.uniform(0.2, 2.0, (self.shape[-1], 2)).tolist()
        elif kind is not None:
            weights = SHARES[:2] if self.is_sigmoid else SHARES
        self.options = {
            "head": FORMS[self.form]["head"],
            "from_logits": row["from_logits"],
            "label_smoothing": row.get("label_smoothing", 0.0),
            "class_reduction": row.get("class_reduction") or definition.class_reduction,
            "class_weights": weights,
        }
        others = definition.others if row["constants"] == "others" else {}
        self.constants = definition.needed | others
        of_form = {k: value for k, value in FORMS[self.form].items() if k in offered(self.cls)}
        names = ("from_logits", "label_smoothing", "class_reduction", "axis", "ignore_class")
        given = {name: row.get(name) for name in (*names, "fast")}
        given["class_weights"] = dict(enumerate(weights)) if kind == "dict" else weights
        given = {name: value for name, value in given.items() if value is not None}
        self.arguments = of_form | self.constants | given

    def rounded(self, x):
        """Return predictions in float64 as their dtype has them."""
        dtype = self.row["dtype"].split()[0]
        if "float16" not in dtype:
            return x
        return x.astype(getattr(ml_dtypes, dtype, dtype)).astype("float64")

    @property
    def y_true(self):
        """Labels as users give them."""
        kind, axis = self.row["labels"], self.row["axis"]
        if self.form == "sparse":
            void = self.row["ignore_class"]
            y = (
                self.t.argmax(-1)
                if void is None
                else np.where(self.counts, self.t.argmax(-1), void)
            )
            return (
                np.expand_dims(y, axis).astype("int32") if kind == "class axis" else y.astype(kind)
            )
        if kind == "one unit":
            return self.t[..., 0].astype("int32")
        return np.moveaxis(self.t, -1, axis).astype("uint8" if kind == "uint8" else "float32")

    def in_shape_of_x(self, counts):
        return np.broadcast_to(counts if self.is_sigmoid else counts[..., None], self.x.shape)

    def loss(self):
        """Return the loss as a Keras class."""
        dtype = {"bfloat16 loss": "bfloat16", "float64": "float64"}.get(self.row["dtype"])
        given = {"reduction": self.row["reduction"], "dtype": dtype, "name": "mine"}
        loss = self.cls(**given, **self.arguments)
        assert loss.get_config().items() >= given.items()
        if self.row["call"] == "restored":
            config = keras.saving.serialize_keras_object(loss)
            again = keras.saving.deserialize_keras_object(config)
            assert type(again) is type(loss)
            assert again.get_config() == loss.get_config()
            return again
        return loss

    def expected(self, x=None, from_logits=None):
        """Return the loss, its gradient, and the size of what is added up."""
        x = self.x if x is None else x
        value, size, factors = self.expected_value(x, from_logits)
        rank = factors.ndim
        slopes = reference.gradient(lambda x: self._values(x, from_logits)[0], x, rank)
        return value, slopes * factors.reshape(factors.shape + (1,) * (x.ndim - rank)), size

    def expected_value(self, x, from_logits=None):
        """Return the loss, the size of what is added up, and the factor of each value in it."""
        row, weights = self.row, self.weights
        values, counts = self._values(x, from_logits)
        if self._weights_pixels_of_dice:
            weights = None
        elif row["weights"] == "mask":
            counts, weights = counts & weights, None
        reduction = "none" if row["call"] == "function" else row["reduction"]
        if weights is not None:
            weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
            weights = np.broadcast_to(weights, values.shape)
        factors = reference.factors(counts, weights, reduction)
        parts = values * factors
        return (parts if reduction == "none" else parts.sum()), np.abs(parts).sum(), factors

    @property
    def _weights_pixels_of_dice(self):
        weighs_pixels = self.row["weights"] in ("pixels", "mask")
        return self.is_dice and weighs_pixels and self.row["rank"] > 2

    def _values(self, x, from_logits):
        options = self.options | ({} if from_logits is None else {"from_logits": from_logits})
        of_pixels = self.weights if self._weights_pixels_of_dice else None
        return reference.values(
            self.definition, self.t, x, self.counts, self.constants, of_pixels, **options
        )

    def found(self):
        """Return loss and gradient of the package."""
        row, y, weights = self.row, self.y_true, self.weights
        is_mask = row["weights"] == "mask"
        if row["call"] == "function":
            function = lambda x: self.cls.function(y, x, **self.arguments)  # noqa: E731
        else:
            loss, sample_weight = self.loss(), None if is_mask else weights
            function = lambda x: loss(y, x, sample_weight=sample_weight)  # noqa: E731

        def of_predictions(x):
            x = ops.cast(x, row["dtype"].split()[0])
            if is_mask:
                set_keras_mask(x, mask=ops.convert_to_tensor(weights))
            value = function(x)
            # PyTorch's bfloat16 does not become a NumPy array.
            return ops.cast(value, "float32") if row["dtype"] == "bfloat16 loss" else value

        # Nothing that is predicted where labels are ignored may matter.
        bad = np.resize([np.nan, np.inf, -np.inf], self.x.shape)
        x = np.moveaxis(np.where(self.in_shape_of_x(self.counts), self.x, bad), -1, row["axis"])
        wide = "float64" if row["dtype"] == "float64" else "float32"
        value, gradient = value_and_gradient(of_predictions, x.astype(wide))
        return value, np.moveaxis(gradient, row["axis"], -1)

    def check(self):
        """Raise `AssertionError` where the package differs from NumPy."""
        value, gradient = self.found()
        # Keras' operations on PyTorch keep to float32 inside.
        is_wide = BACKEND == "tensorflow" and self.row["dtype"] == "float64"
        if self.row["call"] == "function" and BACKEND == "tensorflow":
            assert value.dtype == ("float64" if is_wide else "float32")
        tolerance = self.tolerances.get(self.row["dtype"], 2e-5)
        exactness = {"of_value": 1e-10, "of_gradient": 1e-6} if is_wide else {}
        close(value, gradient, *self.expected(), tolerance, **exactness)
        assert not gradient[~self.in_shape_of_x(self.counts)].any()


def close(value, gradient, expected, slopes, size, tolerance, of_value=None, of_gradient=None):
    """Raise `AssertionError` unless a loss and its gradient are the expected ones."""
    close_value(value, expected, size, of_value or tolerance)
    error, scale = np.max(np.abs(gradient - slopes)), np.abs(slopes).max()
    allowed = (of_gradient or tolerance) * (scale + 0.01)
    assert error <= allowed, f"gradient off by {error} of {scale}"


def close_value(value, expected, size, tolerance):
    """Raise `AssertionError` unless a loss is the expected one."""
    assert np.shape(value) == np.shape(expected)
    allowed = tolerance * ((np.abs(expected) if np.ndim(value) else size) + 0.1)
    error = np.abs(np.asarray(value, "float64") - expected)
    assert (error <= allowed).all(), f"value {value}, expected {expected}"

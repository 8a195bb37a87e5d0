"""Base classes of the Keras losses: they convert labels and apply masks and sample weights."""

import inspect
from collections.abc import Callable

import keras
from keras import ops
from keras.src.backend import get_keras_mask
from keras.src.losses.loss import reduce_weighted_values

from nglkeras.errors import UserError
from nglkeras.losses.documentation import document
from nglkeras.losses.labels import as_tensor, static_shape
from nglkeras.losses.options import bind

_OF_KERAS = {"reduction": "sum_over_batch_size", "name": None, "dtype": None}


class LabelLoss(keras.losses.Loss):
    """A Keras loss that keeps the dtype of its labels.

    Keras casts labels to the dtype of the loss, and half precision would round class indices.
    """

    @property
    def dtype(self) -> str:
        """Dtype of the computation, at least float32: half precision would round predictions."""
        dtype = super().dtype
        return "float32" if dtype in ("float16", "bfloat16") else dtype

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Compute the reduced loss, as `keras.losses.Loss` does.

        Args:
            y_true: Labels.
            y_pred: Predictions.
            sample_weight: A weight for each sample or pixel; `None` for equal weights.
        """
        mask = get_keras_mask(y_pred)
        with keras.name_scope(self.name):
            y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
            values = self.call(as_tensor(y_true), y_pred)
            return self._reduced(values, sample_weight, mask)

    def _reduced(self, values, sample_weight=None, mask=None):
        """Let Keras weight and reduce the values that neither mask excludes."""
        sample_weight = _for_all_pixels(sample_weight, values)
        own = get_keras_mask(values)
        if mask is not None:
            mask = for_all_within(mask, values)
        if own is not None:
            mask = own if mask is None else ops.logical_and(mask, own)
        return reduce_weighted_values(
            values,
            sample_weight=sample_weight,
            mask=mask,
            reduction=self.reduction,
            dtype=self.dtype,
        )


def for_all_within(mask, values):
    """Give what is in a step of a sequence, such as the pixels of a frame, the mask of the step.

    Keras would align the mask with the last axes.
    """
    missing = tuple(range(len(mask.shape), len(values.shape)))
    if not missing:
        return mask
    return ops.logical_and(ops.expand_dims(mask, axis=missing), ops.ones_like(values, "bool"))


def shape_of_weights(weights):
    """Return the static shape of sample weights.

    Raises:
        UserError: If TensorFlow does not know their rank.
    """
    shape = static_shape(ops.convert_to_tensor(weights))
    if shape is None:
        raise UserError("sample weights are of unknown rank; give it with tf.ensure_shape")
    return shape


def _for_all_pixels(weights, values):
    """Give each pixel the weight of its image.

    Keras would align weights of images with the last axis, and divide a weighted mean by their sum
    over the images. On PyTorch it would also multiply them by a mask in place.

    Raises:
        UserError: If they are weights of neither images nor pixels.
    """
    if weights is None:
        return None
    shape, whole = shape_of_weights(weights), tuple(values.shape)
    # Those of several outputs would be multiplied with each other's samples.
    fit = (size in (1, None, own) or own is None for size, own in zip(shape, whole, strict=False))
    is_less, more = len(shape) < len(whole), shape[len(whole) :]
    of_samples = all(fit) and (not is_less or all(size == 1 for size in shape[1:]))
    if not of_samples or any(size not in (1, None) for size in more):
        raise UserError(
            f"sample weights of shape {shape} are weights of neither samples nor pixels, shape "
            f"{whole}"
        )
    weights = ops.convert_to_tensor(weights, dtype=values.dtype)
    if more:
        # Not `squeeze`, to which an axis of unknown size is none of 1.
        weights = ops.reshape(weights, ops.shape(weights)[: len(whole)])
    missing = tuple(range(len(shape), len(whole)))
    return ops.expand_dims(weights, axis=missing) * ops.ones_like(values)


class FunctionLoss(LabelLoss):
    """A Keras loss that calls a function of `y_true`, `y_pred` and further arguments.

    A subclass names the function. The arguments of the constructor are those of the function and
    `reduction`, `name` and `dtype`, which Keras knows; configuration, `repr` and the documentation
    of the arguments follow from them.

    Attributes:
        function: The function, which returns one value per sample.
        reconstructed: Whether the formula is a guess at an illegible one.
    """

    function: Callable
    reconstructed = False
    # Arguments of the function that the class does not offer.
    _internal = frozenset()

    def __init_subclass__(cls, **others):
        super().__init_subclass__(**others)
        own = list(inspect.signature(cls.function).parameters.values())[2:]
        own = [parameter for parameter in own if parameter.name not in cls._internal]
        cls._own_names = tuple(parameter.name for parameter in own)
        cls._constants = {p.name for p in own if p.kind is not p.KEYWORD_ONLY}
        keyword = inspect.Parameter.KEYWORD_ONLY
        signature = inspect.Signature(
            [*own, *(inspect.Parameter(n, keyword, default=d) for n, d in _OF_KERAS.items())]
        )

        # Every class has a constructor of its own, so that `help` shows its arguments.
        def initialize(self, *given, **named):
            self._set(bind(cls.__name__, signature, given, named))

        instance = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        initialize.__signature__ = signature.replace(
            parameters=[instance, *signature.parameters.values()]
        )
        initialize.__name__, initialize.__doc__ = "__init__", "Check the arguments: see the class."
        cls.__init__ = initialize
        cls._defaults = {n: p.default for n, p in signature.parameters.items()}
        cls.__doc__ = document(_text(cls), signature, y_true=False)

    def _set(self, arguments):
        requested = {name: arguments.pop(name) for name in _OF_KERAS}
        requested["name"] = requested["name"] or self.function.__name__
        super().__init__(**requested)
        self._requested_dtype = _name_of_dtype(requested["dtype"])
        checked = self.function.checked(arguments)
        for name, value in checked.items():
            setattr(self, name, value)

    def _own_arguments(self):
        return {name: getattr(self, name) for name in self._own_names}

    def call(self, y_true, y_pred):
        """Return one value per sample."""
        return self.function(y_true, y_pred, **self._own_arguments())

    def get_config(self):
        """Return all arguments of the constructor."""
        own = {name: _as_json(value) for name, value in self._own_arguments().items()}
        return super().get_config() | own | {"dtype": self._requested_dtype}

    def __repr__(self):
        config = self.get_config()
        if config["name"] == self.function.__name__:
            config["name"] = None
        shown = [
            f"{name}={config[name]!r}"
            for name, default in self._defaults.items()
            if name in self._constants or config[name] != default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _text(cls):
    """Return the text of a class: its own, and that of its function after the first line."""
    own, of_function = cls.__doc__, cls.function.text
    if own is None or of_function is None:
        # Python runs with -OO.
        return None
    return f"{inspect.cleandoc(own)}\n{inspect.cleandoc(of_function).partition(chr(10))[2]}"


def _name_of_dtype(dtype):
    """Return the name of a dtype or policy as a file can hold it."""
    if dtype is None or isinstance(dtype, str):
        return dtype
    return getattr(dtype, "name", None) or keras.backend.standardize_dtype(dtype)


def _as_json(value):
    """Return class weights, or a constant that is a tensor, as JSON holds them."""
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    if not hasattr(value, "dtype"):
        return value
    try:
        return ops.convert_to_numpy(value).item()
    # A variable has no number while a step is traced, for which Keras asks for the loss's `repr`.
    except Exception:
        return value

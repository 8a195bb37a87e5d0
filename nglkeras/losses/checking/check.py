"""Check model, loss and data against each other before a training.

`check` runs the untrained model on a few samples, as a step of training does, and looks at outputs,
labels, loss and gradient. It says what would make a training wrong, and what is worth knowing.

One batch does not show everything: whether the inputs are scaled well and the learning rate fits;
labels that are valid but false or in another order than the inputs; classes that occur in other
batches only; height and width swapped in square images; gradients that vanish later. Sample weights
are not read. For a loss that is neither ours nor Keras' over classes, labels and outputs are only
computed with.
"""

from dataclasses import dataclass, replace

import keras
import numpy as np

from nglkeras.errors import UserError, unknown
from nglkeras.losses import heads
from nglkeras.losses.checking.examine import Output, examine
from nglkeras.losses.checking.traits import traits_of

# Most samples that the model is run with, and most numbers in their inputs and in labels.
SAMPLES, _INPUTS, _LABELS = 256, 2**22, 2**24


@dataclass(frozen=True, repr=False)
class Check:
    """What `check` found; printed, it is a text of a few lines.

    Attributes:
        samples: Number of samples that the model was run with.
        outputs: What was found for each output that has a loss.
        problems: What would make a training wrong, those of `outputs` included.
        notes: Advice.
    """

    samples: int
    outputs: tuple[Output, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def saturated(self) -> float | None:
        """`saturated` of the first output."""
        return self.outputs[0].saturated if self.outputs else None

    @property
    def gradient_ratio(self) -> float | None:
        """`gradient_ratio` of the first output."""
        return self.outputs[0].gradient_ratio if self.outputs else None

    @property
    def learning_rate_factor(self) -> float | None:
        """`learning_rate_factor` of the first output."""
        return self.outputs[0].learning_rate_factor if self.outputs else None

    def raise_if_wrong(self) -> "Check":
        """Return this check if it found no problem.

        Raises:
            UserError: If there is a problem; the message is the first one.
        """
        if self.problems:
            raise UserError(self.problems[0])
        return self

    def __repr__(self):
        count = len(self.problems)
        found = f"{count} problem{'s' * (count > 1)}" if count else "no problem"
        lines = [f"{found}, looked at {self.samples} samples"]
        lines += [f"problem: {sentence}" for sentence in self.problems]
        lines += [f"note: {sentence}" for sentence in self.notes]
        return "\n".join([*lines, *map(str, self.outputs)])


def check(model: keras.Model, loss: object, x: object, y: object = None) -> Check:
    """Say what is wrong with a model, a loss and data before a training.

    The model is run with at most 256 samples, spread evenly over `x`, fewer if they are large; all
    labels are looked at, up to 16 million.

    Args:
        model: The model, compiled or not. Its weights do not change.
        loss: What `model.compile` takes: a loss, a function or a name; a list, or a dict by the
            names of the outputs, for a model with several of them.
        x: Inputs: an array, or a dict or list of arrays. Or a `tf.data.Dataset`, a
            `keras.utils.PyDataset` or another iterable of batches; the first batch is taken.
        y: Labels: an array, or a list or dict of them for several outputs; `None` if `x` has them.

    Returns:
        Problems, notes and numbers: see `Check`.

    Raises:
        UserError: If there are no inputs and labels to look at.

    Examples:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> check(model, "categorical_crossentropy", np.ones((2, 3)), np.eye(2)).ok
        False
    """
    x, y = _arrays(*_first_batch(x, y))
    leaves = keras.tree.flatten(x)
    count = len(leaves[0])
    part = _spread(max(leaves, key=np.size), _INPUTS, SAMPLES)
    some = keras.tree.map_structure(lambda array: array[part], x)
    problems = [f"{bad} of {count} inputs hold NaN or infinity" for bad in _not_finite(leaves)]
    varied = not problems and any((one != one[:1]).any() for one in keras.tree.flatten(some))
    outputs = []
    try:
        few = heads.first(some)
        # This says what is wrong with the inputs, and builds a model without weights.
        heads.outputs(model, few)
        # As in training: the batch normalisation of an untrained network does nothing otherwise.
        found = heads.with_noise(model, some, noise=0.0, training=True)
        found = heads.outputs(model, some) if found is None else found
        noisy = [heads.with_noise(model, few, noise, training=True) for noise in (1.0, *heads.FAR)]
        for name, output, other, own_loss, labels in _pairs(model, found, noisy, loss, y):
            if np.shape(labels)[:1] != (count,):
                raise UserError(f"there are {count} inputs, and labels of shape {labels.shape}")
            many = labels[_spread(labels, _LABELS, count)]
            look = examine(traits_of(own_loss), output, other, labels[part], many, varied)
            outputs.append(replace(look, name=name))
    except UserError as error:
        problems.append(str(error))
    notes = []
    for one in outputs:
        prefix = f"{one.name}: " if len(outputs) > 1 else ""
        problems += [prefix + sentence for sentence in one.problems]
        notes += [prefix + sentence for sentence in one.notes]
    return Check(len(part), tuple(outputs), tuple(problems), tuple(notes))


def _first_batch(x, y):
    if y is not None:
        return x, y
    try:
        batch = x[0] if isinstance(x, keras.utils.PyDataset) else next(iter(x))
    except (TypeError, StopIteration, IndexError) as error:
        raise UserError("x has no batches of inputs and labels; give y, too") from error
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise UserError("the batches of x are not (inputs, labels); give y, too")
    return batch[:2]


def _arrays(x, y):
    """Return inputs and labels with NumPy arrays for leaves."""
    x, y = _read("x", x), _read("y", y)
    lengths = {array.shape[:1] for array in keras.tree.flatten(x)}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise UserError("x has no samples, or inputs that differ in number")
    return x, y


def _read(what, value):
    if isinstance(value, dict):
        return {key: _read(what, part) for key, part in value.items()}
    # A list of numbers is an array; one of arrays is several inputs or outputs.
    if isinstance(value, tuple | list) and all(hasattr(part, "shape") for part in value):
        return [_read(what, part) for part in value]
    try:
        if keras.ops.is_tensor(value):
            value = keras.ops.convert_to_numpy(value)
        return np.asarray(value)
    # Ragged lists and foreign types: every library raises its own error.
    except Exception as error:
        raise UserError(f"{what} cannot be read as an array: {error}") from error


def _spread(array, numbers, samples):
    """Return indices of as many samples, spread evenly, as have no more numbers than these."""
    count = len(array)
    most = max(1, min(samples, numbers * count // max(array.size, 1)))
    return np.unique(np.linspace(0, count - 1, most).astype(int))


def _not_finite(leaves):
    """Yield, for each array that has some, the number of samples with NaN or infinity."""
    for leaf in leaves:
        if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
            yield int((~np.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1)).sum())


def _pairs(model, found, noisy, loss, y):
    """Yield name, output, outputs with noise, loss and labels of each output with a loss."""
    names = getattr(model, "output_names", None) or []
    flat, others = heads.flat(found), [heads.flat(one) for one in noisy if one is not None]
    if isinstance(found, dict):
        names = list(found)
    elif len(names) != len(flat):
        names = [f"output {i}" for i in range(len(flat))] if len(flat) > 1 else ["output"]
    losses = loss if isinstance(loss, dict | list | tuple) else [loss] * len(flat)
    losses = _of_outputs("losses", losses, names)
    if all(one is None for one in losses):
        raise UserError("there is no loss")
    labels = _of_outputs("labels", y if isinstance(y, dict | list) else [y], names)
    for i, name in enumerate(names):
        if losses[i] is None:
            continue
        if labels[i] is None:
            raise UserError(f"the output {name} has a loss and no labels")
        yield name, flat[i], [one[i] for one in others], losses[i], labels[i]


def _of_outputs(what, given, names):
    """Return what is given for each output, as a list."""
    if isinstance(given, dict):
        strange = set(given) - set(names)
        if strange:
            raise unknown("output", strange.pop(), names)
        return [given.get(name) for name in names]
    if len(given) != len(names):
        raise UserError(
            f"the model has {len(names)} outputs ({', '.join(names)}), and there are {what} for "
            f"{len(given)}"
        )
    return list(given)

"""One Keras loss that runs any expression given as data, so that a model is compiled only once.

A model compiled with an `InterpretedLoss` is traced once. Each further expression is a small table
of instructions in non-trainable variables: it costs an assignment instead of a compilation.

The loss is elementwise in the predictions, so forward mode gives its exact gradient: each register
holds a value and its derivative by the prediction, which a custom gradient passes on. The program
is a loop over the instructions around a switch over the operators. On TensorFlow only this loop is
compiled by XLA: as single operations it costs several times as much as the loss itself.
"""

from dataclasses import dataclass
from functools import cache

import keras
import numpy as np
from keras import ops

from nglkeras.errors import UserError
from nglkeras.expression import OPERATORS, Expression
from nglkeras.losses.base import LabelLoss
from nglkeras.losses.classwise import Definition
from nglkeras.losses.options import OPTIONS, Options

# Paper A's trees have at most 100 nodes. Paper B's have at most 40, and each coefficient adds two.
MAX_INSTRUCTIONS = 128
# If the argument that needs more registers is evaluated first (Sethi and Ullman 1970), a tree of 50
# constants needs 6 registers besides those of y_pred and y_true.
REGISTERS = 9
_P, _T, _FIRST_FREE = 0, 1, 2
_CODES = {name: code for code, name in enumerate(OPERATORS)}
_LOAD = len(_CODES)


@dataclass(frozen=True)
class Program:
    """An expression as data.

    Attributes:
        instructions: int32 `[MAX_INSTRUCTIONS, 4]`: operator code, target register, two source
            registers.
        constants: float32 `[MAX_INSTRUCTIONS]`: the constants that load instructions load.
        length: int32 scalar, the number of instructions. The last one writes the loss to the first
            free register.
    """

    instructions: np.ndarray
    constants: np.ndarray
    length: np.ndarray


def assemble(expression: Expression) -> Program:
    """Translate an expression into a program.

    Raises:
        UserError: If the expression needs too many instructions or registers.
    """
    steps = []
    free = list(range(_FIRST_FREE, REGISTERS))

    def leaf(node):
        return (0 if isinstance(node, str) else 1), node

    def branch(name, *arguments):
        needs = sorted((need for need, _ in arguments), reverse=True)
        tie = len(needs) == 2 and needs[0] == needs[1] > 0
        return max(needs[0] + tie, 1), (name, arguments)

    def emit(tree):
        _, content = tree
        if content in ("y_pred", "y_true"):
            return _P if content == "y_pred" else _T
        sources, constant = [], 0.0
        if isinstance(content, float):
            code, constant = _LOAD, content
        else:
            name, arguments = content
            code = _CODES[name]
            order = sorted(range(len(arguments)), key=lambda i: -arguments[i][0])
            registers = {i: emit(arguments[i]) for i in order}
            sources = [registers[i] for i in range(len(arguments))]
        free.extend(sorted({source for source in sources if source >= _FIRST_FREE}))
        if not free:
            raise UserError(f"an expression that takes more than {REGISTERS} registers")
        target = min(free)
        free.remove(target)
        steps.append(([code, target, *[*sources, _P, _P][:2]], constant))
        return target

    result = emit(expression.fold(leaf, branch))
    if result < _FIRST_FREE:
        # Copy a single terminal by negating it twice.
        negate = _CODES["neg"]
        steps = [([negate, _FIRST_FREE, result, _P], 0.0)]
        steps += [([negate, _FIRST_FREE, _FIRST_FREE, _P], 0.0)]
    if len(steps) > MAX_INSTRUCTIONS:
        raise UserError(
            f"an expression of {expression.size} nodes; the interpreter takes {MAX_INSTRUCTIONS}"
        )
    instructions = np.zeros((MAX_INSTRUCTIONS, 4), "int32")
    constants = np.zeros(MAX_INSTRUCTIONS, "float32")
    instructions[: len(steps)] = [step for step, _ in steps]
    constants[: len(steps)] = [constant for _, constant in steps]
    return Program(instructions, constants, np.array(len(steps), "int32"))


class Memory(keras.layers.Layer):
    """A layer that holds the program.

    It is part of the model's weights because JAX passes only those into a compiled step.
    """

    def __init__(self, **arguments):
        super().__init__(trainable=False, **arguments)
        start = Expression(("y_pred",))
        names = ("instructions", "constants", "length")
        for name, value in zip(names, self.content(start), strict=True):
            variable = self.add_weight(
                shape=value.shape, dtype=str(value.dtype), trainable=False, name=name
            )
            setattr(self, name, variable)
        self.built = True
        self.store(start)

    def content(self, expression: Expression) -> tuple[np.ndarray, ...]:
        """Return what the variables hold if the loss computes this expression."""
        program = assemble(expression)
        return program.instructions, program.constants, program.length

    def store(self, expression: Expression) -> None:
        """Make the loss compute this expression."""
        for variable, value in zip(self.variables, self.content(expression), strict=True):
            variable.assign(value)


class InterpretedLoss(LabelLoss):
    """The loss of the expression that its memory holds.

    It has no gradient by the labels; use `FormulaLoss` if they are trainable.

    Args:
        class_reduction: `"mean"` or `"sum"` over the classes.
        **options: Further fields of `Options`; labels are not class indices (`sparse`).

    Attributes:
        memory: Layer that holds the program; it must be part of the model.
        traces: Number of times the loss has been traced.
    """

    def __init__(self, class_reduction="mean", **options):
        super().__init__(name="interpreted_loss")
        options = Options(class_reduction=class_reduction, **options)
        self._options = {option: getattr(options, option) for option in OPTIONS}
        self._definition = Definition(self._term)
        self.memory = Memory(name="program")
        self.traces = 0

    def call(self, y_true, y_pred):
        """Return one value per sample: `[batch, ..., classes]` to `[batch, ...]`."""
        self.traces += 1
        return self._definition.values(y_true, y_pred, self._options)

    def _term(self, t, p):
        memory = self.memory
        # The sums turn variables into tensors: the compiled loop is shared between losses, and with
        # variables it would keep this memory alive.
        program = (memory.instructions + 0, memory.constants + 0.0, memory.length + 0)
        return _elementwise(program, _constant(t), p)


def _constant(t):
    """Return the labels with a gradient that raises an error instead of returning zeros."""

    def refuse(*_, **__):
        raise UserError("InterpretedLoss has no gradient by the labels; FormulaLoss has")

    return ops.custom_gradient(lambda t: (t, refuse))(t)


def _elementwise(program, t, p):
    @ops.custom_gradient
    def loss(t, p):
        value, slope = _compiled_run()(*program, ops.stop_gradient(t), ops.stop_gradient(p))

        def gradient(*arguments, upstream=None):
            # TensorFlow and JAX pass the upstream gradient by position, PyTorch by name.
            upstream = arguments[0] if upstream is None else upstream
            # `_constant` refuses the gradient by the labels.
            return upstream, upstream * slope

        return value, gradient

    return loss(t, p)


@cache
def _compiled_run():
    if keras.backend.backend() != "tensorflow":
        return _run
    import tensorflow as tf

    return tf.function(_run, jit_compile=True, autograph=False)


def _run(instructions, constants, length, t, p):
    """Compute value and derivative of the program's expression, elementwise."""
    shape = ops.shape(p)
    flat = [ops.reshape(x, (-1,)) for x in (p, t)]
    nothing = [ops.zeros_like(flat[0])] * (REGISTERS - _FIRST_FREE)
    values = ops.stack([*flat, *nothing])
    slopes = ops.stack([ops.ones_like(flat[0]), ops.zeros_like(flat[0]), *nothing])

    def unary(name):
        return lambda a, da, b, db, c: OPERATORS[name].dual(ops, (a, da))

    def binary(name):
        return lambda a, da, b, db, c: OPERATORS[name].dual(ops, (a, da), (b, db))

    branches = [
        unary(name) if operator.arity == 1 else binary(name) for name, operator in OPERATORS.items()
    ]
    branches.append(lambda a, da, b, db, c: (ops.zeros_like(a) + c, ops.zeros_like(a)))

    def step(i, values, slopes):
        # `take` instead of brackets: XLA needs the position of a slice at compile time, and would
        # compile every program anew.
        code, target, first, second = ops.unstack(ops.take(instructions, i, axis=0), 4)
        value, slope = ops.switch(
            code,
            branches,
            ops.take(values, first, axis=0),
            ops.take(slopes, first, axis=0),
            ops.take(values, second, axis=0),
            ops.take(slopes, second, axis=0),
            ops.cast(ops.take(constants, i, axis=0), values.dtype),
        )
        values = ops.slice_update(values, (target, 0), value[None])
        slopes = ops.slice_update(slopes, (target, 0), slope[None])
        return i + 1, values, slopes

    _, values, slopes = ops.while_loop(
        lambda i, *_: i < length, step, (ops.zeros_like(length), values, slopes)
    )
    return ops.reshape(values[_FIRST_FREE], shape), ops.reshape(slopes[_FIRST_FREE], shape)

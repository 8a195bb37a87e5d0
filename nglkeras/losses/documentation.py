"""Docstrings of the losses, put together from their own text and that of the shared options."""

import inspect
import re
import textwrap

from nglkeras.losses.options import DOCUMENTATION

_WIDTH = 100
_DATA = {
    "y_true": """Labels of any dtype: one-hot or soft, in the shape of `y_pred`; class indices with
        `sparse=True`. A sample with an invalid label has the value NaN.""",
    "y_pred": "Probabilities `[batch, ..., classes]`; logits with `from_logits=True`.",
}
_KERAS = {
    "reduction": "Keras' reduction over the samples.",
    "name": "Name of the loss; by default the function's.",
    "dtype": "Dtype of the computation, at least float32; by default Keras' floatx.",
}
_LEARNING_RATE = """Plain SGD needs the learning rate of cross entropy divided by this factor; Adam
    hardly sees it."""
_RETURNS = """Returns:
    One value per sample (per pixel in dense prediction): the shape of `y_pred` without the class
    axis, float32 unless `y_pred` is float64."""
_RAISES = """Raises:
    UserError: If shapes or arguments do not fit."""


def document(text: str | None, signature: inspect.Signature, *, y_true: bool) -> str | None:
    """Return the docstring of a loss function or class.

    Args:
        text: Its own text. A section `Constants:` describes those arguments that are its own or
            mean something else here, a section `Scale:` the size of its values and gradient, and a
            last section `Returns:` what is not one value per sample.
        signature: Its signature.
        y_true: Whether it is a function of `y_true` and `y_pred`.
    """
    if text is None:
        # Python runs with -OO.
        return None
    text = _with_advice(inspect.cleandoc(text))
    before, _, after = text.partition("\nConstants:\n")
    constants, _, after = after.partition("\n\n")
    known, own = _DATA | DOCUMENTATION | _KERAS, re.findall(r"^    (\w+): ", constants, re.M)
    names = [name for name in signature.parameters if name in known and name not in own]
    lines = {name: _paragraph(f"{name}: {known[name]}", "    ") for name in names}
    parts = [lines.pop(name) for name in _DATA if name in lines]
    parts += [constants] if constants else []
    sections = [before.strip(), "\n".join(["Args:", *parts, *lines.values()])]
    after, returns, own = after.partition("Returns:\n")
    if y_true:
        sections += [returns + own.rstrip() if own else _RETURNS, _RAISES]
    return "\n\n".join([*sections, after.strip()]).strip() + "\n"


def _with_advice(text):
    """Say after the section `Scale:` what the size of the gradient means."""
    before, header, after = text.partition("\nScale:\n")
    scale, *rest = after.split("\n\n", 1)
    if not header:
        return text
    return "\n\n".join([f"{before}{header}{_paragraph(f'{scale} {_LEARNING_RATE}')}", *rest])


def _paragraph(text, hanging=""):
    return textwrap.fill(
        " ".join(text.split()),
        _WIDTH - 8,
        initial_indent="    ",
        subsequent_indent="    " + hanging,
    )


def documented(function):
    """Complete the docstring of a loss function whose own text describes no shared argument."""
    function.text = function.__doc__
    function.__doc__ = document(function.text, inspect.signature(function), y_true=True)
    return function

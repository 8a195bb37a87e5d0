"""Save and load the losses that searches find, as small JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.losses.classes import FormulaLoss


def save_loss(
    path: str | Path,
    formula: str,
    *,
    class_reduction: str = "mean",
    options: Mapping[str, object] | None = None,
    **origin,
) -> None:
    """Write a loss to a file.

    Args:
        path: The file, which is replaced atomically.
        formula: Formula of the loss.
        class_reduction: `"mean"` or `"sum"` over the classes.
        options: Further options of the loss that are not default, such as the head.
        **origin: Further JSON values, e.g. how the loss was found.

    Raises:
        UserError: If `formula` is not a formula, an origin is no JSON data, or the file cannot be
            written.
    """
    expression = Expression.parse(formula)
    content = {
        "formula": str(expression),
        "class_reduction": class_reduction,
        "latex": expression.to_latex(),
        **({"options": dict(options)} if options else {}),
        **origin,
    }
    try:
        text = json.dumps(content, indent=2, allow_nan=False, default=lambda value: value.tolist())
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the loss or its origin is no JSON data: {error}") from error
    path = paths.expand(path)
    try:
        with paths.replacing(path) as file:
            file.write(text + "\n")
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error}") from error


def load_loss(path: str | Path, **arguments) -> FormulaLoss:
    """Load a loss from a file of a search or `save_loss`.

    Use it as `model.compile(loss=load_loss("best.json"))`.

    Args:
        path: The file.
        **arguments: Passed to `FormulaLoss`, e.g. `from_logits=True`.

    Raises:
        UserError: If the file cannot be read or contains no loss.
    """
    try:
        content = json.loads(paths.expand(path).read_text("utf-8-sig"))
        own = {"formula": content["formula"], "class_reduction": content["class_reduction"]}
        options = dict(content.get("options", {}))
    except OSError as error:
        raise UserError(f"cannot read the loss file {path}: {error.strerror}") from error
    # Deeply nested JSON exceeds the parser's recursion limit.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_loss_file(path) from error
    if not all(isinstance(value, str) for value in own.values()):
        raise _no_loss_file(path)
    try:
        return FormulaLoss(**own | options | arguments)
    except TypeError as error:
        raise UserError(f"the options of {path}: {error}") from error


def _no_loss_file(path):
    return UserError(f"{path} is no loss file: wanted is JSON with formula and class_reduction")

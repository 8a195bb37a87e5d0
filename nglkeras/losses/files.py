"""A found loss as one small JSON file, to take home and compile with."""

import json
import os
from pathlib import Path

from nglkeras import paths
from nglkeras.errors import UserError
from nglkeras.expression import Expression
from nglkeras.losses.classes import FormulaLoss


def save_loss(path: str | Path, formula: str, *, class_reduction: str = "mean", **origin) -> None:
    """Write a loss to a file.

    Args:
        path: The file; it is replaced as a whole.
        formula: Of the loss.
        class_reduction: `"mean"` or `"sum"` over the classes.
        **origin: Anything JSON can hold about where it comes from.

    Raises:
        UserError: If it is no formula, or the file cannot be written.
    """
    expression = Expression.parse(formula)
    content = {
        "formula": str(expression),
        "class_reduction": class_reduction,
        "latex": expression.to_latex(),
        **origin,
    }
    path = paths.expand(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error}") from error


def load_loss(path: str | Path, **arguments) -> FormulaLoss:
    """The loss of a file that a search or `save_loss` has written.

    `model.compile(loss=load_loss("best.json"))`.

    Args:
        path: The file.
        **arguments: For `FormulaLoss`, e.g. `from_logits=True`.

    Raises:
        UserError: If there is no such file or it holds no loss.
    """
    try:
        content = json.loads(paths.expand(path).read_text("utf-8-sig"))
        own = {"formula": content["formula"], "class_reduction": content["class_reduction"]}
    except OSError as error:
        raise UserError(f"cannot read the loss file {path}: {error.strerror}") from error
    # Hostile nesting ends the reader's stack.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_loss_file(path) from error
    if not all(isinstance(value, str) for value in own.values()):
        raise _no_loss_file(path)
    return FormulaLoss(**own | arguments)


def _no_loss_file(path):
    return UserError(f"{path} is no loss file: wanted is JSON with formula and class_reduction")

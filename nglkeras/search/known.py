"""Known losses as expressions: those that a search begins with."""

import numpy as np

from nglkeras import losses
from nglkeras.errors import UserError, unknown
from nglkeras.expression import Expression
from nglkeras.expression.papers import CROSS_ENTROPY


def known_loss(loss: str | Expression, classes: int, class_reduction: str = "mean") -> Expression:
    """Return a loss as an expression.

    Args:
        loss: "CE" (cross entropy), a name of `losses.FORMULAS` such as "NGL" or "Baikal", a
            formula, or an expression. Case does not matter in names.
        classes: Number of classes. Cross entropy, a sum over the classes, has it as a factor where
            losses are the mean over the classes.
        class_reduction: "mean" or "sum" over the classes.

    Raises:
        UserError: If it is neither a name nor a formula.
    """
    if isinstance(loss, Expression):
        return loss
    if not isinstance(loss, str):
        kind = type(loss).__name__
        raise UserError(f"a loss of type {kind}; give a name, a formula or an Expression")
    if loss.strip().lower() == "ce":
        return cross_entropy(classes, class_reduction)
    names = {name.lower(): name for name in losses.FORMULAS}
    formula = losses.FORMULAS.get(names.get(loss.strip().lower()), loss)
    try:
        return Expression.parse(formula)
    except UserError as error:
        if loss.strip().isidentifier():
            valid = ("CE", *losses.FORMULAS, "or give a formula")
            raise unknown("loss", loss, valid) from error
        raise


def cross_entropy(classes: int, class_reduction: str = "mean") -> Expression:
    """Return the cross entropy, the sum over the classes of -t log p, as an expression.

    As the mean over N classes it has a factor of N.
    """
    if class_reduction == "sum":
        return Expression.parse(CROSS_ENTROPY)
    return Expression.parse(f"-{classes}*(y_true*log(y_pred))")


def is_cross_entropy(expression: Expression) -> bool:
    """Return whether a loss is cross entropy but for a factor, which is a learning rate's."""
    t, p = np.meshgrid([0.0, 0.5, 1.0], np.linspace(0.01, 0.99, 15))
    with np.errstate(all="ignore"):
        values, wanted = expression(t, p), -t * np.log(p)
        factor = (values * wanted).sum() / (wanted**2).sum()
    return bool(factor > 0 and np.allclose(values, factor * wanted, atol=1e-6 * factor))

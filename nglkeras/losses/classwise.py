"""Losses over classes, each defined by its term; `computation` computes all of them alike.

A loss is a *term*, a function of the label and the probability of one class, such as

    @loss_over_classes
    def absolute_error(t, p):
        return ops.abs(t - p)

Its positional parameters are quantities of a class (see `QUANTITIES`), its keyword-only parameters
are the constants of the loss. `loss_over_classes` makes the public function out of it: a function
of `y_true`, `y_pred`, the constants and `Options` that returns one value per sample. Its docstring
describes the constants in a section `Constants:`; `documentation` adds the rest.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial

from nglkeras.losses.computation import SigmoidComputation, SoftmaxComputation
from nglkeras.losses.documentation import document
from nglkeras.losses.options import (
    HEADS,
    OPTIONS,
    Options,
    bind,
    check_head,
    check_number,
    check_switch,
)
from nglkeras.losses.predictions import float32_at_least
from nglkeras.losses.registration import registered

# What a term may be a function of: the label, the probability, the logarithms of p and 1 - p (exact
# from logits), and the number of classes.
QUANTITIES = ("t", "p", "log_p", "log_not_p", "classes")


@dataclass(frozen=True)
class Definition:
    """What makes a loss over classes.

    Attributes:
        term: Function of quantities and constants.
        heads: Heads that the loss is defined for. A loss of sigmoids alone is a sum of terms over
            the outputs, not over the pair (p, 1 - p) of each.
        label_only: Whether the term is 0 for the label 0 and linear in the label.
        kernel: Function of the constants that returns the `kernel_terms.Term` or, as a string, why
            there is none.
        checks: Functions that check constants, by their names, and return them.
        defaults: Defaults of options, where they are not those of `Options`.
        fixed: Options that the loss does not offer.
    """

    term: Callable
    heads: tuple[str, ...] = HEADS
    label_only: bool = False
    kernel: Callable | None = None
    checks: Mapping[str, Callable] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """Names of the quantities that the term asks for."""
        parameters = inspect.signature(self.term).parameters.values()
        return tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)

    @cached_property
    def constants(self) -> dict[str, inspect.Parameter]:
        """Parameters of the loss's own constants, by name."""
        parameters = inspect.signature(self.term).parameters.values()
        return {
            p.name: p.replace(kind=p.POSITIONAL_OR_KEYWORD)
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        }

    @cached_property
    def signature(self) -> inspect.Signature:
        """Signature of the public function."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        data = [inspect.Parameter(name, kind) for name in ("y_true", "y_pred")]
        standard = {option.name: option.default for option in fields(Options)}
        standard |= {"head": self.heads[0], **self.defaults}
        if self.kernel is not None:
            standard["fast"] = None
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in standard.items()
            if name not in self.fixed
        ]
        return inspect.Signature([*data, *self.constants.values(), *options])

    def checked(self, arguments: Mapping) -> dict:
        """Return the constants and options of a call, checked, and those that are fixed.

        Raises:
            UserError: If one of them is not valid.
        """
        arguments, constants, options = self._check(arguments)
        return arguments | constants | {name: getattr(options, name) for name in OPTIONS}

    def _check(self, arguments):
        arguments = {**arguments, **self.fixed}
        options = Options(**{name: arguments[name] for name in OPTIONS})
        check_head(options.head, self.heads)
        if arguments.get("fast") is not None:
            arguments["fast"] = check_switch("fast", arguments["fast"])
        constants = {name: arguments[name] for name in self.constants}
        for name, value in constants.items():
            check = self.checks.get(name, partial(check_number, name))
            constants[name] = check(value)
        return arguments, constants, options

    def values(self, y_true, y_pred, arguments: Mapping):
        """Return one value per sample; `arguments` are all constants and options."""
        arguments, constants, options = self._check(arguments)
        x, fast = float32_at_least(y_pred), arguments.get("fast", False)
        kind = SigmoidComputation if options.head == "sigmoid" else SoftmaxComputation
        return kind(self, constants, options).values(y_true, x, fast)


def loss_over_classes(term=None, **settings):
    """Make the public function of a loss out of its term.

    Args:
        term: The term; its docstring becomes that of the function.
        **settings: Further fields of `Definition`.
    """
    if term is None:
        return lambda term: loss_over_classes(term, **settings)
    return _function(Definition(term, **settings), term.__name__, term.__doc__, term.__module__)


def variant(function, name, summary, **fixed):
    """Return a public function for a loss with some options fixed.

    Args:
        function: Public function of the loss.
        name: Name of the new function.
        summary: First line of its docstring.
        **fixed: Options and their values.
    """
    old = function.definition
    definition = replace(old, fixed={**old.fixed, **fixed})
    _, _, rest = (old.term.__doc__ or "").partition("\n")
    return _function(definition, name, f"{summary}\n{rest}", function.__module__)


def _function(definition, name, text, module):
    signature = definition.signature

    def function(*given, **named):
        arguments = bind(name, signature, given, named)
        return definition.values(arguments.pop("y_true"), arguments.pop("y_pred"), arguments)

    function.__name__ = function.__qualname__ = name
    function.__module__ = module
    function.__signature__ = signature
    function.definition, function.checked, function.text = definition, definition.checked, text
    function.__doc__ = document(text, signature, y_true=True)
    return registered(function)

"""Compute a loss over classes from its term: for a softmax, and for sigmoids.

Labels are one-hot, class indices, or a label for each output; samples may be weighted, and void
ones are left out. A loss that has a kernel is computed by it where that is valid: see `kernels`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from keras import ops

from nglkeras.losses import kernels
from nglkeras.losses.labels import (
    NOT_SPARSE,
    SPARSE,
    binary_labels,
    class_indices,
    index_and_factor,
    one_hot_factor,
    one_hot_labels,
    valid_factor,
)
from nglkeras.losses.options import Options, check_length
from nglkeras.losses.predictions import (
    along,
    is_other_row,
    log_of,
    masked,
    number_of_classes,
    without_ignored,
    without_void,
)

if TYPE_CHECKING:
    from nglkeras.losses.classwise import Definition


@dataclass(frozen=True)
class _Computation:
    """A loss with its constants and options."""

    definition: "Definition"
    constants: Mapping[str, object]
    options: Options

    def terms(self, t, quantities, like):
        """Return the term of each class, in the shape of `like`."""
        found = {name: quantities[name] for name in self.definition.quantities if name != "t"}
        terms = self.definition.term(t, **found, **self.constants)
        # A formula may know nothing but the label, or nothing at all.
        is_whole = getattr(terms, "shape", None) is not None and len(terms.shape) == len(like.shape)
        return terms if is_whole else terms + ops.zeros_like(like)

    def wants(self, name):
        return name in self.definition.quantities

    def kernel(self, fast, x):
        """Return the term of the kernel to use, or `None` without one."""
        if self.definition.kernel is None or fast is False or kernels.are_needless():
            return None
        term = self.definition.kernel(**self.constants)
        why_not = term if isinstance(term, str) else ""
        if not self.options.from_logits:
            why_not = "probabilities; it takes logits, with from_logits=True"
        is_chosen = kernels.is_chosen(fast, x, axis=self.options.axis, why_not=why_not)
        return term if is_chosen else None


class SoftmaxComputation(_Computation):
    """The loss of classes that exclude each other."""

    def values(self, y_true, x, fast):
        """Return one value per sample: `[batch, ..., classes]` to `[batch, ...]`."""
        axis, ignore_class = self.options.axis, self.options.ignore_class
        if self.options.sparse:
            labels, valid = class_indices(y_true, x, ignore_class, axis, for_one_hot=NOT_SPARSE)
            # The kernel leaves void samples out by itself.
            values = self._by_kernel(fast, labels, x)
            if values is None:
                labels, x = without_void(labels, x, valid, axis)
                values = self._of_indices(labels, x)
            weights = self._weights_of_indices(labels, x)
        else:
            t = one_hot_labels(y_true, x, axis, for_indices=SPARSE)
            valid = is_other_row(t, ignore_class, axis)
            _, x = without_void(t, x, valid, axis)
            values = self._by_kernel(fast, t, x)
            if values is None:
                values = self._of_rows(t, x)
            weights = self._weights_of_rows(t)
        return masked(values if weights is None else values * weights, valid)

    def _by_kernel(self, fast, labels, x):
        """Return the values that a kernel computes, or `None` without a kernel."""
        term, options = self.kernel(fast, x), self.options
        if term is None:
            return None
        kernel = kernels.Kernel(
            term,
            options.sparse,
            options.label_smoothing,
            options.class_reduction,
            options.axis,
            options.ignore_class if options.sparse else None,
        )
        return kernel(labels, x)

    def _of_rows(self, t, x):
        axis, smoothing = self.options.axis, self.options.label_smoothing
        factor = one_hot_factor(t, axis)
        classes = number_of_classes(x, axis)
        if smoothing:
            t = t * (1.0 - smoothing) + smoothing / classes
        terms = self.terms(t, self._quantities(x, classes), x)
        reduce = ops.mean if self.options.class_reduction == "mean" else ops.sum
        return factor * reduce(terms, axis=axis)

    def _of_indices(self, labels, x):
        axis, smoothing = self.options.axis, self.options.label_smoothing
        labels, factor = index_and_factor(labels, x, axis)
        classes = number_of_classes(x, axis)
        t_other = ops.convert_to_tensor(smoothing / classes, x.dtype)
        t_own = t_other + (1.0 - smoothing)

        def own(quantity):
            return ops.take_along_axis(quantity, ops.expand_dims(labels, axis), axis=axis)

        if self.definition.label_only and not smoothing:
            x_own = own(x)
            if self.options.from_logits:
                # Not x - log Σ exp(x), which has the rounding of x itself where logits are large.
                # An empty batch has no greatest one but `initial`.
                largest = ops.max(x, axis=axis, keepdims=True, initial=-np.inf)
                largest = ops.stop_gradient(largest)
                total = ops.sum(ops.exp(x - largest), axis=axis, keepdims=True)
                x_own = (x_own - largest) - ops.log(total)
            total = self.terms(t_own, self._own_quantities(x_own, classes), x_own)
        else:
            # Sum over the classes as if none were the label, plus the correction for the one that
            # is: a one-hot tensor is never made.
            quantities = self._quantities(x, classes)
            of_own = {
                name: value if name == "classes" else own(value)
                for name, value in quantities.items()
            }
            others = ops.sum(self.terms(t_other, quantities, x), axis=axis, keepdims=True)
            like = of_own["p"]
            total = others + (self.terms(t_own, of_own, like) - self.terms(t_other, of_own, like))
        values = factor * ops.squeeze(total, axis=axis)
        return values / classes if self.options.class_reduction == "mean" else values

    def _quantities(self, x, classes):
        axis, from_logits = self.options.axis, self.options.from_logits
        p = ops.softmax(x, axis=axis) if from_logits else x
        found = {"p": p, "classes": classes}
        if self.wants("log_p"):
            found["log_p"] = ops.log_softmax(x, axis=axis) if from_logits else log_of(x)
        if self.wants("log_not_p"):
            found["log_not_p"] = log_of(1.0 - p)
        return found

    def _own_quantities(self, x, classes):
        """Return the quantities of the true class, from its p or, from logits, its log p."""
        from_logits = self.options.from_logits
        p = ops.exp(x) if from_logits else x
        log_p = x if from_logits else log_of(x)
        return {"p": p, "log_p": log_p, "log_not_p": log_of(1.0 - p), "classes": classes}

    def _weights_of_rows(self, t):
        weights = self.options.class_weights
        if weights is None:
            return None
        axis = self.options.axis
        check_length(weights, t.shape[axis])
        return ops.sum(t * along(ops.convert_to_tensor(weights, t.dtype), axis, t), axis=axis)

    def _weights_of_indices(self, labels, x):
        weights = self.options.class_weights
        if weights is None:
            return None
        check_length(weights, x.shape[self.options.axis])
        labels = ops.clip(labels, 0, len(weights) - 1)
        return ops.take(ops.convert_to_tensor(weights, x.dtype), labels, axis=0)


class SigmoidComputation(_Computation):
    """The loss of independent outputs, each the probability of a label of its own."""

    def values(self, y_true, x, fast):
        """Return one value per sample: `[batch, ..., outputs]` to `[batch, ...]`."""
        axis = self.options.axis
        t, x, valid = without_ignored(binary_labels(y_true, x, axis), x, self.options.ignore_class)
        term = self.kernel(fast, x)
        if term is None:
            values = self._of_outputs(t, x)
        else:
            settings = self.options.label_smoothing, self.options.class_reduction
            kernel = kernels.SigmoidKernel(term, False, *settings, axis=-1)
            values = kernel(ops.expand_dims(t, -1), ops.expand_dims(x, -1))
        if self.options.class_weights is not None:
            values = values * self._weights(t)
        if valid is None:
            return ops.mean(values, axis=axis) if self._is_mean else ops.sum(values, axis=axis)
        total = ops.sum(ops.where(valid, values, 0.0), axis=axis)
        count = ops.sum(ops.cast(valid, x.dtype), axis=axis)
        total = total / ops.maximum(count, 1.0) if self._is_mean else total
        return masked(total, count > 0)

    @property
    def _is_pair(self):
        """Whether an output is a prediction of two classes, not a class of its own."""
        return "softmax" in self.definition.heads

    @property
    def _is_mean(self):
        return self._is_pair or self.options.class_reduction == "mean"

    def _of_outputs(self, t, x):
        from_logits, smoothing = self.options.from_logits, self.options.label_smoothing
        factor = valid_factor(t)
        if smoothing:
            t = t * (1.0 - smoothing) + smoothing / 2
        p = ops.sigmoid(x) if from_logits else x
        not_p = ops.sigmoid(-x) if from_logits else 1.0 - x
        log_p, log_not_p = None, None
        if self.wants("log_p") or self.wants("log_not_p"):
            log_p = ops.log_sigmoid(x) if from_logits else log_of(p)
            log_not_p = ops.log_sigmoid(-x) if from_logits else log_of(not_p)
        classes = 2 if self._is_pair else number_of_classes(x, self.options.axis)
        found = {"p": p, "log_p": log_p, "log_not_p": log_not_p, "classes": classes}
        terms = self.terms(t, found, x)
        if not self._is_pair:
            return factor * terms
        found |= {"p": not_p, "log_p": log_not_p, "log_not_p": log_p}
        terms = terms + self.terms(1.0 - t, found, x)
        return factor * (terms / 2 if self.options.class_reduction == "mean" else terms)

    def _weights(self, t):
        weights = ops.convert_to_tensor(self.options.class_weights, t.dtype)
        if len(weights.shape) == 2:
            check_length(self.options.class_weights, t.shape[self.options.axis], "pairs")
            of_0, of_1 = (along(weights[:, i], self.options.axis, t) for i in (0, 1))
        else:
            of_0, of_1 = weights[0], weights[1]
        return of_0 + t * (of_1 - of_0)

"""The kernels on PyTorch: loss and gradient together, block by block.

An operation of PyTorch reads and writes whole tensors. On a CPU the samples are therefore taken in
blocks, so that one operation finds in the cache what the operation before it has written.
"""

import torch

from nglkeras.losses.labels import TOLERANCE

# Entries of a block, for each thread. With fewer, PyTorch would start its threads too often.
BLOCK = 2**17


def values(kernel, y_true, logits):
    """Return what `kernel(y_true, logits)` does: one value per sample."""
    return _Loss.apply(y_true, logits, kernel, _is_wanted(y_true, logits))[0]


def _is_wanted(y_true, logits):
    return torch.is_grad_enabled() and (logits.requires_grad or y_true.requires_grad)


class _Loss(torch.autograd.Function):
    """The values, and for the backward pass their gradient by the logits."""

    @staticmethod
    def forward(y_true, logits, kernel, wanted):
        classes = logits.shape[kernel.axis]
        moved = logits.movedim(kernel.axis, -1)
        z = moved.reshape(-1, classes)
        if kernel.sparse:
            labels = y_true.reshape(-1)
        else:
            labels = y_true.movedim(kernel.axis, -1).reshape(-1, classes)
        found, gradient = _by_blocks(kernel, labels, z, wanted)
        found = found.reshape(moved.shape[:-1])
        return found, gradient.reshape(moved.shape).movedim(-1, kernel.axis) if wanted else None

    @staticmethod
    def setup_context(ctx, inputs, output):
        y_true, logits, ctx.kernel, wanted = inputs
        if wanted:
            ctx.mark_non_differentiable(output[1])
            ctx.save_for_backward(y_true, logits, output[1])

    @staticmethod
    def backward(ctx, upstream, _):
        y_true, logits, gradient = ctx.saved_tensors
        upstream = upstream.unsqueeze(ctx.kernel.axis)
        if torch.is_grad_enabled():
            # The gradient will be differentiated.
            gradient = ctx.kernel.value_and_gradient(y_true, logits)[1]
        by_labels = None
        if ctx.needs_input_grad[0]:
            by_labels = upstream * ctx.kernel.label_gradient(y_true, logits)
        return by_labels, upstream * gradient, None, None

    @staticmethod
    def vmap(info, dims, y_true, logits, kernel, wanted):
        # Samples do not depend on each other: those of all batches make one batch.
        y_true, logits = (
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip((y_true, logits), dims[:2], strict=True)
        )
        # A batch of tensors does not tell whether they want a gradient.
        wanted = wanted or _is_wanted(y_true, logits)
        outputs = _Loss.apply(y_true.flatten(0, 1), logits.flatten(0, 1), kernel, wanted)
        whole = [None if x is None else x.unflatten(0, logits.shape[:2]) for x in outputs]
        return tuple(whole), tuple(None if x is None else 0 for x in whole)


def _by_blocks(kernel, labels, z, wanted):
    samples, classes = z.shape
    size = max(BLOCK * torch.get_num_threads() // classes, 1)
    block = _of_sigmoids if classes == 1 else _of_classes
    if z.device.type != "cpu" or samples <= size:
        return block(kernel, labels, z, wanted)
    found, gradient = z.new_empty(samples), torch.empty_like(z) if wanted else None
    for start in range(0, samples, size):
        rows = slice(start, start + size)
        found[rows], of_block = block(kernel, labels[rows], z[rows], wanted)
        if wanted:
            gradient[rows] = of_block
    return found, gradient


def _of_classes(kernel, labels, z, wanted):
    classes = z.shape[-1]
    factor = 1.0 / classes if kernel.class_reduction == "mean" else 1.0
    other = kernel.label_smoothing / classes
    own = other + 1.0 - kernel.label_smoothing
    if kernel.sparse:
        is_class = (labels >= 0) & (labels < classes)
        factor = torch.where(is_class, factor, torch.nan)
        if kernel.void is not None:
            is_void = labels == kernel.void
            factor.masked_fill_(is_void, 0.0)
            # The prediction there may be NaN, and 0 times NaN is NaN.
            z = z.masked_fill(is_void.unsqueeze(-1), 0.0)
        p = torch.softmax(z, -1)
        index = labels.clamp(0, classes - 1).long().unsqueeze(-1)
        value, slope = kernel.term.direct(other, p)
        # A one-hot tensor is never made.
        of_own = kernel.term.direct(own, p.gather(-1, index))
        value.scatter_(-1, index, of_own[0])
        slope.scatter_(-1, index, of_own[1])
        factor = factor.unsqueeze(-1)
    else:
        t = _checked(labels)
        p = torch.softmax(z, -1)
        t = t * (own - other) + other if kernel.label_smoothing else t
        value, slope = kernel.term.direct(t, p)
    value = value.sum(-1, keepdim=True).mul_(factor).squeeze(-1)
    if not wanted:
        return value, None
    # p_j (s_j - Σ p_k s_k). The second subtraction removes the rounding error of the first, which
    # would dominate where the softmax is saturated.
    slope -= (p * slope).sum(-1, keepdim=True)
    slope *= p
    slope.addcmul_(p, slope.sum(-1, keepdim=True), value=-1)
    return value, slope.mul_(factor)


def _of_sigmoids(kernel, t, z, wanted):
    factor = 0.5 if kernel.class_reduction == "mean" else 1.0
    t = _checked(t)
    if kernel.label_smoothing:
        t = t * (1.0 - kernel.label_smoothing) + kernel.label_smoothing / 2
    p, not_p = torch.sigmoid(z), torch.sigmoid(-z)
    value, slope = kernel.term.direct(t, p)
    other_value, other_slope = kernel.term.direct(1.0 - t, not_p)
    value = value.add_(other_value).mul_(factor).squeeze(-1)
    if not wanted:
        return value, None
    return value, slope.sub_(other_slope).mul_(p).mul_(not_p).mul_(factor)


def _checked(t):
    """Return labels with NaN in place of invalid ones."""
    if t.device.type == "cpu" and t.numel():
        # Two numbers are faster than a condition for each label; a GPU would have to wait for them.
        low, high = t.aminmax()
        if low >= -TOLERANCE and high <= 1.0 + TOLERANCE:
            return t
    return torch.where((t - 0.5).abs() <= 0.5 + TOLERANCE, t, torch.nan)

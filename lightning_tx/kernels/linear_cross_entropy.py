"""The projection to the vocabulary and the cross-entropy in one, without the logits of all tokens in memory."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.kernels.scores import capped

#: Logits held at a time: few enough to stay in a CPU's cache, enough to keep a GPU busy.
_CHUNK = {"cpu": 1 << 20}
_CHUNK_ELSEWHERE = 1 << 25


def linear_cross_entropy(
    x_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    label_smoothing: float = 0.0,
    logit_cap: float | None = None,
) -> Tensor:
    """``cross_entropy(x weightᵀ + bias, targets, reduction="sum")``, its gradient computed along the way.

    The logits exist for a few hundred tokens at a time. Where a gradient is wanted it is computed in the forward pass,
    from the probabilities that the loss needs anyway, so that nothing is computed twice. Under autocast the matrix
    products run in its dtype; the softmax, the loss and the sums over chunks are in float32 at least.

    Args:
        x_ND: states.
        weight_VD: of the projection.
        bias_V: of the projection; None for none.
        targets_N: a class in [0, V) for each state.
        label_smoothing: share of the target's probability that is spread evenly over all V classes (Szegedy et al.
            2015, arXiv:1512.00567).
        logit_cap: bound on the logits, ``cap · tanh(logit / cap)``; None for none.

    Returns:
        The sum over the states, a scalar.
    """
    device = x_ND.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_ND.dtype
    with torch.autocast(device, enabled=False):
        return _LinearCrossEntropy.apply(x_ND, weight_VD, bias_V, targets_N, label_smoothing, logit_cap, dtype)  # pyright: ignore[reportReturnType]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        cap: float | None,
        dtype: torch.dtype,
    ) -> Tensor:
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        wanted = wants_x or wants_weight or wants_bias
        exact = torch.promote_types(x.dtype, torch.float32)
        narrow_weight = weight.to(dtype)
        narrow_bias = None if bias is None else bias.to(dtype)
        grad_x = torch.empty_like(x) if wants_x else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if wants_weight else None
        grad_bias = torch.zeros_like(weight[:, 0], dtype=exact) if wants_bias else None
        total = torch.zeros((), dtype=exact, device=x.device)
        num_classes = weight.shape[0]
        size = max(_CHUNK.get(x.device.type, _CHUNK_ELSEWHERE) // num_classes, 1)
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            states, target = x[part].to(dtype), targets[part, None]
            logits = F.linear(states, narrow_weight, narrow_bias)
            if cap is not None:
                logits = capped(logits.to(exact), cap)
            probability = torch.softmax(logits, dim=-1, dtype=exact)
            target_logit = logits.gather(-1, target).to(exact)
            total += (_log_sum_exp(logits, probability, target, target_logit) - (1 - smoothing) * target_logit).sum()
            if smoothing and cap is not None:
                total -= smoothing / num_classes * logits.sum()
            if not wanted:
                continue
            probability.scatter_add_(-1, target, probability.new_full((1, 1), smoothing - 1).expand_as(target))
            if cap is not None:
                probability.sub_(smoothing / num_classes).mul_(1 - (logits / cap).square_())
            gradient = probability.to(dtype)
            if grad_x is not None:
                grad_x[part] = gradient @ narrow_weight
            if grad_weight is not None:
                _add_product(grad_weight, gradient.T, states)
            if grad_bias is not None:
                grad_bias += probability.sum(dim=0)
        if smoothing and cap is None:
            # Every class of every token has the same share: its part needs sums of states and weights alone.
            share = smoothing / num_classes
            state_sum, weight_sum = x.sum(dim=0, dtype=exact), weight.sum(dim=0, dtype=exact)
            total -= share * (state_sum @ weight_sum)
            if bias is not None:
                total -= share * len(x) * bias.sum(dtype=exact)
            if grad_x is not None:
                grad_x -= share * weight_sum
            if grad_weight is not None:
                grad_weight -= share * state_sum
            if grad_bias is not None:
                grad_bias -= share * len(x)
        ctx.save_for_backward(grad_x, grad_weight, grad_bias)
        ctx.dtypes = [None if tensor is None else tensor.dtype for tensor in (x, weight, bias)]
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        held = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return *(None if grad is None else (grad * grads[0]).to(dtype) for grad, dtype in held), None, None, None, None


def _log_sum_exp(logits: Tensor, probability: Tensor, target: Tensor, target_logit: Tensor) -> Tensor:
    """The logarithm of each row's sum of exponentials [N, 1], from the softmax that is there already."""
    target_probability = probability.gather(-1, target)
    if (target_probability > 1e-30).all():
        return target_logit - target_probability.log()
    # The target's probability has no safe logarithm; the greatest one, at least 1 / V, has.
    highest, where = logits.max(dim=-1, keepdim=True)
    return highest.to(probability.dtype) - probability.gather(-1, where).log()


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right``, the sum in the dtype of ``total``."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right

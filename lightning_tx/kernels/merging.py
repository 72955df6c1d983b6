"""Attention over one piece of the keys, and the merge of pieces by the log-sum-exp of their scores.

A piece gives the attention within it and the logarithm of the sum of the exponentials of its scores: all that a merge
needs. The backward pass of a piece, with the merged output and the merged logarithm, gives exactly its share of the
gradient, so nothing else has to be kept.

A sink, a score that takes part in the softmax and has the value zero, is a piece too: its output is zero, and its
log-sum-exp the sink itself.

Source: Dao et al. 2022, arXiv:2205.14135, section 3 and appendix B.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_tx.kernels.masks import BiasFunction, Mask
from lightning_tx.kernels.scores import Scores

#: Stands for the logarithm of zero; differences of it are numbers.
NOTHING = -1e30


class PieceKernel(NamedTuple):
    """Attention over one piece, and its gradient. What is added to the scores is [B or 1, H or 1, t, s], or None.

    Attributes:
        forward: ``(q [B, H, t, K], k [B, H, s, K], v [B, H, s, K], added, scale)`` to the output [B, H, t, K] and the
            log-sum-exp [B, H, t]: ``NOTHING`` for a query that may look at nothing, whose output is any number.
        backward: ``(grad, q, k, v, out, log_sum, added, scale)``, with the merged output and log-sum-exp, which is any
            number but ``NOTHING`` for a query that may look at nothing anywhere, to the gradients of q, k and v, and of
            the tensors that take part in a change of the scores.
    """

    forward: Callable[[Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, ...]]


def merge(out: Tensor, log_sum: Tensor, part_out: Tensor, part_log: Tensor) -> None:
    """Add a piece's share to what was merged so far, in place.

    Args:
        out: the merged output, [..., t, K]; at first anything finite.
        log_sum: the merged log-sum-exp, [..., t, 1]; at first ``NOTHING``.
        part_out: the piece's output, of as many entries.
        part_log: the piece's log-sum-exp, of as many entries.
    """
    part_out, part_log = part_out.view(out.shape), part_log.view(log_sum.shape)
    merged = torch.logaddexp(log_sum, part_log)
    out.mul_((log_sum - merged).exp_()).addcmul_(part_out, (part_log - merged).exp_())
    log_sum.copy_(merged)


def sink_shares(log_sum: Tensor, sinks_H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a sink leaves of the softmax [..., H, t, 1], what it takes, and the log-sum-exp merged with it.

    Args:
        log_sum: log-sum-exp without the sinks, [..., H, t, 1].
        sinks_H: the score of each head's sink.
    """
    sinks = sinks_H[:, None, None].to(log_sum.dtype)
    merged = torch.logaddexp(log_sum, sinks)
    return (log_sum - merged).exp(), (sinks - merged).exp(), merged


def sinks_gradient(grad: Tensor, out: Tensor, merged: Tensor, sinks_H: Tensor) -> Tensor:
    """The gradient [H] of sinks.

    Args:
        grad: of the output, [B, H, t, K].
        out: the merged output, of the same shape.
        merged: the log-sum-exp merged with the sinks, [B, H, t, 1].
        sinks_H: the score of each head's sink.
    """
    shares = (sinks_H[:, None, None] - merged).exp()
    return -(shares * (grad * out).sum(dim=-1, keepdim=True)).sum(dim=(0, 2, 3))


def learns(bias: BiasFunction | None, mask: Mask) -> bool:
    """Whether a gradient must reach the bias, which a piece's kernel has none for."""
    if bias is None or not torch.is_grad_enabled():
        return False
    value = bias(mask.q_positions[:, :1, None], mask.k_positions[:, None, :1])
    return value is not None and value.requires_grad


def plain(scores: Scores | None = None) -> PieceKernel:
    """Elementary operations, on any device; the scores may be changed on their way to the softmax."""
    between = Scores() if scores is None else scores

    def forward(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
        found = between.changed(q @ k.transpose(-1, -2) * scale)
        if added is not None:
            found = found + added.clamp(min=NOTHING)  # the difference of infinities is no number
        log_sum = found.logsumexp(dim=-1)
        return (found - log_sum[..., None]).exp() @ v, log_sum

    def backward(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log_sum: Tensor, added: Tensor | None, scale: float
    ) -> tuple[Tensor, ...]:
        found, pull = between.changed_with_pullback(q @ k.transpose(-1, -2) * scale)
        if added is not None:
            found = found + added
        weights = (found - log_sum[..., None]).exp()
        of_weights = grad @ v.transpose(-1, -2) - (grad * out).sum(dim=-1, keepdim=True)
        of_scores, *of_tensors = pull(weights * of_weights)
        of_scores = of_scores * scale
        return of_scores @ k, of_scores.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ grad, *of_tensors

    return PieceKernel(forward, backward)


def fused_forward(
    q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float, is_causal: bool = False
) -> tuple[Tensor, Tensor]:
    """``FUSED.forward``, which may be told that each of as many queries as keys sees itself and those before it."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, log_sum = kernel(q, k, v, 0.0, is_causal, attn_mask=added, scale=scale)
    if added is not None:  # the kernel calls the logarithm 0 where nothing is allowed
        log_sum = log_sum.masked_fill(added.amax(dim=-1) == float("-inf"), NOTHING)
    return out, log_sum


def fused_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    log_sum: Tensor,
    added: Tensor | None,
    scale: float,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """``FUSED.backward`` of the same."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return kernel(grad, q, k, v, out, log_sum, 0.0, is_causal, attn_mask=added, scale=scale)


#: Elementary operations, on any device.
PLAIN = plain()
#: The CPU's flash attention, for values as wide as the keys; only where ``HAS_FUSED``.
FUSED = PieceKernel(fused_forward, fused_backward)


def _probe() -> bool:
    """Whether this build of torch has the fused kernel, which is not part of its public interface, as used here."""
    q, k, v, grad = torch.linspace(-1, 1, 4 * 8).view(4, 1, 1, 2, 4).unbind()
    try:
        out, log_sum = FUSED.forward(q, k, v, None, 1.0)
        grads = FUSED.backward(grad, q, k, v, out, log_sum, None, 1.0)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    expected_out, expected_log = PLAIN.forward(q, k, v, None, 1.0)
    expected = (expected_out, expected_log, *PLAIN.backward(grad, q, k, v, expected_out, expected_log, None, 1.0))
    pairs = zip((out, log_sum, *grads), expected, strict=True)
    return all(torch.allclose(*pair, atol=1e-4) for pair in pairs)


HAS_FUSED = _probe()

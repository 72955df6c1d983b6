"""Scaled dot-product attention, and the one place that picks a kernel for it."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.core.masks import BiasFunction, Mask, added_to_scores
from lightning_tx.core.pattern import Near
from lightning_tx.core.sparse_attention import sparse_attention

#: Sequences shorter than this many tokens, or blocks of a pattern, are faster without taking the pattern apart.
WORTH_SPLITTING = (1024, 4)
#: From as many tokens on it pays to leave out the future chunk by chunk, where a kernel is given a mask.
SMALLEST_CHUNKED = 256

Kernel = Callable[..., Tensor]


def attend(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    mask: Mask,
    *,
    bias: BiasFunction | None = None,
    prefix: tuple[Tensor, Tensor] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """``softmax(q kᵀ · scale + bias) v`` over the keys that the mask allows.

    Args:
        q_BHTK: queries.
        k_BGSK: keys; G divides H, and each key head serves H / G neighbouring query heads. Fewer than the mask knows
            are the last of them.
        v_BGSK: values, of any width.
        mask: who may attend to whom.
        bias: added to the scaled scores before the softmax.
        prefix: keys [B or 1, G, P, K] and values that every query sees besides, without mask or bias.
        scale: factor on the scores; None for ``1 / sqrt(K)``.
        dropout: probability of dropping an attention weight; the caller passes 0 outside training.

    Returns:
        [B, H, T, K of the values]; zeros for queries that may attend to nothing.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1; grouped heads: Ainslie et al. 2023, arXiv:2305.13245.
    """
    scale = 1 / math.sqrt(q_BHTK.shape[-1]) if scale is None else scale
    mask = mask.last_keys(k_BGSK.shape[2])
    if q_BHTK.device.type != "cpu" or (q_BHTK.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")):
        return _attend(q_BHTK, k_BGSK, v_BGSK, mask, bias, prefix, scale, dropout)
    # On the CPU autocast would hand the kernels bfloat16, where they are many times slower on short sequences.
    with torch.autocast("cpu", enabled=False):
        dtype = torch.promote_types(q_BHTK.dtype, torch.float32)
        before = None if prefix is None else (prefix[0].to(dtype), prefix[1].to(dtype))
        q, k, v = (x.to(dtype) for x in (q_BHTK, k_BGSK, v_BGSK))
        return _attend(q, k, v, mask, bias, before, scale, dropout).to(q_BHTK.dtype)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask,
    bias: BiasFunction | None,
    prefix: tuple[Tensor, Tensor] | None,
    scale: float,
    dropout: float,
) -> Tensor:
    sparse = _worth_splitting(mask)
    added = None
    if bias is not None and not sparse:
        added = bias(mask.q_positions[:, :, None], mask.k_positions[:, None, :])
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1 and q.shape[2] == 1 and added is None:
        # A decoding step: heads that share keys become queries of one head, which spares a copy of all keys.
        grouped = q.unflatten(1, (-1, repeats)).flatten(2, 3)
        out = _attend(grouped, k, v, mask, None, prefix, scale, dropout)
        return out.unflatten(2, (repeats, 1)).flatten(1, 2)
    width, widest = v.shape[-1], max(v.shape[-1], q.shape[-1])
    before = [] if prefix is None else [x.expand(q.shape[0], -1, -1, -1) for x in prefix]
    q, k, v, *before = (_widened(x, q.shape[1] // x.shape[1], widest) for x in (q, k, v, *before))
    if sparse:
        out: Tensor = sparse_attention(q, k, v, before, mask, bias, scale, dropout)  # pyright: ignore[reportCallIssue]
    else:
        if before:
            k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
        out = _dense(q, k, v, mask, added, scale, dropout)
    return out[..., :width]


def _widened(x: Tensor, repeats: int, width: int) -> Tensor:
    """Heads repeated for the queries that share them, and zeros appended: the fused kernels know one width only."""
    x = x if repeats == 1 else x.repeat_interleave(repeats, dim=1)
    return x if x.shape[-1] == width else F.pad(x, (0, width - x.shape[-1]))


def _worth_splitting(mask: Mask) -> bool:
    """Whether the pattern has cheap parts, and the sequence is whole and long enough to gain by them."""
    if mask.pattern is None or mask.q_positions.shape[-1] != mask.k_positions.shape[-1]:
        return False
    parts, (tokens, blocks) = mask.pattern.parts(), WORTH_SPLITTING
    reach = max([part.reach for part in parts if isinstance(part, Near)], default=0)
    return len(parts) > 0 and mask.k_positions.shape[-1] >= max(tokens, blocks * reach) and mask.consecutive


def _dense(q: Tensor, k: Tensor, v: Tensor, mask: Mask, added: Tensor | None, scale: float, dropout: float) -> Tensor:
    """Attention over all pairs, of keys that may begin with some which the mask does not know and everyone sees."""
    kernel: Kernel = partial(F.scaled_dot_product_attention, dropout_p=dropout, scale=scale)
    length, extra = q.shape[2], k.shape[2] - mask.k_positions.shape[-1]
    if added is None and mask.everything:
        return kernel(q, k, v)
    if added is None and not extra and mask.only_causal:
        return kernel(q, k, v, is_causal=True)
    if added is None and not extra and mask.leading:
        ahead = slice(mask.leading)
        leading = kernel(q[:, :, ahead], k[:, :, ahead], v[:, :, ahead])
        return torch.cat([leading, kernel(q, k, v, is_causal=True)[:, :, mask.leading :]], dim=2)
    if extra or not mask.past_only or length < SMALLEST_CHUNKED:
        allowed = F.pad(mask.dense(), (extra, 0), value=True)
        out = _masked(q, k, v, allowed, None if added is None else F.pad(added, (extra, 0)), kernel)
        return out if mask.in_order else out * allowed.any(dim=-1, keepdim=True)
    # Given a mask, a kernel computes the future too; a chunk of queries does without the keys that come after it.
    outs = []
    for start, end, allowed in mask.chunks:
        bias = None if added is None else added[..., start:end, :end]
        outs.append(_masked(q[:, :, start:end], k[:, :, :end], v[:, :, :end], allowed, bias, kernel))
    return torch.cat(outs, dim=2)


def _masked(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, added: Tensor | None, kernel: Kernel) -> Tensor:
    if added is None:
        return kernel(q, k, v, allowed)
    return kernel(q, k, v, added_to_scores(allowed, added, q.dtype))

"""Scaled dot-product attention, and the one place that picks a kernel for it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.core.masks import BiasFunction, Mask


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
        k_BGSK: keys; G divides H, and each key head serves H / G neighbouring query heads.
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
    q, k = mask.q_positions[:, :, None], mask.k_positions[:, None, :]
    bias_BHTS = None if bias is None else bias(q, k)
    repeats = q_BHTK.shape[1] // k_BGSK.shape[1]
    if repeats > 1 and q_BHTK.shape[2] == 1 and bias_BHTS is None:
        # A decoding step: heads that share keys become queries of one head, which spares a copy of all keys.
        grouped = q_BHTK.unflatten(1, (-1, repeats)).flatten(2, 3)
        out = attend(grouped, k_BGSK, v_BGSK, mask, prefix=prefix, scale=scale, dropout=dropout)
        return out.unflatten(2, (repeats, 1)).flatten(1, 2)
    extra = 0
    if prefix is not None:
        extra = prefix[0].shape[2]
        k_BGSK, v_BGSK = (
            torch.cat([before.expand(own.shape[0], -1, -1, -1), own], dim=2)
            for before, own in zip(prefix, (k_BGSK, v_BGSK), strict=True)
        )
    if repeats > 1:
        k_BGSK, v_BGSK = k_BGSK.repeat_interleave(repeats, dim=1), v_BGSK.repeat_interleave(repeats, dim=1)
    if bias_BHTS is None and (mask.everything or (mask.only_causal and not extra)):
        return _kernel(q_BHTK, k_BGSK, v_BGSK, None, mask.only_causal and not mask.everything, scale, dropout)
    allowed = F.pad(mask.dense(), (extra, 0), value=True)
    if bias_BHTS is None:
        out = _kernel(q_BHTK, k_BGSK, v_BGSK, allowed, False, scale, dropout)
    else:
        scores = F.pad(bias_BHTS, (extra, 0)).masked_fill(~allowed, float("-inf"))
        out = _kernel(q_BHTK, k_BGSK, v_BGSK, scores, False, scale, dropout)
    return out * allowed.any(dim=-1, keepdim=True)


def _kernel(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float | None, dropout: float
) -> Tensor:
    if q.device.type != "cpu" or (q.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")):
        if mask is not None and mask.is_floating_point():
            mask = mask.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal, scale=scale)
    # On the CPU autocast would hand this kernel bfloat16, where it is many times slower on short sequences.
    with torch.autocast("cpu", enabled=False):
        dtype = torch.promote_types(q.dtype, torch.float32)
        if mask is not None and mask.is_floating_point():
            mask = mask.to(dtype)
        out = F.scaled_dot_product_attention(
            q.to(dtype), k.to(dtype), v.to(dtype), mask, dropout, is_causal=causal, scale=scale
        )
    return out.to(q.dtype)

"""Kernels made of PyTorch's own attention, which is fastest without a mask, or told that a case is causal.

Given a mask as a tensor it computes every pair, allowed or not.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.kernels.kernel import Case, Kernel, with_heads
from lightning_tx.kernels.masks import Mask, added_to_scores
from lightning_tx.kernels.scored_attention import scored_attention

#: From as many tokens on it pays to leave out the future chunk by chunk, where a kernel is given a mask.
SMALLEST_CHUNKED = 256
#: As many pieces a causal sequence is cut into for a kernel that is given a mask.
CHUNKS = 4


def attention(
    case: Case, q: Tensor, k: Tensor, v: Tensor, added: Tensor | None = None, *, is_causal: bool = False
) -> Tensor:
    """PyTorch's attention, or what takes its place where the scores of a case are changed or meet sinks.

    ``added`` is what is added to the scores, or bool, True where attention is allowed.
    """
    if case.scores is None:
        return F.scaled_dot_product_attention(q, k, v, added, case.dropout, is_causal, scale=case.scale)
    options = {"is_causal": is_causal, "dropout": case.dropout, "scale": case.scale}
    return scored_attention(q, k, v, added, case.scores, **options)  # pyright: ignore[reportArgumentType]


def _keys_values(case: Case, heads: int) -> tuple[Tensor, Tensor]:
    """Keys and values of as many heads, those of a prefix before the others."""
    if case.scores is not None and case.prefix is None:
        return case.k, case.v  # what takes the place of PyTorch's attention need not copy them
    k, v = with_heads(case.k, heads), with_heads(case.v, heads)
    if case.prefix is None:
        return k, v
    before_k, before_v = (with_heads(x.expand(k.shape[0], -1, -1, -1), heads) for x in case.prefix)
    return torch.cat([before_k, k], dim=2), torch.cat([before_v, v], dim=2)


# Unmasked: every query sees every key.


def _sees_everything(mask: Mask) -> bool:
    """Whether each query sees every key, known without looking at the tensors."""
    last_query_only = mask.in_order and mask.q_positions.shape[-1] == 1
    mixed = mask.q_documents is not None or mask.k_token_mask is not None
    return (not mask.causal or last_query_only) and not mixed and mask.pattern is None


def _is_unmasked(case: Case) -> bool:
    return _sees_everything(case.mask) and case.added is None


def _unmasked(case: Case) -> Tensor:
    return attention(case, case.q, *_keys_values(case, case.q.shape[1]))


UNMASKED = Kernel("unmasked", _is_unmasked, _unmasked)


# Grouped decoding: heads that share keys become queries of one head, which spares a copy of all keys.


def _is_grouped_decoding(case: Case) -> bool:
    heads, groups = case.q.shape[1], case.k.shape[1]
    if heads == groups or case.v.shape[1] != groups or case.scores is not None:  # which are those of each head
        return False
    return case.q.shape[2] == 1 and case.added is None


def _grouped_decoding(case: Case) -> Tensor:
    groups = case.k.shape[1]
    q = case.q.unflatten(1, (groups, -1)).flatten(2, 3)
    k, v = _keys_values(case, groups)
    out = attention(case, q, k, v) if _sees_everything(case.mask) else _given_mask(case, q, k, v)
    return out.unflatten(2, (-1, 1)).flatten(1, 2)


GROUPED_DECODING = Kernel("grouped_decoding", _is_grouped_decoding, _grouped_decoding)


# Causal: each query sees exactly itself and all keys before it.


def _is_causal(case: Case) -> bool:
    mask = case.mask
    return mask.causal and mask.whole and mask.pattern is None and case.prefix is None and case.added is None


def _causal(case: Case) -> Tensor:
    return attention(case, case.q, *_keys_values(case, case.q.shape[1]), is_causal=True)


CAUSAL = Kernel("causal", _is_causal, _causal)


# Prefix language model: leading tokens see each other, all others are as in the causal case.


def _leading(mask: Mask) -> int:
    """How many leading tokens see each other, where each other token sees exactly itself and all before it."""
    pattern = mask.pattern
    if pattern is None or pattern.prefix == 0 or not (mask.causal and mask.whole):
        return 0
    narrows = pattern(mask.q_positions[:, :1, None], mask.k_positions[:, None, :1]) is not None
    return 0 if narrows else min(pattern.prefix, mask.k_positions.shape[-1])


def _is_prefix_lm(case: Case) -> bool:
    return _leading(case.mask) > 0 and case.prefix is None and case.added is None


def _prefix_lm(case: Case) -> Tensor:
    q, leading = case.q, _leading(case.mask)
    k, v = _keys_values(case, q.shape[1])
    ahead = attention(case, q[:, :, :leading], k[:, :, :leading], v[:, :, :leading])
    return torch.cat([ahead, attention(case, q, k, v, is_causal=True)[:, :, leading:]], dim=2)


PREFIX_LM = Kernel("prefix_lm", _is_prefix_lm, _prefix_lm)


# Chunked: given a mask, a kernel computes the future too; a chunk of queries does without the keys after it.


def _is_chunked(case: Case) -> bool:
    mask = case.mask
    if case.prefix is not None or case.q.shape[2] < SMALLEST_CHUNKED or not (mask.causal and mask.whole):
        return False
    return mask.pattern is None or mask.pattern.prefix == 0


def _chunked(case: Case) -> Tensor:
    q, added = case.q, case.added
    k, v = _keys_values(case, q.shape[1])
    outs = []
    for start, end, allowed in case.mask.once("chunks", lambda: _chunks(case.mask)):
        scores = allowed if added is None else added_to_scores(allowed, added[..., start:end, :end], q.dtype)
        outs.append(attention(case, q[:, :, start:end], k[:, :, :end], v[:, :, :end], scores))
    return torch.cat(outs, dim=2)


def _chunks(mask: Mask) -> list[tuple[int, int, Tensor]]:
    """For each chunk its first query, one after its last, and bool [1, 1, its queries, the keys up to its last]."""
    length = mask.q_positions.shape[-1]
    ends = [length * (chunk + 1) // CHUNKS for chunk in range(CHUNKS)]
    return [(start, end, mask.part(slice(start, end), slice(end)).dense()) for start, end in pairwise([0, *ends])]


CHUNKED = Kernel("chunked", _is_chunked, _chunked)


# Masked: any case.


def _masked(case: Case) -> Tensor:
    return _given_mask(case, case.q, *_keys_values(case, case.q.shape[1]))


def _given_mask(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    allowed, added = case.mask.dense(), case.added
    if case.prefix is not None:
        extra = case.prefix[0].shape[2]
        allowed = F.pad(allowed, (extra, 0), value=True)
        added = None if added is None else F.pad(added, (extra, 0))
    out = attention(case, q, k, v, allowed if added is None else added_to_scores(allowed, added, q.dtype))
    return out if case.mask.in_order else out * allowed.any(dim=-1, keepdim=True)


MASKED = Kernel("masked", lambda case: True, _masked)

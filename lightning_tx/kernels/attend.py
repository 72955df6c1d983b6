"""Scaled dot-product attention, and the one place that picks a kernel for it.

The first row of :data:`KERNELS` that applies computes a call:

================ ============================================== ==================================================
name             when                                           how
================ ============================================== ==================================================
sparse_fused     a pattern with cheap parts, a long sequence    the parts, by the CPU's fused kernel, are merged
                 looking at itself, on the CPU; no dropout, no
                 bias that learns, no change of the scores
sparse           the same without these limits                  the parts, by elementary operations, are merged
grouped_decoding one query a row, heads that share keys; no     these heads become queries of one head, so that
                 bias, nothing done to the scores               keys are not copied
unmasked         every query sees every key; no bias            PyTorch's kernel without a mask
causal           each query sees itself and all keys before     PyTorch's kernel, told that it is causal
                 it; no bias, no ``prefix``
prefix_lm        the same, but leading tokens see each other    unmasked for these, causal for the others
chunked          a causal sequence in order, from 256 tokens    PyTorch's kernel with a mask, for chunks of queries
                 on, with a pattern or a bias; no ``prefix``    over the keys up to their last one
masked           always: padding, documents, short sequences    PyTorch's kernel with a mask of all pairs
                 with a pattern or a bias, several new tokens
                 after those of a cache
================ ============================================== ==================================================

A condition stands beside its kernel. It looks at what the mask is made of, not at tensors, except where a pattern has
cheap parts: whether the tokens of each document stand side by side must then be known.

Where the scores are changed on their way to the softmax, or meet sinks, every row but ``grouped_decoding`` and, for a
change, ``sparse_fused`` still applies: in place of PyTorch's kernel stands that of
:mod:`lightning_tx.kernels.scored_attention`.

A sequence that processes share does not come here: see :mod:`lightning_tx.kernels.ring_attention`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.kernels.dense_attention import CAUSAL, CHUNKED, GROUPED_DECODING, MASKED, PREFIX_LM, UNMASKED
from lightning_tx.kernels.kernel import Case, Kernel
from lightning_tx.kernels.masks import BiasFunction, Mask, for_heads
from lightning_tx.kernels.scores import Scores
from lightning_tx.kernels.sparse_attention import SPARSE, SPARSE_FUSED

#: The first that applies computes a case; the last always applies.
KERNELS: tuple[Kernel, ...] = (SPARSE_FUSED, SPARSE, GROUPED_DECODING, UNMASKED, CAUSAL, PREFIX_LM, CHUNKED, MASKED)


def attend(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    mask: Mask,
    *,
    bias: BiasFunction | None = None,
    bias_is_relative: bool = True,
    prefix: tuple[Tensor, Tensor] | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    scores: Scores | None = None,
) -> Tensor:
    """``softmax(q kᵀ · scale + bias) v`` over the keys that the mask allows.

    Args:
        q_BHTK: queries.
        k_BGSK: keys; G divides H, and each key head serves H / G neighbouring query heads. Fewer than the mask knows
            are the last of them.
        v_BGSK: values, of any width; their number of heads divides H as well, and may be another than that of the keys.
        mask: who may attend to whom.
        bias: added to the scaled scores before the softmax; where it has fewer heads than the queries, each serves
            neighbouring ones.
        bias_is_relative: whether an entry of the bias depends on the difference of its two positions alone, so that
            one block of it may stand for others.
        prefix: keys [B or 1, G, P, K] and values that every query sees besides, without mask or bias.
        scale: factor on the scores; None for ``1 / sqrt(K)``.
        dropout: probability of dropping an attention weight; the caller passes 0 outside training.
        scores: what happens to the scaled scores before the bias is added, and sinks; None for nothing.

    Returns:
        [B, H, T, K of the values]; zeros for queries that may attend to nothing.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1; grouped heads: Ainslie et al. 2023, arXiv:2305.13245.
    """
    scale = 1 / math.sqrt(q_BHTK.shape[-1]) if scale is None else scale
    wide = torch.promote_types(q_BHTK.dtype, torch.float32)
    case = Case(
        q_BHTK,
        k_BGSK,
        v_BGSK,
        mask.last_keys(k_BGSK.shape[2]),
        None if bias is None else for_heads(bias, q_BHTK.shape[1]),
        prefix,
        scale,
        dropout,
        None if scores is None else scores.to(wide),
        bias_is_relative,
    )
    if q_BHTK.device.type != "cpu" or (q_BHTK.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")):
        return _attend(case)
    # On the CPU autocast would hand the kernels bfloat16, where they are many times slower on short sequences.
    with torch.autocast("cpu", enabled=False):
        case.q, case.k, case.v = (x.to(wide) for x in (q_BHTK, k_BGSK, v_BGSK))
        case.prefix = None if prefix is None else (prefix[0].to(wide), prefix[1].to(wide))
        return _attend(case).to(q_BHTK.dtype)


def kernel_for(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    mask: Mask,
    *,
    bias: BiasFunction | None = None,
    prefix: tuple[Tensor, Tensor] | None = None,
    dropout: float = 0.0,
    scores: Scores | None = None,
) -> str:
    """The name of the kernel that :func:`attend` takes for the same arguments, as the table of this module has it."""
    mask = mask.last_keys(k_BGSK.shape[2])
    return _kernel(Case(q_BHTK, k_BGSK, v_BGSK, mask, bias, prefix, 1.0, dropout, scores)).name  # whatever the scale


def _attend(case: Case) -> Tensor:
    width, others = case.v.shape[-1], case.q.shape[-1]
    if width != others:  # the fused kernels know one width only
        widest = max(width, others)
        case.q, case.k, case.v = (_widened(x, widest) for x in (case.q, case.k, case.v))
        if case.prefix is not None:
            case.prefix = (_widened(case.prefix[0], widest), _widened(case.prefix[1], widest))
    return _kernel(case).run(case)[..., :width]


def _widened(x: Tensor, width: int) -> Tensor:
    """Zeros appended to queries, keys or values."""
    return F.pad(x, (0, width - x.shape[-1]))


def _kernel(case: Case) -> Kernel:
    return next(kernel for kernel in KERNELS if kernel.applies(case))

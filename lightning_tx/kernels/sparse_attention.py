"""Attention over the parts of a pattern: what they do not cover is never computed, nor held in memory.

Each piece of a part runs by itself, and the results are merged: see :mod:`lightning_tx.kernels.merging`.

Source: the patterns are those of Child et al. 2019, arXiv:1904.10509.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_tx.kernels.dense_attention import attention
from lightning_tx.kernels.kernel import Case, Kernel, with_heads
from lightning_tx.kernels.masks import added_to_scores
from lightning_tx.kernels.merging import FUSED, HAS_FUSED, NOTHING, learns, merge, sink_shares, sinks_gradient
from lightning_tx.kernels.pattern import Columns, Near
from lightning_tx.kernels.scores import Scores
from lightning_tx.kernels.sparse_layout import Layout, Piece, gather_rows, in_one_group, known_positions

#: Sequences shorter than this many tokens, or blocks of a pattern, are faster without taking the pattern apart.
WORTH_SPLITTING = (1024, 4)

Masks = Sequence[Callable[[], Tensor | None]]
#: ``(case, pieces, masks, q, sources)`` to the merged output, like q.
OverPieces = Callable[[Case, Sequence[Piece], Masks, Tensor, Sequence[Tensor]], Tensor]


def _is_sparse(case: Case) -> bool:
    """Whether the pattern has cheap parts, and the sequence is whole and long enough to gain by them."""
    mask, (tokens, blocks) = case.mask, WORTH_SPLITTING
    length = mask.k_positions.shape[-1]
    if mask.pattern is None or length < tokens or length != mask.q_positions.shape[-1]:
        return False
    parts = mask.pattern.parts()
    reach = max([part.reach for part in parts if isinstance(part, Near)], default=0)
    return len(parts) > 0 and length >= blocks * reach and mask.consecutive


def _is_sparse_fused(case: Case) -> bool:
    """Whether the fused kernel of the CPU can do it: no dropout, no gradient for a bias, no change of the scores."""
    fused = _is_sparse(case) and HAS_FUSED and case.q.device.type == "cpu" and case.dropout == 0
    unchanged = case.scores is None or case.scores.change is None
    return fused and unchanged and not learns(case.bias, case.mask)


def _over_parts(case: Case, over_pieces: OverPieces) -> Tensor:
    """Self-attention within a pattern that has parts, of which ``over_pieces`` computes the pieces."""
    mask, bias, heads = case.mask, case.bias, case.q.shape[1]
    assert mask.pattern is not None
    k_BHTK, v_BHTK = with_heads(case.k, heads), with_heads(case.v, heads)
    before = () if case.prefix is None else case.prefix
    prefix = [with_heads(x.expand(case.q.shape[0], -1, -1, -1), heads) for x in before]
    layout = Layout(mask.pattern.parts(), mask)
    q, k, v = (F.pad(x, (0, 0, 0, layout.padding)) if layout.padding else x for x in (case.q, k_BHTK, v_BHTK))
    sources = [k, v, *(pick(x) for pick in layout.columns for x in (k, v)), *prefix]
    pieces, wide = list(layout.pieces), torch.promote_types(q.dtype, torch.float32)
    make_mask = partial(layout.mask, bias=bias, dtype=wide, bias_is_relative=case.bias_is_relative)
    masks: list[Callable[[], Tensor | None]] = [partial(make_mask, piece) for piece in pieces]
    if prefix:
        pieces.append(Piece(in_one_group, in_one_group, len(sources) // 2 - 1, None, alike=True))
        masks.append(lambda: None)
    out = over_pieces(case, pieces, masks, q, sources)[:, :, : case.q.shape[2]]
    if not mask.causal:
        for part in layout.parts:
            if isinstance(part, Columns):
                out = _with_rows(out, part, case, k_BHTK, v_BHTK, prefix)
    return out


def _with_rows(out: Tensor, part: Columns, case: Case, k: Tensor, v: Tensor, prefix: Sequence[Tensor]) -> Tensor:
    """In an encoder, what everyone looks at looks at everyone: these queries are computed over all keys instead."""
    q, mask, bias = case.q, case.mask, case.bias
    chosen = part.chosen(known_positions(mask))
    chosen = chosen if mask.k_token_mask is None else chosen & mask.k_token_mask
    number = int(chosen.sum(dim=1).max())
    chosen = chosen.to(q.device)
    index = chosen.int().argsort(dim=1, descending=True, stable=True)[:, :number]
    chosen, positions = chosen.gather(1, index), mask.q_positions.expand(len(index), -1).gather(1, index)
    allowed = chosen[:, :, None].expand(-1, -1, k.shape[2])
    if mask.q_documents is not None and mask.k_documents is not None:
        allowed = allowed & (mask.q_documents.gather(1, index)[:, :, None] == mask.k_documents[:, None])
    if mask.k_token_mask is not None:
        allowed = allowed & mask.k_token_mask[:, None]
    added = None if bias is None else bias(positions[:, :, None], mask.k_positions[:, None])
    scores = added_to_scores(allowed[:, None], added, q.dtype)
    if prefix:
        scores = F.pad(scores, (prefix[0].shape[2], 0))
        k, v = torch.cat([prefix[0], k], dim=2), torch.cat([prefix[1], v], dim=2)
    rows = attention(case, gather_rows(q, index), k, v, scores)
    rows = torch.where(chosen[:, None, :, None], rows, gather_rows(out, index))
    where = index[:, None, :, None].expand_as(rows)
    return out.scatter(2, where, rows)


def _merged_by_fused(case: Case, pieces: Sequence[Piece], masks: Masks, q: Tensor, sources: Sequence[Tensor]) -> Tensor:
    assert case.dropout == 0
    sinks = None if case.scores is None else case.scores.sinks
    return _Merged.apply(pieces, masks, case.scale, sinks, q, *sources)  # pyright: ignore[reportReturnType]


class _Merged(torch.autograd.Function):
    """The fused kernel of the CPU on every piece."""

    @staticmethod
    def forward(
        ctx: Any,
        pieces: Sequence[Piece],
        masks: Masks,
        scale: float,
        sinks: Tensor | None,
        q: Tensor,
        *sources: Tensor,
    ) -> Tensor:
        rows, heads, length, _ = q.shape
        # Memory order [B, T, H, K], so that the heads can be joined without a copy.
        out = q.new_zeros(rows, length, heads, sources[1].shape[-1]).transpose(1, 2)
        log_sum = q.new_full((rows, heads, length, 1), NOTHING)
        for piece, make_mask in zip(pieces, masks, strict=True):
            views = _views(piece, q, sources)
            added = _flat_mask(make_mask(), views[0])
            queries, key, value = map(_flat, views)
            merge(piece.queries(out), piece.queries(log_sum), *FUSED.forward(queries, key, value, added, scale))
        if sinks is not None:
            share, _, log_sum = sink_shares(log_sum, sinks)
            out.mul_(share)
        ctx.pieces, ctx.masks, ctx.scale = pieces, masks, scale
        ctx.save_for_backward(q, *sources, sinks, out, log_sum.masked_fill_(log_sum < NOTHING / 2, 0.0))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, *sources, sinks, out, log_sum = ctx.saved_tensors
        totals = [torch.zeros_like(x) for x in (q, *sources)]
        for piece, make_mask in zip(ctx.pieces, ctx.masks, strict=True):
            views = _views(piece, q, sources)
            added = _flat_mask(make_mask(), views[0])
            grad, whole, log = (_flat(piece.queries(x)) for x in (grads[0], out, log_sum))
            queries, key, value = map(_flat, views)
            part_grads = FUSED.backward(grad, queries, key, value, whole, log[..., 0], added, ctx.scale)
            for target, part_grad in zip(_views(piece, totals[0], totals[1:]), part_grads, strict=True):
                target.add_(part_grad.view(target.shape))
        of_sinks = None if sinks is None else sinks_gradient(grads[0], out, log_sum, sinks)
        return None, None, None, of_sinks, *totals


def _views(piece: Piece, q: Tensor, sources: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a piece, [B, N, H, ·, ·] each."""
    key, value = sources[2 * piece.source : 2 * piece.source + 2]
    return piece.queries(q), piece.keys(key), piece.keys(value)


def _merged(case: Case, pieces: Sequence[Piece], masks: Masks, q: Tensor, sources: Sequence[Tensor]) -> Tensor:
    """The same from elementary operations: for all that the fused kernel does not know, and for other devices.

    Scores and sums are taken in float32 at least; what is multiplied keeps its dtype.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    between = Scores() if case.scores is None else case.scores
    out = q.new_zeros(*q.shape[:3], sources[1].shape[-1], dtype=wide)
    log_sum = q.new_full((*q.shape[:3], 1), NOTHING, dtype=wide)
    for piece, make_mask in zip(pieces, masks, strict=True):
        queries, key, value = _views(piece, q, sources)
        scores = between.changed((queries @ key.transpose(-1, -2)).to(wide) * case.scale)
        added = make_mask()
        if added is not None:
            scores = scores + added.clamp(min=NOTHING)  # the difference of infinities is no number
        part_log = scores.logsumexp(dim=-1, keepdim=True)
        weights = F.dropout((scores - part_log).exp(), case.dropout)
        # A piece may leave out some queries, for which nothing is added.
        whole_out, whole_log = torch.zeros_like(out), torch.full_like(log_sum, NOTHING)
        piece.queries(whole_out).copy_(weights.to(value.dtype) @ value)
        piece.queries(whole_log).copy_(part_log)
        merged = torch.logaddexp(log_sum, whole_log)
        out = out * (log_sum - merged).exp() + whole_out * (whole_log - merged).exp()
        log_sum = merged
    if between.sinks is not None:
        out = out * sink_shares(log_sum, between.sinks)[0]
    return out.masked_fill(log_sum < NOTHING / 2, 0.0).to(q.dtype)


def _flat_mask(added: Tensor | None, queries: Tensor) -> Tensor | None:
    """[B or 1, N or 1, H or 1, t, s] with its first two dimensions joined: as those of the queries, or one for all."""
    if added is None or added.shape[:2] == (1, 1):
        return None if added is None else added[0]
    return added.expand(*queries.shape[:2], -1, -1, -1).flatten(0, 1)


def _flat(x: Tensor) -> Tensor:
    return x.flatten(0, 1)


@torch.compiler.disable
def _sparse_fused(case: Case) -> Tensor:
    return _over_parts(case, _merged_by_fused)


@torch.compiler.disable
def _sparse(case: Case) -> Tensor:
    return _over_parts(case, _merged)


SPARSE_FUSED = Kernel("sparse_fused", _is_sparse_fused, _sparse_fused)  # pyright: ignore[reportArgumentType]
SPARSE = Kernel("sparse", _is_sparse, _sparse)  # pyright: ignore[reportArgumentType]

"""Dense attention whose scores are changed, or meet sinks, on their way to the softmax.

PyTorch's own attention knows neither. Sinks alone are added to what the CPU's fused kernel found, by its log-sum-exp:
see :mod:`lightning_tx.kernels.merging`. Everything else is computed block by block, so that no scores of all pairs are
made, and again in the backward pass, so that none are kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_tx.kernels.kernel import with_heads
from lightning_tx.kernels.masks import added_to_scores
from lightning_tx.kernels.merging import HAS_FUSED, NOTHING, fused_backward, fused_forward, sink_shares, sinks_gradient
from lightning_tx.kernels.scores import Scores

#: Scores of a block: few enough to stay in a CPU's cache, enough to keep a GPU busy. On the meta device, where costs
#: are counted, one block holds all.
_BLOCK = {"cpu": 1 << 18, "meta": 1 << 62}
_BLOCK_ELSEWHERE = 1 << 25
#: Queries of a block at least, and the part of all that they are at least, so that there is something to multiply.
_FEWEST_QUERIES, _FEWEST_OF = 32, 32


def scored_attention(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    added: Tensor | None,
    scores: Scores,
    *,
    is_causal: bool,
    dropout: float,
    scale: float,
) -> Tensor:
    """``softmax(change(q kᵀ · scale) + added) v``, its softmax over the keys and the sink of each head.

    Args:
        q_BHTK: queries.
        k_BGSK: keys; G divides H.
        v_BGSK: values; their number of heads divides H.
        added: added to the scores, [B or 1, H or 1, T, S]; or bool, True where attention is allowed.
        scores: the change and the sinks.
        is_causal: whether each of as many queries as keys sees itself and the keys before it; then nothing is added.
        dropout: probability of dropping an attention weight.
        scale: factor on the scores.

    Returns:
        [B, H, T, K of the values]; anything finite for queries that may attend to nothing.
    """
    compiling = torch.compiler.is_compiling()
    learns = added is not None and added.requires_grad
    if scores.change is None and HAS_FUSED and q_BHTK.is_cpu and not (dropout or learns or compiling):
        k, v = with_heads(k_BGSK, q_BHTK.shape[1]), with_heads(v_BGSK, q_BHTK.shape[1])
        if added is not None and added.dtype == torch.bool:
            added = added_to_scores(added, None, q_BHTK.dtype)
        return _FusedWithSinks.apply(q_BHTK, k, v, scores.sinks, added, is_causal, scale)  # pyright: ignore[reportReturnType]
    if added is not None and added.dtype != torch.bool:
        added = added.clamp(min=NOTHING)  # the difference of infinities is no number
    if dropout or compiling:
        return _elementary(q_BHTK, k_BGSK, v_BGSK, added, scores, is_causal, dropout, scale)
    call = _Call(scores.change, is_causal, scale)
    tensors = (q_BHTK, k_BGSK, v_BGSK, added, scores.sinks, *scores.tensors)
    return _InBlocks.apply(call, *tensors)  # pyright: ignore[reportReturnType]


class _FusedWithSinks(torch.autograd.Function):
    """The fused kernel of the CPU, and sinks merged with what it found."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, added: Tensor | None, is_causal: bool, scale: float
    ) -> Tensor:
        out, log_sum = fused_forward(q, k, v, added, scale, is_causal)
        share, _, merged = sink_shares(log_sum[..., None], sinks)
        out.mul_(share)
        ctx.is_causal, ctx.scale = is_causal, scale
        ctx.save_for_backward(q, k, v, sinks, added, out, merged)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, k, v, sinks, added, out, merged = ctx.saved_tensors
        of_sources = fused_backward(grads[0], q, k, v, out, merged[..., 0], added, ctx.scale, ctx.is_causal)
        return *of_sources, sinks_gradient(grads[0], out, merged, sinks), None, None, None


@dataclass(frozen=True)
class _Call:
    """What a call in blocks is told beside tensors."""

    change: Callable[..., Tensor] | None
    is_causal: bool
    scale: float


@dataclass(frozen=True)
class _Block:
    """Some rows of the batch, some queries, and the keys up to the last that one of these may look at."""

    rows: slice
    queries: slice
    keys: slice

    @property
    def of_queries(self) -> tuple[slice, ...]:
        """Where the block is in what is as long as the queries, [B, H, T, ...]."""
        return self.rows, slice(None), self.queries

    @property
    def of_keys(self) -> tuple[slice, ...]:
        """Where it is in what is as long as the keys, [B, G, S, K]."""
        return self.rows, slice(None), self.keys

    def of_added(self, added: Tensor) -> tuple[slice, ...]:
        """Where it is in what is added, [B or 1, H or 1, T, S]."""
        return slice(None) if added.shape[0] == 1 else self.rows, slice(None), self.queries, self.keys


class _InBlocks(torch.autograd.Function):
    """Elementary operations on one block of scores after the other; only what is as large as a query is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        call: _Call,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        added: Tensor | None,
        sinks: Tensor | None,
        *tensors: Tensor,
    ) -> Tensor:
        scores = Scores(call.change, tensors)
        scaled, k, v = (q * call.scale).contiguous(), k.contiguous(), v.contiguous()
        rows, heads, length, _ = q.shape
        # Memory order [B, T, H, K], so that the heads can be joined without a copy.
        out = v.new_empty(rows, length, heads, v.shape[-1]).transpose(1, 2)
        shares = None if sinks is None else q.new_empty(2, rows, heads, length, 1, dtype=sinks.dtype)
        for block in _blocks(q, k, call.is_causal):
            at, key, value = block.of_queries, k[block.of_keys], v[block.of_keys]
            masked = _mask(scores.changed(_products(scaled[at], key)), added, block, call.is_causal)
            weights = masked.softmax(dim=-1)
            found = _weighted(weights.to(v.dtype), value)
            if sinks is not None and shares is not None:
                share, sink_share, _ = sink_shares(_log_sum(masked, weights), sinks)
                shares[0][at], shares[1][at] = share, sink_share
                found = found * share
            out[at] = found
        ctx.call = call
        ctx.save_for_backward(q, k, v, added, out, shares, *tensors)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, k, v, added, out, shares, *tensors = ctx.saved_tensors
        call: _Call = ctx.call
        scores = Scores(call.change, tuple(tensors))
        # Of softmax and sinks together: each weight is that of the softmax times the share that the sink leaves.
        wide = torch.promote_types(q.dtype, torch.float32)
        inner = (grads[0].to(wide) * out).sum(dim=-1, keepdim=True)
        grad = (grads[0] if shares is None else grads[0] * shares[0]).to(v.dtype).contiguous()
        of_sinks = None if shares is None else -(shares[1] * inner).sum(dim=(0, 2, 3))
        inner = inner if shares is None else inner * shares[0]
        scaled = (q * call.scale).contiguous()
        q_grad, k_grad, v_grad = torch.empty_like(scaled), *(torch.zeros_like(x, dtype=wide) for x in (k, v))
        added_grad = torch.zeros_like(added) if ctx.needs_input_grad[4] else None
        tensor_grads = [torch.zeros_like(tensor) for tensor in tensors]
        for block in _blocks(q, k, call.is_causal):
            at, key, value = block.of_queries, k[block.of_keys], v[block.of_keys]
            queries, heads_grad = scaled[at], grad[at]
            changed, pull = scores.changed_with_pullback(_products(queries, key))
            weights = _mask(changed, added, block, call.is_causal).softmax(dim=-1)
            of_scores = _products(heads_grad, value).sub_(inner[at]).mul_(weights)
            if added_grad is not None:
                target = added_grad[block.of_added(added_grad)]
                target += of_scores.sum_to_size(target.shape)
            of_products, *of_tensors = pull(of_scores)
            for total, share in zip(tensor_grads, of_tensors, strict=True):
                total += share
            of_products = of_products.to(q.dtype)
            q_grad[at] = _weighted(of_products, key)
            _gather(k_grad[block.of_keys], of_products, queries)
            _gather(v_grad[block.of_keys], weights.to(v.dtype), heads_grad)
        of_sources = (q_grad.mul_(call.scale), k_grad.to(k.dtype), v_grad.to(v.dtype))
        return None, *of_sources, added_grad, of_sinks, *tensor_grads


def _elementary(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    added: Tensor | None,
    scores: Scores,
    is_causal: bool,
    dropout: float,
    scale: float,
) -> Tensor:
    """All pairs at once, differentiated by autograd: for dropout, and where a compiler makes blocks of its own."""
    everything = _Block(slice(None), slice(0, q.shape[2]), slice(0, k.shape[2]))
    masked = _mask(scores.changed(_products(q * scale, k)).clone(), added, everything, is_causal)
    weights = masked.softmax(dim=-1)
    out = _weighted(F.dropout(weights, dropout).to(v.dtype), v)
    if scores.sinks is not None:
        out = out * sink_shares(_log_sum(masked, weights), scores.sinks)[0].to(v.dtype)
    return out


def _blocks(q: Tensor, k: Tensor, is_causal: bool) -> Iterator[_Block]:
    rows, heads, length, _ = q.shape
    keys, size = k.shape[2], _BLOCK.get(q.device.type, _BLOCK_ELSEWHERE)
    fewest = min(max(length // _FEWEST_OF, _FEWEST_QUERIES), length)
    queries = min(max(size // (rows * heads * keys), fewest), length)
    together = min(max(size // (heads * queries * keys), 1), rows)
    for row in range(0, rows, together):
        for start in range(0, length, queries):
            stop = min(start + queries, length)
            yield _Block(slice(row, row + together), slice(start, stop), slice(0, stop if is_causal else keys))


# Heads that share a key or a value become queries of one head, so that nothing is copied for each of them.


def _products(x_BHtK: Tensor, key_BGsK: Tensor) -> Tensor:
    """``x keyᵀ``, [B, H, t, s], in float32 at least."""
    products = torch.bmm(_folded(x_BHtK, key_BGsK), key_BGsK.flatten(0, 1).transpose(1, 2))
    return products.view(*x_BHtK.shape[:3], -1).to(torch.promote_types(x_BHtK.dtype, torch.float32))


def _weighted(weights_BHts: Tensor, value_BGsK: Tensor) -> Tensor:
    """``weights value``, [B, H, t, K]."""
    return torch.bmm(_folded(weights_BHts, value_BGsK), value_BGsK.flatten(0, 1)).view(*weights_BHts.shape[:3], -1)


def _gather(total_BGsK: Tensor, weights_BHts: Tensor, x_BHtK: Tensor) -> None:
    """Add ``weightsᵀ x`` to the gradient of keys or values, summed over the heads that share each."""
    weights, x = _folded(weights_BHts, total_BGsK).transpose(1, 2), _folded(x_BHtK, total_BGsK)
    # Not baddbmm_, which multiplies one head after the other where the keys of a head are not all there.
    total_BGsK += torch.bmm(weights, x).view(total_BGsK.shape)


def _folded(x_BHtn: Tensor, source_BGsK: Tensor) -> Tensor:
    """[B · G, H / G · t, n]."""
    return x_BHtn.reshape(source_BGsK.shape[0] * source_BGsK.shape[1], -1, x_BHtn.shape[-1])


def _mask(scores: Tensor, added: Tensor | None, block: _Block, is_causal: bool) -> Tensor:
    """The scores of a block with what is added to them, in place; these were made for this alone."""
    if is_causal:
        own = scores[..., block.queries]
        own.masked_fill_(torch.ones(own.shape[-2:], dtype=torch.bool, device=own.device).triu_(1), NOTHING)
    elif added is not None:
        part = added[block.of_added(added)]
        scores = scores.masked_fill_(~part, NOTHING) if part.dtype == torch.bool else scores.add_(part)
    return scores


def _log_sum(scores: Tensor, weights: Tensor) -> Tensor:
    """The log-sum-exp [..., t, 1] of scores whose softmax is known: the greatest of each is enough."""
    return scores.amax(dim=-1, keepdim=True) - weights.amax(dim=-1, keepdim=True).log()

"""Exact attention over a sequence whose tokens are held by several processes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.autocast import without_autocast
from lightning_tx.kernels.kernel import with_heads
from lightning_tx.kernels.masks import BiasFunction, added_to_scores, for_heads
from lightning_tx.kernels.merging import (
    FUSED,
    HAS_FUSED,
    NOTHING,
    PieceKernel,
    learns,
    merge,
    plain,
    sink_shares,
    sinks_gradient,
)
from lightning_tx.kernels.pattern import Pattern
from lightning_tx.kernels.ring import Piece, Ring
from lightning_tx.kernels.scores import Scores


@torch.compiler.disable
def ring_attention(
    q_BHTK: Tensor,
    k_BGTK: Tensor,
    v_BGTK: Tensor,
    ring: Ring,
    *,
    pattern: Pattern | None = None,
    bias: BiasFunction | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    scores: Scores | None = None,
) -> Tensor:
    """Self-attention over the tokens of all processes of a ring, each of which calls this with its own.

    Keys and values go round: each process computes its queries over the shard it holds, merges that with what it has
    by log-sum-exp, and meanwhile hands the shard on. It never holds more than one foreign shard and the one on its way.
    In the backward pass they go round again, followed by their gradients. Each process must run both passes.

    Args:
        q_BHTK: queries of the own tokens.
        k_BGTK: keys of the own tokens; G divides H, and each key head serves H / G neighbouring query heads.
        v_BGTK: values of the own tokens, of any width.
        ring: the processes, and which tokens each of them holds.
        pattern: a further restriction by positions.
        bias: added to the scaled scores before the softmax; it may not learn.
        scale: factor on the scores; None for ``1 / sqrt(K)``.
        dropout: must be 0.
        scores: what happens to the scaled scores before the bias is added, and sinks. The gradients of its tensors are
            those of the own queries.

    Returns:
        [B, H, T, K of the values]; zeros for queries that may attend to nothing. Gradients that reach k and v are those
        of the losses of all processes together.

    Raises:
        ConfigError: attention weights are to be dropped, or the bias learns.

    Source: Liu et al. 2023, arXiv:2310.01889; the merge: Dao et al. 2022, arXiv:2205.14135.
    """
    problems = []
    if dropout > 0:
        problems.append(
            f"attention.dropout: {dropout} does not go with a sequence shared by processes (group). Choices: 0."
        )
    if learns(bias, ring.mask(ring.rank, pattern)):
        problems.append(
            "positions.name: a bias that learns does not go with a sequence shared by processes (group); outside of "
            "training it does."
        )
    if problems:
        raise ConfigError(problems)
    scale = 1 / math.sqrt(q_BHTK.shape[-1]) if scale is None else scale
    wide = torch.promote_types(q_BHTK.dtype, torch.float32)
    between = Scores() if scores is None else scores.to(wide)
    bias = None if bias is None else for_heads(bias, q_BHTK.shape[1])
    step = _Step(ring, pattern, bias, scale, between.change, q_BHTK, v_BGTK)
    return _RingAttention.apply(step, q_BHTK, k_BGTK, v_BGTK, between.sinks, *between.tensors)  # pyright: ignore[reportReturnType]


class _Step:
    """What a process does with the shard it holds; everything is computed in float32 at least."""

    def __init__(
        self,
        ring: Ring,
        pattern: Pattern | None,
        bias: BiasFunction | None,
        scale: float,
        change: Callable[..., Tensor] | None,
        q: Tensor,
        v: Tensor,
    ) -> None:
        self.ring, self.pattern, self.bias, self.scale, self.change = ring, pattern, bias, scale, change
        self.dtype = torch.promote_types(q.dtype, torch.float32)
        self.fused = HAS_FUSED and q.device.type == "cpu" and q.shape[-1] == v.shape[-1] and change is None

    def kernel(self, tensors: Sequence[Tensor]) -> PieceKernel:
        """What computes a piece; ``tensors`` take part in the change of the scores."""
        return FUSED if self.fused else plain(Scores(self.change, tuple(tensors)))

    def forward(
        self, rank: int, kernel: PieceKernel, out: Tensor, log_sum: Tensor, q: Tensor, held: Sequence[Tensor]
    ) -> None:
        """Merge the attention to the shard of a process into ``out`` and ``log_sum``."""
        for piece in self.ring.pieces(rank, self.pattern):
            t, (key, value) = piece.queries, self._sources(piece, held, q.shape[1])
            part = kernel.forward(q[:, :, t], key, value, self._added(rank, piece), self.scale)
            merge(out[:, :, t], log_sum[:, :, t], *part)

    def backward(
        self,
        rank: int,
        kernel: PieceKernel,
        grad: Tensor,
        out: Tensor,
        log_sum: Tensor,
        q: Tensor,
        held: Sequence[Tensor],
        q_grad: Tensor,
        tensor_grads: Sequence[Tensor],
    ) -> list[Tensor]:
        """The gradients of a shard's keys and values from the own queries, whose gradient is added to ``q_grad``.

        Those of the tensors that take part in the change of the scores are added to ``tensor_grads``.
        """
        shard_grads = [torch.zeros_like(x, dtype=self.dtype) for x in held]
        for piece in self.ring.pieces(rank, self.pattern):
            t, (key, value) = piece.queries, self._sources(piece, held, q.shape[1])
            merged = (grad[:, :, t], q[:, :, t], key, value, out[:, :, t], log_sum[:, :, t, 0])
            of_queries, of_keys, of_values, *of_tensors = kernel.backward(*merged, self._added(rank, piece), self.scale)
            q_grad[:, :, t] += of_queries
            for total, share in zip(shard_grads, (of_keys, of_values), strict=True):
                total[:, :, piece.keys] += share.unflatten(1, (total.shape[1], -1)).sum(dim=2)
            for total, share in zip(tensor_grads, of_tensors, strict=True):
                total += share
        return shard_grads

    def _sources(self, piece: Piece, held: Sequence[Tensor], heads: int) -> list[Tensor]:
        """The piece's keys and values, one head for each head of the queries."""
        return [with_heads(x[:, :, piece.keys].to(self.dtype), heads) for x in held]

    def _added(self, rank: int, piece: Piece) -> Tensor | None:
        """What is added to the scores of a piece, [B or 1, H or 1, t, s]."""
        mask = self.ring.mask(rank, self.pattern).part(piece.queries, piece.keys)
        value = None if self.bias is None else self.bias(mask.q_positions[:, :, None], mask.k_positions[:, None, :])
        if piece.everything:
            return None if value is None else value.to(self.dtype)
        return added_to_scores(mask.dense(), value, self.dtype)


class _RingAttention(torch.autograd.Function):
    """Keys and values once round the ring; in the backward pass again, with their gradients one step behind."""

    @staticmethod
    def forward(
        ctx: Any, step: _Step, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        ring, own, kernel = step.ring, q.to(step.dtype), step.kernel(tensors)
        rows, heads, length, _ = q.shape
        # Memory order [B, T, H, K], so that the heads can be joined without a copy.
        out = own.new_zeros(rows, length, heads, v.shape[-1]).transpose(1, 2)
        log_sum = own.new_full((rows, heads, length, 1), NOTHING)
        k, v = k.contiguous(), v.contiguous()
        held: Sequence[Tensor] = (k, v)
        with without_autocast(q.device):
            for distance in range(ring.size):
                last = distance + 1 == ring.size
                flight = None if last else ring.pass_on(held)
                step.forward((ring.rank - distance) % ring.size, kernel, out, log_sum, own, held)
                held = () if flight is None else flight.wait()
        if sinks is not None:
            share, _, log_sum = sink_shares(log_sum, sinks)
            out.mul_(share)
        nowhere = log_sum < NOTHING / 2
        out.masked_fill_(nowhere, 0.0)
        ctx.step = step
        ctx.save_for_backward(q, k, v, out, log_sum.masked_fill_(nowhere, 0.0), sinks, *tensors)
        return out.to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, k, v, out, log_sum, sinks, *tensors = ctx.saved_tensors
        step: _Step = ctx.step
        kernel, tensor_grads = step.kernel(tensors), [torch.zeros_like(tensor) for tensor in tensors]
        ring, own, grad = step.ring, q.to(step.dtype), grads[0].to(step.dtype)
        q_grad = torch.zeros_like(own)
        held: Sequence[Tensor] = (k, v)
        shard_grads: Sequence[Tensor] = ()
        behind = None
        with without_autocast(q.device):
            for distance in range(ring.size):
                last = distance + 1 == ring.size
                flight = None if last else ring.pass_on(held)
                rank = (ring.rank - distance) % ring.size
                shard_grads = step.backward(rank, kernel, grad, out, log_sum, own, held, q_grad, tensor_grads)
                if behind is not None:  # what the processes before have found for this shard
                    shard_grads = [total.add_(x) for total, x in zip(behind.wait(), shard_grads, strict=True)]
                if ring.size > 1:  # the last time back to whose they are
                    behind = ring.pass_on(shard_grads)
                held = () if flight is None else flight.wait()
        if behind is not None:
            shard_grads = behind.wait()
        of_sinks = None if sinks is None else sinks_gradient(grad, out, log_sum, sinks)
        return None, q_grad.to(q.dtype), *(x.to(k.dtype) for x in shard_grads), of_sinks, *tensor_grads

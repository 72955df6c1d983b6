"""Lazy masks: who may attend to whom, held as its ingredients and made dense only where a kernel needs it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_tx.core.dims import PatternFunction


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Which keys (S) each query (T) may attend to. Every ingredient narrows what the others allow.

    Attributes:
        q_positions: positions of the queries, [B or 1, T].
        k_positions: positions of the keys, [B or 1, S].
        causal: keys at later positions are hidden.
        in_order: positions count 0, 1, 2, … over the keys and the queries are the last of them. Known without
            looking at the tensors, so that a kernel can be chosen without waiting for them.
        pattern: a further restriction by positions; None for full attention.
        q_documents, k_documents: document of each query [B, T] and key [B, S]; attention stays inside one.
        k_token_mask: True at real tokens, False at padding, [B, S].
        prefix: number of leading positions of each row that everybody may attend to, [B].
    """

    q_positions: Tensor
    k_positions: Tensor
    causal: bool
    in_order: bool = False
    pattern: PatternFunction | None = None
    q_documents: Tensor | None = None
    k_documents: Tensor | None = None
    k_token_mask: Tensor | None = None
    prefix: Tensor | None = None

    def within(self, pattern: PatternFunction | None) -> "Mask":
        """This mask narrowed by a pattern."""
        return self if pattern is None else replace(self, pattern=pattern)

    @property
    def only_causal(self) -> bool:
        """Whether each query sees exactly itself and all keys before it: the case that kernels have a fast path for."""
        same_length = self.q_positions.shape[-1] == self.k_positions.shape[-1]
        return self.causal and self.in_order and same_length and self._unrestricted

    @property
    def everything(self) -> bool:
        """Whether each query sees every key, known without looking at the tensors."""
        last_query_only = self.in_order and self.q_positions.shape[-1] == 1
        return (not self.causal or last_query_only) and self._unrestricted

    @property
    def _unrestricted(self) -> bool:
        restrictions = (self.pattern, self.q_documents, self.k_token_mask, self.prefix)
        return all(restriction is None for restriction in restrictions)

    def dense(self) -> Tensor:
        """The mask as a tensor [B or 1, 1, T, S], True where attention is allowed."""
        q, k = self.q_positions[:, :, None], self.k_positions[:, None, :]
        allowed = torch.ones(1, q.shape[1], k.shape[2], dtype=torch.bool, device=q.device)
        if self.causal:
            allowed = k <= q
        if self.prefix is not None:
            allowed = allowed | (k < self.prefix[:, None, None])
        if self.pattern is not None:
            permitted = self.pattern(q, k)
            allowed = allowed if permitted is None else allowed & permitted
        if self.q_documents is not None and self.k_documents is not None:
            allowed = allowed & (self.q_documents[:, :, None] == self.k_documents[:, None, :])
        if self.k_token_mask is not None:
            allowed = allowed & self.k_token_mask[:, None, :]
        return allowed[:, None]


#: ``(q_positions [..., t, 1], k_positions [..., 1, s]) -> [..., H, t, s]`` or None where there is no bias.
BiasFunction = Callable[[Tensor, Tensor], Tensor | None]


def positions_in_rows(
    length: int, *, token_mask: Tensor | None = None, documents: Tensor | None = None, device: torch.device
) -> Tensor:
    """Positions [B or 1, T] of a batch that names none itself.

    They count real tokens, so that padding on the left shifts nothing (padding itself is clamped to 0), and start
    again at 0 in each packed document.
    """
    index = before = torch.arange(length, device=device)[None]
    if token_mask is not None:
        real = token_mask.long()
        index = real.cumsum(dim=1) - 1
        before = index + 1 - real
    if documents is None:
        return index.clamp(min=0)
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    # Counted by the real tokens before it, a document starts at its first real token, whatever padding it opens with.
    before_document = torch.where(starts, before, 0).cummax(dim=1).values
    return (index - before_document).clamp(min=0)

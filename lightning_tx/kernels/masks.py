"""Lazy masks: who may attend to whom, held as its ingredients and made dense only where a kernel needs it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_tx.kernels.pattern import Pattern

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Which keys (S) each query (T) may attend to. Every ingredient narrows what the others allow.

    Attributes:
        q_positions: positions of the queries, [B or 1, T].
        k_positions: positions of the keys, [B or 1, S].
        causal: keys at later positions are hidden.
        in_order: positions count 0, 1, 2, … over the keys, the queries are the last of them, and there are neither
            documents nor padding, so that every query looks at itself at least. Known without looking at the tensors,
            so that a kernel can be chosen without waiting for them.
        pattern: a further restriction by positions, or a prefix; None for full attention.
        q_documents, k_documents: document of each query [B, T] and key [B, S]; attention stays inside one.
        k_token_mask: True at real tokens, False at padding, [B, S].
    """

    q_positions: Tensor
    k_positions: Tensor
    causal: bool
    in_order: bool = False
    pattern: Pattern | None = None
    q_documents: Tensor | None = None
    k_documents: Tensor | None = None
    k_token_mask: Tensor | None = None
    # What was computed once; not by cached_property, whose lock cannot be compiled.
    _narrowed: dict[Pattern, "Mask"] = field(default_factory=dict, init=False, repr=False, compare=False)
    _known: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def within(self, pattern: Pattern | None) -> "Mask":
        """This mask narrowed by a pattern, one object for all layers; where a pattern reaches all keys, itself."""
        reaches_all = pattern is not None and self.in_order and (pattern.reach or 0) >= self.k_positions.shape[-1]
        if pattern is None or reaches_all:
            return self
        if pattern not in self._narrowed:
            self._narrowed[pattern] = replace(self, pattern=pattern)
        return self._narrowed[pattern]

    def last_keys(self, number: int) -> "Mask":
        """This mask for the last keys only, where a cache has forgotten the others."""
        if number == self.k_positions.shape[-1]:
            return self
        return self.part(slice(None), slice(-number, None))

    def part(self, queries: slice, keys: slice) -> "Mask":
        """This mask for some of the queries and some of the keys."""

        def cut(held: Tensor | None, some: slice) -> Tensor | None:
            return None if held is None else held[:, some]

        return replace(
            self,
            q_positions=self.q_positions[:, queries],
            k_positions=self.k_positions[:, keys],
            in_order=False,
            q_documents=cut(self.q_documents, queries),
            k_documents=cut(self.k_documents, keys),
            k_token_mask=cut(self.k_token_mask, keys),
        )

    def needed(self, pattern: Pattern | None) -> int | None:
        """How many of the keys before these queries they and later ones may still look at; None for all of them."""
        if pattern is None or pattern.reach is None or self.q_documents is not None:
            return None
        # Positions that are given, not counted, may go on anywhere.
        counted = self.in_order or (self.k_token_mask is not None and self.consecutive)
        return pattern.reach - 1 if counted else None

    @property
    def starts(self) -> Tensor | None:
        """Where a query is the first of its document, [B, T]; None where there are no documents.

        False for the first of a row: nothing comes before it that it could be told from.
        """
        if self.k_documents is None:
            return None
        documents, new = self.k_documents, self.q_positions.shape[-1]
        return self.once("starts", lambda: _differs(documents, 1)[:, -new:])

    def sees_before(self, lag: int) -> Tensor | None:
        """Whether the token ``lag`` before a query is real and of its document, [B, T]; None where all of them are."""
        documents, real, new = self.k_documents, self.k_token_mask, self.q_positions.shape[-1]
        if documents is None and real is None:
            return None

        def look() -> Tensor:
            seen = None if documents is None else ~_differs(documents, lag)
            if real is not None:
                shifted = F.pad(real, (lag, 0))[:, : real.shape[1]]
                seen = shifted if seen is None else seen & shifted
            assert seen is not None
            return seen[:, -new:]

        return self.once(f"sees_before.{lag}", look)

    @property
    def whole(self) -> bool:
        """Whether the queries are all the tokens of a sequence in order, known without looking at the tensors."""
        return self.in_order and self.q_positions.shape[-1] == self.k_positions.shape[-1]

    @property
    def consecutive(self) -> bool:
        """Whether the real tokens of each document stand side by side and positions count them one by one.

        Looks at the tensors, unless positions are in order; False in doubt.
        """
        held = (self.k_positions, self.k_token_mask, self.k_documents)
        return self.once("consecutive", lambda: self.in_order or _is_consecutive(*held))  # pyright: ignore[reportCallIssue]

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What ``make`` returned when it was first asked for: layers that share a mask share what is made of it."""
        if name not in self._known:
            self._known[name] = make()
        return self._known[name]

    def dense(self) -> Tensor:
        """The mask as a tensor [B or 1, 1, T, S], True where attention is allowed."""
        q, k = self.q_positions[:, :, None], self.k_positions[:, None, :]
        allowed = torch.ones(1, q.shape[1], k.shape[2], dtype=torch.bool, device=q.device)
        if self.causal:
            allowed = k <= q
        if self.pattern is not None:
            allowed = allowed | (k < self.pattern.prefix)
            there, back = self.pattern(q, k), None if self.causal else self.pattern(k, q)
            permitted = there if there is None or back is None else there | back
            allowed = allowed if permitted is None else allowed & permitted
        if self.q_documents is not None and self.k_documents is not None:
            allowed = allowed & (self.q_documents[:, :, None] == self.k_documents[:, None, :])
        if self.k_token_mask is not None:
            allowed = allowed & self.k_token_mask[:, None, :]
        return allowed[:, None]


def _differs(rows: Tensor, lag: int) -> Tensor:
    """Whether an entry of a row is another than the one ``lag`` before it; False where there is none."""
    return F.pad(rows[:, lag:] != rows[:, : max(rows.shape[1] - lag, 0)], (min(lag, rows.shape[1]), 0))


@torch.compiler.disable  # it waits for a number
def _is_consecutive(positions: Tensor, token_mask: Tensor | None, documents: Tensor | None) -> bool:
    offset = torch.arange(positions.shape[-1], device=positions.device) - positions
    none = torch.iinfo(offset.dtype).min
    if token_mask is not None:
        offset = offset.expand_as(token_mask).masked_fill(~token_mask, none)
    before = offset.cummax(dim=1).values[:, :-1]  # the offset of the last real token
    fine = (offset[:, 1:] == before) | (offset[:, 1:] == none) | (before == none)
    if documents is not None:
        fine = fine | (documents.diff(dim=1) != 0)
    return bool(fine.all())


#: ``(q_positions [..., t, 1], k_positions [..., 1, s]) -> [..., H, t, s]`` or None where there is no bias.
BiasFunction = Callable[[Tensor, Tensor], Tensor | None]


def for_heads(bias: BiasFunction, heads: int) -> BiasFunction:
    """The same bias for so many query heads: where it has fewer, each of its heads serves neighbouring ones."""

    def repeated(q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        value = bias(q_positions, k_positions)
        if value is None or value.shape[-3] in (1, heads):
            return value
        return value.repeat_interleave(heads // value.shape[-3], dim=-3)

    return repeated


def added_to_scores(allowed: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The bias, or 0 without one, where attention is allowed, and minus infinity elsewhere; the two are broadcast."""
    value = torch.zeros((), dtype=dtype, device=allowed.device) if bias is None else bias.to(dtype)
    return torch.where(allowed, value, float("-inf"))


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

"""A model in the middle of generating: what it keeps of the tokens so far, and the scores of the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_tx.core.context import Memory
from lightning_tx.core.errors import ConfigError
from lightning_tx.kernels.cache import Cache

if TYPE_CHECKING:
    from lightning_tx.model.language_model import LanguageModel


class Generation:
    """One batch of rows being continued; made by :meth:`LanguageModel.begin`, to be used without gradients.

    Args:
        model: who generates.
        tokens_BT: what the rows begin with, fed at once.
        token_mask_BT: True at real tokens among them; None where there is no padding.
        memory: the encoded sources, for an encoder-decoder.
        never: ids that are never to be produced.

    Attributes:
        logits_BV: scores of each row's first new token, [B, V]; minus infinity for ids that must not be produced.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokens_BT: Tensor,
        *,
        token_mask_BT: Tensor | None,
        memory: Memory | None,
        never: Sequence[int],
    ) -> None:
        self.model = model
        self.num_rows = tokens_BT.shape[0]
        self._cache = Cache()
        self._memory = memory
        self._padded = token_mask_BT is not None
        ids = [*never, *range(model.vocab_size, model.dims.vocab_size)]
        self._never = torch.tensor(ids, device=tokens_BT.device)
        self.logits_BV = self._feed(tokens_BT, token_mask_BT)

    def step(self, tokens_BT: Tensor) -> Tensor:
        """Append tokens [B, T] to the rows and return the scores [B, V] of the token after the last."""
        token_mask_BT = torch.ones_like(tokens_BT, dtype=torch.bool) if self._padded else None
        return self._feed(tokens_BT, token_mask_BT)

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; rows may repeat (beams) or go (finished sequences)."""
        self.num_rows = len(rows)
        self._cache.select(rows)
        if self._memory is not None:
            mask = self._memory.token_mask_BS
            self._memory = Memory(
                self._memory.x_BSD.index_select(0, rows), None if mask is None else mask.index_select(0, rows)
            )

    def reorder(self, rows: Tensor) -> None:
        """Like :meth:`select` where each row is replaced by one of the same input: the encoded sources stay."""
        self._cache.reorder(rows)

    @property
    def cache_bytes(self) -> int:
        """Bytes that the cache holds at the moment."""
        return self._cache.num_bytes

    def _feed(self, tokens_BT: Tensor, token_mask_BT: Tensor | None) -> Tensor:
        output = self.model.advance(tokens_BT, token_mask_BT=token_mask_BT, cache=self._cache, memory=self._memory)
        return self.model.logits(output.x[:, -1]).index_fill_(1, self._never, float("-inf"))


def left_padded(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Token ids [B, T] that end together, and where they are real; no mask where all are equally long."""
    longest = max(map(len, rows))
    return _padded(rows, [[pad_id] * (longest - len(row)) + list(row) for row in rows], device, left=True)


def right_padded(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Token ids [B, T] that start together, and where they are real; no mask where all are equally long."""
    longest = max(1, *map(len, rows))  # an empty row is a row of padding
    return _padded(rows, [list(row) + [pad_id] * (longest - len(row)) for row in rows], device, left=False)


def _padded(
    rows: Sequence[Sequence[int]], filled: list[list[int]], device: torch.device, *, left: bool
) -> tuple[Tensor, Tensor | None]:
    tokens_BT = torch.tensor(filled, dtype=torch.long, device=device)
    width = tokens_BT.shape[1]
    if all(len(row) == width for row in rows):
        return tokens_BT, None
    lengths = torch.tensor([len(row) for row in rows], device=device)[:, None]
    index = torch.arange(width, device=device)[None]
    return tokens_BT, index >= width - lengths if left else index < lengths


def check_lengths(inputs: Sequence[Sequence[int]], limit: int | None, what: str) -> None:
    """Refuse inputs that are longer than the positions of a stack reach.

    Raises:
        ConfigError: naming every such input.
    """
    if limit is not None:
        raise_for = [(index, len(row)) for index, row in enumerate(inputs) if len(row) > limit]
        if raise_for:
            raise ConfigError(
                [
                    f"{what}[{index}]: it has {length} tokens, but these positions end at model.max_seq_len = {limit}."
                    for index, length in raise_for
                ]
            )

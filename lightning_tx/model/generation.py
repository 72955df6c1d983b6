"""A model in the middle of generating: what it keeps of the tokens so far, and the scores of the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from lightning_tx.core.context import Memory, Output
from lightning_tx.core.errors import ConfigError, choices
from lightning_tx.kernels.cache import Cache
from lightning_tx.model.body import MODEL, Body
from lightning_tx.model.heads.language_model import LanguageModelHead


@runtime_checkable
class Generator(Protocol):
    """What a body has that can continue rows of tokens."""

    def begin(self, inputs: Sequence[Sequence[int]], *, bos_id: int, pad_id: int) -> Generation:
        """Start to generate for token ids: prompts of one text, sources of a text to be written.

        Args:
            inputs: at least one row, of any lengths; a row's scores do not depend on the others.
            bos_id: what a text to be written starts with, and a prompt that is empty.
            pad_id: fills the shorter rows; like ``bos_id`` it is never produced.

        Raises:
            ConfigError: an input is longer than the positions reach.
        """
        ...

    def room(self, inputs: Sequence[Sequence[int]]) -> list[int] | None:
        """How many tokens each input can be continued by; None where there is no limit.

        Raises:
            ConfigError: an input is longer than the positions reach.
        """
        ...

    def advance(
        self, tokens_BT: Tensor, *, token_mask_BT: Tensor | None, cache: Cache, memory: Memory | None
    ) -> Output:
        """New tokens [B, T] of rows being generated to their states [B, T, D].

        Args:
            tokens_BT: the new tokens.
            token_mask_BT: True at real tokens; None where there is no padding.
            cache: what was kept of earlier tokens, and takes what is to be kept of these.
            memory: the encoded sources, of a body that reads some.
        """
        ...


def generator_of(model: Body) -> Generator:
    """A model as what continues rows of tokens.

    Raises:
        ConfigError: its body or its head cannot; the message lists the bodies that can.
    """
    named = {MODEL.get(name): name for name in MODEL.names()}
    own = named.get(type(model), type(model).__name__)
    if not isinstance(model, Generator):
        raise ConfigError(f"model.name: {own!r} does not generate text. Choices: {choices(generators())}.")
    if not isinstance(model.head, LanguageModelHead):
        raise ConfigError(f"task.name: the model {own!r} was trained with the head {model.head.name!r}, not on text.")
    return model


def generators() -> list[str]:
    """The names of the bodies that can generate."""
    return [name for name in MODEL.names() if issubclass(MODEL.get(name), Generator)]


class Generation:
    """One batch of rows being continued; made by :meth:`Generator.begin`, to be used without gradients.

    Args:
        model: a body that can generate, with the head of a language model.
        tokens_BT: what the rows begin with, fed at once.
        token_mask_BT: True at real tokens among them; None where there is no padding.
        memory: the encoded sources, for an encoder-decoder.
        never: ids that are never to be produced.

    Attributes:
        logits_BV: scores of each row's first new token, [B, V]; minus infinity for ids that must not be produced.
    """

    def __init__(
        self,
        model: Body,
        tokens_BT: Tensor,
        *,
        token_mask_BT: Tensor | None,
        memory: Memory | None,
        never: Sequence[int],
    ) -> None:
        self._generator, self._head = cast(Generator, model), cast(LanguageModelHead, model.head)
        self.num_rows = tokens_BT.shape[0]
        self._cache = Cache()
        self._memory = memory
        self._padded = token_mask_BT is not None
        ids = [*never, *range(self._head.vocab_size, self._head.out_features)]
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
        output = self._generator.advance(tokens_BT, token_mask_BT=token_mask_BT, cache=self._cache, memory=self._memory)
        return self._head.logits(output.x[:, -1]).index_fill_(1, self._never, float("-inf"))


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

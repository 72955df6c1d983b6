"""The interface of the group ``decoding``, and the loop of the strategies that settle one token after the other."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lightning_tx.core.group import Group
from lightning_tx.decoding.scores import log_probability

#: Rows that are finished leave the batch when they are this share of it: each departure copies the cache.
LEAVING_SHARE = 0.25


class Generating(Protocol):
    """What a strategy needs of :class:`lightning_tx.model.generation.Generation`."""

    logits_BV: Tensor

    def step(self, tokens_BT: Tensor) -> Tensor:
        """Append tokens [B, T]; return the scores [B, V] of the next."""
        ...

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Replace each row by one of the same input."""
        ...


@dataclass(frozen=True)
class Decoded:
    """What came of one row.

    Attributes:
        tokens: the new token ids, without ``<eos>``.
        log_probability: sum over the new tokens, ``<eos>`` included, under the model's own distribution.
        score: what the strategy ranks by; the log-probability unless it says otherwise.
        finished: whether the row ended by ``<eos>`` rather than at its limit.
    """

    tokens: list[int]
    log_probability: float
    score: float
    finished: bool


class Decoding(ABC):
    """A strategy that turns scores of next tokens into sequences."""

    @abstractmethod
    def generate(
        self, generation: Generating, *, max_new_tokens: Sequence[int], eos_id: int, seeds: Sequence[int]
    ) -> list[Decoded]:
        """Continue every row until it ends.

        Args:
            generation: the rows, at their beginning; used up afterwards.
            max_new_tokens: limit of each row, ``<eos>`` included, at least 1.
            eos_id: ends a row.
            seeds: of each row's own random numbers, so that a row does not depend on which others are beside it.

        Returns:
            One result a row, in their order.
        """


class TokenByToken(Decoding):
    """Base of the strategies that choose one next token a row and never go back."""

    @abstractmethod
    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        """The next token [B] of each row; ``noise_B`` is this step's column of :meth:`noise`."""

    def noise(self, seeds: Sequence[int], steps: int, device: torch.device) -> Tensor:
        """Random numbers [B, steps], a row of them for each row; nothing of note without chance."""
        return torch.zeros(1, 1, device=device).expand(len(seeds), steps)

    def generate(
        self, generation: Generating, *, max_new_tokens: Sequence[int], eos_id: int, seeds: Sequence[int]
    ) -> list[Decoded]:
        """Choose a token for each row, drop rows that are finished, feed the rest."""
        logits_BV = generation.logits_BV
        device = logits_BV.device
        rows = list(range(len(logits_BV)))  # which row of the beginning each present row is
        noise_BT = self.noise(seeds, max(max_new_tokens), device)
        sums_B = torch.zeros(len(rows), dtype=torch.promote_types(logits_BV.dtype, torch.float32), device=device)
        tokens: list[list[int]] = [[] for _ in rows]
        results: dict[int, Decoded] = {}
        for step in range(max(max_new_tokens)):
            chosen_B = self.choose(logits_BV, noise_BT[:, step])
            sums_B = sums_B + log_probability(logits_BV, chosen_B)
            ended = []
            for place, (row, token) in enumerate(zip(rows, chosen_B.tolist(), strict=True)):
                if row in results:
                    continue
                if token != eos_id:
                    tokens[row].append(token)
                if token == eos_id or step + 1 == max_new_tokens[row]:
                    ended.append((place, row, token == eos_id))
            if ended:
                sums = sums_B.tolist()
                results |= {row: Decoded(tokens[row], sums[at], sums[at], by_eos) for at, row, by_eos in ended}
            if len(results) == len(tokens):
                break
            kept = [place for place, row in enumerate(rows) if row not in results]
            # Positions may end at a row's limit: it must not stay any longer, finished or not.
            at_limit = any(max_new_tokens[row] <= step + 1 for row in rows)
            if at_limit or len(kept) <= (1 - LEAVING_SHARE) * len(rows):
                places = torch.tensor(kept, device=device)
                generation.select(places)
                chosen_B, sums_B, noise_BT = chosen_B[places], sums_B[places], noise_BT[places]
                rows = [rows[place] for place in kept]
            logits_BV = generation.step(chosen_B[:, None])
        return [results[row] for row in range(len(tokens))]


DECODING = Group("decoding", Decoding, __package__)

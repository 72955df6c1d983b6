from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.decoding.base import DECODING, TokenByToken


@DECODING.register("sample")
class Sample(TokenByToken):
    """Draws each next token from the model's distribution, sharpened and cut off as told.

    First the scores are divided by the temperature, then all but ``top_k`` tokens are dropped, then the least
    probable of what is left, so long as the others hold ``top_p`` of its mass. Scores of results are those of the
    model's own distribution.

    Source: Holtzman et al. 2019, arXiv:1904.09751 (top-p); Fan et al. 2018, arXiv:1805.04833 (top-k).

    Args:
        temperature: below 1 sharpens the distribution, above 1 flattens it.
        top_k: number of tokens to draw from; null for all.
        top_p: share of the mass to draw from; null for all of it.
    """

    def __init__(
        self,
        *,
        temperature: Annotated[float, Field(ge=0.001, le=1000)] = 1.0,
        top_k: Annotated[int, Field(gt=0)] | None = None,
        top_p: Annotated[float, Field(gt=0, le=1)] | None = None,
    ) -> None:
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p

    def noise(self, seeds: Sequence[int], steps: int, device: torch.device) -> Tensor:
        """One uniform number a token, drawn on the CPU so that every device gets the same."""
        rows = [torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
        return torch.stack(rows).to(device)

    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        """Invert the cumulative distribution at the uniform numbers [B]."""
        scores, ids = self.candidates(logits_BV)
        masses = scores.double().softmax(dim=-1).cumsum(dim=-1)
        index = torch.searchsorted(masses, noise_B[:, None] * masses[:, -1:], right=True)
        index = index.clamp(max=scores.shape[1] - 1)  # where scores are no numbers, none of them is passed
        return index[:, 0] if ids is None else ids.gather(1, index)[:, 0]

    def candidates(self, logits_BV: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores [B, C] of the tokens to draw from, minus infinity if cut off, and their ids; None for all in order."""
        scores, ids = logits_BV / self.temperature, None
        if self.top_k is not None and self.top_k < scores.shape[1]:
            scores, ids = scores.topk(self.top_k, dim=-1)
        elif self.top_p is not None:
            scores, ids = scores.sort(dim=-1, descending=True)
        if self.top_p is not None:
            probabilities = scores.softmax(dim=-1)
            before = probabilities.cumsum(dim=-1) - probabilities
            # The best is always kept: nothing comes before it.
            scores = scores.masked_fill(before >= self.top_p, float("-inf"))
        return scores, ids

import math

from lightning_tx.components.adapter.low_rank import LowRank
from lightning_tx.core.registry import register


@register("adapter", "rslora")
class RankStabilizedLora(LowRank):
    """Trains a low-rank update ``(alpha / sqrt(rank)) · B A``: its size does not shrink as the rank grows.

    LoRA's ``alpha / rank`` makes the update of a high rank learn too slowly; this scale keeps activations and
    gradients of the same order at any rank.

    Source: Kalajdzievski 2023, arXiv:2312.03732.

    Args:
        rank: inner width r of the update.
        alpha: the update is scaled by ``alpha / sqrt(rank)``.
        targets: which linear layers, by the last part of their name or by their full name; ``*`` matches anything.
        ranks: other ranks for some of the targets, by such a pattern; the last that matches counts.
        alphas: other values of alpha, in the same way.
        dropout: probability of dropping an input of A in training.
    """

    def scale(self, rank: int, alpha: float) -> float:
        """``alpha / sqrt(rank)``."""
        return alpha / math.sqrt(rank)

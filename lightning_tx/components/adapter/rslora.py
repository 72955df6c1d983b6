import math

from lightning_tx.components.adapter.base import ADAPTER
from lightning_tx.components.adapter.low_rank import LowRank


@ADAPTER.register("rslora")
class RankStabilizedLora(LowRank):
    """Trains a low-rank update ``(alpha / sqrt(rank)) · B A``: its size does not shrink as the rank grows.

    LoRA's ``alpha / rank`` makes the update of a high rank learn too slowly; this scale keeps activations and
    gradients of the same order at any rank.

    Source: Kalajdzievski 2023, arXiv:2312.03732.

    Args:
        alpha: the update is scaled by ``alpha / sqrt(rank)``.
    """

    def scale(self, rank: int, alpha: float) -> float:
        """``alpha / sqrt(rank)``."""
        return alpha / math.sqrt(rank)

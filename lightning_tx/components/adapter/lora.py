from lightning_tx.components.adapter.base import ADAPTER
from lightning_tx.components.adapter.low_rank import LowRank


@ADAPTER.register("lora")
class Lora(LowRank):
    """Trains a low-rank update ``(alpha / rank) · B A`` of chosen matrices on a frozen base.

    Layers that stand in a group, such as experts, have an update each.

    Source: Hu et al. 2021, arXiv:2106.09685.

    Args:
        alpha: the update is scaled by ``alpha / rank``. With alpha fixed, a study of ranks changes the scale too;
            set ``alpha`` equal to the rank to hold it at 1.
    """

    def scale(self, rank: int, alpha: float) -> float:
        """``alpha / rank``."""
        return alpha / rank

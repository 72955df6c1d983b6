from lightning_tx.components.adapter.low_rank import LowRank
from lightning_tx.core.registry import register


@register("adapter", "lora")
class Lora(LowRank):
    """Trains a low-rank update ``(alpha / rank) · B A`` of chosen matrices on a frozen base.

    Layers that stand in a group, such as experts, have an update each.

    Source: Hu et al. 2021, arXiv:2106.09685.

    Args:
        rank: inner width r of the update.
        alpha: the update is scaled by ``alpha / rank``. With alpha fixed, a study of ranks changes the scale too;
            set ``alpha`` equal to the rank to hold it at 1.
        targets: which linear layers, by the last part of their name or by their full name; ``*`` matches anything.
        ranks: other ranks for some of the targets, by such a pattern; the last that matches counts.
        alphas: other values of alpha, in the same way.
        dropout: probability of dropping an input of A in training.
    """

    def scale(self, rank: int, alpha: float) -> float:
        """``alpha / rank``."""
        return alpha / rank

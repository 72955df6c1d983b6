from torch import Tensor

from lightning_tx.core.registry import register
from lightning_tx.decoding.base import TokenByToken
from lightning_tx.decoding.scores import best


@register("decoding", "greedy")
class Greedy(TokenByToken):
    """The most probable next token, every time."""

    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        """``argmax``."""
        return best(logits_BV)

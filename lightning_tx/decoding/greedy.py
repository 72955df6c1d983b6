from torch import Tensor

from lightning_tx.decoding.base import DECODING, TokenByToken
from lightning_tx.decoding.scores import best


@DECODING.register("greedy")
class Greedy(TokenByToken):
    """The most probable next token, every time."""

    def choose(self, logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        """``argmax``."""
        return best(logits_BV)

from torch import Tensor

from lightning_tx import register
from lightning_tx.components.feed_forward.base import Gated


@register("feed_forward", "bilinear")
class Bilinear(Gated):
    """``W2 (Wg x · W1 x)``: two linear maps, multiplied; there is no other nonlinearity.

    Source: Shazeer 2020, arXiv:2002.05202; Mnih and Hinton 2007.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``x``."""
        return x

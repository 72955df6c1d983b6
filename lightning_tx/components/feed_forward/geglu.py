import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Gated


@FEED_FORWARD.register("geglu")
class GEGLU(Gated):
    """``W2 (GELU(Wg x) · W1 x)``: a gated unit with three matrices.

    Source: Shazeer 2020, arXiv:2002.05202.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``x Φ(x)``, exact."""
        return F.gelu(x)

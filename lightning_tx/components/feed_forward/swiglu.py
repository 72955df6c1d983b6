import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Gated


@FEED_FORWARD.register("swiglu")
class SwiGLU(Gated):
    """``W2 (SiLU(Wg x) · W1 x)``: a gated unit with three matrices.

    Source: Shazeer 2020, arXiv:2002.05202.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``x sigmoid(x)``."""
        return F.silu(x)

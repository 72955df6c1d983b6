import torch.nn.functional as F
from torch import Tensor

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Plain


@FEED_FORWARD.register("silu")
class SiLU(Plain):
    """``W2 SiLU(W1 x)``: two matrices around a SiLU, which is also called swish.

    Source: Elfwing et al. 2017, arXiv:1702.03118; Ramachandran et al. 2017, arXiv:1710.05941.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``x sigmoid(x)``."""
        return F.silu(x)

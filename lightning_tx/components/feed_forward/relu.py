from torch import Tensor

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Plain


@FEED_FORWARD.register("relu")
class ReLU(Plain):
    """``W2 max(0, W1 x)``: two matrices around a ReLU.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.3.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``max(0, x)``."""
        return x.relu()

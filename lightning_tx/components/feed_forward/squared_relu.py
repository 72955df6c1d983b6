from torch import Tensor

from lightning_tx.components.feed_forward.base import FEED_FORWARD, Plain


@FEED_FORWARD.register("squared_relu")
class SquaredReLU(Plain):
    """``W2 max(0, W1 x)²``: two matrices around the square of a ReLU.

    Source: So et al. 2021 (Primer), arXiv:2109.08668.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``max(0, x)²``."""
        return x.relu().square()

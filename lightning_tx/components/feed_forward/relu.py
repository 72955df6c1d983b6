from torch import Tensor

from lightning_tx.components.feed_forward.base import Plain
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.registry import register


@register("feed_forward", "relu")
class ReLU(Plain):
    """``W2 max(0, W1 x)``: two matrices around a ReLU.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.3.

    Args:
        bias: whether the projections have a bias.
    """

    def __init__(self, dims: Dims, site: Site, *, bias: bool = False) -> None:
        super().__init__(dims, site, bias)

    def activation(self, x: Tensor) -> Tensor:
        """``max(0, x)``."""
        return x.relu()

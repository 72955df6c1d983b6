from torch import Tensor

from lightning_tx import register
from lightning_tx.components.feed_forward.base import Gated


@register("feed_forward", "my_component")
class MyComponent(Gated):
    """``W2 (max(0, Wg x) · W1 x)``: a unit gated by a ReLU.

    Source: Shazeer 2020, arXiv:2002.05202.
    """

    def activation(self, x: Tensor) -> Tensor:
        """``max(0, x)``."""
        return x.relu()

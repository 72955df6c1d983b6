from torch import Tensor

from lightning_tx.components.pattern.base import PATTERN, Pattern


@PATTERN.register("full")
class Full(Pattern):
    """Every query may look at every key.

    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __call__(self, q_positions: Tensor, k_positions: Tensor) -> Tensor | None:
        """None: no restriction."""
        return None

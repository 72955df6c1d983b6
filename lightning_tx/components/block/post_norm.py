from torch import Tensor

from lightning_tx.components.block.base import BLOCK, Block, Branch


@BLOCK.register("post_norm")
class PostNorm(Block):
    """``Norm(x + Dropout(Sublayer(x)))``, the order of the first Transformer; it wants a warm-up.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.1.
    """

    needs_final_norm = False

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """``norm(x + branch(x))``."""
        return self.norms[role](x_BTD + branch(x_BTD))

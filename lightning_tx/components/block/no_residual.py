from torch import Tensor

from lightning_tx.components.block.base import BLOCK, Block, Branch


@BLOCK.register("no_residual")
class NoResidual(Block):
    """``Dropout(Sublayer(Norm(x)))``: no residual connection; tokens grow alike with depth.

    Source: Dong et al. 2021, arXiv:2103.03404.
    """

    needs_final_norm = True

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """``branch(norm(x))``."""
        return branch(self.norms[role](x_BTD))

from torch import Tensor

from lightning_tx.components.block.base import BLOCK, Block, Branch, writes_to_residual


@BLOCK.register("pre_norm")
class PreNorm(Block):
    """``x + Dropout(Sublayer(Norm(x)))``, with one more norm after the last layer.

    What is written to the residual stream starts smaller by the square root of the number of writes, as in GPT-2.

    Source: Xiong et al. 2020, arXiv:2002.04745.
    """

    needs_final_norm = True

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """``x + branch(norm(x))``."""
        return x_BTD + branch(self.norms[role](x_BTD))

    def init_gain(self, parameter: str) -> float:
        """``1 / sqrt(sublayers of the whole stack)`` for matrices that write to the residual stream."""
        return (len(self.sublayers) * self.depth) ** -0.5 if writes_to_residual(parameter) else 1.0

from collections.abc import Iterable

from torch import Tensor

from lightning_tx.components.block.base import BLOCK, Block, Branch


@BLOCK.register("sandwich")
class Sandwich(Block):
    """``x + Norm(Dropout(Sublayer(Norm(x))))``: pre-norm with a second norm at the end of each branch.

    The second norm bounds what a sublayer adds to the residual stream. One more norm follows the last layer.

    Source: Ding et al. 2021 (CogView), arXiv:2105.13290, section 2.4; as in Gemma 2.
    """

    needs_final_norm = True

    def norm_names(self, roles: list[str]) -> Iterable[str]:
        """Two a sublayer: ``<role>`` before it and ``<role>_after`` behind it."""
        return [name for role in roles for name in (role, _after(role))]

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """``x + branch(norm(x))``."""
        return x_BTD + branch(self.norms[role](x_BTD))

    def contribution(self, y_BTD: Tensor, role: str) -> Tensor:
        """``norm_after(dropout(y))``."""
        return self.norms[_after(role)](self.dropout(y_BTD))


def _after(role: str) -> str:
    return f"{role}_after"

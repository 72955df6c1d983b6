from collections.abc import Callable

from torch import Tensor, nn

from lightning_tx.components.block.base import BLOCK, Block, Branch
from lightning_tx.core.context import Sublayer
from lightning_tx.core.dims import Dims, Site


@BLOCK.register("no_residual")
class NoResidual(Block):
    """``Dropout(Sublayer(Norm(x)))``: no residual connection; tokens grow alike with depth.

    A layer left out would leave nothing, so there is no stochastic depth.

    Source: Dong et al. 2021, arXiv:2103.03404.
    """

    needs_final_norm = True

    def __init__(
        self, dims: Dims, site: Site, sublayers: dict[str, Sublayer], make_norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__(dims, site, sublayers, make_norm)

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """``branch(norm(x))``."""
        return branch(self.norms[role](x_BTD))

from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.components.block.base import Block, Branch
from lightning_tx.core.context import Sublayer
from lightning_tx.core.dims import Dims, Site

Sublayers = dict[str, Sublayer]
MakeNorm = Callable[[int], nn.Module]


@register("block", "my_component")
class MyComponent(Block):
    """``sqrt(1 - share) x + sqrt(share) Sublayer(Norm(x))``: what is added is taken away elsewhere.

    Args:
        share: part of the variance that comes from the branch.
    """

    needs_final_norm = True

    def __init__(
        self,
        dims: Dims,
        site: Site,
        sublayers: Sublayers,
        make_norm: MakeNorm,
        *,
        share: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    ) -> None:
        super().__init__(dims, site, sublayers, make_norm)
        self.share = share

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """One sublayer's step."""
        return (1 - self.share) ** 0.5 * x_BTD + self.share**0.5 * branch(self.norms[role](x_BTD))

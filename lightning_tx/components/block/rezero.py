from collections.abc import Callable, Iterable
from typing import Unpack

import torch
from torch import Tensor, nn

from lightning_tx.components.block.base import BLOCK, Block, BlockOptions, Branch
from lightning_tx.core.context import Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Constant, declare


@BLOCK.register("rezero")
class ReZero(Block):
    """``x + alpha · Dropout(Sublayer(x))`` with a trained alpha for each sublayer that starts at 0, and no norms.

    At the start every layer is the identity. There is no norm after the last layer either, so ``norm`` is for parts
    that need one inside.

    Source: Bachlechner et al. 2020, arXiv:2003.04887.
    """

    needs_final_norm = False

    def __init__(
        self,
        dims: Dims,
        site: Site,
        sublayers: dict[str, Sublayer],
        make_norm: Callable[[int], nn.Module],
        **options: Unpack[BlockOptions],
    ) -> None:
        super().__init__(dims, site, sublayers, make_norm, **options)
        self.alphas = nn.ParameterDict({role: nn.Parameter(torch.zeros(1)) for role in sublayers})
        declare(self.alphas, **{role: Constant(0.0) for role in sublayers})

    def norm_names(self, roles: list[str]) -> Iterable[str]:
        """None."""
        return []

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """``x + alpha · branch(x)``."""
        return x_BTD + self.alphas[role] * branch(x_BTD)

from collections.abc import Callable, Iterable
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.block.base import BLOCK, BlockOptions
from lightning_tx.components.block.hyper_connections import HyperConnections
from lightning_tx.core.context import Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Constant, declare


@BLOCK.register("dynamic_hyper_connections")
class DynamicHyperConnections(HyperConnections):
    """Hyper-connections whose weights depend on the token as well.

    To a sublayer's ``read``, ``mix`` and ``write`` is added ``scale · tanh(Norm(s_n) W)``, of each stream's states
    ``s_n`` one number for ``read``, one for ``write`` and N for ``mix``. W starts at 0 and both scales, that of
    ``write`` and that of the other two, at 0.01: it starts as a pre-norm layer too.

    Source: Zhu et al. 2024, arXiv:2409.19606, sections 2.2 and 2.3 (dynamic).

    Args:
        num_streams: residual streams (N), the paper's expansion rate.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        sublayers: dict[str, Sublayer],
        make_norm: Callable[[int], nn.Module],
        *,
        num_streams: Annotated[int, Field(gt=0)] = 4,
        **options: Unpack[BlockOptions],
    ) -> None:
        super().__init__(dims, site, sublayers, make_norm, num_streams=num_streams, **options)
        width = 2 + num_streams
        self.dynamic = nn.ModuleDict({role: nn.Linear(dims.d_model, width, bias=False) for role in sublayers})
        self.scales = nn.ParameterDict({role: nn.Parameter(torch.empty(2)) for role in sublayers})
        declare(self.scales, **{role: Constant(0.01) for role in sublayers})
        for linear in self.dynamic.values():
            declare(linear, weight=Constant(0.0, decays=True))

    def norm_names(self, roles: list[str]) -> Iterable[str]:
        """Two a sublayer: ``<role>`` before it and ``<role>_streams`` before W."""
        return [name for role in roles for name in (role, f"{role}_streams")]

    def weights(self, x_BTND: Tensor, role: str) -> tuple[Tensor, Tensor, Tensor]:
        """A sublayer's ``read`` [B, T, N], ``mix`` [B, T, N, N] and ``write`` [B, T, N]."""
        read, mix, write = super().weights(x_BTND, role)
        moved = self.dynamic[role](self.norms[f"{role}_streams"](x_BTND)).tanh()
        of_states, of_write = self.scales[role]
        return read + of_states * moved[..., 0], mix + of_states * moved[..., 2:], write + of_write * moved[..., 1]

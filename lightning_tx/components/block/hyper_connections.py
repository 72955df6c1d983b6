from collections.abc import Callable
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.block.base import BLOCK, BlockOptions, Branch
from lightning_tx.components.block.pre_norm import PreNorm
from lightning_tx.core.context import Sublayer
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Constant, declare
from lightning_tx.kernels.autocast import without_autocast


@BLOCK.register("hyper_connections")
class HyperConnections(PreNorm):
    """Several residual streams, which every sublayer reads, mixes and writes to with trained weights.

    Of the streams ``s_1 … s_N`` a sublayer makes ``s'_m = sum_n mix[n, m] s_n + write[m] · y`` with
    ``y = Dropout(Sublayer(Norm(sum_n read[n] s_n)))``. The embedding enters every stream, and their mean leaves the
    last layer; one more norm follows. At the start each sublayer reads one stream, the sublayers in turn, leaves all as
    they are and writes alike to all: a pre-norm layer exactly. The paper's sum of the streams at the end differs from
    the mean by a factor, which the norm removes.

    The parameters of ``read`` and ``mix`` are what is added to those of the start.

    Source: Zhu et al. 2024, arXiv:2409.19606, sections 2.1 and 2.3 (static).

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
        super().__init__(dims, site, sublayers, make_norm, **options)
        self.num_streams = num_streams
        before = site.layer * len(sublayers)
        self.reads = {role: (before + index) % num_streams for index, role in enumerate(sublayers)}
        self.read = nn.ParameterDict({role: nn.Parameter(torch.zeros(num_streams)) for role in sublayers})
        self.mix = nn.ParameterDict({role: nn.Parameter(torch.zeros(num_streams, num_streams)) for role in sublayers})
        self.write = nn.ParameterDict({role: nn.Parameter(torch.ones(num_streams)) for role in sublayers})
        for held, start in ((self.read, 0.0), (self.mix, 0.0), (self.write, 1.0)):
            declare(held, **{role: Constant(start) for role in sublayers})

    def enter(self, x_BTD: Tensor) -> Tensor:
        """The states in every stream, [B, T, N, D]."""
        return x_BTD.unsqueeze(-2).expand(-1, -1, self.num_streams, -1)

    def leave(self, x: Tensor) -> Tensor:
        """The mean of the streams [B, T, N, D]."""
        return x.mean(dim=-2)

    def residual(self, x_BTD: Tensor, role: str, branch: Branch) -> Tensor:
        """The streams [B, T, N, D] after one sublayer."""
        read, mix, write = self.weights(x_BTD, role)
        with without_autocast(x_BTD.device):  # the streams keep their precision
            states_BTD = (read[..., None, :] @ x_BTD).squeeze(-2)
            mixed = mix.mT @ x_BTD
        return mixed + write[..., None] * branch(self.norms[role](states_BTD)).unsqueeze(-2)

    def weights(self, x_BTND: Tensor, role: str) -> tuple[Tensor, Tensor, Tensor]:
        """A sublayer's ``read`` [..., N], ``mix`` [..., N, N] and ``write`` [..., N]."""
        start = torch.eye(self.num_streams, dtype=x_BTND.dtype, device=x_BTND.device)
        return start[self.reads[role]] + self.read[role], start + self.mix[role], self.write[role]

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.positions.base import POSITIONS, Positions
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Constant, Uniform, declare


@POSITIONS.register("fire")
class Fire(Positions):
    """A trained function of the distance as a share of the position it is looked at from (FIRE).

    The bias of query i and key j is ``f(log(c |i - j| + 1) / log(c max(i, j, L) + 1))``: f is a network of one hidden
    layer from a number to one for each head, c and L are trained. The share lies between 0 and 1 however long the
    sequence. In an encoder the greater of the two positions counts, in a decoder that is the query's.

    Source: Li et al. 2023, arXiv:2310.04418, section 3.2. The network's last layer has no bias: the softmax would not
    see it.

    Args:
        width: of the hidden layer.
        scale: where c starts.
        threshold: where L starts, in tokens; null for a quarter of ``max_seq_len``, as in the paper.
    """

    bias_is_relative = False

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        width: Annotated[int, Field(gt=0)] = 32,
        scale: Annotated[float, Field(gt=0)] = 0.1,
        threshold: Annotated[float, Field(gt=1)] | None = None,
    ) -> None:
        super().__init__(dims, site)
        self.threshold = dims.max_seq_len / 4 if threshold is None else threshold
        self.hidden = nn.Linear(1, width)
        self.heads = nn.Linear(width, dims.num_heads, bias=False)
        self.scale, self.threshold_gain = nn.Parameter(torch.empty(())), nn.Parameter(torch.empty(()))
        declare(self, scale=Constant(scale), threshold_gain=Constant(1.0))
        declare(self.hidden, weight=Uniform(1.0), bias=Uniform(1.0))

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """The network's value at each pair's share, [..., H, t, s]."""
        wide = torch.promote_types(self.scale.dtype, torch.float32)
        scale, threshold = self.scale.to(wide), self.threshold * self.threshold_gain.to(wide)
        distance = (q_positions - k_positions).abs().to(wide)
        furthest = torch.maximum(q_positions, k_positions).to(wide).maximum(threshold.abs())
        share = (scale * distance).abs().log1p() / (scale * furthest).abs().log1p()
        found = self.heads(self.hidden(share[..., None].to(self.scale.dtype)).relu())
        return found.movedim(-1, -3).contiguous()

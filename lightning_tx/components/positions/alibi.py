import torch
from torch import Tensor

from lightning_tx.components.positions.base import POSITIONS, Positions
from lightning_tx.core.dims import Dims, Site


@POSITIONS.register("alibi")
class Alibi(Positions):
    """A penalty on the scores that grows with the distance, at a fixed slope for each head.

    The bias is ``-slope · |i - j|``, in a decoder and in an encoder alike. The slopes of H heads are
    ``2^(-8/H), 2^(-16/H), …, 2^-8`` for a power of two; otherwise those of the next smaller power of two N, then every
    second one of 2N heads, from the first on.

    Source: Press et al. 2022, arXiv:2108.12409; the slopes of other numbers of heads are those of the authors' code.
    """

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.num_heads = dims.num_heads

    def slopes(self, device: torch.device) -> Tensor:
        """The slope of each head, [H] in float32."""
        power = 2 ** (self.num_heads.bit_length() - 1)
        regular = torch.arange(1, power + 1, dtype=torch.float32, device=device)
        between = torch.arange(self.num_heads - power, dtype=torch.float32, device=device) + 0.5
        return torch.exp2(torch.cat([regular, between]) * (-8 / power))

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``-slope · |i - j|``, [..., H, t, s] in float32: a distance has no more digits than that."""
        distance = (q_positions.float() - k_positions.float()).abs()
        return distance[..., None, :, :] * -self.slopes(distance.device)[:, None, None]

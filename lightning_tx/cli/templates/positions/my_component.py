import torch
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.components.positions.base import Positions
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.schemes import Constant


@register("positions", "my_component")
class MyComponent(Positions):
    """A penalty on the scores that grows with the logarithm of the distance, as steeply as each head learns.

    Source: Chi et al. 2022, arXiv:2205.09921; its logarithmic kernel, with one parameter.
    """

    initial = {"log_slope": Constant(0.0)}

    def __init__(self, dims: Dims, site: Site) -> None:
        super().__init__(dims, site)
        self.log_slope = nn.Parameter(torch.zeros(dims.num_heads))

    def bias(self, q_positions: Tensor, k_positions: Tensor) -> Tensor:
        """``-slope · log(1 + |q - k|)``, [..., H, t, s]."""
        distance = (q_positions - k_positions).abs()[..., None, :, :]
        return -self.log_slope.exp()[:, None, None] * torch.log1p(distance.to(self.log_slope.dtype))

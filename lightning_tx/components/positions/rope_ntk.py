from typing import Unpack

import torch
from torch import Tensor

from lightning_tx.components.positions.base import POSITIONS
from lightning_tx.components.positions.rotary import Factor, Rotary, RotaryOptions
from lightning_tx.core.dims import Dims, Site


@POSITIONS.register("rope_ntk")
class NtkRope(Rotary):
    """Rotary positions with a larger base: the slowest pair is slowed down by a factor, the fastest not at all.

    With ``base · factor^(K/(K-2))`` pair i turns ``factor^(2i/(K-2))`` times more slowly. The factor is fixed and does
    not follow the length of the text, as the dynamic variant has it: there a key that a cache holds would be turned
    by another angle than the keys that come after it.

    Source: bloc97 2023, "NTK-Aware Scaled RoPE"; written down in Peng et al. 2023, arXiv:2309.00071, section 3.1.

    Args:
        factor: how many times more slowly the slowest pair turns.

    Raises:
        ConfigError: ``head_dim`` is odd, or the dimensions that turn are no even number.
    """

    def __init__(self, dims: Dims, site: Site, *, factor: Factor = 4.0, **options: Unpack[RotaryOptions]) -> None:
        super().__init__(dims, site, **options)
        self.factor = factor

    def frequencies(self, width: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """``base^(-2i/K) / factor^(2i/(K-2))``, [width / 2]."""
        share = torch.linspace(0, 1, width // 2, dtype=dtype, device=device)
        return super().frequencies(width, dtype=dtype, device=device) / self.factor**share

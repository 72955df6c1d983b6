from typing import Unpack

import torch
from torch import Tensor

from lightning_tx.components.positions.base import POSITIONS
from lightning_tx.components.positions.rotary import Factor, Rotary, RotaryOptions
from lightning_tx.core.dims import Dims, Site


@POSITIONS.register("rope_linear")
class LinearRope(Rotary):
    """Rotary positions squeezed by a factor, so that a longer text fits into the angles known from training.

    Every pair turns ``factor`` times more slowly, which is the same as dividing the positions.

    Source: Chen et al. 2023, arXiv:2306.15595.

    Args:
        factor: how many times more slowly the pairs turn.

    Raises:
        ConfigError: ``head_dim`` is odd, or the dimensions that turn are no even number.
    """

    def __init__(self, dims: Dims, site: Site, *, factor: Factor = 4.0, **options: Unpack[RotaryOptions]) -> None:
        super().__init__(dims, site, **options)
        self.factor = factor

    def frequencies(self, width: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """``base^(-2i/K) / factor``, [width / 2]."""
        return super().frequencies(width, dtype=dtype, device=device) / self.factor

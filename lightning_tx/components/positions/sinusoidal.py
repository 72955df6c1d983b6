from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.components.positions.base import POSITIONS, Positions
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError


@POSITIONS.register("sinusoidal")
class Sinusoidal(Positions):
    """Fixed sines and cosines added to the embedding.

    ``PE(pos, 2i) = sin(pos / base^(2i/D))`` and ``PE(pos, 2i+1) = cos(pos / base^(2i/D))``. A shift by a fixed offset
    is a linear map of PE, and every position has a value, past the training length too.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5.

    Args:
        base: the longest wavelength is ``2π · base`` positions.

    Raises:
        ConfigError: ``d_model`` is odd.
    """

    def __init__(self, dims: Dims, site: Site, *, base: Annotated[float, Field(gt=0)] = 10_000.0) -> None:
        super().__init__(dims, site)
        if dims.d_model % 2:
            raise ConfigError(f"model.d_model: {dims.d_model} is odd; positions=sinusoidal needs an even d_model.")
        self.base = base

    def embed(self, x_BTD: Tensor, positions_BT: Tensor) -> Tensor:
        """``x + PE(positions)``."""
        width = x_BTD.shape[-1]
        dtype = torch.promote_types(x_BTD.dtype, torch.float32)
        exponent = torch.arange(0, width, 2, dtype=dtype, device=x_BTD.device) / width
        angle = positions_BT[..., None] * self.base**-exponent
        encoding = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
        return x_BTD + encoding.to(x_BTD.dtype)

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.components.positions.base import Positions
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError
from lightning_tx.core.registry import register


@register("positions", "rope")
class Rope(Positions):
    """Rotary positions: pairs of query and key dimensions turn by an angle proportional to the position.

    Pair i of a head turns by ``position · base^(-2i/K)``, so that a score depends on the distance alone.

    Source: Su et al. 2021, arXiv:2104.09864.

    Args:
        base: the slowest pair turns once in about ``2π · base`` positions.
        pairing: which dimensions form a pair: ``half`` (i and i + K/2, as Hugging Face stores weights) or
            ``interleaved`` (2i and 2i + 1, as Meta stores them).

    Raises:
        ConfigError: ``head_dim`` is odd.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        base: Annotated[float, Field(gt=0)] = 10_000.0,
        pairing: Literal["half", "interleaved"] = "half",
    ) -> None:
        super().__init__(dims, site)
        if dims.head_dim % 2:
            raise ConfigError(
                f"model.head_dim: {dims.head_dim} is odd (d_model {dims.d_model} / {dims.num_heads} heads); "
                "positions=rope turns pairs of dimensions and needs an even head_dim."
            )
        self.base = base
        self.pair_dim = {"half": -2, "interleaved": -1}[pairing]

    def rotate(self, x_BHTK: Tensor, positions_BT: Tensor) -> Tensor:
        """Turn each pair of the last dimension; angles are computed in float32 at least."""
        width = x_BHTK.shape[-1]
        dtype = torch.promote_types(x_BHTK.dtype, torch.float32)
        exponent = torch.arange(0, width, 2, dtype=dtype, device=x_BHTK.device) / width
        angle = positions_BT[:, None, :, None] * self.base**-exponent
        cos, sin = angle.cos(), angle.sin()
        shape = {-2: (2, width // 2), -1: (width // 2, 2)}[self.pair_dim]
        first, second = x_BHTK.to(dtype).unflatten(-1, shape).unbind(self.pair_dim)
        turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=self.pair_dim)
        return turned.flatten(-2).to(x_BHTK.dtype)

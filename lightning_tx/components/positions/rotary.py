"""What all rotary positions of the group share; they differ in how fast each pair of dimensions turns."""

from collections.abc import Callable
from typing import Annotated, Literal, TypedDict, Unpack

import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.components.positions.base import Positions
from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError

Factor = Annotated[float, Field(ge=1)]


class RotaryOptions(TypedDict, total=False):
    """Which dimensions of a head turn, and how fast.

    Args:
        base: the slowest pair turns once in about ``2π · base`` positions, where no factor slows it down.
        pairing: which dimensions form a pair: ``half`` (i and i + K/2, as Hugging Face stores weights) or
            ``interleaved`` (2i and 2i + 1, as Meta stores them).
        fraction: share of a head's dimensions that turn, the first ones; K is their number.
    """

    base: Annotated[float, Field(default=10_000.0, gt=1)]
    pairing: Annotated[Literal["half", "interleaved"], Field(default="half")]
    fraction: Annotated[float, Field(default=1.0, gt=0, le=1)]


class Rotary(Positions):
    """Pairs of query and key dimensions turn by an angle proportional to the position.

    Pair i of K dimensions turns by ``base^(-2i/K)`` a position.

    Source: Su et al. 2021, arXiv:2104.09864.

    Attributes:
        magnitude: factor on what has turned.

    Raises:
        ConfigError: ``head_dim`` is odd, or the dimensions that turn are no even number.
    """

    magnitude: float = 1.0

    def __init__(self, dims: Dims, site: Site, **options: Unpack[RotaryOptions]) -> None:
        super().__init__(dims, site)
        if dims.head_dim % 2:
            raise ConfigError(
                f"model.head_dim: {dims.head_dim} is odd (d_model {dims.d_model} / {dims.num_heads} heads); "
                "rotary positions turn pairs of dimensions and need an even head_dim."
            )
        chosen = with_defaults(RotaryOptions, options)
        self.base: float = chosen["base"]
        self.fraction: float = chosen["fraction"]
        self.pair_dim = {"half": -2, "interleaved": -1}[chosen["pairing"]]
        self._turning(dims.head_dim)

    def frequencies(self, width: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """By how much each pair of ``width`` dimensions turns a position, [width / 2] in radians."""
        return self.base ** -(torch.arange(0, width, 2, dtype=dtype, device=device) / width)

    def rotate(self, x_BHTK: Tensor, positions_BT: Tensor) -> Tensor:
        """Turn each pair of the last dimension; angles are computed in float32 at least."""
        return self._turned(x_BHTK, *self._cos_sin(positions_BT, *self._width_and_dtype(x_BHTK)))

    def rotation(self, positions_BT: Tensor) -> Callable[[Tensor], Tensor]:
        """:meth:`rotate` for all layers of one forward pass: cosines and sines are computed once."""
        if torch.compiler.is_compiling():
            # The compiler sees by itself what the layers share, and allows no writing from within a checkpoint.
            return super().rotation(positions_BT)
        known: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] = {}

        def rotate(x_BHTK: Tensor) -> Tensor:
            key = self._width_and_dtype(x_BHTK)
            if key not in known:
                known[key] = self._cos_sin(positions_BT, *key)
            return self._turned(x_BHTK, *known[key])

        return rotate

    def _width_and_dtype(self, x_BHTK: Tensor) -> tuple[int, torch.dtype]:
        return self._turning(x_BHTK.shape[-1]), torch.promote_types(x_BHTK.dtype, torch.float32)

    def _cos_sin(self, positions_BT: Tensor, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """[B or 1, 1, T, width / 2] each."""
        angle = positions_BT[:, None, :, None] * self.frequencies(width, dtype=dtype, device=positions_BT.device)
        return angle.cos() * self.magnitude, angle.sin() * self.magnitude

    def _turned(self, x_BHTK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        width = 2 * cos.shape[-1]
        shape = {-2: (2, width // 2), -1: (width // 2, 2)}[self.pair_dim]
        first, second = x_BHTK[..., :width].to(cos.dtype).unflatten(-1, shape).unbind(self.pair_dim)
        turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=self.pair_dim)
        turned = turned.flatten(-2).to(x_BHTK.dtype)
        return turned if width == x_BHTK.shape[-1] else torch.cat([turned, x_BHTK[..., width:]], dim=-1)

    def _turning(self, width: int) -> int:
        """How many of ``width`` dimensions turn."""
        exact = width * self.fraction
        turning = round(exact)
        if abs(turning - exact) > 1e-6 or turning % 2 or turning == 0:
            raise ConfigError(
                f"positions.fraction: {self.fraction} of {width} dimensions is {exact:g}, "
                "but dimensions turn in pairs and their number must be even and positive."
            )
        return turning

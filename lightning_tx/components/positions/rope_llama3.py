import math
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.components.positions.base import POSITIONS
from lightning_tx.components.positions.rotary import Factor, Rotary, RotaryOptions
from lightning_tx.core.constructor import with_defaults
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError


class Llama3Options(RotaryOptions, total=False):
    """Those of every rotary positions; the trained base is Llama 3's."""

    base: Annotated[float, Field(default=500_000.0, gt=1)]


@POSITIONS.register("rope_llama3")
class Llama3Rope(Rotary):
    """Rotary positions as Llama 3.1 stretches them: pairs that turn seldom within the trained length slow down.

    A pair that turns more than ``high_freq_factor`` times within ``original_max_seq_len`` keeps its speed, one that
    turns less than ``low_freq_factor`` times turns ``factor`` times more slowly, and between them lies a ramp over the
    number of turns.

    Source: Grattafiori et al. 2024, arXiv:2407.21783; the formula is that of Meta's code for Llama 3.1.

    Args:
        factor: how many times more slowly the slow pairs turn.
        original_max_seq_len: the trained length in tokens; null for ``model.max_seq_len``.
        low_freq_factor: turns up to which a pair is slowed down in full.
        high_freq_factor: turns from which on a pair keeps its speed.

    Raises:
        ConfigError: ``head_dim`` is odd, the dimensions that turn are no even number, or ``high_freq_factor`` does
            not exceed ``low_freq_factor``.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        factor: Factor = 8.0,
        original_max_seq_len: Annotated[int, Field(gt=0)] | None = None,
        low_freq_factor: Annotated[float, Field(gt=0)] = 1.0,
        high_freq_factor: Annotated[float, Field(gt=0)] = 4.0,
        **options: Unpack[Llama3Options],
    ) -> None:
        super().__init__(dims, site, **with_defaults(Llama3Options, options))
        if high_freq_factor <= low_freq_factor:
            raise ConfigError(
                f"positions.high_freq_factor: {high_freq_factor} does not exceed "
                f"positions.low_freq_factor = {low_freq_factor}."
            )
        self.factor = factor
        self.original_length = dims.max_seq_len if original_max_seq_len is None else original_max_seq_len
        self.low, self.high = low_freq_factor, high_freq_factor

    def frequencies(self, width: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """``base^(-2i/K)``, divided by ``factor`` where a pair turns slowly, [width / 2]."""
        plain = super().frequencies(width, dtype=dtype, device=device)
        turns = plain * (self.original_length / (2 * math.pi))
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return plain * kept + plain / self.factor * (1 - kept)

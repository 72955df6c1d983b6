import math
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor

from lightning_tx.components.positions.base import POSITIONS
from lightning_tx.components.positions.rotary import Factor, Rotary, RotaryOptions
from lightning_tx.core.dims import Dims, Site
from lightning_tx.core.errors import ConfigError


@POSITIONS.register("rope_yarn")
class YarnRope(Rotary):
    """Rotary positions after YaRN: pairs that turn often within the trained length stay, those that do not slow down.

    A pair that turns more than ``beta_fast`` times within ``original_max_seq_len`` keeps its speed, one that turns
    less than ``beta_slow`` times turns ``factor`` times more slowly, and between them lies a ramp over the pairs,
    whose ends are rounded to whole pairs as in the authors' code, unless told otherwise. What has turned grows by
    ``attention_factor``, and so a score by its square.

    Source: Peng et al. 2023, arXiv:2309.00071.

    Args:
        factor: how many times longer than trained the text may be.
        original_max_seq_len: the trained length in tokens; null for ``model.max_seq_len``.
        beta_fast: turns from which on a pair keeps its speed.
        beta_slow: turns up to which a pair is slowed down in full.
        attention_factor: factor on turned queries and keys; null for ``0.1 · ln(factor) + 1``.
        truncate: whether the ends of the ramp are rounded; gpt-oss has them as they are.

    Raises:
        ConfigError: ``head_dim`` is odd, the dimensions that turn are no even number, or ``beta_fast`` does not
            exceed ``beta_slow``.
    """

    def __init__(
        self,
        dims: Dims,
        site: Site,
        *,
        factor: Factor = 4.0,
        original_max_seq_len: Annotated[int, Field(gt=0)] | None = None,
        beta_fast: Annotated[float, Field(gt=0)] = 32.0,
        beta_slow: Annotated[float, Field(gt=0)] = 1.0,
        attention_factor: Annotated[float, Field(gt=0)] | None = None,
        truncate: bool = True,
        **options: Unpack[RotaryOptions],
    ) -> None:
        super().__init__(dims, site, **options)
        if beta_fast <= beta_slow:
            raise ConfigError(f"positions.beta_fast: {beta_fast} does not exceed positions.beta_slow = {beta_slow}.")
        self.factor = factor
        self.original_length = dims.max_seq_len if original_max_seq_len is None else original_max_seq_len
        self.beta_fast, self.beta_slow, self.truncate = beta_fast, beta_slow, truncate
        self.magnitude = 0.1 * math.log(factor) + 1 if attention_factor is None else attention_factor

    def frequencies(self, width: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """``base^(-2i/K)``, divided by ``factor`` where a pair turns slowly, [width / 2]."""
        plain = super().frequencies(width, dtype=dtype, device=device)
        low, high = self._pair_of(self.beta_fast, width), self._pair_of(self.beta_slow, width)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, width - 1)
        pairs = torch.arange(width // 2, dtype=dtype, device=device)
        slowed = ((pairs - low) / max(high - low, 0.001)).clamp(0, 1)
        return plain * (1 - slowed) + plain / self.factor * slowed

    def _pair_of(self, turns: float, width: int) -> float:
        """Index of the pair that turns so many times within the trained length."""
        return width * math.log(self.original_length / (2 * math.pi * turns)) / (2 * math.log(self.base))

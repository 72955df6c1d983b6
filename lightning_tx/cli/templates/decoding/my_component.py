from typing import Annotated

from pydantic import Field
from torch import Tensor

from lightning_tx import register
from lightning_tx.decoding.sample import Sample


@register("decoding", "my_component")
class MyComponent(Sample):
    """Draws each next token from those at least ``min_p`` times as probable as the best.

    Source: Nguyen et al. 2024, arXiv:2407.01082.

    Args:
        temperature: below 1 sharpens the distribution, above 1 flattens it.
        min_p: least probability, relative to the best token's.
    """

    def __init__(
        self,
        *,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
        min_p: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        super().__init__(temperature=temperature)
        self.min_p = min_p

    def candidates(self, logits_BV: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores [B, V] of the tokens to draw from, minus infinity if cut off."""
        p_BV = (logits_BV / self.temperature).softmax(dim=-1)
        too_low = p_BV < self.min_p * p_BV.amax(dim=-1, keepdim=True)
        return p_BV.log().masked_fill(too_low, float("-inf")), None

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx import register
from lightning_tx.components.norm.base import Norm
from lightning_tx.core.schemes import Constant


@register("norm", "my_component")
class MyComponent(Norm):
    """Divides by the mean absolute value, then scales.

    Args:
        eps: added to the mean absolute value.
    """

    initial = {"weight": Constant(1.0)}

    def __init__(self, width: int, *, eps: Annotated[float, Field(gt=0)] = 1e-5) -> None:
        super().__init__(width)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """``x / (mean |x| + eps) · weight`` over the last dimension."""
        return x / (x.abs().mean(dim=-1, keepdim=True) + self.eps) * self.weight

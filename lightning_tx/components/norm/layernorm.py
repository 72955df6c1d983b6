from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.norm.base import NORM, Norm
from lightning_tx.core.schemes import Constant


@NORM.register("layernorm")
class LayerNorm(Norm):
    """Subtracts the mean and divides by the standard deviation, then scales and shifts.

    Source: Ba et al. 2016, arXiv:1607.06450.

    Args:
        eps: added to the variance.
        bias: whether there is a shift.
    """

    initial = {"weight": Constant(1.0), "bias": Constant(0.0)}

    def __init__(self, width: int, *, eps: Annotated[float, Field(gt=0)] = 1e-5, bias: bool = True) -> None:
        super().__init__(width)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """``(x - mean) / sqrt(var + eps) · weight + bias`` over the last dimension."""
        return F.layer_norm(x, (self.width,), self.weight, self.bias, self.eps)

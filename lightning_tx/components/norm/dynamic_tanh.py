from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.components.norm.base import NORM, Norm
from lightning_tx.core.schemes import Constant, declare


@NORM.register("dynamic_tanh")
class DynamicTanh(Norm):
    """``tanh(alpha · x) · weight + bias`` (DyT): squashes each entry by itself in place of a norm.

    Nothing is averaged over the width; alpha is one trained number. The paper keeps 0.5 as its start except in large
    language models, where it is tuned with the width.

    Source: Zhu et al. 2025, arXiv:2503.10622.

    Args:
        alpha: what alpha starts with.
        bias: whether there is a shift.
    """

    def __init__(self, width: int, *, alpha: Annotated[float, Field(gt=0)] = 0.5, bias: bool = True) -> None:
        super().__init__(width)
        self.alpha = nn.Parameter(torch.full((1,), alpha))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        declare(self, alpha=Constant(alpha), weight=Constant(1.0), bias=Constant(0.0))

    def forward(self, x: Tensor) -> Tensor:
        """``tanh(alpha · x) · weight + bias``, entry by entry."""
        out = torch.tanh(self.alpha * x) * self.weight
        return out if self.bias is None else out + self.bias
